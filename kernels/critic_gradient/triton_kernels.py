# mypy: ignore-errors
# ruff: noqa: N803, N806, SIM109 (constants in capitals; the language of the kernels has no "in")
"""Convolutions without padding and their transposes as implicit matrix products, fused with pointwise operations.

Activations are stored channels last. The first layer reads, and its transpose writes, images of any strides, such as torch's
default layout. A program computes `M` pixels and `N` channels, and sums over taps and channels in steps of `K`. Operands have the
dtype of the weights, sums are float32.
"""

from __future__ import annotations

import triton
import triton.language as tl

NONE = tl.constexpr(0)
RELU = tl.constexpr(1)
LEAKY_RELU = tl.constexpr(2)
SILU = tl.constexpr(3)


@triton.jit
def forward_chunk(
    total, x, weight, row, column, channel, step, x_row, x_column, x_channel,
    INPUTS: tl.constexpr, OUTPUTS: tl.constexpr, WIDTH: tl.constexpr, CHUNKS: tl.constexpr, K: tl.constexpr,
    FLAT: tl.constexpr, TAPS: tl.constexpr,
):  # fmt: skip
    """Add one step of the sum: `K` terms of one tap or, if there are few channels (`FLAT`), of several taps."""
    if FLAT:
        index = step * K + tl.arange(0, K)
        tap = index // INPUTS
        source = index % INPUTS
        live = index < TAPS * INPUTS
        shift = (tap // WIDTH) * x_row + (tap % WIDTH) * x_column + source * x_channel
    else:
        tap = step // CHUNKS
        source = (step % CHUNKS) * K + tl.arange(0, K)
        index = tap * INPUTS + source
        live = source < INPUTS
        shift = (tap // WIDTH) * x_row + (tap % WIDTH) * x_column + source * x_channel
    at = (row * x_row + column * x_column)[:, None] + shift[None, :]
    left = tl.load(x + at, mask=live[None, :], other=0.0).to(weight.dtype.element_ty)
    at = (index * OUTPUTS)[:, None] + channel[None, :]
    right = tl.load(weight + at, mask=live[:, None] & (channel < OUTPUTS)[None, :], other=0.0)
    return tl.dot(left, right, total, input_precision="ieee")


@triton.jit
def derivative(total, value, ACTIVATION: tl.constexpr, SLOPE: tl.constexpr):
    """`total` times f'(z), from f(z) for the piecewise linear activations and from z for SiLU."""
    if ACTIVATION == RELU:
        total = tl.where(value > 0, total, 0.0)
    if ACTIVATION == LEAKY_RELU:
        total = tl.where(value > 0, total, SLOPE * total)
    if ACTIVATION == SILU:
        gate = 1.0 / (1.0 + tl.exp(-value))
        total = total * (gate * (1.0 + value * (1.0 - gate)))
    return total


@triton.jit
def forward_kernel(
    x, weight, bias, output, saved, bits, out_height, out_width, pixel_blocks, channel_blocks,
    x_entry, x_row, x_column, x_channel,
    INPUTS: tl.constexpr, OUTPUTS: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, STRIDE: tl.constexpr,
    ACTIVATION: tl.constexpr, SLOPE: tl.constexpr, BITS: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """``f(w * x + b)``; also the bits of f(z) > 0 if `BITS`, and z for SiLU."""
    program = tl.program_id(0)
    channel = (program % channel_blocks) * N + tl.arange(0, N)
    pixel = ((program // channel_blocks) % pixel_blocks) * M + tl.arange(0, M)
    entry = (program // (channel_blocks * pixel_blocks)).to(tl.int64)
    pixels = out_height * out_width
    # pixels after the last one repeat it, so that loads need no mask
    clamped = tl.minimum(pixel, pixels - 1)
    row = clamped // out_width * STRIDE
    column = clamped % out_width * STRIDE

    FLAT: tl.constexpr = INPUTS < K
    CHUNKS: tl.constexpr = (INPUTS + K - 1) // K
    STEPS: tl.constexpr = (HEIGHT * WIDTH * INPUTS + K - 1) // K if FLAT else HEIGHT * WIDTH * CHUNKS
    total = tl.zeros((M, N), tl.float32)
    for step in range(STEPS):
        total = forward_chunk(
            total, x + entry * x_entry, weight, row, column, channel, step, x_row, x_column, x_channel,
            INPUTS, OUTPUTS, WIDTH, CHUNKS, K, FLAT, HEIGHT * WIDTH,
        )  # fmt: skip

    total += tl.load(bias + channel, mask=channel < OUTPUTS, other=0.0).to(tl.float32)[None, :]
    mask = (pixel < pixels)[:, None] & (channel < OUTPUTS)[None, :]
    at = entry * pixels * OUTPUTS + (pixel * OUTPUTS)[:, None] + channel[None, :]
    kept = output.dtype.element_ty
    if ACTIVATION == SILU:
        tl.store(saved + at, total.to(kept), mask=mask)
        total = total / (1.0 + tl.exp(-total))
    if ACTIVATION == RELU:
        total = tl.maximum(total, 0.0)
    if ACTIVATION == LEAKY_RELU:
        total = tl.where(total > 0, total, SLOPE * total)
    result = total.to(kept)
    tl.store(output + at, result, mask=mask)
    if BITS:
        WORDS: tl.constexpr = (OUTPUTS + 31) // 32
        positive = ((result > 0) & (channel < OUTPUTS)[None, :]).to(tl.int32)
        shifted = tl.reshape(positive, (M, N // 32, 32)) << tl.arange(0, 32)[None, None, :]
        word = (program % channel_blocks) * (N // 32) + tl.arange(0, N // 32)
        at = entry * pixels * WORDS + (pixel * WORDS)[:, None] + word[None, :]
        tl.store(bits + at, tl.sum(shifted, 2), mask=(pixel < pixels)[:, None] & (word < WORDS)[None, :])


@triton.jit
def transposed_sum(
    cotangent, weight, class_row, class_column, live, channel, first_row, first_column, from_height, from_width,
    INPUTS: tl.constexpr, OUTPUTS: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, STRIDE: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """The transpose of a layer at pixels of one residue ``(first_row, first_column)`` modulo the stride."""
    CHUNKS: tl.constexpr = (OUTPUTS + K - 1) // K
    tap_rows = (HEIGHT - first_row + STRIDE - 1) // STRIDE
    tap_columns = (WIDTH - first_column + STRIDE - 1) // STRIDE
    total = tl.zeros((M, N), tl.float32)
    for step in range(tap_rows * tap_columns * CHUNKS):
        tap = step // CHUNKS
        source = (step % CHUNKS) * K + tl.arange(0, K)
        tap_row = tap // tap_columns
        tap_column = tap % tap_columns
        from_row = class_row - tap_row
        from_column = class_column - tap_column
        found = live & (from_row >= 0) & (from_row < from_height) & (from_column >= 0) & (from_column < from_width)
        at = ((from_row * from_width + from_column) * OUTPUTS)[:, None] + source[None, :]
        left = tl.load(cotangent + at, mask=found[:, None] & (source < OUTPUTS)[None, :], other=0.0)
        number = (first_row + tap_row * STRIDE) * WIDTH + first_column + tap_column * STRIDE
        at = ((number * OUTPUTS + source) * INPUTS)[:, None] + channel[None, :]
        right = tl.load(weight + at, mask=(source < OUTPUTS)[:, None] & (channel < INPUTS)[None, :], other=0.0)
        total = tl.dot(left.to(right.dtype), right, total, input_precision="ieee")
    return total


@triton.jit
def backward_kernel(
    cotangent, weight, saved, bits, output, height, width, from_height, from_width, class_height, class_width,
    pixel_blocks, channel_blocks, out_entry, out_row, out_column, out_channel, count,
    INPUTS: tl.constexpr, OUTPUTS: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, STRIDE: tl.constexpr,
    ACTIVATION: tl.constexpr, SLOPE: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """``f'(z) * (transpose of w)(cotangent) / count``: from `OUTPUTS` channels back to `INPUTS`.

    With a stride, all pixels of one residue modulo the stride have the same taps. A program computes pixels of one residue, so
    that there are no products with zero.
    """
    program = tl.program_id(0)
    channel = (program % channel_blocks) * N + tl.arange(0, N)
    program = program // channel_blocks
    pixel = (program % pixel_blocks) * M + tl.arange(0, M)
    residue = (program // pixel_blocks) % (STRIDE * STRIDE)
    entry = (program // (pixel_blocks * STRIDE * STRIDE)).to(tl.int64)
    first_row = residue // STRIDE
    first_column = residue % STRIDE
    class_row = pixel // class_width
    class_column = pixel % class_width
    row = class_row * STRIDE + first_row
    column = class_column * STRIDE + first_column
    live = (class_row < class_height) & (row < height) & (column < width)

    total = transposed_sum(
        cotangent + entry * from_height * from_width * OUTPUTS, weight, class_row, class_column, live, channel,
        first_row, first_column, from_height, from_width, INPUTS, OUTPUTS, HEIGHT, WIDTH, STRIDE, M, N, K,
    )  # fmt: skip
    mask = live[:, None] & (channel < INPUTS)[None, :]
    position = row * width + column
    if ACTIVATION == SILU:
        at = entry * height * width * INPUTS + (position * INPUTS)[:, None] + channel[None, :]
        total = derivative(total, tl.load(saved + at, mask=mask, other=0.0).to(tl.float32), SILU, SLOPE)
    if ACTIVATION == RELU or ACTIVATION == LEAKY_RELU:
        WORDS: tl.constexpr = (INPUTS + 31) // 32
        number = (tl.program_id(0) % channel_blocks) * (N // 32) + tl.arange(0, N // 32)
        at = entry * height * width * WORDS + (position * WORDS)[:, None] + number[None, :]
        word = tl.load(bits + at, mask=live[:, None] & (number < WORDS)[None, :], other=0)
        positive = (word[:, :, None] >> tl.arange(0, 32)[None, None, :]) & 1
        total = derivative(total, tl.reshape(positive, (M, N)), ACTIVATION, SLOPE)
    at = entry * out_entry + (row * out_row + column * out_column)[:, None] + (channel * out_channel)[None, :]
    tl.store(output + at, (total / count).to(output.dtype.element_ty), mask=mask)


@triton.jit
def used_taps(
    weight, row, column, from_height, from_width,
    INPUTS: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, STRIDE: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """At each pixel the sum of the taps of a layer that use it, the transpose of ones; `weight` has one row per tap."""
    channel = tl.arange(0, N)
    used = tl.zeros((M, N), tl.float32)
    for tap in range(HEIGHT * WIDTH):
        # shifted before the division, which rounds towards zero, so that negative positions stay negative
        up = row - tap // WIDTH + HEIGHT * STRIDE
        along = column - tap % WIDTH + WIDTH * STRIDE
        from_row = up // STRIDE - HEIGHT
        from_column = along // STRIDE - WIDTH
        found = (up % STRIDE == 0) & (from_row >= 0) & (from_row < from_height)
        found = found & (along % STRIDE == 0) & (from_column >= 0) & (from_column < from_width)
        taps = tl.load(weight + tap * INPUTS + channel, mask=channel < INPUTS, other=0.0)
        used += tl.where(found[:, None], taps[None, :], 0.0)
    return used


@triton.jit
def last_layer_kernel(
    x, saved, weight, output, partial, height, width, from_height, from_width, pixel_blocks,
    x_entry, x_row, x_column, x_channel, out_entry, out_row, out_column, out_channel, count,
    INPUTS: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, STRIDE: tl.constexpr,
    ACTIVATION: tl.constexpr, SLOPE: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """The last layer and the mean, forward and backward, without a convolution.

    The cotangent of a mean is constant, so that the transpose of the last layer is, at each pixel, the sum u of the taps that
    use the pixel. Without the bias, the sum of the scores is ``<u, x>``. `weight` has the taps summed over output channels.
    """
    program = tl.program_id(0)
    channel = tl.arange(0, N)
    pixel = (program % pixel_blocks) * M + tl.arange(0, M)
    entry = (program // pixel_blocks).to(tl.int64)
    row = pixel // width
    column = pixel % width
    live = pixel < height * width

    used = used_taps(weight, row, column, from_height, from_width, INPUTS, HEIGHT, WIDTH, STRIDE, M, N)
    mask = live[:, None] & (channel < INPUTS)[None, :]
    at = entry * x_entry + (row * x_row + column * x_column)[:, None] + (channel * x_channel)[None, :]
    value = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(partial + program, tl.sum(tl.sum(tl.where(mask, value * used, 0.0), 1), 0))
    if ACTIVATION == SILU:
        value = tl.load(saved + at, mask=mask, other=0.0).to(tl.float32)
    used = derivative(used, value, ACTIVATION, SLOPE)
    at = entry * out_entry + (row * out_row + column * out_column)[:, None] + (channel * out_channel)[None, :]
    tl.store(output + at, (used / count).to(output.dtype.element_ty), mask=mask)
