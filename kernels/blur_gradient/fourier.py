"""The blur by Fourier transforms: of the image itself for the `circular` rule, of the padded image for all others.

The code does not depend on the values of the PSF, and works with symbolic sizes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from fastreg.kernels.blur_gradient.geometry import Geometry

Map = Callable[[Tensor], Tensor]


def blur(x: Tensor, psf: Tensor, geometry: Geometry) -> Tensor:
    """A x."""
    return forward_map(psf, geometry, x.shape[-2], x.shape[-1])(x)


def adjoint(r: Tensor, psf: Tensor, geometry: Geometry) -> Tensor:
    """A* r."""
    return adjoint_map(psf, geometry, r.shape[-2], r.shape[-1])(r)


def forward_map(psf: Tensor, geometry: Geometry, height: int, width: int) -> Map:
    """A for images of one size, to be applied more than once: the PSF is transformed here."""
    if geometry.boundary == "circular":
        gain = transfer(psf, height, width)
        return lambda x: inverse(transform(x) * gain, height, width)
    left, right, top, bottom = geometry.margins
    rows, columns = height + top + bottom, width + left + right
    full_height, full_width = _rounded(rows), _rounded(columns)
    gain = transform(psf, (full_height, full_width))

    def apply(x: Tensor) -> Tensor:
        full = inverse(transform(geometry.extend(x), (full_height, full_width)) * gain, full_height, full_width)
        # the pixels that wrap around are cut off
        return full[..., geometry.height - 1 : rows, geometry.width - 1 : columns]

    return apply


def adjoint_map(psf: Tensor, geometry: Geometry, height: int, width: int) -> Map:
    """A* for measurements of one size."""
    if geometry.boundary == "circular":
        gain = transfer(psf, height, width).conj().resolve_conj()
        return lambda r: inverse(transform(r) * gain, height, width)
    rows, columns = height + geometry.height - 1, width + geometry.width - 1
    full_height, full_width = _rounded(rows), _rounded(columns)
    gain = transform(psf.flip(0, 1), (full_height, full_width))

    def apply(r: Tensor) -> Tensor:
        full = inverse(transform(r, (full_height, full_width)) * gain, full_height, full_width)
        return geometry.fold(full[..., :rows, :columns])

    return apply


def gradient(x: Tensor, y: Tensor, psf: Tensor, geometry: Geometry) -> Tensor:
    """A*(A x - y); for `circular` in the Fourier domain from end to end."""
    if geometry.boundary != "circular":
        return adjoint(blur(x, psf, geometry) - y, psf, geometry)
    gain = transfer(psf, x.shape[-2], x.shape[-1])
    return inverse(residual(gain, x, y) * gain.conj(), x.shape[-2], x.shape[-1])


def transform(x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Fourier transform of real images, the half that determines the rest."""
    spectrum: Tensor = torch.fft.rfft2(x, s=size)
    return spectrum


def inverse(spectrum: Tensor, height: int, width: int) -> Tensor:
    """Inverse of `transform`: real images of the given size."""
    image: Tensor = torch.fft.irfft2(spectrum, s=(height, width))
    return image


def transfer(psf: Tensor, height: int, width: int) -> Tensor:
    """Fourier transform of the PSF, centred at the origin and padded to the given size."""
    rows, columns = psf.shape
    full = F.pad(psf, (0, width - columns, 0, height - rows))
    return transform(full.roll((-(rows // 2), -(columns // 2)), (0, 1)))


def residual(gain: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Fourier transform of A x - y under the circular rule; `gain` is the Fourier transform of the PSF.

    Computed as (h - 1) x + (x - y): the rounding error of the transform of x is white, and the adjoint keeps the low
    frequencies, where h - 1 is small. In float32 the gradient is two to four times as accurate as with h x - y; A*A x - A* y is
    worse still.
    """
    # AOTInductor cannot package the difference of a complex tensor and an integer
    less_one = torch.complex(gain.real - 1, gain.imag)
    return less_one * transform(x) + transform(x - y)


def _rounded(side: int) -> int:
    """Side of a transform: the next even number without prime factors above 5; others take up to several times as long.

    Not rounded in a compiled program, which would then be specialised to the size.
    """
    if torch.compiler.is_compiling():
        return side
    side += side % 2
    while 30 ** side.bit_length() % side:  # a product of powers of 2, 3 and 5 divides a high power of 30
        side += 2
    return side
