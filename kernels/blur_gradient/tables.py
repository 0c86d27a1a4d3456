"""Lists of taps for the Triton kernels, with the border already worked out.

A tap is an offset o = t - c from the centre: the blur reads ``x(i - o)``, its adjoint ``r(p + o)``. Extending an image adds
pixels beyond the border, so the adjoint has to bring their share back. Along one dimension there are three shares:

0. the pixel itself,
1. what lies before the first pixel,
2. what lies after the last one.

For `reflect` the share 1 of pixel p is the plain adjoint at -p, the share 2 that at 2 (n - 1) - p: the same taps, mirrored
reading. For `replicate` everything beyond the border belongs to one pixel, and the sum over it is a sum of taps: the share 1 of
the first pixel has the taps ``sum_{s > 0} psf(t + s)``, the share 2 of the last ``sum_{s > 0} psf(t - s)``. `circular` and `zero`
have the share 0 alone. In two dimensions shares multiply: nine lists, of which a tile inside the image needs the first.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fastreg.kernels.blur_gradient.geometry import Geometry


class TapTable(NamedTuple):
    """Taps that are not zero: offsets ``int32 [n, 2]`` (row, column) and values ``float32 [n]``.

    List m (3 x share of the rows + share of the columns) is ``ranges[m, 0]`` to ``ranges[m, 1]``; the first `taps` are
    the PSF itself.
    """

    offsets: Tensor
    values: Tensor
    ranges: Tensor
    taps: int
    geometry: Geometry


def origin(geometry: Geometry) -> tuple[int, int]:
    """Position in the PSF of the tap that reads the pixel itself; for `valid` it may lie beyond the PSF."""
    if geometry.boundary != "valid":
        return geometry.row, geometry.column
    left, _, top, _ = geometry.crop
    return geometry.height - 1 + top, geometry.width - 1 + left


def reach(geometry: Geometry) -> tuple[int, int]:
    """Largest distance, in rows and in columns, between a pixel and what its sum reads."""
    row, column = origin(geometry)
    return max(row, geometry.height - 1 - row), max(column, geometry.width - 1 - column)


def tabulate(psf: Tensor, geometry: Geometry) -> TapTable:
    """Tap lists of a PSF ``[h, w]``, on its device."""
    exact = psf.double()
    lists = [_nonzero(exact, geometry)]
    if geometry.boundary == "replicate":
        for share in range(1, 9):
            rows = _beyond(exact, share // 3, 0, geometry.row)
            lists.append(_nonzero(_beyond(rows, share % 3, 1, geometry.column), geometry))
    lengths = [len(values) for _, values in lists]
    starts = [sum(lengths[:m]) for m in range(len(lists))]
    ranges = [[start, start + length] for start, length in zip(starts, lengths, strict=True)]
    if geometry.boundary == "reflect":
        ranges = ranges * 9
    ranges += [[0, 0]] * (9 - len(ranges))
    return TapTable(
        torch.cat([offsets for offsets, _ in lists]),
        torch.cat([values for _, values in lists]),
        torch.tensor(ranges, dtype=torch.int32, device=psf.device),
        lengths[0],
        geometry,
    )


def dense(table: TapTable) -> Tensor:
    """The PSF ``[h, w]`` of a table, without asking the host."""
    row, column = origin(table.geometry)
    offsets = table.offsets[: table.taps].long()
    at = (offsets[:, 0] + row) * table.geometry.width + offsets[:, 1] + column
    flat = table.values.new_zeros(table.geometry.height * table.geometry.width)
    return flat.scatter(0, at, table.values[: table.taps]).reshape(table.geometry.height, table.geometry.width)


def _beyond(taps: Tensor, share: int, dim: int, centre: int) -> Tensor:
    """Taps of a share of the replicated border along one dimension; those that never meet a residual are left out."""
    if share == 0:
        return taps
    index = torch.arange(taps.shape[dim], device=taps.device)
    if share == 1:
        sums = taps.flip(dim).cumsum(dim).flip(dim) - taps
        meets = index >= centre
    else:
        sums = taps.cumsum(dim) - taps
        meets = index <= centre
    # a cumulative sum less its last term is not exactly the shorter sum: what should be zero must not become a tap
    sums = torch.where(sums.abs() > 1e-14 * taps.abs().max(), sums, 0.0)
    return torch.where(meets[:, None] if dim == 0 else meets, sums, 0.0)


def _nonzero(taps: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
    at = taps.nonzero()
    centre = torch.tensor(origin(geometry), device=taps.device)
    return (at - centre).int(), taps[at[:, 0], at[:, 1]].float()
