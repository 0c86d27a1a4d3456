"""The blur by Fourier transforms: of the image itself for the `circular` rule, of the padded image for all others.

The code does not depend on the values of the PSF, and works with symbolic sizes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fastreg.kernels.blur_gradient.geometry import Geometry

#: Sides of padded images are rounded up to a multiple of this: transforms of prime lengths take several times as long.
_MULTIPLE = 16


def blur(x: Tensor, psf: Tensor, geometry: Geometry) -> Tensor:
    """A x."""
    if geometry.boundary == "circular":
        return inverse(transform(x) * transfer(psf, x.shape[-2], x.shape[-1]), x.shape[-2], x.shape[-1])
    extended = geometry.extend(x)
    height, width = _rounded(extended.shape[-2]), _rounded(extended.shape[-1])
    full = inverse(transform(extended, (height, width)) * transform(psf, (height, width)), height, width)
    # the pixels that wrap around are cut off
    return full[..., geometry.height - 1 : extended.shape[-2], geometry.width - 1 : extended.shape[-1]]


def adjoint(r: Tensor, psf: Tensor, geometry: Geometry) -> Tensor:
    """A* r."""
    if geometry.boundary == "circular":
        return inverse(transform(r) * transfer(psf, r.shape[-2], r.shape[-1]).conj(), r.shape[-2], r.shape[-1])
    placed = F.pad(r, (geometry.width - 1, 0, geometry.height - 1, 0))
    height, width = _rounded(placed.shape[-2]), _rounded(placed.shape[-1])
    full = inverse(transform(placed, (height, width)) * transform(psf, (height, width)).conj(), height, width)
    return geometry.fold(full[..., : placed.shape[-2], : placed.shape[-1]])


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
    """Side of a transform. Not rounded in a compiled program, which would then be specialised to the remainder of the size."""
    return side if torch.compiler.is_compiling() else -(-side // _MULTIPLE) * _MULTIPLE
