# mypy: ignore-errors
# ruff: noqa: N803, N806 (constants in capitals; the language of the kernels has no "in")
"""Layers that meet in registers: what `groups` plans, one program for all channels of `M` pixels.

An image between two layers of a program is rounded to the dtype of the weights, as it is where it is written to memory, so that
fused and single kernels differ in the order of their sums alone.
"""

from __future__ import annotations

import triton
import triton.language as tl

from fastreg.kernels.critic_gradient.triton_kernels import (
    LEAKY_RELU,
    RELU,
    SILU,
    derivative,
    forward_chunk,
    transposed_sum,
    used_taps,
)


@triton.jit
def _activate(z, ACTIVATION: tl.constexpr, SLOPE: tl.constexpr):
    if ACTIVATION == RELU:
        z = tl.maximum(z, 0.0)
    if ACTIVATION == LEAKY_RELU:
        z = tl.where(z > 0, z, SLOPE * z)
    if ACTIVATION == SILU:
        z = z / (1.0 + tl.exp(-z))
    return z


@triton.jit
def _keep(
    z, value, saved, bits, pixel, live, chunk, CHANNELS: tl.constexpr, N: tl.constexpr, ACTIVATION: tl.constexpr,
):  # fmt: skip
    """Write what the way back needs of `N` channels of some pixels: z for SiLU, else the bits of value > 0."""
    M: tl.constexpr = z.shape[0]
    channel = chunk * N + tl.arange(0, N)
    if ACTIVATION == SILU:
        mask = live[:, None] & (channel < CHANNELS)[None, :]
        tl.store(saved + (pixel * CHANNELS)[:, None] + channel[None, :], z.to(saved.dtype.element_ty), mask=mask)
    else:
        WORDS: tl.constexpr = (CHANNELS + 31) // 32
        positive = ((value > 0) & (channel < CHANNELS)[None, :]).to(tl.int32)
        shifted = tl.reshape(positive, (M, N // 32, 32)) << tl.arange(0, 32)[None, None, :]
        word = chunk * (N // 32) + tl.arange(0, N // 32)
        mask = live[:, None] & (word < WORDS)[None, :]
        tl.store(bits + (pixel * WORDS)[:, None] + word[None, :], tl.sum(shifted, 2), mask=mask)


@triton.jit
def _through(
    total, saved, bits, pixel, live, CHANNELS: tl.constexpr, N: tl.constexpr, ACTIVATION: tl.constexpr,
    SLOPE: tl.constexpr,
):  # fmt: skip
    """`total` times f'(z), from what `_keep` wrote."""
    M: tl.constexpr = total.shape[0]
    if ACTIVATION == SILU:
        channel = tl.arange(0, N)
        mask = live[:, None] & (channel < CHANNELS)[None, :]
        z = tl.load(saved + (pixel * CHANNELS)[:, None] + channel[None, :], mask=mask, other=0.0)
        total = derivative(total, z.to(tl.float32), SILU, SLOPE)
    else:
        WORDS: tl.constexpr = (CHANNELS + 31) // 32
        number = tl.arange(0, N // 32)
        mask = live[:, None] & (number < WORDS)[None, :]
        word = tl.load(bits + (pixel * WORDS)[:, None] + number[None, :], mask=mask, other=0)
        positive = (word[:, :, None] >> tl.arange(0, 32)[None, None, :]) & 1
        total = derivative(total, tl.reshape(positive, (M, N)), ACTIVATION, SLOPE)
    return total


@triton.jit
def _table(weight, offset, ROWS: tl.constexpr, COLUMNS: tl.constexpr, R: tl.constexpr, C: tl.constexpr):
    """A matrix ``[ROWS, COLUMNS]`` that lies row after row, in a tile ``[R, C]`` filled up with zeros."""
    row = tl.arange(0, R)
    column = tl.arange(0, C)
    mask = (row < ROWS)[:, None] & (column < COLUMNS)[None, :]
    return tl.load(weight + offset + (row * COLUMNS)[:, None] + column[None, :], mask=mask, other=0.0)


@triton.jit
def _convolve(
    x, weight, bias, first_weight, first_bias, first_saved, first_bits, row, column, live, last_row, last_column,
    first_width, x_row, x_column, x_channel,
    HEAD: tl.constexpr, CHANNELS: tl.constexpr, FIRST_HEIGHT: tl.constexpr, FIRST_WIDTH: tl.constexpr,
    FIRST_STRIDE: tl.constexpr, T: tl.constexpr,
    INPUTS: tl.constexpr, OUTPUTS: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, STRIDE: tl.constexpr,
    ACTIVATION: tl.constexpr, SLOPE: tl.constexpr, KEEP_FIRST: tl.constexpr, PRECISION: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """z of a convolution at the pixels ``(row, column)`` of its output, from its input, or with `HEAD` from the image.

    With `HEAD` the first layer is computed anew for every tap. Its bits are written by one of the programs that compute them:
    by that of the pixel it is the nearest tap of, or at the lower and right edge, where that pixel does not exist, by the last.
    """
    kept = weight.dtype.element_ty
    channel = tl.arange(0, N)
    total = tl.zeros((M, N), tl.float32)
    if HEAD:
        CHUNKS: tl.constexpr = (INPUTS + K - 1) // K
        number = tl.arange(0, T)
        seen = number // CHANNELS
        shift = (seen // FIRST_WIDTH) * x_row + (seen % FIRST_WIDTH) * x_column + (number % CHANNELS) * x_channel
        whole = number < CHANNELS * FIRST_HEIGHT * FIRST_WIDTH
        for step in range(HEIGHT * WIDTH * CHUNKS):
            tap = step // CHUNKS
            chunk = step % CHUNKS
            source = chunk * K + tl.arange(0, K)
            from_row = row * STRIDE + tap // WIDTH
            from_column = column * STRIDE + tap % WIDTH
            at = (from_row * FIRST_STRIDE * x_row + from_column * FIRST_STRIDE * x_column)[:, None] + shift[None, :]
            patch = tl.load(x + at, mask=whole[None, :], other=0.0).to(kept)
            at = (number * INPUTS)[:, None] + source[None, :]
            taps = tl.load(first_weight + at, mask=whole[:, None] & (source < INPUTS)[None, :], other=0.0)
            z = tl.dot(patch, taps, input_precision=PRECISION)
            z += tl.load(first_bias + source, mask=source < INPUTS, other=0.0).to(tl.float32)[None, :]
            value = _activate(z, ACTIVATION, SLOPE).to(kept)
            if KEEP_FIRST:
                owned = live & ((tap // WIDTH < STRIDE) | (row == last_row))
                owned = owned & ((tap % WIDTH < STRIDE) | (column == last_column))
                pixel = from_row * first_width + from_column
                _keep(z, value, first_saved, first_bits, pixel, owned, chunk, INPUTS, K, ACTIVATION)
            at = ((tap * INPUTS + source) * OUTPUTS)[:, None] + channel[None, :]
            mask = (source < INPUTS)[:, None] & (channel < OUTPUTS)[None, :]
            total = tl.dot(value, tl.load(weight + at, mask=mask, other=0.0), total, input_precision=PRECISION)
    else:
        FLAT: tl.constexpr = INPUTS < K
        PIECES: tl.constexpr = (INPUTS + K - 1) // K
        STEPS: tl.constexpr = (HEIGHT * WIDTH * INPUTS + K - 1) // K if FLAT else HEIGHT * WIDTH * PIECES
        for step in range(STEPS):
            total = forward_chunk(
                total, x, weight, row * STRIDE, column * STRIDE, channel, step, x_row, x_column, x_channel,
                INPUTS, OUTPUTS, WIDTH, PIECES, K, FLAT, HEIGHT * WIDTH, PRECISION,
            )  # fmt: skip
    return total + tl.load(bias + channel, mask=channel < OUTPUTS, other=0.0).to(tl.float32)[None, :]


@triton.jit
def group_kernel(
    x, weight, bias, saved, bits, first_weight, first_bias, first_saved, first_bits, local_weight, local_bias,
    local_saved, local_bits, output, out_height, out_width, height, width, first_height, first_width, pixel_blocks,
    x_entry, x_row, x_column, x_channel,
    HEAD: tl.constexpr, CHANNELS: tl.constexpr, FIRST_HEIGHT: tl.constexpr, FIRST_WIDTH: tl.constexpr,
    FIRST_STRIDE: tl.constexpr, T: tl.constexpr,
    INPUTS: tl.constexpr, OUTPUTS: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, STRIDE: tl.constexpr,
    LOCAL: tl.constexpr, LOCAL_OUTPUTS: tl.constexpr, L: tl.constexpr,
    ACTIVATION: tl.constexpr, SLOPE: tl.constexpr, KEEP: tl.constexpr, PRECISION: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """A convolution with the first layer before it (`HEAD`) and a layer without overlap of side `LOCAL` behind it, or 0.

    `height` x `width` pixels has the convolution's output, which is not written; ``out_height x out_width`` the kernel's.
    `KEEP` says whether something in front of the last layer still needs the bits of the output.
    """
    program = tl.program_id(0)
    entry = (program // pixel_blocks).to(tl.int64)
    pixel = (program % pixel_blocks) * M + tl.arange(0, M)
    live = pixel < out_height * out_width
    clamped = tl.minimum(pixel, out_height * out_width - 1)
    out_row = clamped // out_width
    out_column = clamped % out_width
    kept = output.dtype.element_ty
    WORDS: tl.constexpr = (OUTPUTS + 31) // 32
    FIRST_WORDS: tl.constexpr = (INPUTS + 31) // 32
    SIDE: tl.constexpr = LOCAL if LOCAL > 0 else 1
    x += entry * x_entry
    first_saved += entry * first_height * first_width * INPUTS
    first_bits += entry * first_height * first_width * FIRST_WORDS
    saved += entry * height * width * OUTPUTS
    bits += entry * height * width * WORDS

    sums = tl.zeros((M, L), tl.float32)
    for part in range(SIDE * SIDE):
        row = out_row * SIDE + part // SIDE
        column = out_column * SIDE + part % SIDE
        z = _convolve(
            x, weight, bias, first_weight, first_bias, first_saved, first_bits, row, column, live,
            out_height * SIDE - 1, out_width * SIDE - 1, first_width, x_row, x_column, x_channel,
            HEAD, CHANNELS, FIRST_HEIGHT, FIRST_WIDTH, FIRST_STRIDE, T, INPUTS, OUTPUTS, HEIGHT, WIDTH, STRIDE,
            ACTIVATION, SLOPE, True, PRECISION, M, N, K,
        )  # fmt: skip
        value = _activate(z, ACTIVATION, SLOPE).to(kept)
        if LOCAL > 0:
            _keep(z, value, saved, bits, row * width + column, live, 0, OUTPUTS, N, ACTIVATION)
            taps = _table(local_weight, part * OUTPUTS * LOCAL_OUTPUTS, OUTPUTS, LOCAL_OUTPUTS, N, L)
            sums = tl.dot(value, taps, sums, input_precision=PRECISION)
        else:
            if KEEP:
                _keep(z, value, saved, bits, pixel, live, 0, OUTPUTS, N, ACTIVATION)
            channel = tl.arange(0, N)
            at = (pixel * OUTPUTS)[:, None] + channel[None, :]
            mask = live[:, None] & (channel < OUTPUTS)[None, :]
            tl.store(output + entry * out_height * out_width * OUTPUTS + at, value, mask=mask)
    if LOCAL > 0:
        LOCAL_WORDS: tl.constexpr = (LOCAL_OUTPUTS + 31) // 32
        channel = tl.arange(0, L)
        sums += tl.load(local_bias + channel, mask=channel < LOCAL_OUTPUTS, other=0.0).to(tl.float32)[None, :]
        value = _activate(sums, ACTIVATION, SLOPE).to(kept)
        first = entry * out_height * out_width
        if KEEP:
            _keep(
                sums, value, local_saved + first * LOCAL_OUTPUTS, local_bits + first * LOCAL_WORDS, pixel, live, 0,
                LOCAL_OUTPUTS, L, ACTIVATION,
            )  # fmt: skip
        at = (pixel * LOCAL_OUTPUTS)[:, None] + channel[None, :]
        mask = live[:, None] & (channel < LOCAL_OUTPUTS)[None, :]
        tl.store(output + first * LOCAL_OUTPUTS + at, value, mask=mask)


@triton.jit
def tail_kernel(
    x, weight, bias, first_weight, first_bias, first_saved, first_bits, local_weight, local_bias, local_back, last,
    output, partial, height, width, first_height, first_width, last_height, last_width, pixel_blocks,
    x_entry, x_row, x_column, x_channel,
    HEAD: tl.constexpr, CHANNELS: tl.constexpr, FIRST_HEIGHT: tl.constexpr, FIRST_WIDTH: tl.constexpr,
    FIRST_STRIDE: tl.constexpr, T: tl.constexpr,
    INPUTS: tl.constexpr, OUTPUTS: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, STRIDE: tl.constexpr,
    LOCAL: tl.constexpr, LOCAL_OUTPUTS: tl.constexpr, L: tl.constexpr,
    LAST_HEIGHT: tl.constexpr, LAST_WIDTH: tl.constexpr, LAST_STRIDE: tl.constexpr,
    ACTIVATION: tl.constexpr, SLOPE: tl.constexpr, PRECISION: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """A convolution, a 1x1 layer if `LOCAL`, the last layer and the mean, and back to z of the convolution.

    `last` holds the weights of the last layer summed over its outputs, a row for each tap; see `used_taps`. `local_back` is
    `local_weight` with rows and columns exchanged. `partial` gets the sum of the scores of each program.
    """
    program = tl.program_id(0)
    entry = (program // pixel_blocks).to(tl.int64)
    pixel = (program % pixel_blocks) * M + tl.arange(0, M)
    live = pixel < height * width
    clamped = tl.minimum(pixel, height * width - 1)
    row = clamped // width
    column = clamped % width
    kept = output.dtype.element_ty
    FIRST_WORDS: tl.constexpr = (INPUTS + 31) // 32
    z = _convolve(
        x + entry * x_entry, weight, bias, first_weight, first_bias,
        first_saved + entry * first_height * first_width * INPUTS,
        first_bits + entry * first_height * first_width * FIRST_WORDS,
        row, column, live, height - 1, width - 1, first_width, x_row, x_column, x_channel,
        HEAD, CHANNELS, FIRST_HEIGHT, FIRST_WIDTH, FIRST_STRIDE, T, INPUTS, OUTPUTS, HEIGHT, WIDTH, STRIDE,
        ACTIVATION, SLOPE, True, PRECISION, M, N, K,
    )  # fmt: skip
    value = _activate(z, ACTIVATION, SLOPE).to(kept)
    channel = tl.arange(0, N)
    if LOCAL:
        inner = tl.arange(0, L)
        w = tl.dot(value, _table(local_weight, 0, OUTPUTS, LOCAL_OUTPUTS, N, L), input_precision=PRECISION)
        w += tl.load(local_bias + inner, mask=inner < LOCAL_OUTPUTS, other=0.0).to(tl.float32)[None, :]
        deep = _activate(w, ACTIVATION, SLOPE).to(kept).to(tl.float32)
        back = used_taps(
            last, row, column, last_height, last_width, LOCAL_OUTPUTS, LAST_HEIGHT, LAST_WIDTH, LAST_STRIDE, M, L
        )
        scores = tl.where(live[:, None], deep * back, 0.0)
        if ACTIVATION == SILU:
            back = derivative(back, w.to(kept).to(tl.float32), SILU, SLOPE)
        else:
            back = derivative(back, deep, ACTIVATION, SLOPE)
        taps = _table(local_back, 0, LOCAL_OUTPUTS, OUTPUTS, L, N)
        total = tl.dot(back.to(kept), taps, input_precision=PRECISION)
    else:
        total = used_taps(
            last, row, column, last_height, last_width, OUTPUTS, LAST_HEIGHT, LAST_WIDTH, LAST_STRIDE, M, N
        )
        scores = tl.where(live[:, None], value.to(tl.float32) * total, 0.0)
    if ACTIVATION == SILU:
        total = derivative(total, z.to(kept).to(tl.float32), SILU, SLOPE)
    else:
        total = derivative(total, value.to(tl.float32), ACTIVATION, SLOPE)
    # both sums keep their dimensions: Triton 3.7 fails for sm_100 where one number is made of a row of them
    total_score = tl.sum(tl.sum(scores, 1, keep_dims=True), 0, keep_dims=True)
    tl.store(partial + program + tl.zeros((1, 1), tl.int32), total_score)
    at = (pixel * OUTPUTS)[:, None] + channel[None, :]
    mask = live[:, None] & (channel < OUTPUTS)[None, :]
    tl.store(output + entry * height * width * OUTPUTS + at, total.to(kept), mask=mask)


@triton.jit
def through_kernel(
    cotangent, weight, saved, bits, before_weight, before_saved, before_bits, output, height, width, from_height,
    from_width, class_height, class_width, before_height, before_width, pixel_blocks,
    INPUTS: tl.constexpr, OUTPUTS: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, STRIDE: tl.constexpr,
    BEFORE: tl.constexpr, SIDE: tl.constexpr, EXPAND: tl.constexpr, B: tl.constexpr,
    ACTIVATION: tl.constexpr, SLOPE: tl.constexpr, PRECISION: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """The transpose of a layer and of the one before it, which has `BEFORE` channels in.

    With `EXPAND` that one is a layer without overlap of side `SIDE`: each pixel gives ``SIDE x SIDE`` of its input, which go
    through the activation in front of it. Else it is the first layer: a pixel gives the `BEFORE` numbers that it adds to the
    patch it was computed from, one plane of `output` each, and the sum over patches is left to `columns_kernel`.
    """
    program = tl.program_id(0)
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
    channel = tl.arange(0, N)

    total = transposed_sum(
        cotangent + entry * from_height * from_width * OUTPUTS, weight, class_row, class_column, live, channel,
        first_row, first_column, from_height, from_width, INPUTS, OUTPUTS, HEIGHT, WIDTH, STRIDE, PRECISION, M, N, K,
    )  # fmt: skip
    WORDS: tl.constexpr = (INPUTS + 31) // 32
    position = row * width + column
    first = entry * height * width
    total = _through(total, saved + first * INPUTS, bits + first * WORDS, position, live, INPUTS, N, ACTIVATION, SLOPE)
    total = total.to(before_weight.dtype.element_ty)
    number = tl.arange(0, B)
    mask = live[:, None] & (number < BEFORE)[None, :]
    if EXPAND:
        BEFORE_WORDS: tl.constexpr = (BEFORE + 31) // 32
        first = entry * before_height * before_width
        for part in range(SIDE * SIDE):
            taps = _table(before_weight, part * INPUTS * BEFORE, INPUTS, BEFORE, N, B)
            back = tl.dot(total, taps, input_precision=PRECISION)
            target = (row * SIDE + part // SIDE) * before_width + column * SIDE + part % SIDE
            back = _through(
                back, before_saved + first * BEFORE, before_bits + first * BEFORE_WORDS, target, live, BEFORE, B,
                ACTIVATION, SLOPE,
            )  # fmt: skip
            at = (target * BEFORE)[:, None] + number[None, :]
            tl.store(output + first * BEFORE + at, back.to(output.dtype.element_ty), mask=mask)
    else:
        back = tl.dot(total, _table(before_weight, 0, INPUTS, BEFORE, N, B), input_precision=PRECISION)
        at = position[:, None] + (number * (height * width))[None, :]
        tl.store(output + first * BEFORE + at, back, mask=mask)


@triton.jit
def columns_kernel(
    columns, output, height, width, from_height, from_width, pixel_blocks,
    out_entry, out_row, out_column, out_channel, scale,
    CHANNELS: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, STRIDE: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    """`scale` times, at each pixel of an image, the sum of the numbers that all patches add there; a program takes a channel."""
    program = tl.program_id(0)
    channel = program % CHANNELS
    pixel = ((program // CHANNELS) % pixel_blocks) * M + tl.arange(0, M)
    entry = (program // (CHANNELS * pixel_blocks)).to(tl.int64)
    row = pixel // width
    column = pixel % width
    live = pixel < height * width
    plane = from_height * from_width
    columns += entry * plane * (CHANNELS * HEIGHT * WIDTH)
    total = tl.zeros((M,), tl.float32)
    for tap in range(HEIGHT * WIDTH):
        # one kernel is added before the division, so that what lies before the first row or column does not round to zero
        up = row - tap // WIDTH + HEIGHT * STRIDE
        along = column - tap % WIDTH + WIDTH * STRIDE
        from_row = up // STRIDE - HEIGHT
        from_column = along // STRIDE - WIDTH
        found = live & (up % STRIDE == 0) & (from_row >= 0) & (from_row < from_height)
        found = found & (along % STRIDE == 0) & (from_column >= 0) & (from_column < from_width)
        at = (tap * CHANNELS + channel) * plane + from_row * from_width + from_column
        total += tl.load(columns + at, mask=found, other=0.0)
    at = entry * out_entry + row * out_row + column * out_column + channel * out_channel
    tl.store(output + at, total * scale, mask=live)
