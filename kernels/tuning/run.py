"""Everything that is measured on a device, in order, and the settings file that comes of it."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch

from fastreg.kernels import settings
from fastreg.kernels._triton import available
from fastreg.kernels.critic_gradient import strips
from fastreg.kernels.tuning import critic_choice, kernel_tasks, launches, planner_rates, problems, spills
from fastreg.kernels.tuning.critic_choice import Duel
from fastreg.kernels.tuning.launches import Tuned
from fastreg.kernels.tuning.planner_rates import PlannerRates
from fastreg.kernels.tuning.timing import timer

#: Rates that choose worse than the assumed ones by more than this are not of this device but of what else it did.
WORSE = 1.05


class Tuning(NamedTuple):
    """What was measured on a device, and the settings file (`document`) for it."""

    key: settings.Key
    kernels: list[Tuned]
    planner: PlannerRates
    duels: list[Duel]
    document: dict[str, Any]

    @property
    def useless(self) -> bool:
        """Whether the fitted rates choose worse than the assumed ones: the device was too busy to be measured."""
        return self.planner.loss("fitted") > WORSE * self.planner.loss("assumed")


def tune(device: torch.device, quick: bool = False, report: Callable[[str], None] = lambda text: None) -> Tuning:
    """Measure a device.

    On a GPU: launch settings of every Triton kernel, then with them the rates of the planner, then whether critics are faster in
    Triton. On a CPU the rates of the planner alone. Everything is compared with float64 before it is timed.

    Parameters
    ----------
    device
        A CPU or a CUDA device.
    quick
        Try less: coarser settings, though good enough to be used.
    report
        Told what is being measured.

    Raises
    ------
    ValueError
        If there is no such device.
    RuntimeError
        If no way to compute a blur gives right numbers.
    """
    key = settings.key(device)
    if key is None:
        raise ValueError(f"there is no device {device} to measure")
    document, measure = settings.defaults(), timer(device)
    if device.type == "cpu":
        strips.keep_memory()  # as in a solve: else large images are timed with the pages that they ask the system for
    kernels: list[Tuned] = []
    found: list[Duel] = []
    triton = device.type == "cuda" and available()
    grid = problems.GRIDS[device.type, quick]
    with torch.no_grad():
        if triton:
            complaint = partial(spills.complaint, architecture=spills.architecture(device))
            for task in kernel_tasks.tasks(device, document, quick):
                report(f"{task.kernel}: {len(task.grid)} settings")
                kernels.append(launches.tune(task, measure, grid.budget, complaint))
                winner = kernels[-1].winner
                if winner is not None:
                    document["kernels"][task.kernel] = winner.setting
        planner = planner_rates.measure(device, grid, measure, document, report)
        if triton:
            sizes = (512,) if quick else (256, 512, 1024, 2048)
            sides = critic_choice.sides(document)
            precisions = problems.PRECISIONS
            found = critic_choice.duels(device, sizes, precisions, measure, grid.budget, sides, report)
    return Tuning(key, kernels, planner, found, _document(key, document, kernels, planner, found, quick))


def _document(
    key: settings.Key,
    chosen: dict[str, Any],
    kernels: list[Tuned],
    planner: PlannerRates,
    found: list[Duel],
    quick: bool,
) -> dict[str, Any]:
    """The settings file: what it counts for, what was chosen, and the times that were the reason."""
    document: dict[str, Any] = {
        **key.identity(),
        "measured": True,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "quick": quick,
    }
    if key.kind == "cuda":
        document["cuda"] = torch.version.cuda
    if kernels:
        works = [tuned.kernel for tuned in kernels if tuned.winner is not None]
        document["kernels"] = {name: chosen["kernels"][name] for name in works}
    if found:
        document["critic_gradient"] = critic_choice.stored(found)
    document["blur_gradient"] = {key.kind: planner.stored()}
    document["crossovers"] = [row.stored() for row in planner.crossovers]
    return document
