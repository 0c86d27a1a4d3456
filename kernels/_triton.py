"""Registering Triton kernels and deciding when to use them, without importing Triton."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TypeVar, cast

import torch
from torch import Tensor

_Function = TypeVar("_Function", bound=Callable[..., object])


_FOUND = importlib.util.find_spec("triton") is not None


def available() -> bool:
    """Whether Triton is installed. Looked up once, on import: a compiler cannot trace the search."""
    return _FOUND


def triton_op(name: str) -> Callable[[_Function], _Function]:
    """Register a function that launches Triton kernels as ``torch.ops.fastreg.<name>``.

    Compilers trace through the op to its kernels, which AOTInductor then includes in its packages. Without Triton the function
    is returned unchanged; it only runs its reference then.
    """

    def decorate(function: _Function) -> _Function:
        if not available():
            return function
        return cast(_Function, torch.library.triton_op(f"fastreg::{name}", function, mutates_args=()))

    return decorate


def usable(images: list[Tensor], parameters: list[Tensor]) -> bool:
    """Whether a kernel without a backward pass can be used: all tensors on one GPU, images in float32, no gradient required.

    The answer does not change when a program is traced, compiled or exported for a GPU. Programs for runtimes without Triton
    (ONNX) are traced on the CPU.
    """
    every = [*images, *parameters]
    return (
        available()
        and all(tensor.is_cuda and tensor.device == every[0].device for tensor in every)
        and all(image.dtype == torch.float32 for image in images)
        and not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in every))
    )
