"""What a measurement was made on: hardware, versions, and the rates that this machine reaches in this run."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from fastreg import __version__
from fastreg.kernels.precision import cpu_has_bf16

#: Working set of the copy, in bytes: several times the caches of a CPU.
COPIED = 1 << 28


def cpu_name() -> str:
    """The processor as Linux calls it, with family and model: they say which generation it is where the name does not."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    entries = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    fields = {name.strip(): value.strip() for name, value in entries.items()}
    name = fields.get("model name", platform.machine())
    if "cpu family" in fields and "model" in fields:
        name += f" (family {fields['cpu family']}, model {fields['model']})"
    return name


def commit() -> str:
    """The commit that is measured, with a ``+`` if files differ from it; empty outside a repository."""
    root = Path(__file__).parents[1]
    try:
        head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=root, capture_output=True, text=True)
        changed = subprocess.run(
            [
                "git",
                "status",
                "--porcelain",
                "--untracked-files=no",
                "--",
                "fastreg",
                "kernels",
                "export",
                "bench/*.py",
            ],
            cwd=root,
            capture_output=True,
            text=True,
        )
    except OSError:
        return ""
    return head.stdout.strip() + ("+" if head.returncode == 0 and changed.stdout.strip() else "")


def describe(device: torch.device) -> dict[str, Any]:
    """Hardware, threads, versions and commit, as every JSON file of results carries them."""
    result: dict[str, Any] = {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bf16": cpu_has_bf16(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "fastreg": __version__,
        "commit": commit(),
    }
    if device.type == "cuda":
        result |= {"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return result


def wait(device: torch.device) -> None:
    """Until everything launched on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call."""
    wait(device)
    start = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - start


def roofline(device: torch.device, repeats: int = 15) -> dict[str, float]:
    """What the machine can do: the best of some runs, as a bound should be.

    Returns
    -------
    dict
        ``conv_ieee`` and, where there are instructions for it, ``conv_bf16`` (on a GPU also ``conv_tf32`` and ``conv_fp16``):
        FLOP/s of torch's own 3x3 convolution of 128 to 64 channels, which is most of the work of the critics; on a CPU on a
        strip that stays in the caches. ``copy``: bytes/s read and written.
    """
    cuda = device.type == "cuda"
    formats = {"ieee": torch.float32}
    if cuda:
        formats |= {"tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    elif cpu_has_bf16():
        formats |= {"bf16": torch.bfloat16}
    result = {}
    size = (1024, 1024) if cuda else (34, 130)
    allowed = torch.backends.cudnn.allow_tf32
    for name, dtype in formats.items():
        torch.backends.cudnn.allow_tf32 = name == "tf32"
        last = {"dtype": dtype, "device": device}
        x = torch.rand(1, 128, *size, **last).to(memory_format=torch.channels_last)  # type: ignore[arg-type]
        weight = torch.rand(64, 128, 3, 3, **last).to(memory_format=torch.channels_last)  # type: ignore[arg-type]
        work = 2 * weight.numel() * (size[0] - 2) * (size[1] - 2)

        def convolve(x: torch.Tensor = x, weight: torch.Tensor = weight) -> torch.Tensor:
            return F.conv2d(x, weight)

        convolve()
        result[f"conv_{name}"] = work / min(seconds(convolve, device) for _ in range(repeats))
    torch.backends.cudnn.allow_tf32 = allowed
    source = torch.ones(COPIED // 4, device=device)
    target = torch.zeros_like(source)
    result["copy"] = 2 * COPIED / min(seconds(lambda: target.copy_(source), device) for _ in range(repeats))
    return result
