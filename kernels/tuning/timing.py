"""Times of rivals, one call of each in turn, so that none has the quiet moments to itself."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping

import torch

Runs = Mapping[str, Callable[[], object]]
#: Seconds of a call for each run. Rounds are as many as fit into a budget of seconds, three at least.
Timer = Callable[[Runs, float], dict[str, float]]

LEAST_ROUNDS, MOST_ROUNDS = 3, 50


def timer(device: torch.device) -> Timer:
    """How calls are timed on a device.

    On a CPU by the clock, and the fastest call counts: whatever else the machine does can only slow a call down. On a GPU by
    events, and the median counts. Before each call, its second-level cache is overwritten: in a solve, a prior passes more than
    that through it between two calls. That also keeps the GPU busy while the host launches, so that its delay is not measured.
    """
    return _on_gpu(device) if device.type == "cuda" else _on_cpu


def _on_cpu(runs: Runs, budget: float) -> dict[str, float]:
    samples = {name: [_clocked(run)] for name, run in runs.items()}
    for run in runs.values():  # the first call of each plans and allocates
        run()
    for turn in range(_rounds(budget, sum(first for (first,) in samples.values()))):
        for name in _order(runs, turn):
            samples[name].append(_clocked(runs[name]))
    return {name: min(values) for name, values in samples.items()}


def _on_gpu(device: torch.device) -> Timer:
    cache = int(getattr(torch.cuda.get_device_properties(device), "L2_cache_size", 0)) or 1 << 26
    filler = torch.empty(2 * cache, dtype=torch.int8, device=device)
    filler.zero_()  # the first call loads the kernel
    fill = _event_pair(filler.zero_, device)
    torch.cuda.synchronize(device)
    fills = max(1, math.ceil(1e-3 / max(fill(), 1e-6)))  # a millisecond is ahead of any launch

    def measure(runs: Runs, budget: float) -> dict[str, float]:
        for run in runs.values():  # compile, plan, and warm the allocator
            run()
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        for run in runs.values():
            run()
        torch.cuda.synchronize(device)
        once = time.perf_counter() - start + 1e-3 * len(runs)
        pending: dict[str, list[Callable[[], float]]] = {name: [] for name in runs}
        for turn in range(_rounds(budget, once)):
            for name in _order(runs, turn):
                for _ in range(fills):
                    filler.zero_()
                pending[name].append(_event_pair(runs[name], device))
        torch.cuda.synchronize(device)
        return {name: statistics.median(seconds() for seconds in values) for name, values in pending.items()}

    return measure


def _event_pair(run: Callable[[], object], device: torch.device) -> Callable[[], float]:
    """Put a call between two events; once the device is done, the result says how many seconds it took."""
    with torch.cuda.device(device):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        run()
        end.record()
    return lambda: float(start.elapsed_time(end)) / 1e3


def _clocked(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _rounds(budget: float, once: float) -> int:
    return max(LEAST_ROUNDS, min(MOST_ROUNDS, int(budget / max(once, 1e-9))))


def _order(runs: Runs, turn: int) -> list[str]:
    """Every other turn goes backwards, so that none always runs behind the same neighbour."""
    names = list(runs)
    return names if turn % 2 == 0 else names[::-1]
