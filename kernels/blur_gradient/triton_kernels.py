# mypy: ignore-errors
# ruff: noqa: N803, SIM109 (constants in capitals; the language of the kernels has no "in")
"""Kernels for the residual and the gradient of a blur, from lists of taps (see `tables`).

A program computes a tile of `ROWS` x `COLUMNS` pixels of one plane. Tiles away from the border skip the boundary arithmetic.
`fused_kernel` writes the residual of its tile, with a halo around it, to scratch memory of its own, synchronises its threads,
and reads it again for the adjoint. So the residual stays in the cache, but the halo is computed twice.
"""

from __future__ import annotations

import triton
import triton.language as tl

CIRCULAR = tl.constexpr(0)
REFLECT = tl.constexpr(1)
REPLICATE = tl.constexpr(2)
ZERO = tl.constexpr(3)
INSIDE = tl.constexpr(4)


@triton.jit
def _extended(index, size, RULE: tl.constexpr):
    """The pixel that an index in the padded image is a copy of, and whether there is one."""
    found = index == index
    if RULE == CIRCULAR:
        index = tl.where(index < 0, index + size, index)
        index = tl.where(index >= size, index - size, index)
    if RULE == REFLECT:
        index = tl.abs(index)
        index = size - 1 - tl.abs(size - 1 - index)
    if RULE == REPLICATE:
        index = tl.minimum(tl.maximum(index, 0), size - 1)
    if RULE == ZERO:
        found = (index >= 0) & (index < size)
    return index, found


@triton.jit
def _sum_taps(
    total, source, row, column, live_row, live_column, height, width, row_stride, column_stride,
    offsets, values, first, last, SIGN: tl.constexpr, RULE: tl.constexpr,
):  # fmt: skip
    """Add ``sum_t value(t) * source(position + SIGN * offset(t))`` to `total`."""
    for tap in range(first, last):
        at_row, found_row = _extended(row + SIGN * tl.load(offsets + 2 * tap), height, RULE)
        at_column, found_column = _extended(column + SIGN * tl.load(offsets + 2 * tap + 1), width, RULE)
        mask = (live_row & found_row)[:, None] & (live_column & found_column)[None, :]
        at = source + (at_row * row_stride)[:, None] + (at_column * column_stride)[None, :]
        total += tl.load(values + tap) * tl.load(at, mask=mask, other=0.0)
    return total


@triton.jit
def _blur_tile(
    total, x, row, column, live_row, live_column, inside, height, width, row_stride, column_stride,
    offsets, values, count, RULE: tl.constexpr,
):  # fmt: skip
    if inside:
        total = _sum_taps(
            total, x, row, column, live_row, live_column, height, width, row_stride, column_stride,
            offsets, values, 0, count, -1, INSIDE,
        )  # fmt: skip
    else:
        total = _sum_taps(
            total, x, row, column, live_row, live_column, height, width, row_stride, column_stride,
            offsets, values, 0, count, -1, RULE,
        )  # fmt: skip
    return total


@triton.jit
def _share(position, share, size, RULE: tl.constexpr):
    """Position that a share of the border is read at (see `tables`), and the pixels that have this share."""
    live = position == position
    if RULE == REFLECT:
        live = ((share != 1) | (position >= 1)) & ((share != 2) | (position <= size - 2))
        mirrored = tl.where(share == 1, -position, 2 * (size - 1) - position)
        position = tl.where(share == 0, position, mirrored)
    if RULE == REPLICATE:
        live = ((share != 1) | (position == 0)) & ((share != 2) | (position == size - 1))
    return position, live


@triton.jit
def _adjoint_tile(
    total, r, row, column, live_row, live_column, row_origin, column_origin, inside, top, bottom, left, right,
    height, width, r_height, r_width, row_stride, offsets, values, ranges, count, RULE: tl.constexpr,
):  # fmt: skip
    """Adjoint at the live pixels of an image of `height` x `width`; r begins at the residual (row_origin, column_origin)."""
    if inside:
        total = _sum_taps(
            total, r, row - row_origin, column - column_origin, live_row, live_column, r_height, r_width,
            row_stride, 1, offsets, values, 0, count, 1, INSIDE,
        )  # fmt: skip
    elif RULE == REFLECT or RULE == REPLICATE:
        for share in range(9):
            row_share = share // 3
            column_share = share % 3
            here = ((row_share != 1) | top) & ((row_share != 2) | bottom)
            here = here & ((column_share != 1) | left) & ((column_share != 2) | right)
            at_row, has_row = _share(row, row_share, height, RULE)
            at_column, has_column = _share(column, column_share, width, RULE)
            first = tl.load(ranges + 2 * share)
            last = tl.where(here, tl.load(ranges + 2 * share + 1), first)
            total = _sum_taps(
                total, r, at_row - row_origin, at_column - column_origin, live_row & has_row, live_column & has_column,
                r_height, r_width, row_stride, 1, offsets, values, first, last, 1, ZERO,
            )  # fmt: skip
    else:
        total = _sum_taps(
            total, r, row - row_origin, column - column_origin, live_row, live_column, r_height, r_width,
            row_stride, 1, offsets, values, 0, count, 1, RULE,
        )  # fmt: skip
    return total


@triton.jit
def residual_kernel(
    x, y, output, offsets, values, count, channels, height, width, out_height, out_width,
    row_reach, column_reach, row_blocks, column_blocks, x_entry, x_channel, x_row, x_column,
    y_entry, y_channel, y_row, y_column, RULE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """A x - y; x and y may have any strides, the output is contiguous."""
    program = tl.program_id(0)
    column_start = (program % column_blocks) * COLUMNS
    row_start = ((program // column_blocks) % row_blocks) * ROWS
    plane = program // (column_blocks * row_blocks)
    entry = (plane // channels).to(tl.int64)
    channel = (plane % channels).to(tl.int64)
    row = row_start + tl.arange(0, ROWS)
    column = column_start + tl.arange(0, COLUMNS)
    live_row = row < out_height
    live_column = column < out_width
    inside = (row_start >= row_reach) & (row_start + ROWS + row_reach <= height)
    inside = inside & (column_start >= column_reach) & (column_start + COLUMNS + column_reach <= width)

    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    total = _blur_tile(
        total, x + entry * x_entry + channel * x_channel, row, column, live_row, live_column, inside, height, width,
        x_row, x_column, offsets, values, count, RULE,
    )  # fmt: skip
    mask = live_row[:, None] & live_column[None, :]
    at = entry * y_entry + channel * y_channel + (row * y_row)[:, None] + (column * y_column)[None, :]
    total -= tl.load(y + at, mask=mask, other=0.0)
    at = plane.to(tl.int64) * out_height * out_width + (row * out_width)[:, None] + column[None, :]
    tl.store(output + at, total, mask=mask)


@triton.jit
def adjoint_kernel(
    r, output, offsets, values, ranges, count, height, width, r_height, r_width,
    row_reach, column_reach, row_blocks, column_blocks, RULE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """A* r; r and the image are contiguous."""
    program = tl.program_id(0)
    column_start = (program % column_blocks) * COLUMNS
    row_start = ((program // column_blocks) % row_blocks) * ROWS
    plane = (program // (column_blocks * row_blocks)).to(tl.int64)
    row = row_start + tl.arange(0, ROWS)
    column = column_start + tl.arange(0, COLUMNS)
    live_row = row < height
    live_column = column < width
    top = row_start <= row_reach
    bottom = row_start + ROWS + row_reach >= r_height
    left = column_start <= column_reach
    right = column_start + COLUMNS + column_reach >= r_width
    inside = (top | bottom | left | right) == 0

    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    total = _adjoint_tile(
        total, r + plane * r_height * r_width, row, column, live_row, live_column, 0, 0, inside, top, bottom, left, right,
        height, width, r_height, r_width, r_width, offsets, values, ranges, count, RULE,
    )  # fmt: skip
    mask = live_row[:, None] & live_column[None, :]
    at = plane * height * width + (row * width)[:, None] + column[None, :]
    tl.store(output + at, total, mask=mask)


@triton.jit
def fused_kernel(
    x, y, output, scratch, offsets, values, ranges, count, channels, height, width, r_height, r_width,
    row_reach, column_reach, row_blocks, column_blocks, tiles, programs, x_entry, x_channel, x_row, x_column,
    y_entry, y_channel, y_row, y_column, RULE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """A*(A x - y). A tile writes the pixels that are at least the reach away from its edges."""
    program = tl.program_id(0)
    local_row = tl.arange(0, ROWS)
    local_column = tl.arange(0, COLUMNS)
    slot = scratch + program.to(tl.int64) * (ROWS * COLUMNS)
    local = (local_row * COLUMNS)[:, None] + local_column[None, :]
    for tile in range(program, tiles, programs):
        column_start = (tile % column_blocks) * (COLUMNS - 2 * column_reach) - column_reach
        row_start = ((tile // column_blocks) % row_blocks) * (ROWS - 2 * row_reach) - row_reach
        plane = tile // (column_blocks * row_blocks)
        entry = (plane // channels).to(tl.int64)
        channel = (plane % channels).to(tl.int64)
        row = row_start + local_row
        column = column_start + local_column
        # the blur reads pixels up to twice the reach away from those that are written
        inside = (row_start >= row_reach) & (row_start + ROWS + row_reach <= height)
        inside = inside & (column_start >= column_reach) & (column_start + COLUMNS + column_reach <= width)
        r_row = row
        r_column = column
        if RULE == CIRCULAR:  # the residual continues beyond the border
            r_row = (row % height + height) % height
            r_column = (column % width + width) % width
        live_row = (r_row >= 0) & (r_row < r_height)
        live_column = (r_column >= 0) & (r_column < r_width)

        total = tl.zeros((ROWS, COLUMNS), tl.float32)
        total = _blur_tile(
            total, x + entry * x_entry + channel * x_channel, r_row, r_column, live_row, live_column, inside,
            height, width, x_row, x_column, offsets, values, count, RULE,
        )  # fmt: skip
        mask = live_row[:, None] & live_column[None, :]
        at = entry * y_entry + channel * y_channel + (r_row * y_row)[:, None] + (r_column * y_column)[None, :]
        total -= tl.load(y + at, mask=mask, other=0.0)
        tl.store(slot + local, total)  # zero where there is no residual
        tl.debug_barrier()

        out_row = (local_row >= row_reach) & (local_row < ROWS - row_reach) & (row < height)
        out_column = (local_column >= column_reach) & (local_column < COLUMNS - column_reach) & (column < width)
        top = row_start <= 0
        bottom = row_start + ROWS >= r_height
        left = column_start <= 0
        right = column_start + COLUMNS >= r_width
        # beyond the border the scratch memory has the wrapped residual, or zeros; only the shares of the border need more
        plain = (top | bottom | left | right) == 0
        if RULE == CIRCULAR or RULE == ZERO:
            plain = tile == tile
        gradient = tl.zeros((ROWS, COLUMNS), tl.float32)
        gradient = _adjoint_tile(
            gradient, slot, row, column, out_row, out_column, row_start, column_start, plain, top, bottom, left, right,
            height, width, ROWS, COLUMNS, COLUMNS, offsets, values, ranges, count, RULE,
        )  # fmt: skip
        at = plane.to(tl.int64) * height * width + (row * width)[:, None] + column[None, :]
        tl.store(output + at, gradient, mask=out_row[:, None] & out_column[None, :])
        tl.debug_barrier()  # the next tile overwrites the slot
