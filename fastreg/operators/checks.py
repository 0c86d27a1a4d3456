"""Checks of what operators are given: images, PSFs and masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def check_images(y: Tensor, complex_numbers: bool = False) -> None:
    """Raise unless `y` is a batch of images, floating-point (or complex) ``[B, C, H, W]`` with at least one pixel."""
    wanted = "complex" if complex_numbers else "floating-point"
    if not isinstance(y, Tensor) or not (y.is_complex() if complex_numbers else y.is_floating_point()):
        what = f"a tensor of {y.dtype}" if isinstance(y, Tensor) else f"{type(y).__name__}"
        raise TypeError(f"images must be a {wanted} tensor [B, C, H, W], got {what}")
    if y.ndim != 4 or y.numel() == 0:
        raise ValueError(f"images must be [B, C, H, W] with at least one pixel, got the shape {list(y.shape)}")


def as_numbers(value: Any, name: str) -> Tensor:
    """Copy of a tensor, an array or nested lists of real numbers as float64; `name` is what an error calls it.

    Raises
    ------
    TypeError
        If `value` is not made of real numbers.
    ValueError
        If it is empty, or has entries that are not finite.
    """
    if isinstance(value, Tensor):
        if value.is_complex():
            raise TypeError(f"{name} must hold real numbers, got a tensor of {value.dtype}")
        numbers = value.detach().to(torch.float64, copy=True)
    else:
        try:
            array = np.asarray(value)
            if array.dtype.kind not in "biuf":
                raise TypeError(array.dtype)
            numbers = torch.from_numpy(array.astype(np.float64))
        except (TypeError, ValueError) as error:
            raise TypeError(f"{name} must be an array of real numbers, got {type(value).__name__}") from error
    if numbers.numel() == 0:
        raise ValueError(f"{name} is empty, its shape is {list(numbers.shape)}")
    if not bool(torch.isfinite(numbers).all()):
        raise ValueError(f"{name} must be finite, got NaN or infinite entries")
    return numbers


def check_mask(mask: Any) -> Tensor:
    """Weights in [0, 1] of any kind of number as float32 ``[B, C, H, W]``; raises `TypeError` or `ValueError`."""
    weights = as_numbers(mask, "a mask")
    if not 2 <= weights.ndim <= 4:
        raise ValueError(f"a mask is [H, W], [C, H, W] or [B, C, H, W], got the shape {list(weights.shape)}")
    low, high = float(weights.min()), float(weights.max())
    if low < 0 or high > 1:
        raise ValueError(f"the weights of a mask are in [0, 1], got values from {low:g} to {high:g}")
    return weights.reshape((1,) * (4 - weights.ndim) + tuple(weights.shape)).float()


def fit_mask(mask: Tensor, y: Tensor) -> None:
    """Raise `ValueError` if a mask ``[B, C, H, W]`` does not fit measurements `y`."""
    batch, channels, height, width = mask.shape
    if tuple(y.shape[-2:]) != (height, width):
        raise ValueError(
            f"the mask is {height} x {width} pixels (height x width), got images of {y.shape[-2]} x {y.shape[-1]}"
        )
    if channels not in (1, y.shape[1]):
        raise ValueError(f"the mask has {channels} channels, got images of {y.shape[1]}")
    if batch not in (1, y.shape[0]):
        raise ValueError(f"the mask is for a batch of {batch} images, got {y.shape[0]}")
