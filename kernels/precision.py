"""Number formats, and the state of the process that would change a result: torch keeps both outside of what is computed."""

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
    """Compute as a fresh process does, whatever the host has set, and leave everything as it was.

    No autocast, the default device CPU, and tf32 as asked for. The default dtype belongs to all threads and is left alone: code
    inside names its dtypes.
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
    """Allow or forbid tf32 in convolutions and matrix products; on a CPU this forbids oneDNN to round to bf16, too.

    The switches belong to the process, so calls in several threads share them: as long as any call forbids tf32 it is off, and a
    call that allows it computes more exactly for that time. The last call to end puts the switches back as the first found them.
    What the host sets in between is lost.
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
    """Torch's switches for tf32, and how many calls hold them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = {True: 0, False: 0}
        self._set: bool | None = None
        self._restore: list[Callable[[], None]] = []

    def enter(self, allowed: bool) -> None:
        """Hold the switches."""
        with self._lock:
            self._holders[allowed] += 1
            self._update()

    def leave(self, allowed: bool) -> None:
        """Release them."""
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
    """Set the switches that stand otherwise; returns what puts them back.

    Torch has two interfaces. The older one raises as soon as the host has used the newer one, and the host's own calls of the
    older one would raise if the newer one was used here: each is left to whoever uses it.
    """
    backends: Any = torch.backends  # some of the names below are unknown to type checkers
    restore: list[Callable[[], None]] = []

    def put(switch: tuple[Callable[[], Any], Callable[[Any], None]], value: Any, others: tuple[Any, ...]) -> None:
        read, write = switch
        before = read()
        if before in others:
            write(value)
            restore.append(functools.partial(write, before))

    for backend in (backends.mkldnn.conv, backends.mkldnn.matmul):
        read, write = _attribute(backend, "fp32_precision")
        restore.append(functools.partial(write, read()))  # in any case: the older interface below sets the second, too
        if read() in ("tf32", "bf16"):
            write("ieee")
    newer = ("tf32", ("none", "ieee")) if allowed else ("ieee", ("tf32", "bf16"))
    try:
        older = ("high", ("highest",)) if allowed else ("highest", ("high", "medium"))
        put((torch.get_float32_matmul_precision, torch.set_float32_matmul_precision), *older)
    except RuntimeError:
        put(_attribute(backends.cuda.matmul, "fp32_precision"), *newer)
    try:
        if backends.cudnn.fp32_precision != "none":  # the older switch would give way to this one
            raise RuntimeError
        put(_attribute(backends.cudnn, "allow_tf32"), allowed, (not allowed,))
    except RuntimeError:
        put(_attribute(backends.cudnn.conv, "fp32_precision"), *newer)
    return restore


def _attribute(owner: Any, name: str) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    return lambda: getattr(owner, name), lambda value: setattr(owner, name, value)
