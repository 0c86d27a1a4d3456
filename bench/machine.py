"""The hardware, versions and commit of a measurement, and the time of a call."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fastreg import machine
from fastreg.compiled.cache import use_persistent_cache


def commit() -> str:
    """The current commit, with a ``+`` if files were changed; empty outside a repository."""
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
    """Hardware, threads, versions and commit for a JSON file of results."""
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    return {**machine.describe(device), "load": load, "commit": commit()}


def begin(threads: int, name: str) -> tuple[torch.device, dict[str, Any]]:
    """Set the number of threads and keep compiled programs on disk; the device of that name, and what it is."""
    torch.set_num_threads(threads)
    use_persistent_cache()
    device = torch.device(name)
    return device, describe(device)


def wait(device: torch.device) -> None:
    """Wait until the device has finished all work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call."""
    wait(device)
    start = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - start
