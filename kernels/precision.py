"""Number formats: the switch between float32 and tf32, which torch leaves to the process, and what a CPU can multiply."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

#: Number formats for the convolutions of a prior; everything else stays in float32.
PRECISIONS: dict[str, torch.dtype] = {
    "ieee": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


@contextlib.contextmanager
def tensor_float(allowed: bool) -> Iterator[None]:
    """Allow or forbid tf32 in cuDNN and cuBLAS; packages made by AOTInductor obey the switch of the process that runs them."""
    switches: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [switch.allow_tf32 for switch in switches]
    for switch in switches:
        switch.allow_tf32 = allowed
    try:
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.allow_tf32 = value


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bf16 numbers in hardware (AVX512-BF16 or AMX)."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
