"""The theory of Meinhardt et al. (2017) in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastreg import Restorer
from fastreg.fidelities import L1, L2, Fidelity, Huber, Poisson
from fastreg.operators import Blur, Downsample, Identity, LinearOperator, Mask
from fastreg.problem import Problem
from fastreg.solvers import ADMM, PDHG1, PDHG2, DouglasRachford, ProximalGradient, Solver
from tests.registry import random
from tests.solvers.parts import Shrinking

SIGMA, WEIGHT, LEVEL = 0.05, 0.4, 0.03
PSF = random((3, 3), seed=1) + 0.1

OPERATORS: dict[str, LinearOperator] = {
    "identity": Identity(),
    "mask": Mask(random((8, 7), seed=2) > 0.5),
    "circular": Blur(PSF, "circular", dtype=torch.float64),
    "reflect": Blur(PSF, "reflect", dtype=torch.float64),
    "valid": Blur(PSF, "valid", dtype=torch.float64),
    "downsample": Downsample(PSF, 2, "circular", dtype=torch.float64),
}
#: Douglas-Rachford, and PDHG2 with a ratio of one, take the steps of ADMM, see `test_three_schemes_are_one`.
SOLVERS: dict[str, Solver] = {
    "admm": ADMM(120, LEVEL),
    "pdhg2": PDHG2(180, LEVEL, ratio=0.6),
    "pdhg1": PDHG1(300, LEVEL),
}


def problem_of(solver: Solver, operator: str = "circular", fidelity: Fidelity | None = None) -> tuple[Problem, Tensor]:
    """A problem in float64, and a measurement of it with positive numbers."""
    run = Restorer(OPERATORS[operator], fidelity or L2(), Shrinking(), solver).double()
    run.operator.proximal_iterations = 20  # a proximal map as exact as the theory wants it
    height = 8 if operator == "downsample" else 7
    y = run.operator(random((2, 3, 8, height), seed=3)) + 0.1 * random((1,), seed=4)
    one = torch.ones(2, dtype=torch.float64)
    return run.problem(torch.tensor([1.0, 1.2], dtype=torch.float64) * SIGMA, WEIGHT * one), y


def distance(problem: Problem, x: Tensor, y: Tensor, level: Tensor) -> float:
    """How far x is from G(x - t sigma^2 grad D(A x, y); s)."""
    step = problem.data_step(level).reshape(-1, 1, 1, 1)
    return float((problem.denoise(x - step * problem.data_gradient(x, y), level) - x).abs().max())


def images(solver: Solver, problem: Problem, y: Tensor, count: int) -> list[Tensor]:
    state, result = solver.start(problem, y), []
    for row in solver.schedule[:count]:
        state = solver.step(problem, y, state, row)
        result.append(solver.result(state))
    return result


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_all_schemes_have_the_same_fixed_points(solver: str, operator: str) -> None:
    """Remark 3.1; for PDHG2 the step is t = 1 / gamma whatever tau is."""
    run = SOLVERS[solver].double()
    problem, y = problem_of(run, operator)
    level = run.schedule[0, 0].expand(2)
    x = run.fold(problem, y)
    assert distance(problem, x, y, level) < 1e-7
    # the noise level counts: with another one it is not a fixed point
    assert distance(problem, x, y, 0.7 * level) > 1e-4


@pytest.mark.parametrize("operator", OPERATORS)
def test_proximal_gradients_end_there_too(operator: str) -> None:
    """The noise level of its denoiser is that of which the others take the step that it takes."""
    run = ProximalGradient(600, step_size=0.8).double()
    problem, y = problem_of(run, operator)
    x = run.fold(problem, y)
    level = problem.sigma * (problem.weight * run.schedule[0, 0]).sqrt() / problem.operator.norm
    assert distance(problem, x, y, level) < 1e-10


def test_iterates_do_not_depend_on_the_penalty() -> None:
    """Proposition 3.2: ADMM and PDHG as the paper writes them, with a gamma and alpha = gamma t, take the steps of ours."""
    gamma = 3.0
    ours: list[Solver] = [ADMM(6, LEVEL).double(), PDHG2(6, LEVEL, ratio=0.7).double(), PDHG1(6, LEVEL).double()]
    for run in ours:
        problem, y = problem_of(run, "reflect")
        level = run.schedule[0, 0].expand(2)
        alpha = gamma * problem.data_step(level)
        a, start = problem.operator, problem.operator.initial(y)
        u, ahead, dual, z = start, start, torch.zeros_like(start), torch.zeros_like(y)
        expected = []
        for _ in range(6):
            if isinstance(run, ADMM):
                v = problem.denoise(u + dual / gamma, level)
                u = problem.data_proximal(v - dual / gamma, y, alpha / gamma)
                dual = dual + gamma * (u - v)
            else:
                if isinstance(run, PDHG1):
                    q = z / gamma + a(ahead)
                    z = gamma * q - gamma * problem.fidelity.proximal(q, y, problem.sigma, alpha / gamma)
                dual = dual + gamma * ahead - gamma * problem.denoise(dual / gamma + ahead, level)
                previous = u
                if isinstance(run, PDHG1):
                    tau = run.ratio / (1 + a.norm.square()) / gamma
                    u = u - tau * (a.adjoint(z) + dual)
                else:
                    tau = 0.7 / gamma
                    u = problem.data_proximal(u - tau * dual, y, tau * alpha)
                ahead = 2 * u - previous
            expected.append(u)
        torch.testing.assert_close(images(run, problem, y, 6), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("operator", OPERATORS)
def test_three_schemes_are_one(operator: str) -> None:
    """Douglas-Rachford, ADMM, and PDHG2 with tau gamma = 1."""
    one, *others = [scheme(6, LEVEL).double() for scheme in (DouglasRachford, ADMM, PDHG2)]
    problem, y = problem_of(one, operator)
    for other in others:
        torch.testing.assert_close(images(other, problem, y, 6), images(one, problem, y, 6), rtol=0, atol=1e-9)


@pytest.mark.parametrize("operator", ["reflect", "downsample"])
@pytest.mark.parametrize("fidelity", [Huber(), Poisson(100.0)], ids=["huber", "poisson"])
def test_pdhg1_takes_any_fidelity_with_any_operator(fidelity: Fidelity, operator: str) -> None:
    run = PDHG1(600, LEVEL).double()
    problem, y = problem_of(run, operator, fidelity)
    assert distance(problem, run.fold(problem, y), y, run.schedule[0, 0].expand(2)) < 1e-8
    with pytest.raises(ValueError, match=r"needs data\.proximal"):
        Restorer(OPERATORS[operator], fidelity, Shrinking(), ADMM())


def test_pdhg1_with_absolute_values() -> None:
    """At a fixed point q / t is a subgradient of the fidelity, and x = G(x - A* q)."""
    run = PDHG1(2000, LEVEL).double()
    problem, y = problem_of(run, "reflect", L1())
    state = run.start(problem, y)
    for row in run.schedule:
        state = run.step(problem, y, state, row)
    x, q = state.x, state.measurement
    level = run.schedule[0, 0].expand(2)
    assert float((problem.denoise(x - problem.operator.adjoint(q), level) - x).abs().max()) < 1e-6
    # D is a sum over measured numbers: t sigma^2 D has the slope r in each of them
    residual = problem.operator(x) - y
    slope = problem.data_step(level) * problem.sigma.square() * L1()(y + 1, y, problem.sigma) / y[0].numel()
    assert (q.abs() <= slope.reshape(-1, 1, 1, 1) * (1 + 1e-6)).all()
    torch.testing.assert_close(q * residual, slope.reshape(-1, 1, 1, 1) * residual.abs(), rtol=0, atol=1e-6)
