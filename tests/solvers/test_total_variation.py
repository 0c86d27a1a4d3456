"""Differences, and PDHG2 with total variation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastreg import Restorer
from fastreg.operators import Blur, Identity, LinearOperator
from fastreg.solvers import PDHG2, PDHG2State, differences
from tests.registry import random
from tests.solvers.parts import Unchanged


def test_differences_and_their_adjoint() -> None:
    x, z = random((2, 3, 5, 7), seed=1), random((2, 6, 5, 7), seed=2)
    torch.testing.assert_close((differences.gradient(x) * z).sum(), (x * differences.adjoint(z)).sum())
    assert not differences.gradient(torch.ones(1, 2, 4, 4)).any()
    checkerboard = (torch.arange(32)[:, None] + torch.arange(32)) % 2 * 2.0 - 1
    norm = (differences.gradient(checkerboard[None, None]).square().sum() / checkerboard.square().sum()).item()
    assert 7.5 < norm <= 8


def solved(operator: LinearOperator, y: Tensor, isotropic: bool, iterations: int) -> tuple[PDHG2State, Tensor, Tensor]:
    """Last state, step t of the data and weight beta, without any other prior."""
    solver = PDHG2(iterations, level=0.1, total_variation=0.4, isotropic=isotropic).double()
    run = Restorer(operator, prior=Unchanged(), solver=solver).double()
    sigma = torch.full((len(y),), 0.1, dtype=torch.float64)
    problem = run.problem(sigma, torch.full_like(sigma, 0.5))
    state = solver.start(problem, y)
    for row in solver.schedule:
        state = solver.step(problem, y, state, row)
    level = solver.schedule[0, 0]
    return state, problem.data_step(level.expand(len(y)))[0], 0.4 * level


@pytest.mark.parametrize("isotropic", [True, False])
def test_an_edge_moves_by_the_closed_form(isotropic: bool) -> None:
    """In one dimension two constant pieces of n and m pixels approach each other by beta / (t n) and beta / (t m)."""
    y = torch.cat([torch.full((1, 3, 5, 4), 0.2), torch.full((1, 3, 5, 6), 0.9)], -1).double()
    state, t, beta = solved(Identity(), y, isotropic, 4000)
    expected = torch.cat([y[..., :4] + beta / (4 * t), y[..., 4:] - beta / (6 * t)], -1)
    torch.testing.assert_close(state.x, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize("blurred", [True, False])
def test_minimiser_of_total_variation(blurred: bool, isotropic: bool) -> None:
    """The dual differences prove it: t A*(A x - y) + D* q = 0, \\|q\\| <= beta, and <q, D x> = beta TV(x)."""
    operator = Blur(random((3, 3), seed=5) + 0.1, "circular", dtype=torch.float64) if blurred else Identity()
    y = operator(random((2, 3, 6, 7), seed=4))
    state, t, beta = solved(operator, y, isotropic, 4000)
    x, q = state.x, state.differences
    gradient = t * operator.gradient(x, y) + differences.adjoint(q)
    assert float(gradient.abs().max()) < 1e-6

    def length(z: Tensor) -> Tensor:
        rows, columns = z.chunk(2, 1)
        return torch.hypot(rows, columns) if isotropic else z.abs()

    slopes = differences.gradient(x)
    assert float(length(q).max()) <= float(beta) * (1 + 1e-9)
    torch.testing.assert_close((q * slopes).sum(), beta * length(slopes).sum(), rtol=1e-5, atol=0)
    assert float(length(slopes).min()) < 1e-6 < float(length(slopes).max())
