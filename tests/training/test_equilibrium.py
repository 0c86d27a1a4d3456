"""Gradients at a fixed point, in float64, against differentiating a long solve."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastreg.fidelities import L2
from fastreg.operators import Blur, Downsample, LinearOperator, Mask
from fastreg.priors import LeastSquares, Residual, UNet
from fastreg.priors.base import GradientPrior
from fastreg.problem import Problem
from fastreg.solvers import MonotoneForwardBackward
from fastreg.solvers.tolerance import anderson, forward_backward, minimise
from fastreg.training.equilibrium import implicit_loss
from tests.registry import random

OPERATORS: dict[str, LinearOperator] = {
    "mask": Mask(random((8, 8), seed=2) > 0.4),
    "blur": Blur(random((3, 3), seed=1) + 0.1, "circular", dtype=torch.float64),
    "downsample": Downsample(random((3, 3), seed=1) + 0.1, 2, "circular", dtype=torch.float64),
}


def toy(operator: str, make: type[LeastSquares] | type[Residual]) -> tuple[Problem, Tensor, Tensor]:
    """A problem with a small network, a measurement, and the truth."""
    torch.manual_seed(0)
    prior = make(UNet(1, (4, 6), 1, "silu", residual=False)).double()
    truth = random((2, 1, 8, 8), seed=3)
    sigma = torch.tensor([0.1, 0.2]).double()
    y = OPERATORS[operator].observe(truth, sigma, torch.Generator().manual_seed(0))
    return Problem(OPERATORS[operator], L2(), prior, sigma, torch.tensor([0.7, 0.5]).double()), y, truth


def gradients(prior: GradientPrior, scalar: Tensor) -> Tensor:
    prior.zero_grad()
    scalar.backward()
    return torch.cat([p.grad.flatten() for p in prior.parameters() if p.grad is not None])


STEP = torch.tensor([0.8, 0.6]).double()


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_implicit_gradient_is_that_of_a_long_solve(operator: str) -> None:
    problem, y, truth = toy(operator, LeastSquares)
    x = problem.operator.initial(y)
    for _ in range(150):
        x = forward_backward(problem, y, x, STEP)
    unrolled = gradients(problem.prior, (x - truth).square().mean())
    with torch.no_grad():
        found = minimise(MonotoneForwardBackward(1, 0.8), problem, y, tolerance=1e-8, limit=2000)
    assert float(found.residual.max()) < 1e-8  # energies that differ by rounding errors do not tell two images apart
    torch.testing.assert_close(found.x, x.detach(), rtol=0, atol=1e-7)
    cotangent = 2 * (found.x - truth) / truth.numel()
    for backward in ("conjugate_gradients", "anderson"):
        implicit = gradients(problem.prior, implicit_loss(problem, y, found.x, cotangent, STEP, backward, 100))
        torch.testing.assert_close(implicit, unrolled, rtol=0, atol=1e-6 * float(unrolled.norm()))


@pytest.mark.parametrize("make", [LeastSquares, Residual])
def test_the_jacobian_free_gradient_is_the_first_term(make: type[LeastSquares] | type[Residual]) -> None:
    """It differentiates one more step, with the image before it held fixed."""
    problem, y, truth = toy("blur", make)
    x = random((2, 1, 8, 8), seed=5)
    cotangent = 2 * (x - truth) / truth.numel()
    one_step = gradients(problem.prior, (forward_backward(problem, y, x, STEP) * cotangent).sum())
    free = gradients(problem.prior, implicit_loss(problem, y, x, cotangent, STEP, "jacobian_free"))
    torch.testing.assert_close(free, one_step, rtol=0, atol=1e-12)


def test_an_implicit_prior_is_differentiated_with_its_own_jacobian() -> None:
    """That of x - N(x) is not symmetric."""
    problem, y, truth = toy("mask", Residual)
    x = problem.operator.initial(y)
    for _ in range(150):
        x = forward_backward(problem, y, x, STEP)
    unrolled = gradients(problem.prior, (x - truth).square().mean())
    with torch.no_grad():
        found, count, residual = anderson(
            lambda z: forward_backward(problem, y, z, STEP), problem.operator.initial(y), 1e-11, 200
        )
    assert float(residual.max()) < 1e-11 and count < 100  # plain steps take more
    torch.testing.assert_close(found, x.detach(), rtol=0, atol=1e-8)
    cotangent = 2 * (found - truth) / truth.numel()
    implicit = gradients(problem.prior, implicit_loss(problem, y, found, cotangent, STEP, "anderson", 100))
    torch.testing.assert_close(implicit, unrolled, rtol=0, atol=1e-6 * float(unrolled.norm()))
