"""Energy and gradient of a chain of convolutions on a CPU, one strip of rows after the other.

The activations of a strip are still in the cache when the backward pass needs them. On two cores of an AMD EPYC the gradient of
the model `alr` at 321x481 pixels takes 0.7 of the time that it takes for the whole image at once (``python -m bench.kernels``).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fastreg.kernels.critic_gradient import reference

#: Most bytes of the largest layer of a strip; smaller strips overlap more, larger ones do not fit the cache.
BUDGET = 8 << 20
#: Size of the block that `keep_memory` frees: just below the largest that glibc adapts to (mallopt(3), M_MMAP_THRESHOLD).
KEPT = (32 << 20) - (64 << 10)


def possible(x: Tensor, parameters: Sequence[Tensor]) -> bool:
    """Whether strips may be taken: on a CPU, neither traced nor differentiated."""
    differentiated = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *parameters))
    return x.device.type == "cpu" and not differentiated and not torch.compiler.is_compiling()


@functools.cache
def keep_memory() -> None:
    """Make the allocator of glibc keep the memory that a strip frees for the next one.

    By default it returns the memory to the system, and getting each page back takes a third of the time of a gradient. Once a
    large block has been freed, glibc keeps twice as much; on other C libraries this has no effect.
    """
    torch.empty(KEPT, dtype=torch.uint8, device="cpu")


def energy_and_gradient(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], strides: Sequence[int], activation: str
) -> tuple[Tensor, Tensor]:
    """As `reference.energy_and_gradient`, up to rounding."""
    keep_memory()
    last = torch.channels_last  # the fastest layout on a CPU; convolutions keep it
    weights = [weight.contiguous(memory_format=last) for weight in weights]
    stride = math.prod(strides)
    field = reference.receptive_field([weight.shape[-1] for weight in weights], strides)
    scores = (x.shape[-2] - field) // stride + 1
    rows = max(1, -(-scores // -(-_widest(x, weights, strides) // BUDGET)))
    ends: dict[int, Tensor] = {}  # by the height of a strip
    energy, gradient = x.new_zeros(x.shape[0]), torch.zeros_like(x, memory_format=torch.contiguous_format)
    for entry in range(x.shape[0]):  # one image at a time, since a batch does not fit the cache
        for start in range(0, scores, rows):
            stop = min(start + rows, scores)
            # strips overlap by the receptive field of the scores
            source = x[entry : entry + 1, :, stride * start : stride * (stop - 1) + field].contiguous(
                memory_format=last
            )
            if source.shape[-2] not in ends:
                ends[source.shape[-2]] = _end(source, weights, strides)
            value, slope = _strip(source, weights, biases, strides, activation, ends[source.shape[-2]])
            share = (stop - start) / scores
            energy[entry] += share * value
            gradient[entry, :, stride * start : stride * (stop - 1) + field].add_(slope[0], alpha=share)
    return energy, gradient


def _end(x: Tensor, weights: Sequence[Tensor], strides: Sequence[int]) -> Tensor:
    """Cotangent of the sum of all scores at the last activation, which does not depend on the image: the last layer is linear."""
    height, width = x.shape[-2:]
    for weight, stride in zip(weights[:-1], strides, strict=False):
        height, width = ((n - weight.shape[-1]) // stride + 1 for n in (height, width))
    rows, columns = ((n - weights[-1].shape[-1]) // strides[-1] + 1 for n in (height, width))
    ones = weights[-1].new_ones(1, weights[-1].shape[0], rows, columns).contiguous(memory_format=torch.channels_last)
    return reference.transposed(ones, weights[-1], strides[-1], height, width)


def _strip(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    strides: Sequence[int],
    activation: str,
    end: Tensor,
) -> tuple[Tensor, Tensor]:
    """Mean score of one strip and its gradient, as in the reference; `end` is the result of `_end` for its size."""
    sizes, saved = [], []
    a = x.to(weights[0].dtype)
    for weight, bias, stride in zip(weights[:-1], biases, strides, strict=False):
        sizes.append(a.shape[-2:])
        z = F.conv2d(a, weight, bias, stride)
        a = reference.activate(z, activation)
        saved.append(z if activation == "silu" else a > 0)
    side, stride = weights[-1].shape[-1], strides[-1]
    rows, columns = ((n - side) // stride + 1 for n in a.shape[-2:])
    count = len(biases[-1]) * rows * columns
    energy = (a.to(x.dtype) * end.to(x.dtype)).sum() / count + biases[-1].to(x.dtype).mean()
    cotangent = end
    for k in range(len(weights) - 2, -1, -1):
        cotangent = reference.through_activation(cotangent, saved[k], activation)
        cotangent = reference.transposed(cotangent, weights[k], strides[k], *sizes[k])
    return energy, cotangent.to(x.dtype) / count


def _widest(x: Tensor, weights: Sequence[Tensor], strides: Sequence[int]) -> int:
    """Bytes of the largest layer of one image, at least one."""
    widest, pixels = 1, x.shape[-2] * x.shape[-1]
    for weight, stride in zip(weights, strides, strict=True):
        pixels //= stride**2
        widest = max(widest, pixels * weight.shape[0] * weight.element_size())
    return widest
