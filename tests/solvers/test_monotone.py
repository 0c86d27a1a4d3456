"""Backtracking: the energy of every image falls, whatever the prior, the degradation and the start."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from fastreg import Restorer, solvers, tasks
from fastreg.priors import PatchCritic, Regularizer, UNet
from fastreg.priors.potentials import POTENTIALS
from fastreg.solvers import ForwardBackward, MonotoneForwardBackward
from tests.registry import random
from tests.solvers.parts import Smooth

OPTIONS = {
    "deblur": {"psf": "gaussian:5:1", "boundary": "circular"},
    "super-resolve": {"factor": 2},
    "demosaick": {"pattern": "rggb"},
}


def rough() -> Regularizer:
    """Not convex, and its gradient is far from small."""
    torch.manual_seed(0)
    critic = PatchCritic([(3, 8, 3), (8, 8, 3), (8, 1, 3)], "silu", "replicate")
    for weight in critic.weights:
        weight.data *= 2
    return critic


def potential(kind: str) -> Regularizer:
    """With a small network, and a gradient of about the size of the image."""
    torch.manual_seed(0)
    return POTENTIALS[kind](UNet(3, (4, 6), 1, "silu", residual=False))


PRIORS = {"smooth": Smooth, "rough": rough, **{kind: partial(potential, kind) for kind in POTENTIALS}}


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("task", tasks.TASKS)
def test_the_energy_of_each_image_falls(task: str, prior: str) -> None:
    operator = tasks.random_operator(task, 12, 12, torch.Generator().manual_seed(0), **OPTIONS.get(task, {}))
    solver = MonotoneForwardBackward(25)
    run = Restorer(operator, prior=PRIORS[prior](), solver=solver, weight=1.0).double().requires_grad_(False)
    truth = random((3, 3, 12, 12), seed=1)
    sigma, weight = torch.tensor([0.02, 0.1, 0.3]).double(), torch.tensor([500.0, 20.0, 300.0]).double()
    problem = run.problem(sigma, weight)
    y = operator.observe(truth, sigma, torch.Generator().manual_seed(0))
    state = solver.at(problem, y, 4 * random((3, 3, 12, 12), seed=2) - 1)
    energies = [problem.energy(state.x, y)]
    for row in solver.schedule.double():
        state = solver.step(problem, y, state, row)
        energies.append(problem.energy(state.x, y))
    values = torch.stack(energies)
    assert (values[1:] - values[:-1] <= 1e-12 * values[:-1].abs()).all()
    assert (values[-1] < values[0]).all()
    moved = values[1:] < values[:-1]
    assert (moved.sum(0) >= 5).all()


def test_images_of_a_batch_do_not_influence_each_other() -> None:
    run = Restorer(prior=rough(), solver=MonotoneForwardBackward(12), weight=300.0).double().requires_grad_(False)
    y, sigma = random((2, 3, 9, 8), seed=3), torch.tensor([0.3, 0.05]).double()
    problem = run.problem(sigma, torch.tensor([300.0, 2.0]).double())
    state = run.solver.start(problem, y)
    for row in run.solver.schedule:
        state = run.solver.step(problem, y, state, row)
    assert state.scale[0] < state.scale[1]  # each has its own step
    alone = torch.cat([run(y[k : k + 1], sigma[k], problem.weight[k]) for k in range(2)])
    torch.testing.assert_close(state.x, alone, rtol=0, atol=1e-12)


def test_extrapolation_and_inertia_take_fewer_steps() -> None:
    """A badly conditioned convex problem: 40 steps leave less of the energy, and enough steps lead to the same minimum."""
    sigma, weight = 0.1, 20.0
    step = 0.95 / (sigma**2 * weight * 8)
    mask = random((12, 12), seed=2) > 0.8
    operator = tasks.make_operator("inpaint", mask=mask.float())
    y = operator(random((2, 3, 12, 12), seed=3))

    def energy(solver: solvers.Solver) -> torch.Tensor:
        run = Restorer(operator, prior=Smooth(), solver=solver, weight=weight).double()
        one = torch.ones(2, dtype=torch.float64)
        return run.problem(sigma * one, weight * one).energy(run(y, sigma), y)

    least = energy(ForwardBackward(3000, step, accelerated=True))
    plain, fast, inert = (
        energy(solver) - least
        for solver in (
            ForwardBackward(40, step),
            ForwardBackward(40, step, accelerated=True),
            MonotoneForwardBackward(40, step),
        )
    )
    assert (fast < plain / 5).all() and (inert < plain / 2).all()
    assert float((energy(MonotoneForwardBackward(1500)) - least).abs().max()) < 1e-9


def test_a_bad_inertia_is_refused() -> None:
    with pytest.raises(ValueError, match=r"inertia must lie in \[0, 1\), got 1"):
        MonotoneForwardBackward(inertia=1.0)
