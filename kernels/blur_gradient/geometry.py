"""Where the taps of a PSF read: centre, margins and sizes for every boundary rule.

The blur is the convolution of `scipy.ndimage.convolve`: ``(A x)(i) = sum_t psf(t) x(i + c - t)`` with the centre ``c = k // 2``
in each dimension, on the image extended by the boundary rule. `valid` keeps only the pixels whose sum lies inside the image.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from fastreg.kernels import boundary as extension

BOUNDARIES = (*extension.BOUNDARIES, "valid")


class Geometry(NamedTuple):
    """A PSF of `height` x `width` taps and the boundary rule. Only shapes are looked at, which may be open."""

    height: int
    width: int
    boundary: str

    @property
    def margins(self) -> extension.Margins:
        """Pixels the image is extended by: (left, right, top, bottom)."""
        if self.boundary == "valid":
            return (0, 0, 0, 0)
        return ((self.width - 1) // 2, self.width // 2, (self.height - 1) // 2, self.height // 2)

    @property
    def origin(self) -> tuple[int, int]:
        """Row and column in the PSF of the tap that reads the pixel itself."""
        if self.boundary == "valid":  # a measured pixel has the number of the first pixel that it sees
            return self.height - 1, self.width - 1
        return self.height // 2, self.width // 2

    def measurement(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the blurred image."""
        if self.boundary != "valid":
            return height, width
        return height - self.height + 1, width - self.width + 1

    def extend(self, x: Tensor) -> Tensor:
        """Image on which the convolution needs no boundary rule any more."""
        return x if self.boundary == "valid" else extension.pad(x, self.margins, self.boundary)

    def fold(self, gradient: Tensor) -> Tensor:
        """Transpose of `extend`."""
        return gradient if self.boundary == "valid" else extension.pad_adjoint(gradient, self.margins, self.boundary)


def geometry(psf: Tensor, boundary: str) -> Geometry:
    """Geometry of a PSF ``[h, w]``.

    Raises
    ------
    ValueError
        If the PSF has another number of dimensions, is empty, or the boundary rule is unknown.
    """
    if boundary not in BOUNDARIES:
        raise ValueError(f"the boundary rule must be one of {', '.join(BOUNDARIES)}, got {boundary!r}")
    if psf.ndim != 2 or psf.numel() == 0:
        raise ValueError(f"a PSF is [height, width], got {list(psf.shape)}")
    return Geometry(psf.shape[0], psf.shape[1], boundary)
