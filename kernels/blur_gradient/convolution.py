"""Convolutions of float32 images that stay float32 on a GPU, whatever torch's switch for tf32 says.

A restorer of the precision `tf32` sets the switch for the convolutions of its prior, and a residual A x - y does not survive a
rounding to ten bits. A compiled program reads the switch when it runs, not where it was traced: there the convolution is an op
that sets it by itself.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def convolve(planes: Tensor, weight: Tensor, padding: tuple[int, int] = (0, 0)) -> Tensor:
    """``F.conv2d(planes, weight, padding=padding)``."""
    if not planes.is_cuda or planes.dtype != torch.float32 or torch.compiler.is_exporting():
        return F.conv2d(planes, weight, padding=padding)
    if torch.compiler.is_compiling():
        from fastreg.kernels.blur_gradient.exact import exact_convolution

        result: Tensor = exact_convolution(planes, weight, list(padding))
        return result
    return without_tensor_float(planes, weight, padding)


def without_tensor_float(planes: Tensor, weight: Tensor, padding: tuple[int, int]) -> Tensor:
    """The convolution with the switch off, which is put back."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        return F.conv2d(planes, weight, padding=padding)
    finally:
        torch.backends.cudnn.allow_tf32 = before
