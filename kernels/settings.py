"""Launch settings of the kernels and cost rates of the planner, one JSON file for each device they were measured on.

`fastreg tune` writes them. The look-up is strict: a file counts only for the device it names (for a CPU also the number of
threads) and the versions of torch and, for a GPU, of Triton that it was measured with. A user's own file goes before one that
ships. What a file does not have, and every other device, gets ``configs/default.json``, whose numbers were not measured on it
and say so (``"measured": false``): for a CPU the rates of another one, for a GPU assumptions.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import re
from collections.abc import Iterator
from contextvars import ContextVar
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import torch

FOLDER = Path(__file__).parent / "configs"

#: Settings that are tried out instead of the stored ones, see `using`.
_TRIED: ContextVar[dict[str, Any] | None] = ContextVar("fastreg_settings", default=None)


class Key(NamedTuple):
    """What settings are looked up by: the name of a device and, for a CPU, the number of threads."""

    device: str
    threads: int | None = None

    @property
    def kind(self) -> str:
        """``cpu`` or ``cuda``."""
        return "cuda" if self.threads is None else "cpu"

    @property
    def file(self) -> str:
        """Name of the settings file."""
        return file_name(self.device if self.threads is None else f"{self.device} {self.threads} threads")

    def identity(self) -> dict[str, Any]:
        """What a file must say to count for this device in this environment."""
        versions = {"device": self.device, "torch": str(torch.__version__)}
        if self.threads is None:
            return {**versions, "triton": _triton_version()}
        return {**versions, "threads": self.threads}


def file_name(device_name: str) -> str:
    """Name of a settings file, from the name of the device."""
    return re.sub(r"[^a-z0-9]+", "-", device_name.lower()).strip("-") + ".json"


def key(device: torch.device) -> Key | None:
    """What the settings of a device are looked up by; None where there is no such device."""
    if device.type == "cpu":
        return Key(cpu_name(), torch.get_num_threads())
    known = device.type == "cuda" and torch.cuda.is_available()  # a graph may be traced for a GPU where there is none
    return Key(torch.cuda.get_device_name(device)) if known else None


def user_folder() -> Path | None:
    """``$XDG_CONFIG_HOME/fastreg`` or ``~/.config/fastreg``; None without a home."""
    root = os.environ.get("XDG_CONFIG_HOME", "")
    try:
        # the specification says that a relative path is to be ignored
        return (Path(root) if os.path.isabs(root) else Path.home() / ".config") / "fastreg"
    except RuntimeError:
        return None


def places(wanted: Key) -> list[Path]:
    """Where a file for a device may lie; the first that counts is taken."""
    folders = [folder for folder in (user_folder(), FOLDER) if folder is not None]
    return [folder / wanted.file for folder in folders]


def destination(wanted: Key) -> Path:
    """Where `fastreg tune` writes a file: where the look-up finds it.

    A CPU's goes to the user's folder: nobody else has that CPU with so many threads. A GPU's goes to the package, where that
    can be written and the user has no file of that device, which would win.
    """
    found = places(wanted)
    shipped = wanted.kind == "cuda" and not found[0].exists() and os.access(FOLDER, os.W_OK)
    return found[-1] if shipped else found[0]


def defaults() -> dict[str, Any]:
    """The settings of a device that was not measured."""
    result: dict[str, Any] = json.loads((FOLDER / "default.json").read_text())
    return result


@functools.cache
def load(wanted: Key | None) -> dict[str, Any]:
    """Settings of a device, or the defaults for None and for one without a file that counts.

    They are read once; `load.cache_clear` makes the next call read them again.
    """
    path = find(wanted)
    return defaults() if path is None or wanted is None else overlaid(json.loads(path.read_text()), wanted.kind)


def find(wanted: Key | None) -> Path | None:
    """The file that counts for a device."""
    found = [] if wanted is None else [path for path in places(wanted) if path.is_file() and not refusal(path, wanted)]
    return found[0] if found else None


def refusal(path: Path, wanted: Key) -> str:
    """Why a file does not count for a device; empty if it does."""
    try:
        stored = json.loads(path.read_text())
        for name, expected in wanted.identity().items():
            if stored.get(name) != expected:
                return f"it is for {name} {stored.get(name)}, this is {expected}"
        if stored["measured"] is not True:
            return "it was not measured"
        rates = list(stored["blur_gradient"][wanted.kind].values())
        for rate in rates + [rate["large"] for rate in rates if "large" in rate]:
            if not (rate["operations"] > 0 and rate["bytes"] > 0 and rate["launch"] >= 0):
                return "it has a rate that is not positive"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "it is damaged"
    return ""


def overlaid(measured: dict[str, Any], kind: str) -> dict[str, Any]:
    """Measured settings on top of the defaults.

    Rates replace all those of their kind of device: a candidate that could not be measured has none. A launch setting counts
    if it sets what the default does; any other is of another version of the kernel.
    """
    result = defaults()
    kernels, rates = result["kernels"], {**result["blur_gradient"], kind: measured["blur_gradient"][kind]}
    for name, setting in measured.get("kernels", {}).items():
        if name in kernels and setting.keys() == kernels[name].keys():
            kernels[name] = setting
    return {**result, **measured, "kernels": kernels, "blur_gradient": rates}


def of(device: torch.device) -> dict[str, Any]:
    """Settings for a device."""
    tried = _TRIED.get()
    return load(key(device)) if tried is None else tried


@contextlib.contextmanager
def using(tried: dict[str, Any]) -> Iterator[None]:
    """Try out settings instead of the stored ones, for any device."""
    token = _TRIED.set(tried)
    try:
        yield
    finally:
        _TRIED.reset(token)


def launch(kernel: str, device: torch.device) -> dict[str, int]:
    """Block sizes and numbers of warps and stages to launch a kernel with."""
    result: dict[str, int] = of(device)["kernels"][kernel]
    return result


def explain(device: torch.device) -> tuple[bool, str]:
    """Whether the settings in use were measured on a device, and in words where they come from."""
    wanted = key(device)
    path = find(wanted)
    if path is not None:
        return True, f"measured on this device, {path}"
    stale = [] if wanted is None else [place for place in places(wanted) if place.is_file()]
    if wanted is not None and stale:
        return False, f"assumed: {stale[0]} does not count, {refusal(stale[0], wanted)}"
    return False, f"assumed: fastreg tune --device {device.type} measures them"


def frozen() -> list[tuple[str, str, dict[str, int]]]:
    """Every launch setting that ships: file, kernel, setting."""
    found = []
    for path in sorted(FOLDER.glob("*.json")):
        for kernel, setting in json.loads(path.read_text()).get("kernels", {}).items():
            found.append((path.stem, kernel, setting))
    return found


@functools.cache
def cpu_name() -> str:
    """The processor as Linux calls it, with what else tells generations apart where the name does not."""
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


def _triton_version() -> str | None:
    try:
        return metadata.version("triton")
    except metadata.PackageNotFoundError:
        return None
