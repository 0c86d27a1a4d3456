"""The gradient of half the squared residual of a blur by Triton kernels, as a torch op."""

from __future__ import annotations

import torch
from torch import Tensor

from fastreg.kernels._triton import available, triton_op
from fastreg.kernels.blur_gradient import reference
from fastreg.kernels.blur_gradient.geometry import BOUNDARIES, Geometry
from fastreg.kernels.blur_gradient.tables import TapTable, psf_of
from fastreg.kernels.launch_settings import BLUR_FUSED, BLUR_TILE

if available():
    from torch.library import wrap_triton

    from fastreg.kernels.blur_gradient.triton_kernels import adjoint_kernel, fused_kernel, residual_kernel

#: Codes of the boundary rules in the kernels. With `valid` nothing beyond the border is read, so that zero padding will do.
RULES = {"circular": 0, "reflect": 1, "replicate": 2, "zero": 3, "valid": 3}


def gradient(x: Tensor, y: Tensor, table: TapTable, fused: bool) -> Tensor:
    """A*(A x - y) for float32 images, in one kernel if `fused`, in two otherwise."""
    numbers = [table.taps, *table.reach, table.geometry.height, table.geometry.width]
    layout = [BOUNDARIES.index(table.geometry.boundary), *numbers]
    result: Tensor = gradient_op(x, y, table.offsets, table.values, table.ranges, layout, fused)
    return result


@triton_op("blur_gradient")
def gradient_op(
    x: Tensor, y: Tensor, offsets: Tensor, values: Tensor, ranges: Tensor, layout: list[int], fused: bool
) -> Tensor:
    """``torch.ops.fastreg.blur_gradient``; `layout` has the boundary rule and the integers of a `TapTable`."""
    rule, taps, row_reach, column_reach, height, width = layout
    geometry = Geometry(height, width, BOUNDARIES[rule])
    table = TapTable(offsets, values, ranges, taps, (row_reach, column_reach), geometry)
    if not x.is_cuda:
        return reference.gradient(x, y, psf_of(table).to(x), geometry.boundary).contiguous()
    return launch_fused(x, y, table) if fused else launch_gradient(x, y, table)


def launch_gradient(x: Tensor, y: Tensor, table: TapTable) -> Tensor:
    """Residual, then adjoint: two kernels."""
    return launch_adjoint(launch_residual(x, y, table), table, x.shape[-2], x.shape[-1])


def launch_residual(x: Tensor, y: Tensor, table: TapTable) -> Tensor:
    """A x - y, contiguous."""
    batch, channels, height, width = x.shape
    out_height, out_width = y.shape[-2:]
    output = torch.empty(y.shape, dtype=x.dtype, device=x.device)
    row_blocks, column_blocks = _blocks(out_height, BLUR_TILE["ROWS"]), _blocks(out_width, BLUR_TILE["COLUMNS"])
    wrap_triton(residual_kernel)[(batch * channels * row_blocks * column_blocks,)](
        x, y, output, table.offsets, table.values, table.taps, channels, height, width, out_height, out_width,
        *table.reach, row_blocks, column_blocks, *x.stride(), *y.stride(), RULE=RULES[table.geometry.boundary], **BLUR_TILE,
    )  # fmt: skip
    return output


def launch_adjoint(r: Tensor, table: TapTable, height: int, width: int) -> Tensor:
    """``A* r``, for a contiguous r."""
    batch, channels, r_height, r_width = r.shape
    output = torch.empty((batch, channels, height, width), dtype=r.dtype, device=r.device)
    row_blocks, column_blocks = _blocks(height, BLUR_TILE["ROWS"]), _blocks(width, BLUR_TILE["COLUMNS"])
    wrap_triton(adjoint_kernel)[(batch * channels * row_blocks * column_blocks,)](
        r, output, table.offsets, table.values, table.ranges, table.taps, height, width, r_height, r_width,
        *table.reach, row_blocks, column_blocks, RULE=RULES[table.geometry.boundary], **BLUR_TILE,
    )  # fmt: skip
    return output


def launch_fused(x: Tensor, y: Tensor, table: TapTable) -> Tensor:
    """Residual and adjoint in one kernel; the reach of the PSF must be well below half a tile."""
    setting = {name: number for name, number in BLUR_FUSED.items() if name != "PROGRAMS"}
    batch, channels, height, width = x.shape
    rows, columns = table.reach
    output = torch.empty((batch, channels, height, width), dtype=x.dtype, device=x.device)
    row_blocks = _blocks(height, setting["ROWS"] - 2 * rows)
    column_blocks = _blocks(width, setting["COLUMNS"] - 2 * columns)
    tiles = batch * channels * row_blocks * column_blocks
    programs = min(tiles, BLUR_FUSED["PROGRAMS"])
    scratch = torch.empty((programs, setting["ROWS"], setting["COLUMNS"]), dtype=x.dtype, device=x.device)
    wrap_triton(fused_kernel)[(programs,)](
        x, y, output, scratch, table.offsets, table.values, table.ranges, table.taps, channels, height, width, *y.shape[-2:],
        rows, columns, row_blocks, column_blocks, tiles, programs, *x.stride(), *y.stride(),
        RULE=RULES[table.geometry.boundary], **setting,
    )  # fmt: skip
    return output


def _blocks(size: int, block: int) -> int:
    return (size + block - 1) // block
