"""What every Triton kernel of this package needs from its surroundings, without importing Triton before it is used."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TypeVar, cast

import torch
from torch import Tensor

_Function = TypeVar("_Function", bound=Callable[..., object])


_FOUND = importlib.util.find_spec("triton") is not None


def available() -> bool:
    """Whether Triton is installed; looked up once, so that compilers can trace the question."""
    return _FOUND


def triton_op(name: str) -> Callable[[_Function], _Function]:
    """Register a function that launches Triton kernels as ``torch.ops.fastreg.<name>``.

    Compilers see through the op to its kernels, so that AOTInductor packages them. Without Triton the function is
    left as it is: it then only ever runs its reference, which compilers see through as well.
    """

    def decorate(function: _Function) -> _Function:
        if not available():
            return function
        return cast(_Function, torch.library.triton_op(f"fastreg::{name}", function, mutates_args=()))

    return decorate


def usable(images: list[Tensor], parameters: list[Tensor]) -> bool:
    """Whether a kernel without a backward pass may take these tensors: on one GPU, nothing to differentiate.

    Images are float32; parameters may be anything. The answer is the same in a program that is traced, compiled or exported for
    a GPU. A runtime that knows no Triton (ONNX) gets a program that is traced on the CPU.
    """
    every = [*images, *parameters]
    return (
        available()
        and all(tensor.is_cuda and tensor.device == every[0].device for tensor in every)
        and all(image.dtype == torch.float32 for image in images)
        and not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in every))
    )
