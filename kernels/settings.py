"""Launch settings of the kernels and cost rates of the planner, one JSON file for each GPU they were measured on.

The look-up is strict: a file counts only for the device it names and the Triton version it was measured with. Anything else
gets ``configs/default.json``, whose numbers are assumptions and say so (``"measured": false``).
"""

from __future__ import annotations

import functools
import json
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

FOLDER = Path(__file__).parent / "configs"


def file_name(device_name: str) -> str:
    """Name of the settings file of a GPU, from the name its driver gives."""
    return re.sub(r"[^a-z0-9]+", "-", device_name.lower()).strip("-") + ".json"


@functools.cache
def load(device_name: str | None) -> dict[str, Any]:
    """Settings for a GPU, or the defaults for None, an unknown GPU, or one measured with another Triton."""
    default: dict[str, Any] = json.loads((FOLDER / "default.json").read_text())
    path = FOLDER / file_name(device_name) if device_name is not None else None
    if path is None or not path.is_file():
        return default
    measured: dict[str, Any] = json.loads(path.read_text())
    if measured.get("device") != device_name or measured.get("triton") != _triton_version():
        return default
    return measured


def of(device: torch.device) -> dict[str, Any]:
    """Settings for a device."""
    known = device.type == "cuda" and torch.cuda.is_available()  # a graph may be traced for a GPU where there is none
    return load(torch.cuda.get_device_name(device) if known else None)


def launch(kernel: str, device: torch.device) -> dict[str, int]:
    """Block sizes and numbers of warps and stages to launch a kernel with."""
    result: dict[str, int] = of(device)["kernels"][kernel]
    return result


def frozen() -> list[tuple[str, str, dict[str, int]]]:
    """Every stored launch setting: file, kernel, setting."""
    found = []
    for path in sorted(FOLDER.glob("*.json")):
        for kernel, setting in json.loads(path.read_text())["kernels"].items():
            found.append((path.stem, kernel, setting))
    return found


def _triton_version() -> str | None:
    try:
        return metadata.version("triton")
    except metadata.PackageNotFoundError:
        return None
