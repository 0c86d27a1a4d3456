"""Lists of the taps of a PSF for the Triton kernels, including those that the adjoint needs at the border.

A tap has an offset o = t - c from the centre: the blur reads ``x(i - o)``, its adjoint ``r(p + o)``. Padding copies pixels
beyond the border, so the adjoint adds up three shares in each dimension:

0. the contribution of the pixel itself,
1. that of its copies before the first pixel,
2. that of its copies after the last pixel.

For `reflect`, share 1 of pixel p is the adjoint without a border at -p, and share 2 is the one at 2 (n - 1) - p: the same taps
at mirrored positions. For `replicate`, all pixels beyond a border are copies of one pixel, and the sum over them is a sum of
taps: share 1 of the first pixel has the taps ``sum_{s > 0} psf(t + s)``, share 2 of the last ``sum_{s > 0} psf(t - s)``. Other
rules have share 0 only. Two dimensions have 3 x 3 shares and so nine lists; a tile inside the image needs only the first.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fastreg.kernels.blur_gradient.geometry import Geometry


class TapTable(NamedTuple):
    """Offsets of taps ``int32 [n, 2]`` (row, column) and their values ``float32 [n]``.

    List m (3 x share of the rows + share of the columns) is ``ranges[m, 0]`` to ``ranges[m, 1]``; the first `taps` are
    the PSF itself. `reach` is the largest offset in rows and in columns.
    """

    offsets: Tensor
    values: Tensor
    ranges: Tensor
    taps: int
    reach: tuple[int, int]
    geometry: Geometry


def sparse(psf: Tensor, geometry: Geometry) -> TapTable:
    """Table of the non-zero taps; copies the values of the PSF to the CPU."""
    exact, (row, column) = psf.detach().double().cpu(), geometry.origin
    found = [taps.nonzero() for taps in _lists(exact, geometry)]
    values = [taps[at[:, 0], at[:, 1]] for taps, at in zip(_lists(exact, geometry), found, strict=True)]
    starts = [sum(len(at) for at in found[:m]) for m in range(len(found))]
    ranges = [[start, start + len(at)] for start, at in zip(starts, found, strict=True)]
    offsets = torch.cat(found) - torch.tensor([row, column], device="cpu")
    reach = offsets.abs().amax(0).tolist() if len(offsets) else [0, 0]
    return TapTable(
        offsets.int().to(psf.device),
        torch.cat(values).float().to(psf.device),
        torch.tensor(ranges if len(ranges) == 9 else ranges * 9, dtype=torch.int32, device="cpu").to(psf.device),
        len(found[0]),
        (reach[0], reach[1]),
        geometry,
    )


def dense(psf: Tensor, geometry: Geometry) -> TapTable:
    """Table of all taps. It does not depend on the values of the PSF, which may be an input of a program."""
    lists, (row, column) = _lists(psf.double(), geometry), geometry.origin
    rows = torch.arange(geometry.height, device=psf.device).unsqueeze(1).expand(geometry.height, geometry.width) - row
    columns = torch.arange(geometry.width, device=psf.device).expand(geometry.height, geometry.width) - column
    offsets = torch.stack([rows.reshape(-1), columns.reshape(-1)], 1).int()
    taps = geometry.height * geometry.width
    starts = torch.arange(9, device=psf.device) * (taps if len(lists) == 9 else 0)
    return TapTable(
        offsets.repeat(len(lists), 1),
        torch.cat([taps.reshape(-1) for taps in lists]).float(),
        torch.stack([starts, starts + taps], 1).int(),
        taps,
        (max(row, geometry.height - 1 - row), max(column, geometry.width - 1 - column)),
        geometry,
    )


def psf_of(table: TapTable) -> Tensor:
    """The PSF ``[h, w]`` of a table."""
    (row, column), geometry = table.geometry.origin, table.geometry
    offsets = table.offsets[: table.taps].long()
    at = (offsets[:, 0] + row) * geometry.width + offsets[:, 1] + column
    flat = table.values.new_zeros(geometry.height * geometry.width)
    return flat.scatter(0, at, table.values[: table.taps]).reshape(geometry.height, geometry.width)


def _lists(psf: Tensor, geometry: Geometry) -> list[Tensor]:
    """The PSF, and for `replicate` also the taps of the eight other shares, each in an array of the size of the PSF."""
    if geometry.boundary != "replicate":
        return [psf]
    row, column = geometry.origin
    return [_beyond(_beyond(psf, share // 3, 0, row), share % 3, 1, column) for share in range(9)]


def _beyond(taps: Tensor, share: int, dim: int, centre: int) -> Tensor:
    """Taps of a share of the replicated border in dimension `dim`; zero where they never multiply a residual."""
    if share == 0:
        return taps
    index = torch.arange(taps.shape[dim], device=taps.device)
    if share == 1:
        sums = taps.flip(dim).cumsum(dim).flip(dim) - taps
        meets = index >= centre
    else:
        sums = taps.cumsum(dim) - taps
        meets = index <= centre
    # a cumulative sum less its last term is not exactly the shorter sum, and rounding must not turn a zero into a tap
    sums = torch.where(sums.abs() > 1e-14 * taps.abs().max(), sums, 0.0)
    return torch.where(meets.unsqueeze(1) if dim == 0 else meets, sums, 0.0)
