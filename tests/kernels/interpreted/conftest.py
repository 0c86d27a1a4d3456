"""Tests of the Triton kernels under the interpreter, in a process of their own: see tests/kernels/test_interpreter.py.

Triton chooses between compiler and interpreter when it is imported, so these files are collected only where the choice was made.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

collect_ignore_glob = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["test_*.py"]


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill what `torch.empty` gives with NaN: a number that a kernel forgets to write shows."""

    def poison(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def filled(*arguments: object, **options: object) -> Tensor:
            result = function(*arguments, **options)
            if result.is_floating_point():
                return result.fill_(float("nan"))
            return result.fill_(-1)

        return filled

    for name in ("empty", "empty_like"):
        monkeypatch.setattr(torch, name, poison(getattr(torch, name)))


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)
