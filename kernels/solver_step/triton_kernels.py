# mypy: ignore-errors
# ruff: noqa: N803 (constants in capitals)
"""The pointwise part of a step: every number is read once and written once.

A program takes `BLOCK` neighbouring numbers of one entry of the batch. All tensors share one dense layout with the batch
outermost, so a linear index serves them all. Roots and quotients are the correctly rounded ones that torch uses: the kernel
waits for memory, so they cost nothing.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def adam_step_kernel(
    x, mean, square, data, prior, prior_scale, data_scale, row_values, x_out, mean_out, square_out,
    size, blocks, mean_decay, mean_gain, square_decay, square_gain, epsilon,
    HAS_DATA_SCALE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    entry = program // blocks
    within = (program % blocks) * BLOCK + tl.arange(0, BLOCK)
    mask = within < size
    at = entry.to(tl.int64) * size + within

    gradient = tl.load(prior_scale + entry) * tl.load(prior + at, mask=mask, other=0.0)
    data_term = tl.load(data + at, mask=mask, other=0.0)
    if HAS_DATA_SCALE:
        data_term = tl.load(data_scale + entry) * data_term
    gradient = data_term + gradient

    rate = tl.load(row_values)
    mean_correction = tl.load(row_values + 1)
    square_correction = tl.load(row_values + 2)
    new_mean = mean_decay * tl.load(mean + at, mask=mask, other=0.0) + mean_gain * gradient
    new_square = square_decay * tl.load(square + at, mask=mask, other=0.0) + square_gain * (gradient * gradient)
    scale = tl.sqrt_rn(tl.div_rn(new_square, square_correction)) + epsilon
    step = tl.div_rn(tl.div_rn(rate, mean_correction) * new_mean, scale)
    tl.store(x_out + at, tl.load(x + at, mask=mask, other=0.0) - step, mask=mask)
    tl.store(mean_out + at, new_mean, mask=mask)
    tl.store(square_out + at, new_square, mask=mask)


@triton.jit
def descent_step_kernel(
    x, data, prior, prior_scale, data_scale, step, x_out, size, blocks,
    HAS_DATA_SCALE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    entry = program // blocks
    within = (program % blocks) * BLOCK + tl.arange(0, BLOCK)
    mask = within < size
    at = entry.to(tl.int64) * size + within

    gradient = tl.load(prior_scale + entry) * tl.load(prior + at, mask=mask, other=0.0)
    data_term = tl.load(data + at, mask=mask, other=0.0)
    if HAS_DATA_SCALE:
        data_term = tl.load(data_scale + entry) * data_term
    image = tl.load(x + at, mask=mask, other=0.0)
    tl.store(x_out + at, image - tl.load(step) * (data_term + gradient), mask=mask)
