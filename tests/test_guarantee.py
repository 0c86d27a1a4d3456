"""Restoring with descent guaranteed."""

from __future__ import annotations

import pytest
import torch

from fastreg import Restorer, tasks
from fastreg.compiled import prepare
from fastreg.compiled.samples import photograph
from fastreg.priors import GradientStep, LeastSquares, Regularizer
from fastreg.solvers import GradientDescent, MonotoneForwardBackward
from tests.registry import random
from tests.solvers.parts import Smooth


def test_every_task_has_an_explicit_model() -> None:
    for task in tasks.TASKS:
        options = {"deblur": {"psf": "gaussian:3:1"}, "super-resolve": {"factor": 2}, "demosaick": {"pattern": "rggb"}}
        operator = tasks.random_operator(task, 24, 24, torch.Generator().manual_seed(0), **options.get(task, {}))
        restorer = tasks.make_restorer(operator, **tasks.descent_choice(task, iterations=3))
        assert isinstance(restorer.solver, MonotoneForwardBackward) and restorer.solver.iterations == 3
        assert isinstance(restorer.prior, Regularizer)
        assert restorer.prior.card is not None and restorer.prior.card.name.startswith("unet-gradient")


def test_denoising_is_one_gradient_step() -> None:
    """A step of size 1 with a weight of 2 from the observation is x - grad h(x), and it is taken at every noise level."""
    restorer = tasks.make_restorer(tasks.make_operator("denoise"), **tasks.descent_choice("denoise"))
    clean, sigma = photograph("astronaut", (1, 3, 32, 40)), torch.tensor([0.01, 0.06, 0.2, 0.4])
    y = clean + sigma.view(-1, 1, 1, 1) * torch.randn(4, 3, 32, 40, generator=torch.Generator().manual_seed(0))
    assert isinstance(restorer.prior, LeastSquares)
    expected = GradientStep(restorer.prior)(y, sigma)
    torch.testing.assert_close(restorer(y, sigma), expected, rtol=0, atol=1e-5)


def test_an_implicit_prior_is_refused() -> None:
    with pytest.raises(ValueError, match="explicit prior only: unet is a unet, without an energy"):
        tasks.descent_choice("denoise", "unet")


def test_energies_are_reported_for_each_image() -> None:
    restorer = tasks.make_restorer(tasks.make_operator("denoise"), **tasks.descent_choice("denoise", iterations=6))
    prepared = prepare(restorer, "ieee", "never", 1)
    check = tasks.DescentCheck(prepared)
    y = random((2, 3, 24, 24), torch.float32)
    tasks.solve(prepared, y, 0.1)
    energies = check.taken()
    expected = [energy for _, energy in restorer.trace(y, 0.1)]
    torch.testing.assert_close(torch.tensor(energies), torch.stack([expected[0], expected[-1]], 1))
    assert all(after < before for before, after in energies) and check.taken() == []


def test_a_result_whose_energy_rose_is_refused() -> None:
    """Steps that are too long."""
    restorer = Restorer(prior=Smooth(), solver=GradientDescent(3, step_size=40.0), weight=50.0)
    tasks.DescentCheck(restorer)
    with pytest.raises(ValueError, match=r"the energy rose from .* to .*: the result is refused"):
        restorer(random((1, 3, 9, 9), torch.float32), 0.1)
