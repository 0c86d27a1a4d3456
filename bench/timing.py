"""Interleaved timing, so that changes in the load of the machine affect all contenders alike, and its statistics."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from bench.machine import seconds


def interleaved(
    runs: Mapping[str, Callable[[], object]],
    rounds: int,
    device: torch.device,
    report: Callable[[int], None] = lambda done: None,
) -> dict[str, list[float]]:
    """Seconds of every run, interleaved.

    Every other round is in reverse order, so that no run always follows the same other one. No sample is discarded: warm up
    before.

    Parameters
    ----------
    runs
        What to time, by name.
    rounds
        How often.
    device
        The device that the runs use; it is synchronised.
    report
        Called with the number of rounds that are done.
    """
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for done in range(rounds):
        names = list(runs)
        for name in names if done % 2 == 0 else reversed(names):
            samples[name].append(seconds(runs[name], device))
        report(done + 1)
    return samples


def quartiles(values: Sequence[float]) -> list[float]:
    """Lower and upper quartile; for a single value, that value twice."""
    if len(values) < 2:
        return [values[0], values[0]]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return [low, high]


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median, quartiles and number of samples."""
    return {"p50": statistics.median(values), "quartiles": quartiles(values), "samples": len(values)}


def ratio(slow: Sequence[float], fast: Sequence[float]) -> dict[str, Any]:
    """How many times faster `fast` is: the ratio of the medians, and the quartiles of the ratios in each round.

    Raises
    ------
    ValueError
        If the two were not timed in the same rounds.
    """
    if len(slow) != len(fast) or not slow:
        raise ValueError(f"a ratio needs two equally long lists of samples, got {len(slow)} and {len(fast)} samples")
    each = [s / f for s, f in zip(slow, fast, strict=True)]
    return {
        "ratio": statistics.median(slow) / statistics.median(fast),
        "quartiles": quartiles(each),
    }
