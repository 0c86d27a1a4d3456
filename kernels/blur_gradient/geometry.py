"""Where the taps of a PSF read: centre, margins and sizes for every boundary rule.

The blur is the convolution of `scipy.ndimage.convolve`: ``(A x)(i) = sum_t psf(t) x(i + c - t)`` with the centre ``c = k // 2``
in each dimension, on the image extended by the boundary rule. `valid` keeps only the pixels whose sum lies inside the image.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from fastreg.kernels import boundary as extension

BOUNDARIES = (*extension.BOUNDARIES, "valid")


class Geometry(NamedTuple):
    """A PSF of `height` x `width` taps, its centre, the boundary rule, and what `valid` leaves out of the image.

    `crop` is (left, right, top, bottom), in pixels that no tap reads; only a cropped PSF with the rule `valid` has any.
    """

    height: int
    width: int
    row: int
    column: int
    boundary: str
    crop: extension.Margins = (0, 0, 0, 0)

    @property
    def margins(self) -> extension.Margins:
        """Pixels the image is extended by: (left, right, top, bottom)."""
        return (self.width - 1 - self.column, self.column, self.height - 1 - self.row, self.row)

    def measurement(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the blurred image."""
        if self.boundary != "valid":
            return height, width
        left, right, top, bottom = self.crop
        return height - top - bottom - self.height + 1, width - left - right - self.width + 1

    def extend(self, x: Tensor) -> Tensor:
        """Image on which the convolution needs no boundary rule any more."""
        if self.boundary == "valid":
            return F.pad(x, [-margin for margin in self.crop]) if any(self.crop) else x
        return extension.pad(x, self.margins, self.boundary)

    def fold(self, gradient: Tensor) -> Tensor:
        """Transpose of `extend`."""
        if self.boundary == "valid":
            return F.pad(gradient, list(self.crop)) if any(self.crop) else gradient
        return extension.pad_adjoint(gradient, self.margins, self.boundary)

    def check(self, height: int, width: int) -> None:
        """Raise `ValueError` where an image of this size cannot be extended as far as the PSF reaches."""
        if self.boundary == "zero":
            return
        if self.boundary == "valid":
            if min(self.measurement(height, width)) < 1:
                raise ValueError(f"a {self.height}x{self.width} PSF does not fit into a {height}x{width} image")
            return
        spare = 1 if self.boundary == "reflect" else 0
        left, right, top, bottom = self.margins
        # replicating has no limit: there is always an outermost pixel
        if self.boundary != "replicate" and (max(top, bottom) > height - spare or max(left, right) > width - spare):
            raise ValueError(
                f"a {self.height}x{self.width} PSF reaches too far beyond a {height}x{width} image for "
                f"the boundary rule {self.boundary!r}"
            )


def centred(psf: Tensor, boundary: str) -> Geometry:
    """Geometry of a whole PSF ``[h, w]``."""
    if boundary not in BOUNDARIES:
        raise ValueError(f"boundary must be one of {BOUNDARIES}, got {boundary!r}")
    if psf.ndim != 2 or psf.numel() == 0:
        raise ValueError(f"a PSF is [height, width], got {list(psf.shape)}")
    height, width = psf.shape
    return Geometry(height, width, height // 2, width // 2, boundary)


def cropped(psf: Tensor, boundary: str) -> tuple[Tensor, Geometry]:
    """The PSF without the zeros around it, and the geometry that makes up for them.

    The box keeps the centre, so that no margin is negative. A PSF of nothing but zeros becomes a single zero.
    """
    whole = centred(psf, boundary)
    rows, columns = ((psf != 0).any(1).nonzero().flatten(), (psf != 0).any(0).nonzero().flatten())
    if boundary == "valid":
        top, bottom = (int(rows[0]), int(rows[-1])) if len(rows) else (0, 0)
        left, right = (int(columns[0]), int(columns[-1])) if len(columns) else (0, 0)
    else:
        top, bottom = min([whole.row, *rows.tolist()]), max([whole.row, *rows.tolist()])
        left, right = min([whole.column, *columns.tolist()]), max([whole.column, *columns.tolist()])
    # a convolution mirrors: taps missing at the end of the PSF are pixels not read at the start of the image
    crop = (whole.width - 1 - right, left, whole.height - 1 - bottom, top) if boundary == "valid" else (0, 0, 0, 0)
    box = psf[top : bottom + 1, left : right + 1]
    return box, Geometry(box.shape[0], box.shape[1], whole.row - top, whole.column - left, boundary, crop)
