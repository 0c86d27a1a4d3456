"""The paths of the blur gradient and the step of the solver on the CPU: what the planner chooses from.

Run by `make bench`. Every path is checked against float64 before it is timed.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from fastreg.kernels.blur_gradient import reference as blur
from fastreg.kernels.blur_gradient.planner import Planner
from fastreg.kernels.solver_step import reference as step
from fastreg.kernels.tuning.accuracy import relative
from fastreg.kernels.tuning.problems import psfs

HEIGHT, WIDTH = 321, 481
PSFS = dict(psfs())
SIDES = (7, 15, 25)


def planned(name: str) -> list[str]:
    """Paths that the planner may take for a PSF."""
    planner = Planner(PSFS[name], "reflect")
    plan = planner.plan((1, 3, HEIGHT, WIDTH), torch.float32, torch.device("cpu"))
    return [candidate.name for candidate in plan.candidates if not candidate.refused]


CASES = [(name, path) for name in PSFS if int(name.split()[-1]) in SIDES for path in planned(name)]


@pytest.mark.parametrize(("name", "path"), CASES)
def test_blur_gradient(benchmark: Any, name: str, path: str) -> None:
    psf = PSFS[name]
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(1, 3, HEIGHT, WIDTH, generator=generator) for _ in range(2))
    planner = Planner(psf, "reflect")
    plan = planner.plan(tuple(x.shape), x.dtype, x.device, path)
    exact = blur.gradient(x.double(), y.double(), psf.double(), "reflect")
    assert relative(plan.gradient(x, y), exact) < 1e-5
    benchmark.group = f"blur gradient, {name}"
    chosen = planner.plan(tuple(x.shape), x.dtype, x.device).choice == path
    benchmark.extra_info.update(
        contender=f"{path} (the planner's choice)" if chosen else path, precision="ieee", shape=list(x.shape)
    )
    benchmark.pedantic(plan.gradient, args=(x, y), rounds=9, warmup_rounds=2)


@pytest.mark.parametrize("contender", ["eager", "compiled"])
def test_solver_step(benchmark: Any, contender: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x, mean, data, prior = (torch.randn(1, 3, HEIGHT, WIDTH, generator=generator) for _ in range(4))
    row = torch.tensor([0.1, 0.3, 0.002])
    arguments: tuple[Any, ...] = (x, mean, mean.square(), data, prior, torch.ones(1), row, 0.9, 0.999, 1e-4)
    double = [a.double() if isinstance(a, torch.Tensor) else a for a in arguments]
    run = partial(torch.compile(step.adam_step) if contender == "compiled" else step.adam_step, *arguments)
    assert relative(run()[0], step.adam_step(*double)[0]) < 1e-6
    benchmark.group = "solver step"
    benchmark.extra_info.update(contender=contender, precision="ieee", shape=list(x.shape))
    benchmark.pedantic(run, rounds=15, warmup_rounds=2)
