"""The hardware, threads and versions that a result was made with, for tables, JSON files and `fastreg doctor`."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path
from typing import Any

import torch

from fastreg._version import __version__


def describe(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Hardware, threads and versions as plain JSON values; on CUDA also the GPU."""
    device = torch.device(device)
    result: dict[str, Any] = {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bf16": bfloat16_instructions(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "fastreg": __version__,
    }
    if device.type == "cuda":
        facts = torch.cuda.get_device_properties(device)
        result |= {
            "gpu": facts.name,
            "compute": f"{facts.major}.{facts.minor}",
            "memory_gib": round(facts.total_memory / 2**30),
            "cuda": torch.version.cuda,
        }
    return result


def cpu_name() -> str:
    """The processor as Linux calls it, with what else distinguishes generations where the name does not."""
    fields: dict[str, str] = {}
    for line in _cpu_facts():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip(), value.strip())
    name = fields.get("model name", platform.processor() or platform.machine())
    if "cpu family" in fields and "model" in fields:
        name += f" (family {fields['cpu family']}, model {fields['model']})"
    return name


def cpp_compiler() -> str | None:
    """The C++ compiler that compiling on a CPU needs, or None."""
    names = [os.environ.get("CXX", ""), "g++", "clang++", "c++"]
    return next((found for name in names if name and (found := shutil.which(name))), None)


def bfloat16_instructions() -> list[str]:
    """Instructions of the processor for bfloat16; empty where it has none, or does not say."""
    lines = [line.partition(":")[2] for line in _cpu_facts() if line.lower().startswith(("flags", "features"))]
    flags = set(lines[0].split()) if lines else set()
    return [name for name in ("avx512_bf16", "amx_bf16", "bf16") if name in flags]


def _cpu_facts() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
