"""Energy and gradient of a chain of convolutions by Triton kernels: one kernel per layer and direction.

For the backward pass a layer stores z for SiLU, and one bit per number for the piecewise linear activations. The last
layer runs no convolution (see `last_layer_kernel`); the division by N comes last. Everything is float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastreg.kernels._triton import available, triton_op
from fastreg.kernels.critic_gradient import reference
from fastreg.kernels.critic_gradient.reference import LEAKY_SLOPE
from fastreg.kernels.launch_settings import CRITIC_BACKWARD, CRITIC_FORWARD, CRITIC_LAST

if available():
    from torch.library import wrap_triton

    from fastreg.kernels.critic_gradient.triton_kernels import backward_kernel, forward_kernel, last_layer_kernel

#: Codes of the activations in the kernels.
CODES = {"none": 0, "relu": 1, "leaky_relu": 2, "silu": 3}


@triton_op("critic_gradient")
def energy_and_gradient_op(
    x: Tensor, weights: list[Tensor], biases: list[Tensor], strides: list[int], activation: str
) -> tuple[Tensor, Tensor]:
    """``torch.ops.fastreg.critic_gradient``: the kernels on a GPU, the reference elsewhere."""
    if x.is_cuda:
        return energy_and_gradient(x, weights, biases, strides, activation)
    energy, gradient = reference.energy_and_gradient(x, weights, biases, strides, activation)
    return energy, gradient.contiguous()


def energy_and_gradient(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    strides: Sequence[int],
    activation: str,
) -> tuple[Tensor, Tensor]:
    """Mean score ``[B]`` of float32 images ``[B, C, H, W]`` and its gradient, as the reference defines them."""
    last = len(weights) - 1
    a, saved, bits = x.permute(0, 2, 3, 1), x, x
    kept: list[tuple[Tensor, Tensor]] = []
    sizes = [a.shape[1:3]]
    for k in range(last):
        # the last layer reads the activations themselves, so the layer before it stores no bits
        with_bits = activation != "silu" and k < last - 1
        a, saved, bits = forward_layer(a, weights[k], biases[k], strides[k], activation, with_bits)
        kept.append((saved, bits))
        sizes.append(a.shape[1:3])
    gradient = torch.empty_like(x, memory_format=torch.contiguous_format)
    height, width = ((size - weights[last].shape[2 + d]) // strides[last] + 1 for d, size in enumerate(sizes[last]))
    count = weights[last].shape[0] * height * width

    def target(k: int) -> tuple[Tensor, int]:
        """The tensor for the cotangent at the input of layer k, and its divisor.

        The divisor is an integer: in a program with symbolic sizes it is a symbol, and the compiler takes symbols for integers.
        """
        if k == 0:
            return gradient.permute(0, 2, 3, 1), count
        shape = (x.shape[0], *sizes[k], weights[k].shape[1])
        return torch.empty(shape, dtype=weights[k].dtype, device=x.device), 1

    cotangent, divisor = target(last)
    before = activation if last > 0 else "none"
    sums = last_layer(a, saved, weights[last], strides[last], (height, width), before, cotangent, divisor)
    energy = sums / count + biases[last].float().mean()
    for k in range(last - 1, -1, -1):
        output, divisor = target(k)
        before = activation if k > 0 else "none"
        saved, bits = kept[k - 1] if k > 0 else (output, output)
        backward_layer(cotangent, weights[k], strides[k], before, saved, bits, output, divisor)
        cotangent = output
    return energy, gradient


def forward_layer(
    x: Tensor, weight: Tensor, bias: Tensor, stride: int, activation: str, with_bits: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """A layer on ``[B, H, W, C]``: f(z), z if the backward pass needs it, and the bits of f(z) > 0 if it needs them."""
    outputs, inputs, tall, wide = weight.shape
    height, width = (x.shape[1] - tall) // stride + 1, (x.shape[2] - wide) // stride + 1
    result = torch.empty((x.shape[0], height, width, outputs), dtype=weight.dtype, device=x.device)
    saved, bits = result, result
    if activation == "silu":
        saved = torch.empty_like(result)
    if with_bits:
        words = (outputs + 31) // 32
        bits = torch.empty((x.shape[0], height, width, words), dtype=torch.int32, device=x.device)
    config = _tile(CRITIC_FORWARD, outputs, inputs * tall * wide)
    blocks = _blocks(height * width, config["M"]), _blocks(outputs, config["N"])
    wrap_triton(forward_kernel)[(x.shape[0] * blocks[0] * blocks[1],)](
        x, weight.permute(2, 3, 1, 0).contiguous(), bias.contiguous(), result, saved, bits, height, width, *blocks,
        *x.stride(), INPUTS=inputs, OUTPUTS=outputs, HEIGHT=tall, WIDTH=wide, STRIDE=stride,
        ACTIVATION=CODES[activation], SLOPE=LEAKY_SLOPE, BITS=with_bits, **config,
    )  # fmt: skip
    return result, saved, bits


def backward_layer(
    cotangent: Tensor, weight: Tensor, stride: int, before: str, saved: Tensor, bits: Tensor, output: Tensor,
    divisor: int,
) -> None:  # fmt: skip
    """Write to `output` ``[B, H, W, C]`` the cotangent at the input of a layer, before the activation `before`."""
    outputs, inputs, tall, wide = weight.shape
    batch, height, width, _ = output.shape
    classes = _blocks(height, stride), _blocks(width, stride)
    config = _tile(CRITIC_BACKWARD, inputs, outputs)
    blocks = _blocks(classes[0] * classes[1], config["M"]), _blocks(inputs, config["N"])
    wrap_triton(backward_kernel)[(batch * stride * stride * blocks[0] * blocks[1],)](
        cotangent, weight.permute(2, 3, 0, 1).contiguous(), saved, bits, output, height, width,
        *cotangent.shape[1:3], *classes, *blocks, *output.stride(), divisor,
        INPUTS=inputs, OUTPUTS=outputs, HEIGHT=tall, WIDTH=wide, STRIDE=stride,
        ACTIVATION=CODES[before], SLOPE=LEAKY_SLOPE, **config,
    )  # fmt: skip


def last_layer(
    x: Tensor,
    saved: Tensor,
    weight: Tensor,
    stride: int,
    size: tuple[int, int],
    before: str,
    output: Tensor,
    divisor: int,
) -> Tensor:
    """Write to `output` the cotangent at the input of the last layer; returns the sums of the scores ``[B]`` without bias."""
    batch, height, width, inputs = x.shape
    tall, wide = weight.shape[2:]
    config = dict(CRITIC_LAST)
    wide_enough = max(16, 1 << (inputs - 1).bit_length())
    # a tile has all channels, and so the fewer pixels the more channels there are
    pixels = max(1, config.pop("NUMBERS") // wide_enough)
    blocks = _blocks(height * width, pixels)
    partial = torch.empty((batch, blocks), dtype=torch.float32, device=x.device)
    wrap_triton(last_layer_kernel)[(batch * blocks,)](
        x, saved, weight.float().sum(0).permute(1, 2, 0).contiguous(), output, partial, height, width, *size, blocks,
        *x.stride(), *output.stride(), divisor, INPUTS=inputs, HEIGHT=tall, WIDTH=wide, STRIDE=stride,
        ACTIVATION=CODES[before], SLOPE=LEAKY_SLOPE, M=pixels, N=wide_enough, **config,
    )  # fmt: skip
    return partial.sum(1)


def _tile(settings: dict[str, int], channels: int, terms: int) -> dict[str, Any]:
    """Launch settings, with smaller tiles for layers of few channels, but at least 32 (one word of bits)."""
    config = dict(settings)
    config["N"] = min(config["N"], max(32, 1 << (channels - 1).bit_length()))
    config["K"] = min(config["K"], max(16, 1 << (terms - 1).bit_length()))
    return config


def _blocks(size: int, block: int) -> int:
    return (size + block - 1) // block
