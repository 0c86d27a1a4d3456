"""The convolution without tf32 as ``torch.ops.fastreg.exact_convolution``, for compiled programs on a GPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fastreg.kernels.blur_gradient.convolution import without_tensor_float


@torch.library.custom_op("fastreg::exact_convolution", mutates_args=())
def exact_convolution(planes: Tensor, weight: Tensor, padding: list[int]) -> Tensor:
    """``F.conv2d(planes, weight, padding=padding)`` in float32 whatever the switch for tf32 says; it has no backward pass."""
    return without_tensor_float(planes, weight, (padding[0], padding[1])).contiguous()


@exact_convolution.register_fake
def _(planes: Tensor, weight: Tensor, padding: list[int]) -> Tensor:
    return F.conv2d(planes, weight, padding=padding).contiguous()
