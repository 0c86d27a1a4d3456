"""One call for the gradient of half the squared residual of a blur, from a list of taps.

Triton kernels on a GPU, the reference elsewhere. `planner` decides which call to use, and when to use none of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fastreg.kernels import settings
from fastreg.kernels._triton import available, triton_op
from fastreg.kernels.blur_gradient import reference
from fastreg.kernels.blur_gradient.geometry import BOUNDARIES, Geometry
from fastreg.kernels.blur_gradient.tables import TapTable, dense, reach

if available():
    from torch.library import wrap_triton

    from fastreg.kernels.blur_gradient.triton_kernels import adjoint_kernel, fused_kernel, residual_kernel

#: What the kernels call the boundary rules; a blur of the rule `valid` reads nothing beyond the border, so zeros do.
RULES = {"circular": 0, "reflect": 1, "replicate": 2, "zero": 3, "valid": 3}


def gradient(
    x: Tensor, y: Tensor, table: TapTable, scale: Tensor | None, weights: Tensor | None, fused: bool
) -> Tensor:
    """``A*(scale * weights * (A x - y))`` from the taps of a PSF, in one kernel if `fused`, in two otherwise."""
    result: Tensor = gradient_op(x, y, *_flat(table), scale, weights, fused)
    return result


def separable_gradient(
    x: Tensor, y: Tensor, columns: TapTable, rows: TapTable, scale: Tensor | None, weights: Tensor | None
) -> Tensor:
    """``A*(scale * weights * (A x - y))`` for the outer product of a column and a row of taps."""
    result: Tensor = separable_gradient_op(x, y, *_flat(columns), *_flat(rows), scale, weights)
    return result


@triton_op("blur_gradient")
def gradient_op(
    x: Tensor,
    y: Tensor,
    offsets: Tensor,
    values: Tensor,
    ranges: Tensor,
    layout: list[int],
    scale: Tensor | None,
    weights: Tensor | None,
    fused: bool,
) -> Tensor:
    """``torch.ops.fastreg.blur_gradient``; `layout` is the number of taps and the geometry as integers."""
    table = _table(offsets, values, ranges, layout)
    if not x.is_cuda:
        return reference.gradient(x, y, dense(table).to(x), table.geometry, scale, weights).contiguous()
    return launch_fused(x, y, table, scale, weights) if fused else launch_gradient(x, y, table, scale, weights)


@triton_op("blur_gradient_separable")
def separable_gradient_op(
    x: Tensor,
    y: Tensor,
    column_offsets: Tensor,
    column_values: Tensor,
    column_ranges: Tensor,
    column_layout: list[int],
    row_offsets: Tensor,
    row_values: Tensor,
    row_ranges: Tensor,
    row_layout: list[int],
    scale: Tensor | None,
    weights: Tensor | None,
) -> Tensor:
    """``torch.ops.fastreg.blur_gradient_separable``; the arguments of `gradient_op` twice."""
    columns = _table(column_offsets, column_values, column_ranges, column_layout)
    rows = _table(row_offsets, row_values, row_ranges, row_layout)
    if not x.is_cuda:
        column_psf, row_psf = dense(columns).to(x), dense(rows).to(x)
        r = reference.blur(reference.blur(x, row_psf, rows.geometry), column_psf, columns.geometry)
        r = reference.residual(r, y, scale, weights)
        r = reference.blur_adjoint(r, column_psf, columns.geometry)
        return reference.blur_adjoint(r, row_psf, rows.geometry).contiguous()
    return launch_separable(x, y, columns, rows, scale, weights)


def launch_gradient(x: Tensor, y: Tensor, table: TapTable, scale: Tensor | None, weights: Tensor | None) -> Tensor:
    """Residual, then adjoint: two kernels."""
    r = launch_blur(x, table, y, scale, weights)
    return launch_adjoint(r, table, x.shape[-2], x.shape[-1])


def launch_separable(
    x: Tensor, y: Tensor, columns: TapTable, rows: TapTable, scale: Tensor | None, weights: Tensor | None
) -> Tensor:
    """Rows, columns and residual, adjoint columns, adjoint rows: four kernels."""
    half = launch_blur(x, rows)
    r = launch_blur(half, columns, y, scale, weights)
    half_adjoint = launch_adjoint(r, columns, half.shape[-2], half.shape[-1])
    return launch_adjoint(half_adjoint, rows, x.shape[-2], x.shape[-1])


def launch_blur(
    x: Tensor, table: TapTable, y: Tensor | None = None, scale: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    """``A x``, or ``scale * weights * (A x - y)`` if y is given; contiguous."""
    geometry, config = table.geometry, settings.launch("blur_residual", x.device)
    batch, channels, height, width = x.shape
    out_height, out_width = geometry.measurement(height, width)
    output = torch.empty((batch, channels, out_height, out_width), dtype=x.dtype, device=x.device)
    row_blocks, column_blocks = _blocks(out_height, config["ROWS"]), _blocks(out_width, config["COLUMNS"])
    subtract = x if y is None else y
    wrap_triton(residual_kernel)[(batch * channels * row_blocks * column_blocks,)](
        x, subtract, _scale(scale, x), _weights(weights, subtract), output, table.offsets, table.values, table.taps,
        channels, height, width, out_height, out_width, *reach(geometry), row_blocks, column_blocks,
        *x.stride(), *subtract.stride(), *_weights(weights, subtract).stride(),
        SUBTRACT=y is not None, HAS_SCALE=scale is not None, HAS_WEIGHTS=weights is not None,
        RULE=RULES[geometry.boundary], **config,
    )  # fmt: skip
    return output


def launch_adjoint(r: Tensor, table: TapTable, height: int, width: int) -> Tensor:
    """``A* r``, for a contiguous r."""
    geometry, config = table.geometry, settings.launch("blur_adjoint", r.device)
    batch, channels, r_height, r_width = r.shape
    output = torch.empty((batch, channels, height, width), dtype=r.dtype, device=r.device)
    row_blocks, column_blocks = _blocks(height, config["ROWS"]), _blocks(width, config["COLUMNS"])
    wrap_triton(adjoint_kernel)[(batch * channels * row_blocks * column_blocks,)](
        r, output, table.offsets, table.values, table.ranges, table.taps, height, width, r_height, r_width,
        *reach(geometry), row_blocks, column_blocks, RULE=RULES[geometry.boundary], **config,
    )  # fmt: skip
    return output


def launch_fused(x: Tensor, y: Tensor, table: TapTable, scale: Tensor | None, weights: Tensor | None) -> Tensor:
    """Residual and adjoint of a tile in one kernel; the reach of the PSF must be well below half a tile."""
    geometry, config = table.geometry, dict(settings.launch("blur_fused", x.device))
    slots = config.pop("PROGRAMS")
    batch, channels, height, width = x.shape
    rows, columns = reach(geometry)
    output = torch.empty((batch, channels, height, width), dtype=x.dtype, device=x.device)
    row_blocks = _blocks(height, config["ROWS"] - 2 * rows)
    column_blocks = _blocks(width, config["COLUMNS"] - 2 * columns)
    tiles = batch * channels * row_blocks * column_blocks
    programs = min(tiles, slots)
    scratch = torch.empty((programs, config["ROWS"], config["COLUMNS"]), dtype=x.dtype, device=x.device)
    r_height, r_width = geometry.measurement(height, width)
    wrap_triton(fused_kernel)[(programs,)](
        x, y, _scale(scale, x), _weights(weights, y), output, scratch, table.offsets, table.values, table.ranges,
        table.taps, channels, height, width, r_height, r_width, rows, columns, row_blocks, column_blocks, tiles, programs,
        *x.stride(), *y.stride(), *_weights(weights, y).stride(),
        HAS_SCALE=scale is not None, HAS_WEIGHTS=weights is not None, RULE=RULES[geometry.boundary], **config,
    )  # fmt: skip
    return output


def fits_fused(geometry: Geometry, device: torch.device) -> bool:
    """Whether the halo leaves at least a quarter of a tile of the fused kernel."""
    config, (rows, columns) = settings.launch("blur_fused", device), reach(geometry)
    kept = max(config["ROWS"] - 2 * rows, 0) * max(config["COLUMNS"] - 2 * columns, 0)
    return 4 * kept >= config["ROWS"] * config["COLUMNS"]


def _blocks(size: int, block: int) -> int:
    return (size + block - 1) // block


def _scale(scale: Tensor | None, x: Tensor) -> Tensor:
    """One number an entry; the kernel never reads the stand-in for one that is not given."""
    return x if scale is None else scale.reshape(-1).expand(x.shape[0]).contiguous()


def _weights(weights: Tensor | None, y: Tensor) -> Tensor:
    return y if weights is None else weights.expand(y.shape)


def _flat(table: TapTable) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    geometry = table.geometry
    numbers = [geometry.height, geometry.width, geometry.row, geometry.column, *geometry.crop]
    return table.offsets, table.values, table.ranges, [table.taps, BOUNDARIES.index(geometry.boundary), *numbers]


def _table(offsets: Tensor, values: Tensor, ranges: Tensor, layout: list[int]) -> TapTable:
    count, rule, height, width, row, column, left, right, top, bottom = layout
    geometry = Geometry(height, width, row, column, BOUNDARIES[rule], (left, right, top, bottom))
    return TapTable(offsets, values, ranges, count, geometry)
