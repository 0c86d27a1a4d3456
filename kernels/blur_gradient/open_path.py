"""The blur for a PSF whose values are not known ahead, or for images whose size is not: what programs are traced with.

Nothing here looks at the values of the PSF, so that it may be an input of a program. How it is computed depends on the boundary
rule and on one flag: transforms, or one convolution with all taps; `circular` always takes transforms, of the size of the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fastreg.kernels.blur_gradient import reference
from fastreg.kernels.blur_gradient.geometry import centred

#: PSFs of more pixels than this are applied by FFT.
_DIRECT_PIXELS = 225


class Open:
    """A x, A* r and A*(A x - y) for any PSF ``[h, w]`` in the dtype of the images."""

    def __init__(self, psf: Tensor, boundary: str, fourier: bool) -> None:
        self.psf, self.boundary, self.fourier = psf, boundary, fourier
        self.geometry = centred(psf, boundary)

    def blur(self, x: Tensor) -> Tensor:
        """A x."""
        if self.boundary == "circular":
            return inverse(transform(x) * transfer(self.psf, x.shape[-2], x.shape[-1]), x)
        x = self.geometry.extend(x)
        if not self.fourier:
            return reference.convolve(x, self.psf)
        # what wraps around only reaches the pixels that are cut off
        full = inverse(transform(x) * transform(self.psf, x.shape[-2:]), x)
        return full[..., self.psf.shape[0] - 1 :, self.psf.shape[1] - 1 :]

    def adjoint(self, r: Tensor) -> Tensor:
        """A* r."""
        if self.boundary == "circular":
            return inverse(transform(r) * transfer(self.psf, r.shape[-2], r.shape[-1]).conj(), r)
        if not self.fourier:
            return self.geometry.fold(reference.convolve_adjoint(r, self.psf))
        full = F.pad(r, (self.psf.shape[1] - 1, 0, self.psf.shape[0] - 1, 0))
        return self.geometry.fold(inverse(transform(full) * transform(self.psf, full.shape[-2:]).conj(), full))

    def gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """A*(A x - y); for `circular` in one pass through frequencies."""
        if self.boundary != "circular":
            return self.adjoint(self.blur(x) - y)
        gain = transfer(self.psf, x.shape[-2], x.shape[-1])
        return inverse(residual(gain, x, y) * gain.conj(), x)


def prefers_fourier(psf: Tensor) -> bool:
    """Whether a PSF is large enough for the FFT; by its size alone, which is known before any image comes."""
    return psf.shape[0] * psf.shape[1] > _DIRECT_PIXELS


def transform(x: Tensor, size: Sequence[int] | None = None) -> Tensor:
    """Half of the Fourier transform of real images."""
    spectrum: Tensor = torch.fft.rfft2(x, s=size)
    return spectrum


def inverse(spectrum: Tensor, like: Tensor) -> Tensor:
    """Real images of the size of `like`."""
    image: Tensor = torch.fft.irfft2(spectrum, s=like.shape[-2:])
    return image


def transfer(psf: Tensor, height: int, width: int) -> Tensor:
    """Fourier transform of the PSF with its centre at the origin, on the grid of images of that size."""
    rows, columns = psf.shape
    full = F.pad(psf, (0, width - columns, 0, height - rows))
    return transform(full.roll((-(rows // 2), -(columns // 2)), (0, 1)))


def residual(gain: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Fourier transform of A x - y under the circular rule; `gain` is that of the PSF.

    Written as (h - 1) x + (x - y): the rounding errors of the transform of x are white, and where they would stand out
    against a small residual, at the low frequencies that pass the adjoint, h - 1 is small. In float32 that makes the
    gradient two to four times as accurate as h x - y does; A*A x - A* y is worse still.
    """
    # a whole number taken off a complex tensor cannot be packaged by AOTInductor
    less_one = torch.complex(gain.real - 1, gain.imag)
    return less_one * transform(x) + transform(x - y)
