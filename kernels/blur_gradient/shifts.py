"""The blur as a sum of shifted images, one for each tap: for PSFs with few taps."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from fastreg.kernels.blur_gradient.geometry import Geometry

#: Rows and columns of the taps in a PSF.
Positions = tuple[tuple[int, int], ...]


def everywhere(geometry: Geometry) -> Positions:
    """Every position of a PSF."""
    return tuple((row, column) for row in range(geometry.height) for column in range(geometry.width))


def blur(x: Tensor, psf: Tensor, geometry: Geometry, positions: Positions) -> Tensor:
    """A x."""
    extended = geometry.extend(x)
    rows, columns = geometry.height - 1, geometry.width - 1
    size = (extended.shape[-2] - rows, extended.shape[-1] - columns)
    starts = ((rows - row, columns - column) for row, column in positions)  # a convolution mirrors the PSF
    return _sum(extended, psf, positions, starts, size)


def adjoint(r: Tensor, psf: Tensor, geometry: Geometry, positions: Positions) -> Tensor:
    """A* r."""
    rows, columns = geometry.height - 1, geometry.width - 1
    size = (r.shape[-2] + rows, r.shape[-1] + columns)
    padded = F.pad(r, (columns, columns, rows, rows))
    return geometry.fold(_sum(padded, psf, positions, iter(positions), size))


def _sum(
    source: Tensor, psf: Tensor, positions: Positions, starts: Iterator[tuple[int, int]], size: tuple[int, int]
) -> Tensor:
    result = source.new_zeros((*source.shape[:2], *size))
    for at, (row, column) in zip(positions, starts, strict=True):
        result = torch.addcmul(result, source[..., row : row + size[0], column : column + size[1]], psf[at])
    return result
