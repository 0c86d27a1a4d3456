"""Rates of a device from times: the planner's model of costs, turned around.

The model of `fastreg.kernels.blur_gradient.costs` is ``launches * launch + max(operations / rate, bytes / bandwidth)``. With it
known which of the two bounds a sample it is linear in (launch, 1 / rate, 1 / bandwidth), none of them negative: least squares
are solved for one guess of the bounds, which the solution corrects, until they agree. Errors count relative to the time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

#: Corrections of the bounds for one start; they settle after a few.
_ROUNDS = 40


class Sample(NamedTuple):
    """What a call costs by the counts of the planner, and the seconds it took."""

    operations: float
    bytes: float
    launches: int
    seconds: float


class Rates(NamedTuple):
    """Seconds a launch, operations and bytes a second; `factor` is how far estimates are from times, root mean square."""

    operations: float
    bytes: float
    launch: float
    factor: float


def fit(samples: Sequence[Sample], launch: float | None = None) -> Rates:
    """The rates that explain the samples best; with the seconds a launch takes given, the two others.

    A rate that bounds no sample is as low as the samples allow, so that it bounds none; a larger image may still meet it.

    Raises
    ------
    ValueError
        If there are no samples, or one took no time.
    """
    if not samples or not all(sample.seconds > 0 and math.isfinite(sample.seconds) for sample in samples):
        raise ValueError("rates are fitted to samples that took some time, got none or one without")
    operations, moved, launches, seconds = np.array(samples, np.float64).T
    ratio = operations / moved
    # every sample may be bound by either; in between, those of many operations a byte are bound by operations
    thresholds = [-math.inf, *np.quantile(ratio, np.linspace(0, 1, 9)), math.inf]
    fitted = [_settled(operations, moved, launches, seconds, ratio > threshold, launch) for threshold in thresholds]
    launch, slowness, reluctance = min(fitted, key=lambda x: _error(x, operations, moved, launches, seconds))
    body = np.maximum(slowness * operations, reluctance * moved)
    if not body.any():  # launches explain everything: whatever else there is took no longer than the whole
        body = seconds
    slowness = slowness or float((body / operations).min())
    reluctance = reluctance or float((body / moved).min())
    solution = np.array([launch, slowness, reluctance])
    factor = math.exp(math.sqrt(_error(solution, operations, moved, launches, seconds) / len(samples)))
    return Rates(float(1 / slowness), float(1 / reluctance), float(launch), factor)


def _settled(
    operations: np.ndarray,
    moved: np.ndarray,
    launches: np.ndarray,
    seconds: np.ndarray,
    computing: np.ndarray,
    launch: float | None,
) -> np.ndarray:
    """Launch, 1 / rate and 1 / bandwidth from one guess of which samples are bound by operations; the best on the way."""
    weight, best, least = 1 / seconds, np.zeros(3), math.inf
    for _ in range(_ROUNDS):
        columns = np.stack([launches, np.where(computing, operations, 0), np.where(computing, 0, moved)], 1)
        if launch is None:
            solution = _non_negative(columns * weight[:, None], seconds * weight)
        else:
            rest = (seconds - launch * launches) * weight
            solution = np.array([launch, *_non_negative(columns[:, 1:] * weight[:, None], rest)])
        error = _error(solution, operations, moved, launches, seconds)
        if error >= least:
            break
        best, least = solution, error
        computing = solution[1] * operations >= solution[2] * moved
        # halfway to logarithms: an estimate that is half the time is as wrong as one that is twice the time
        weight = 1 / np.sqrt(seconds * np.maximum(_estimate(solution, operations, moved, launches), 1e-3 * seconds))
    return best


def _estimate(solution: np.ndarray, operations: np.ndarray, moved: np.ndarray, launches: np.ndarray) -> np.ndarray:
    result: np.ndarray = solution[0] * launches + np.maximum(solution[1] * operations, solution[2] * moved)
    return result


def _error(
    solution: np.ndarray, operations: np.ndarray, moved: np.ndarray, launches: np.ndarray, seconds: np.ndarray
) -> float:
    estimate = np.maximum(_estimate(solution, operations, moved, launches), 1e-9 * seconds)
    return float(np.square(np.log(estimate / seconds)).sum())


def _non_negative(columns: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Least squares without negative unknowns, exactly: with three of them, each of the seven sets that are not zero is tried."""
    count = columns.shape[1]
    best, least = np.zeros(count), math.inf
    for size in range(1, count + 1):
        for kept in itertools.combinations(range(count), size):
            solution = np.zeros(count)
            solution[list(kept)] = np.linalg.lstsq(columns[:, kept], target, rcond=None)[0]
            rest = float(np.square(columns @ solution - target).sum())
            if (solution >= 0).all() and rest < least:
                best, least = solution, rest
    return best
