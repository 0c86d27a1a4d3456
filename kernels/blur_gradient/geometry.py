"""Centre, margins and sizes of a blur for every boundary rule.

The blur is the convolution of `scipy.ndimage.convolve`: ``(A x)(i) = sum_t psf(t) x(i + c - t)`` with the centre ``c = k // 2``
in each dimension, on the image padded by the boundary rule. `valid` keeps only the pixels whose sum stays inside the image.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from fastreg.kernels import boundary as extension

BOUNDARIES = (*extension.BOUNDARIES, "valid")


class Geometry(NamedTuple):
    """Size of a PSF, in taps, and the boundary rule. Sizes may be symbolic."""

    height: int
    width: int
    boundary: str

    @property
    def margins(self) -> extension.Margins:
        """Pixels the image is padded by: (left, right, top, bottom)."""
        if self.boundary == "valid":
            return (0, 0, 0, 0)
        return ((self.width - 1) // 2, self.width // 2, (self.height - 1) // 2, self.height // 2)

    @property
    def origin(self) -> tuple[int, int]:
        """Row and column of the tap of the PSF that multiplies the pixel itself."""
        if self.boundary == "valid":  # pixel i of the measurement is a sum over the pixels from i on
            return self.height - 1, self.width - 1
        return self.height // 2, self.width // 2

    def measurement(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the blurred image."""
        if self.boundary != "valid":
            return height, width
        return height - self.height + 1, width - self.width + 1

    def extend(self, x: Tensor) -> Tensor:
        """The image padded by the boundary rule."""
        return x if self.boundary == "valid" else extension.pad(x, self.margins, self.boundary)

    def fold(self, gradient: Tensor) -> Tensor:
        """Adjoint of `extend`."""
        return gradient if self.boundary == "valid" else extension.pad_adjoint(gradient, self.margins, self.boundary)


def geometry(psf: Tensor, boundary: str) -> Geometry:
    """Geometry of a PSF ``[h, w]``.

    Raises
    ------
    ValueError
        If the PSF is not two-dimensional or is empty, or the boundary rule is unknown.
    """
    if boundary not in BOUNDARIES:
        raise ValueError(f"the boundary rule must be one of {', '.join(BOUNDARIES)}, got {boundary!r}")
    if psf.ndim != 2 or psf.numel() == 0:
        raise ValueError(f"a PSF is [height, width], got {list(psf.shape)}")
    return Geometry(psf.shape[0], psf.shape[1], boundary)
