"""Energy and input gradient of a chain on a CPU, one strip of rows after the other.

What the layers of a strip leave for the way back is still in the cache when it is needed. On two cores of an AMD EPYC a gradient
of the model `alr` at 321x481 takes 0.7 of the time of the whole image at once (``python -m bench.kernels``).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fastreg.kernels.critic_gradient import reference

#: Bytes that the widest layer of a strip may take; smaller strips overlap more, larger ones leave the cache.
BUDGET = 8 << 20
#: Size of the block that `keep_memory` frees: just below the largest that glibc adapts to (mallopt(3), M_MMAP_THRESHOLD).
KEPT = (32 << 20) - (64 << 10)


def possible(x: Tensor, parameters: Sequence[Tensor]) -> bool:
    """Whether strips may be taken: on a CPU, neither traced nor differentiated."""
    differentiated = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *parameters))
    return x.device.type == "cpu" and not differentiated and not torch.compiler.is_compiling()


@functools.cache
def keep_memory() -> None:
    """Let the allocator of the C library keep the freed memory of strips for the next ones.

    By default it returns it to the system, where each page has to be asked for again: a third of the time of a gradient. Having
    freed one large block it keeps twice as much; other libraries do not mind.
    """
    torch.empty(KEPT, dtype=torch.uint8, device="cpu")


def energy_and_gradient(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], strides: Sequence[int], activation: str
) -> tuple[Tensor, Tensor]:
    """What `reference.energy_and_gradient` computes, but for rounding."""
    keep_memory()
    last = torch.channels_last  # the fastest layout on a CPU; results of convolutions inherit it
    weights = [weight.contiguous(memory_format=last) for weight in weights]
    stride = math.prod(strides)
    field = reference.receptive_field([weight.shape[-1] for weight in weights], strides)
    scores = (x.shape[-2] - field) // stride + 1
    rows = max(1, -(-scores // -(-_widest(x, weights, strides) // BUDGET)))
    ends: dict[int, Tensor] = {}  # by the height of a strip
    energy, gradient = x.new_zeros(x.shape[0]), torch.zeros_like(x, memory_format=torch.contiguous_format)
    for entry in range(x.shape[0]):  # of a batch, too: it does not fit the cache together
        for start in range(0, scores, rows):
            stop = min(start + rows, scores)
            # strips of scores: they overlap by what the scores see
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
    """Cotangent of the sum of all scores at the last activation: the last layer is linear, so no image has a part in it."""
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
    """Mean score of one strip and its gradient, as in the reference, with the last layer laid out as `end`."""
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
    """Bytes of the largest layer of one image, at the least one."""
    widest, pixels = 1, x.shape[-2] * x.shape[-1]
    for weight, stride in zip(weights, strides, strict=True):
        pixels //= stride**2
        widest = max(widest, pixels * weight.shape[0] * weight.element_size())
    return widest
