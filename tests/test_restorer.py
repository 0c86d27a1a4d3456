"""The composition: what holds for every solver, operator and prior together."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from fastreg import Restorer, solvers
from fastreg.fidelities import L1, Poisson
from fastreg.operators import Blur, Identity, Mask, gaussian_psf
from fastreg.parts import build, describe
from fastreg.priors import PatchCritic
from fastreg.problem import Problem
from fastreg.solvers import Adam, GradientDescent
from tests.registry import BLUR_BOUNDARIES, DENOISERS, FIDELITIES, OPERATORS, SOLVERS, critic, random

#: An operator of every kind, with and without closed forms.
FEW = (
    "identity",
    "mask_2d",
    "blur_circular_4x2",
    "blur_reflect_5x3",
    "blur_valid_4x2",
    "downsample_2_circular",
    "downsample_3_reflect",
    "mosaic_rggb",
    "fourier",
)
EVERY_SOLVER = pytest.mark.parametrize("solver", SOLVERS)


def small(dtype: torch.dtype = torch.float64) -> PatchCritic:
    prior, _ = critic("plain", "silu", "replicate", dtype)
    assert isinstance(prior, PatchCritic)
    return prior


def restorer(operator: str = "identity", solver: str = "adam", dtype: torch.dtype = torch.float64) -> Restorer:
    """With a prior that offers what the solver needs."""
    steps = SOLVERS[solver]()
    prior = DENOISERS["ffdnet"](dtype) if "prior.denoise" in steps.needs else small(dtype)
    return (
        Restorer(OPERATORS[operator](dtype)[0], prior=prior, solver=steps, weight=0.5).to(dtype).requires_grad_(False)
    )


def measurement(operator: str, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    module, shape = OPERATORS[operator](dtype)
    return module(random((2, 3, *shape[2:]), dtype, seed=7))


def check_restores(operator: str, solver: str) -> None:
    run, y = restorer(operator, solver), measurement(operator)
    x = run(y, sigma=0.1)
    assert x.shape == run.operator.measurement().image_shape(tuple(y.shape), channels=3)
    assert x.dtype == torch.float64
    assert x.isfinite().all()


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_restores(operator: str) -> None:
    check_restores(operator, "adam")


@EVERY_SOLVER
@pytest.mark.parametrize("operator", FEW)
def test_every_solver_with_operators_of_every_kind(operator: str, solver: str) -> None:
    check_restores(operator, solver)


@EVERY_SOLVER
@pytest.mark.parametrize("operator", FEW)
def test_entries_are_independent_each_with_its_own_sigma(operator: str, solver: str) -> None:
    run, y = restorer(operator, solver), measurement(operator)
    sigma = torch.tensor([0.05, 0.3], dtype=torch.float64)
    together = run(y, sigma)
    for k in range(2):
        alone = run(y[k : k + 1], sigma[k : k + 1])
        torch.testing.assert_close(together[k : k + 1], alone, rtol=0, atol=1e-9)


@pytest.mark.parametrize("fidelity", ["l2", "l1", "huber"])
@pytest.mark.parametrize("operator", FEW)
def test_gradient_of_the_problem(operator: str, fidelity: str) -> None:
    module, shape = OPERATORS[operator](torch.float64)
    x = random((2, 3, *shape[2:]), seed=1).requires_grad_()
    y = measurement(operator)
    sigma, weight = torch.tensor([0.1, 0.4], dtype=torch.float64), torch.tensor([0.3, 2.0], dtype=torch.float64)
    problem = Problem(module, FIDELITIES[fidelity](), small(), sigma, weight)
    scaled = (sigma.square() * x.shape[2] * x.shape[3] * problem.energy(x, y)).sum()
    (automatic,) = torch.autograd.grad(scaled, x)
    torch.testing.assert_close(problem.gradient(x, y), automatic, rtol=0, atol=1e-10)


def test_weight_does_not_depend_on_the_size() -> None:
    """Four copies of an image side by side have the energy of one, with circular boundaries or without any."""
    blur = Blur(gaussian_psf(3, 1.0), "circular")
    run = Restorer(blur, prior=small(), solver=Adam(), weight=0.3).double()
    x, y = random((1, 3, 8, 8), seed=1), random((1, 3, 8, 8), seed=2)
    one = torch.ones(1, dtype=torch.float64)
    problem = run.problem(0.1 * one, 1e-9 * one)
    torch.testing.assert_close(problem.energy(x.tile(2, 2), y.tile(2, 2)), problem.energy(x, y), rtol=1e-8, atol=0)


def test_denoising_without_prior_returns_the_observation() -> None:
    y = random((1, 3, 9, 9), torch.float32)
    x = Restorer(prior=small(torch.float32), solver=Adam(), weight=1e-12)(y, 0.1)
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


@EVERY_SOLVER
def test_solve_exports_with_open_sizes(solver: str) -> None:
    """With a mask that is an input, as masks have the size of the image."""
    run = restorer("mask_2d", solver).eval()
    about = describe(run.solver)
    if "iterations" in about["settings"]:
        about["settings"]["iterations"] = 2
    run.solver = build(solvers.SOLVERS, about).double()

    class Solve(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.run = run

        def forward(self, y: torch.Tensor, sigma: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
            return self.run.solve(y, sigma, weight)

    class WithMask(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.solve = Solve()

        def forward(
            self, y: torch.Tensor, sigma: torch.Tensor, weight: torch.Tensor, mask: torch.Tensor
        ) -> torch.Tensor:
            result: torch.Tensor = torch.func.functional_call(
                self.solve, {"run.operator.mask": mask}, (y, sigma, weight)
            )
            return result

    def example(batch: int, height: int, width: int) -> tuple[torch.Tensor, ...]:
        vector = torch.linspace(0.1, 0.3, batch, dtype=torch.float64)
        mask = (random((1, 1, height, width), seed=height) > 0.4).double()
        return random((batch, 3, height, width), seed=8) * mask, vector, vector, mask

    batch = torch.export.Dim("batch", min=1)
    sides = {2: torch.export.Dim("height", min=8), 3: torch.export.Dim("width", min=8)}
    sizes = ({0: batch, **sides}, {0: batch}, {0: batch}, sides)
    program = torch.export.export(WithMask(), example(2, 12, 11), dynamic_shapes=sizes, strict=False).module()
    other = example(3, 9, 14)
    expected = Restorer(Mask(other[3]).double(), prior=run.prior, solver=run.solver).solve(*other[:3])
    torch.testing.assert_close(program(*other), expected, rtol=0, atol=1e-9)


BAD = [
    (torch.zeros(3, 9, 9), 0.1, ValueError, r"\[B, C, H, W\]"),
    (torch.zeros(0, 3, 9, 9), 0.1, ValueError, "at least one pixel"),
    (torch.zeros(1, 4, 9, 9), 0.1, ValueError, "3 channels, got 4"),
    (torch.zeros(1, 3, 9, 9, dtype=torch.uint8), 0.1, TypeError, "uint8"),
    ("photo.png", 0.1, TypeError, "got str"),
    (torch.full((1, 3, 9, 9), math.nan), 0.1, ValueError, "NaN or infinity"),
    (torch.zeros(1, 3, 9, 9), 0.0, ValueError, "sigma must be positive"),
    (torch.zeros(1, 3, 9, 9), -1.0, ValueError, "sigma must be positive"),
    (torch.zeros(1, 3, 9, 9), math.nan, ValueError, "sigma must be positive"),
    (torch.zeros(1, 3, 9, 9), "0.1", TypeError, "sigma must be a number"),
    (torch.zeros(1, 3, 9, 9), True, TypeError, "sigma must be a number"),
    (torch.zeros(1, 3, 9, 9), torch.tensor(True), TypeError, "must hold real numbers, got a tensor of torch.bool"),
    (torch.zeros(2, 3, 9, 9), torch.full((3,), 0.1), ValueError, "one for each of the 2 entries"),
    (torch.zeros(1, 3, 9, 9), 25, ValueError, r"sigma must be below 1, got 25; it is in units of \[0, 1\]"),
    (torch.full((1, 3, 9, 9), 200.0), 0.1, ValueError, r"must be in units of \[0, 1\], .* up to 200: divide"),
    (torch.zeros(1, 3, 9, 9, dtype=torch.float16), 0.1, TypeError, "must be float32 .*, got torch.float16"),
]


@pytest.mark.parametrize(("y", "sigma", "error", "message"), BAD)
def test_bad_observations_are_refused(y: object, sigma: object, error: type[Exception], message: str) -> None:
    run = Restorer(prior=small(torch.float32), solver=Adam(), weight=1.0)
    with pytest.raises(error, match=message):
        run(y, sigma)  # type: ignore[arg-type]


def test_images_below_the_receptive_field_are_refused() -> None:
    with pytest.raises(ValueError, match="15x15 pixels, got 14x20"):
        Restorer(prior=PatchCritic(), solver=Adam(), weight=1.0)(torch.zeros(1, 3, 14, 20), 0.1)


def test_bad_parts_are_refused() -> None:
    with pytest.raises(TypeError, match="prior must be a Prior, got NoneType"):
        Restorer()
    with pytest.raises(TypeError, match="operator must be a LinearOperator, got Adam"):
        Restorer(operator=Adam(), prior=small())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not tuned for the task 'denoise': give the solver"):
        Restorer(prior=small(), weight=1.0)
    with pytest.raises(ValueError, match="no tuned weight"):
        Restorer(prior=small(torch.float32), solver=Adam())(torch.zeros(1, 3, 9, 9), 0.1)
    with pytest.raises(ValueError, match="weight must be positive"):
        Restorer(prior=small(), solver=Adam(), weight=-1.0)
    with pytest.raises(ValueError, match="mask is 8 x 9 pixels"):
        Restorer(Mask(torch.ones(8, 9)), prior=small(torch.float32), solver=Adam(), weight=1.0)(
            torch.zeros(1, 3, 9, 9), 0.1
        )
    assert isinstance(Restorer(prior=small(), solver=Adam()).operator, Identity)


def test_what_does_not_fit_together_is_refused() -> None:
    """Each solver says what it needs, priors and fidelities what they offer."""
    needs = (
        "half_quadratic_splitting needs {}, which the prior {} with the fidelity {} and the operator {} does not offer"
    )
    solver, denoiser = SOLVERS["half_quadratic_splitting"], DENOISERS["ffdnet"](torch.float32)
    with pytest.raises(ValueError, match=needs.format("prior.denoise", "patch_critic", "l2", "identity")):
        Restorer(prior=small(), solver=solver())
    blur = Blur(torch.ones(3, 3))
    with pytest.raises(ValueError, match=needs.format("data.proximal", "ffdnet", "l1", "blur")):
        Restorer(blur, L1(), denoiser, solver())
    with pytest.raises(ValueError, match=r"gradient_descent needs data.gradient, which .* poisson"):
        Restorer(Identity(), Poisson(10.0), small(), GradientDescent())
    Restorer(Mask(torch.ones(4, 4)), L1(), denoiser, solver())  # an operator that selects has a proximal map for each


NUMBERS = [0.25, np.float32(0.25), np.float64(0.25), Fraction(1, 4), torch.tensor(0.25), torch.tensor(0.25).double()]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: type(number).__name__)
def test_numbers_of_every_kind(number: float) -> None:
    y, prior = random((1, 3, 9, 9), torch.float32), small(torch.float32)
    expected = Restorer(prior=prior, solver=Adam(1), weight=0.25)(y, 0.25)
    assert torch.equal(Restorer(prior=prior, solver=Adam(1), weight=number)(y, number), expected)
    assert torch.equal(Restorer(prior=prior, solver=Adam(1))(y, number, number), expected)


@pytest.mark.parametrize("weight", ["0.25", True, np.bool_(True), torch.tensor(True), torch.ones(2), 1j, [0.25]])
def test_a_weight_that_is_no_number_is_refused_at_once(weight: object) -> None:
    with pytest.raises(TypeError, match="weight must be a number or a WeightRule, got"):
        Restorer(prior=small(), solver=Adam(), weight=weight)  # type: ignore[arg-type]


def test_a_trace_runs_what_a_call_runs() -> None:
    run, y = restorer(), measurement("identity")
    steps = [x for x, _ in run.trace(y, 0.1)]
    assert len(steps) == run.solver.iterations + 1
    assert torch.equal(steps[-1], run(y, 0.1))
    with pytest.raises(ValueError, match="sigma must be below 1"):
        run.trace(y, 2.0)  # before anything is asked of it
    denoiser = DENOISERS["ffdnet"](torch.float32)
    with pytest.raises(ValueError, match="energies need an explicit prior, and a ffdnet has no energy"):
        Restorer(prior=denoiser, solver=SOLVERS["half_quadratic_splitting"](), weight=1.0).trace(y.float(), 0.1)


def test_a_trace_keeps_nothing_of_the_process_between_two_steps() -> None:
    run, y = restorer(), measurement("identity")
    with torch.autocast("cpu", torch.bfloat16):
        for _ in run.trace(y, 0.1):
            assert torch.is_autocast_enabled("cpu")


def test_another_operator_of_the_same_task() -> None:
    masks = [random((7, 6), seed=k) > 0.5 for k in range(2)]
    first = Restorer(Mask(masks[0]), prior=small(torch.float32), solver=Adam(2), weight=0.3)
    second = first.with_operator(Mask(masks[1]))
    y = random((1, 3, 7, 6), torch.float32)
    assert torch.equal(second(y, 0.1), Restorer(Mask(masks[1]), prior=first.prior, solver=Adam(2), weight=0.3)(y, 0.1))
    assert torch.equal(first.operator.mask[0, 0].bool(), masks[0])
    assert second.prior is first.prior
    with pytest.raises(ValueError, match="expected an operator for inpaint, got one for denoise"):
        first.with_operator(Identity())
    with pytest.raises(TypeError, match="operator must be a LinearOperator, got Tensor"):
        first.with_operator(masks[0])  # type: ignore[arg-type]
