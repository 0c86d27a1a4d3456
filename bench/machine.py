"""What a measurement was made on: hardware, versions, commit; and how long a call takes."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fastreg import __version__
from fastreg.kernels.precision import cpu_has_bf16


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
