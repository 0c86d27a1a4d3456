"""Energy and gradient of a chain of convolutions, in plain torch.

The chain is ``z_1 = w_1 * x + b_1``, ``a_k = f(z_k)``, ``z_{k+1} = w_{k+1} * a_k + b_{k+1}``; no layer pads, and the last
one has no activation. A *score* is the mean of the last layer's channels at one position, and the energy of an image is the
mean of its scores. The gradient is the chain rule written out in differentiable torch operations: training differentiates it
once more with respect to the weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

LEAKY_SLOPE = 0.2
ACTIVATIONS = ("relu", "leaky_relu", "silu")


def activate(z: Tensor, activation: str) -> Tensor:
    """Apply one of `ACTIVATIONS`."""
    if activation == "relu":
        return F.relu(z)
    if activation == "leaky_relu":
        return F.leaky_relu(z, LEAKY_SLOPE)
    if activation == "silu":
        return F.silu(z)
    raise ValueError(f"activation must be one of {ACTIVATIONS}, got {activation!r}")


def through_activation(cotangent: Tensor, saved: Tensor, activation: str) -> Tensor:
    """Multiply by f'(z). `saved` is z for SiLU, and the mask of positive z for the piecewise linear activations."""
    if activation == "relu":
        return torch.where(saved, cotangent, 0.0)
    if activation == "leaky_relu":
        return torch.where(saved, cotangent, LEAKY_SLOPE * cotangent)
    differentiated = torch.is_grad_enabled() and (cotangent.requires_grad or saved.requires_grad)
    if differentiated or torch.compiler.is_compiling():
        gate = torch.sigmoid(saved)
        return cotangent * (gate * (1 + saved * (1 - gate)))
    # the same in one pass over memory instead of five; torch cannot differentiate it, and ONNX has no such operation
    result: Tensor = torch.ops.aten.silu_backward(cotangent, saved)
    return result


def transposed(cotangent: Tensor, weight: Tensor, stride: int, height: int, width: int) -> Tensor:
    """Adjoint of an unpadded convolution whose input had `height` x `width` pixels."""
    result = F.conv_transpose2d(cotangent, weight, stride=stride)
    missing = (height - result.shape[-2], width - result.shape[-1])
    if stride > 1:
        # rows and columns that no patch covers; `output_padding` cannot be exported with dynamic sizes
        result = F.pad(result, (0, missing[1], 0, missing[0]))
    return result


def receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Side in pixels of the patch that one score depends on."""
    field, jump = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        field += (kernel - 1) * jump
        jump *= stride
    return field


def scores(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], strides: Sequence[int], activation: str
) -> Tensor:
    """Score of every patch: ``[B, C, H, W]`` to ``[B, h, w]``, in the dtype of `x`; layers run in the dtype of the weights."""
    a = x.to(weights[0].dtype)
    last = len(weights) - 1
    for k, (weight, bias, stride) in enumerate(zip(weights, biases, strides, strict=True)):
        a = F.conv2d(a, weight, bias, stride)
        if k < last:
            a = activate(a, activation)
    return a.to(x.dtype).mean(1)


def energy_and_gradient(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], strides: Sequence[int], activation: str
) -> tuple[Tensor, Tensor]:
    """Mean score ``[B]`` of each image and its gradient ``[B, C, H, W]``, both in the dtype of `x`."""
    last = len(weights) - 1
    sizes, saved = [], []
    a = x.to(weights[0].dtype)
    for k, (weight, bias, stride) in enumerate(zip(weights, biases, strides, strict=True)):
        sizes.append(a.shape[-2:])
        z = F.conv2d(a, weight, bias, stride)
        if k < last:
            a = activate(z, activation)
            saved.append(z if activation == "silu" else a > 0)  # booleans: a quarter of the memory of f(z)
    energy = z.to(x.dtype).mean((1, 2, 3))
    # The cotangent of a mean is 1/N everywhere. 1/N is multiplied last: in half precision it would underflow.
    cotangent = torch.ones_like(z)
    for k in range(last, -1, -1):
        cotangent = transposed(cotangent, weights[k], strides[k], *sizes[k])
        if k > 0:
            cotangent = through_activation(cotangent, saved[k - 1], activation)
    return energy, cotangent.to(x.dtype) / (z.shape[1] * z.shape[2] * z.shape[3])
