"""The tuner's tasks, run by the interpreter: every kernel it knows is launched with the settings it tries, and found right."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fastreg.kernels import settings
from fastreg.kernels.tuning import kernel_tasks, launches, problems

SIZES = kernel_tasks.Sizes(psfs=(3,), checked=11, timed=(11,), critic=(11,))


def test_every_kernel_is_tuned(monkeypatch: pytest.MonkeyPatch) -> None:
    small = ((3, 4, 3, 1), (4, 2, 2, 2))
    meeting = ((3, 32, 3, 1), (32, 54, 3, 1), (54, 8, 2, 2), (8, 8, 3, 1), (8, 2, 1, 1))  # every fused kernel
    monkeypatch.setattr(problems, "CHAINS", {"small": small, "meeting": meeting})
    chosen = settings.defaults()
    tuned = {}
    for task in kernel_tasks.tasks(torch.device("cpu"), chosen, True, SIZES):
        ran: list[str] = []

        def once(runs: Any, budget: float, ran: list[str] = ran, task: launches.Task = task) -> dict[str, float]:
            for name, run in runs.items():
                ran.append(name)
                if not task.kernel.startswith("critic"):  # there they are the calls that were checked
                    run()
            return dict.fromkeys(runs, 1.0)

        # one setting that is not the default: others differ in tiles alone
        tuned[task.kernel] = launches.tune(task._replace(grid=[task.grid[1]]), once, 0.0)
        assert ran == ["0"] * len(task.runs)
        assert tuned[task.kernel].trials[0].refused == "", task.kernel
    everything = {name for name in chosen["kernels"] if not name.endswith(("tf32", "half"))}
    assert set(tuned) == everything


def test_a_launch_takes_the_setting_that_is_tried() -> None:
    tasks = kernel_tasks.tasks(torch.device("cpu"), settings.defaults(), True, SIZES)
    task = next(tasks)
    assert task.kernel == "adam_step"
    with pytest.raises(KeyError, match="BLOCK"):
        task.checks[0].run({"num_warps": 4})
