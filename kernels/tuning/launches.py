"""The launch settings of one kernel: tried one by one, refused where they are wrong, and the fastest kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from torch import Tensor

from fastreg.kernels.tuning import accuracy
from fastreg.kernels.tuning.timing import Timer

Setting = dict[str, int]
#: A setting replaces the default only if it takes less than this share of its time.
_MARGIN = 0.98


class Check(NamedTuple):
    """A result in float64, and the largest relative rms error that a setting's result may have."""

    run: Callable[[Setting], Tensor]
    exact: Tensor
    limit: float


class Task(NamedTuple):
    """A kernel, the settings to try (the default first), what must be right, and what is timed, by name."""

    kernel: str
    grid: Sequence[Setting]
    checks: Sequence[Check]
    runs: Mapping[str, Callable[[Setting], object]]


class Trial(NamedTuple):
    """A setting and its seconds for each run; `refused` says why it is not taken, and is empty if it may be."""

    setting: Setting
    seconds: dict[str, float]
    refused: str

    def relative_to(self, other: Trial) -> float:
        """Geometric mean over the runs of how much of another's time it takes."""
        shares = [math.log(self.seconds[name] / other.seconds[name]) for name in self.seconds]
        return math.exp(sum(shares) / len(shares))


class Tuned(NamedTuple):
    """What was tried for a kernel, the default first, and the winner; None if no setting works."""

    kernel: str
    trials: list[Trial]
    winner: Trial | None

    @property
    def gain(self) -> float:
        """How many times faster the winner is than the default; infinite where the default was refused."""
        if self.winner is None:
            return math.nan
        return math.inf if self.trials[0].refused else 1 / self.winner.relative_to(self.trials[0])


def tune(
    task: Task, timer: Timer, budget: float, complaint: Callable[[str, Setting], str] = lambda kernel, setting: ""
) -> Tuned:
    """Try every setting of a kernel.

    Parameters
    ----------
    task
        The kernel and its settings.
    timer, budget
        How they are timed, and the seconds to spend on one run of all settings.
    complaint
        What else speaks against a setting of a kernel, empty if nothing does. The fastest is asked about first.
    """
    refused = [refusal(task, setting) for setting in task.grid]
    right = {k: setting for k, setting in enumerate(task.grid) if not refused[k]}
    seconds: list[dict[str, float]] = [{} for _ in task.grid]
    for name, run in task.runs.items():
        times = timer({str(k): partial(run, setting) for k, setting in right.items()}, budget) if right else {}
        for number, time in times.items():
            seconds[int(number)][name] = time
    trials = [Trial(*row) for row in zip(task.grid, seconds, refused, strict=True)]
    order = sorted(right, key=lambda k: _rank(k, trials, min(right)))
    winner = None
    for k in order:
        reason = complaint(task.kernel, trials[k].setting)
        if not reason:
            winner = trials[k]
            break
        trials[k] = trials[k]._replace(refused=reason)
    return Tuned(task.kernel, trials, winner)


def refusal(task: Task, setting: Setting) -> str:
    """Why a setting is not to be used: it does not run, or not all of its results are right; empty if neither."""
    try:
        for check in task.checks:
            error = accuracy.relative(check.run(setting), check.exact)
            if not error <= check.limit:
                return f"error {error:.1e}, at most {check.limit:.1e} passes"
        for run in task.runs.values():  # other sizes are other programs
            run(setting)
    except Exception as problem:  # compilers and drivers raise what they like
        return accuracy.does_not_run(problem)
    return ""


def _rank(k: int, trials: Sequence[Trial], first: int) -> float:
    """Share of the time of the first setting that works; that itself is ahead of what is hardly faster."""
    return _MARGIN if k == first else trials[k].relative_to(trials[first])
