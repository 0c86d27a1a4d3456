"""Number formats, and isolation from settings of the process (autocast, default device, tf32) that would change a result."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
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
def isolated(tf32: bool = False) -> Iterator[None]:
    """Compute with the settings of a fresh process, whatever the caller has set, and restore the caller's settings afterwards.

    Autocast is off, the default device is the CPU, and tf32 is as given. The default dtype is shared by all threads and is not
    changed; code that runs inside names its dtypes instead.
    """
    with contextlib.ExitStack() as stack:
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(tensor_float(tf32))
        yield


@contextlib.contextmanager
def tensor_float(allowed: bool) -> Iterator[None]:
    """Allow or forbid tf32 in convolutions and matrix products. In either case oneDNN on a CPU may not round to bf16.

    The settings belong to the process and are shared by all threads: as long as any call forbids tf32 it is off, and calls that
    allow it compute more accurately during that time. When the last call ends, the settings are restored to what the first call
    found; changes that the caller makes in between are lost.
    """
    _switches.enter(allowed)
    try:
        yield
    finally:
        _switches.leave(allowed)


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bf16 numbers in hardware (AVX512-BF16 or AMX)."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


class _Switches:
    """Torch's settings for tf32, and the number of calls that currently allow or forbid it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = {True: 0, False: 0}
        self._set: bool | None = None
        self._restore: list[Callable[[], None]] = []

    def enter(self, allowed: bool) -> None:
        """Begin a call."""
        with self._lock:
            self._holders[allowed] += 1
            self._update()

    def leave(self, allowed: bool) -> None:
        """End a call."""
        with self._lock:
            self._holders[allowed] -= 1
            self._update()

    def _update(self) -> None:
        wanted = None if not any(self._holders.values()) else not self._holders[False]
        if wanted == self._set:
            return
        for restore in reversed(self._restore):
            restore()
        self._restore = [] if wanted is None else _switch(wanted)
        self._set = wanted


_switches = _Switches()


def _switch(allowed: bool) -> list[Callable[[], None]]:
    """Change the settings that differ from what is wanted, and return functions that restore them.

    Torch has two interfaces. Once the newer one has been used, the older one raises an error. So the newer one is used here only
    if the caller has used it already; otherwise the caller's own use of the older one would fail.
    """
    backends: Any = torch.backends  # some of the names below are unknown to type checkers
    restore: list[Callable[[], None]] = []

    def older(read: Callable[[], Any], write: Callable[[Any], None], value: Any, others: tuple[Any, ...]) -> None:
        before = read()
        if before in others:
            restore.append(functools.partial(write, before))
            write(value)

    def newer(switch: Any, library: Any, tf32: bool) -> None:
        rounds = switch.fp32_precision in ("tf32", "bf16")
        if rounds != tf32:
            restore.append(_restoring(switch, library))
            switch.fp32_precision = "tf32" if tf32 else "ieee"

    restore.append(_restoring(backends.mkldnn.matmul, backends.mkldnn))  # the older interface sets it, too
    for switch in (backends.mkldnn.conv, backends.mkldnn.matmul):
        newer(switch, backends.mkldnn, False)
    try:
        values = ("high", ("highest",)) if allowed else ("highest", ("high", "medium"))
        older(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, *values)
    except RuntimeError:
        newer(backends.cuda.matmul, backends.cudnn, allowed)
    try:
        if backends.cudnn.fp32_precision != "none":  # it takes precedence over the older setting
            raise RuntimeError
        older(
            lambda: backends.cudnn.allow_tf32,
            functools.partial(setattr, backends.cudnn, "allow_tf32"),
            allowed,
            (not allowed,),
        )
    except RuntimeError:
        newer(backends.cudnn.conv, backends.cudnn, allowed)
    return restore


def _restoring(switch: Any, library: Any) -> Callable[[], None]:
    """A function that restores a setting; one that was inherited from its library is inherited again."""
    before = switch.fp32_precision
    return functools.partial(setattr, switch, "fp32_precision", "none" if before == library.fp32_precision else before)
