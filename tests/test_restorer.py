"""The composition: what holds for every solver, operator and prior together."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from fastreg import Restorer, fidelities
from fastreg.fidelities import L2, PatchWeightedL2
from fastreg.models import WeightRule
from fastreg.operators import Blur, Identity, Mask, gaussian_psf
from fastreg.priors import PatchCritic
from fastreg.solvers import Adam, GradientDescent
from tests.registry import BLUR_BOUNDARIES, OPERATORS, SOLVERS, critic, random
from tests.solvers.parts import Shrinking

SEVEN = [name for name in OPERATORS if name.startswith("blur") and "7x7" in name]
COLOUR = [name for name in OPERATORS if name != "gaussian"]


def small(dtype: torch.dtype = torch.float64) -> PatchCritic:
    prior, _ = critic("plain", "silu", "replicate", dtype)
    assert isinstance(prior, PatchCritic)
    return prior


def restorer(operator: str = "identity", solver: str = "adam", dtype: torch.dtype = torch.float64) -> Restorer:
    """With a prior that offers what the solver needs."""
    steps = SOLVERS[solver]()
    prior = Shrinking() if "prior.denoise" in steps.needs else small(dtype)
    return Restorer(OPERATORS[operator](dtype)[0], prior=prior, solver=steps, weight=0.5).to(dtype)


def measurement(operator: str, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    module, shape = OPERATORS[operator](dtype)
    return module(random((2, 3, *shape[2:]), dtype, seed=7))


@pytest.mark.parametrize(("operator", "solver"), list(itertools.product(COLOUR, SOLVERS)))
def test_every_operator_with_every_solver(operator: str, solver: str) -> None:
    run, y = restorer(operator, solver), measurement(operator)
    x = run(y, sigma=0.1)
    assert x.shape == run.operator.image_shape(tuple(y.shape))
    assert x.isfinite().all()


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("operator", ["identity", "mask_2d", *SEVEN])
def test_entries_are_independent_each_with_its_own_sigma(operator: str, solver: str) -> None:
    run, y = restorer(operator, solver), measurement(operator)
    sigma = torch.tensor([0.05, 0.3], dtype=torch.float64)
    together = run(y, sigma)
    for k in range(2):
        alone = run(y[k : k + 1], sigma[k : k + 1])
        torch.testing.assert_close(together[k : k + 1], alone, rtol=0, atol=1e-9)


@pytest.mark.parametrize("fidelity", [L2(), PatchWeightedL2(5)], ids=["l2", "patch_weighted"])
@pytest.mark.parametrize("operator", COLOUR)
def test_gradient_of_the_problem(operator: str, fidelity: fidelities.Fidelity) -> None:
    module, shape = OPERATORS[operator](torch.float64)
    x = random((2, 3, *shape[2:]), seed=1).requires_grad_()
    y = measurement(operator)
    sigma, weight = torch.tensor([0.1, 0.4], dtype=torch.float64), torch.tensor([0.3, 2.0], dtype=torch.float64)
    problem = Restorer(module, fidelity, small()).problem(sigma, weight)
    scaled = (sigma.square() * x.shape[2] * x.shape[3] * problem.energy(x, y)).sum()
    (automatic,) = torch.autograd.grad(scaled, x)
    torch.testing.assert_close(problem.gradient(x, y), automatic, rtol=0, atol=1e-10)


def test_weight_does_not_depend_on_the_size() -> None:
    """Four copies of an image side by side have the energy of one, with circular boundaries or without any."""
    run = Restorer(Blur(gaussian_psf(3, 1.0), "circular"), prior=small(), weight=0.3).double()
    x, y = random((1, 3, 8, 8), seed=1), random((1, 3, 8, 8), seed=2)
    one = torch.ones(1, dtype=torch.float64)
    problem = run.problem(0.1 * one, 1e-9 * one)
    torch.testing.assert_close(problem.energy(x.tile(2, 2), y.tile(2, 2)), problem.energy(x, y), rtol=1e-8, atol=0)


def test_denoising_without_prior_returns_the_observation() -> None:
    y = random((1, 3, 9, 9), torch.float32)
    x = Restorer(prior=small(torch.float32), weight=1e-12)(y, 0.1)
    torch.testing.assert_close(x, y, rtol=0, atol=1e-4)


@pytest.mark.parametrize("boundary", BLUR_BOUNDARIES)
def test_gradient_descent_decreases_the_energy(boundary: str) -> None:
    """Paper, section 2.2: the explicit scheme decreases F for small enough steps."""
    run = Restorer(
        Blur(gaussian_psf(5, 1.5), boundary), prior=small(), solver=GradientDescent(15), weight=0.01
    ).double()
    y = run.operator(random((2, 3, 15, 16), seed=3)) + 0.1 * random((2, 3, 15, 16), seed=4).mean()
    energies = torch.stack([energy for _, energy in run.trace(y, 0.1)])
    assert energies.shape == (16, 2)
    assert (energies[1:] < energies[:-1]).all()


def test_adam_is_that_of_torch() -> None:
    run = restorer(solver="adam")
    run.solver = Adam(iterations=6, epsilon=1e-4).double()
    y = random((1, 3, 9, 8), seed=2)
    sigma = weight = torch.full((1,), 0.3, dtype=torch.float64)
    problem = run.problem(sigma, weight)
    x = y.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr=0.1, betas=(0.9, 0.999), eps=1e-4)
    for k in range(6):
        optimizer.param_groups[0]["lr"] = 0.1 * 0.1 ** (k / 6)
        x.grad = problem.gradient(x.detach(), y)
        optimizer.step()
    torch.testing.assert_close(run(y, 0.3, 0.3), x.detach(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("operator", ["identity", "mask_2d"])
def test_solve_exports_with_dynamic_sizes(operator: str, solver: str) -> None:
    run = restorer("identity", solver)

    class Solve(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.run = run

        def forward(self, y: torch.Tensor, sigma: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
            return self.run.solve(y, sigma, weight)

    vector = torch.tensor([0.1, 0.2], dtype=torch.float64)
    batch = torch.export.Dim("batch", min=1)
    sizes = (
        {0: batch, 2: torch.export.Dim("height", min=8), 3: torch.export.Dim("width", min=8)},
        {0: batch},
        {0: batch},
    )
    program = torch.export.export(
        Solve(), (random((2, 3, 12, 11)), vector, vector), dynamic_shapes=sizes, strict=False
    ).module()
    y = random((3, 3, 9, 14), seed=8)
    other = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    torch.testing.assert_close(program(y, other, other), run.solve(y, other, other), rtol=0, atol=1e-9)


def test_weight_rule_is_exact_to_the_last_digit_of_float32() -> None:
    first, last = (0.05, 2.6511), (0.3, 0.31702)
    sigma = torch.linspace(0.01, 0.6, 500)
    expected = []
    for value in sigma.tolist():
        share = min(max(math.log(value / first[0]) / math.log(last[0] / first[0]), 0.0), 1.0)
        expected.append(
            math.exp((1 - share) * math.log(first[0] * first[1]) + share * math.log(last[0] * last[1])) / value
        )
    got = WeightRule([first, last])(sigma)
    assert got.dtype == torch.float32
    assert torch.equal(got, torch.tensor(expected, dtype=torch.float64).float())


def test_weight_rule_interpolates_powers() -> None:
    rule = WeightRule([[0.1, 4.0], [0.4, 1.0]]).double()
    sigma = torch.tensor([0.05, 0.1, 0.2, 0.4, 0.8], dtype=torch.float64)
    expected = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.5], dtype=torch.float64)
    torch.testing.assert_close(rule(sigma), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(WeightRule.constant(0.7)(sigma.float()), torch.full((5,), 0.7))
    for pairs in ([], [[0.1, -1.0]], [[0.2, 1.0], [0.1, 1.0]], [[0.1, math.nan]]):
        with pytest.raises(ValueError, match="weight rule"):
            WeightRule(pairs)


BAD = [
    (torch.zeros(3, 9, 9), 0.1, ValueError, r"\[B, C, H, W\]"),
    (torch.zeros(0, 3, 9, 9), 0.1, ValueError, "at least one entry"),
    (torch.zeros(1, 4, 9, 9), 0.1, ValueError, "3 channels, got 4"),
    (torch.zeros(1, 3, 9, 9, dtype=torch.uint8), 0.1, TypeError, "uint8"),
    ("photo.png", 0.1, TypeError, "got str"),
    (torch.full((1, 3, 9, 9), math.nan), 0.1, ValueError, "NaN or infinity"),
    (torch.full((1, 3, 9, 9), math.inf), 0.1, ValueError, "NaN or infinity"),
    (torch.zeros(1, 3, 9, 9), 0.0, ValueError, "sigma must be positive"),
    (torch.zeros(1, 3, 9, 9), -1.0, ValueError, "sigma must be positive"),
    (torch.zeros(1, 3, 9, 9), math.nan, ValueError, "sigma must be positive"),
    (torch.zeros(1, 3, 9, 9), "0.1", TypeError, "sigma must be a number"),
    (torch.zeros(2, 3, 9, 9), torch.full((3,), 0.1), ValueError, "one for each of the 2 entries"),
]


@pytest.mark.parametrize(("y", "sigma", "error", "message"), BAD)
def test_bad_observations_are_refused(y: object, sigma: object, error: type[Exception], message: str) -> None:
    run = Restorer(prior=small(torch.float32), weight=1.0)
    with pytest.raises(error, match=message):
        run(y, sigma)  # type: ignore[arg-type]


def test_images_below_the_receptive_field_are_refused() -> None:
    with pytest.raises(ValueError, match="15x15 pixels, got 14x20"):
        Restorer(prior=PatchCritic(), weight=1.0)(torch.zeros(1, 3, 14, 20), 0.1)


def test_bad_parts_are_refused() -> None:
    with pytest.raises(TypeError, match="prior must be a Regularizer, got NoneType"):
        Restorer()
    with pytest.raises(TypeError, match="operator must be a LinearOperator, got Adam"):
        Restorer(operator=Adam(), prior=small())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no tuned weight"):
        Restorer(prior=small(torch.float32))(torch.zeros(1, 3, 9, 9), 0.1)
    with pytest.raises(ValueError, match="weight must be positive"):
        Restorer(prior=small(), weight=-1.0)
    with pytest.raises(ValueError, match="mask is 8 x 9 pixels"):
        Restorer(Mask(torch.ones(8, 9)), prior=small(torch.float32), weight=1.0)(torch.zeros(1, 3, 9, 9), 0.1)
    assert isinstance(Restorer(prior=small()).operator, Identity)
