"""Proximal maps by conjugate gradients: the default count is enough, and the preconditioner is what makes it so."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fastreg.compiled.samples import photograph
from fastreg.operators import Blur, Downsample, LinearOperator, gaussian_psf
from fastreg.operators.conjugate_gradients import conjugate_gradients, inner
from tests.registry import random

SIGMA = 0.03


def motion() -> Tensor:
    """A curved path through 17 x 19 pixels, as a hand that shakes draws it."""
    psf = torch.zeros(17, 19, dtype=torch.float64)
    for k in range(400):
        turn = 2 * math.pi * k / 400
        psf[round(8 + 7 * math.sin(turn)), round(9 + 8 * math.cos(0.7 * turn))] += 1
    return psf


OPERATORS = {
    "gaussian_reflect": lambda: Blur(gaussian_psf(7, 3.0), "reflect", dtype=torch.float64),
    "gaussian_replicate": lambda: Blur(gaussian_psf(7, 3.0), "replicate", dtype=torch.float64),
    "motion_reflect": lambda: Blur(motion(), "reflect", dtype=torch.float64),
    "motion_valid": lambda: Blur(motion(), "valid", dtype=torch.float64),
    "downsample_reflect": lambda: Downsample(gaussian_psf(9, 1.6), 2, "reflect", dtype=torch.float64),
}
#: Weight of the image against the data, 1 / step; the noise that a denoiser removes in that step of a solve; and what may be lost
#: to an exact data step, in dB: later steps make up for what the first one lacks.
STEPS = ((0.006, 49 / 255, 0.4), (0.05, 0.066, 0.02), (1.0, 0.015, 0.001))


def situation(operator: LinearOperator, level: float) -> tuple[Tensor, Tensor, Tensor]:
    """A photograph, what was measured of it, and what a denoiser of that level would leave of it: a smoother image."""
    clean = photograph("astronaut", (1, 1, 96, 112)).double()
    y = operator.observe(clean, SIGMA, torch.Generator().manual_seed(0))
    return clean, y, Blur(gaussian_psf(9, 0.4 + 8 * level), dtype=torch.float64)(clean)


def psnr(x: Tensor, clean: Tensor) -> float:
    return float(-10 * (x - clean).square().mean().log10())


@pytest.mark.parametrize(("weight", "level", "loss"), STEPS)
@pytest.mark.parametrize("name", OPERATORS)
def test_the_default_count_is_enough(name: str, weight: float, level: float, loss: float) -> None:
    operator = OPERATORS[name]()
    clean, y, z = situation(operator, level)
    restored = operator.proximal(z, y, 1 / weight)
    operator.proximal_iterations = 200
    exact = operator.proximal(z, y, 1 / weight)
    assert psnr(exact, clean) - psnr(restored, clean) < loss


@pytest.mark.parametrize("name", ["gaussian_reflect", "motion_reflect", "downsample_reflect"])
def test_the_preconditioner_pays(name: str) -> None:
    """At the first noise level as many steps without it leave an error at least twice as large."""
    operator = OPERATORS[name]()
    _, y, z = situation(operator, STEPS[0][1])
    step = 1 / STEPS[0][0]
    plain = z - operator.adjoint(
        conjugate_gradients(
            lambda u: u + step * operator(operator.adjoint(u)), step * (operator(z) - y), operator.proximal_iterations
        )
    )
    restored = operator.proximal(z, y, step)
    operator.proximal_iterations = 200
    exact = operator.proximal(z, y, step)
    assert (restored - exact).norm() < 0.5 * (plain - exact).norm()


@pytest.mark.parametrize("boundary", ["circular", "reflect", "valid"])
def test_the_preconditioner_is_positive_definite(boundary: str) -> None:
    """Whatever the sizes, also where a measurement is smaller than the PSF."""
    operator = Blur(random((6, 5), seed=1), boundary, dtype=torch.float64)
    u, v = random((2, 1, 4, 7)) - 0.5, random((2, 1, 4, 7), seed=1) - 0.5
    precondition = operator.preconditioner(u, 3.0)
    assert (inner(u, precondition(u)) > 0).all()
    torch.testing.assert_close(inner(u, precondition(v)), inner(v, precondition(u)))


def test_conjugate_gradients_end_after_as_many_steps_as_there_are_unknowns() -> None:
    matrix = random((2, 6, 6), seed=1)
    matrix = matrix @ matrix.mT + 0.1 * torch.eye(6, dtype=torch.float64)
    right = random((2, 6), seed=2)
    right[1] = 0  # nothing to do: the steps must not divide by zero
    solution = conjugate_gradients(lambda u: (matrix @ u[..., None])[..., 0], right, 9)
    torch.testing.assert_close(solution, torch.linalg.solve(matrix, right), rtol=0, atol=1e-9)


def test_conjugate_gradients_of_complex_numbers() -> None:
    """A map that is linear over the real numbers only: u + 0.5 conj(u) weighs real parts by 1.5, imaginary ones by 0.5."""
    right = random((2, 5), torch.complex128)
    solution = conjugate_gradients(lambda u: u + 0.5 * u.conj(), right, 2)
    torch.testing.assert_close(solution, torch.complex(right.real / 1.5, right.imag / 0.5))


def test_zeros_around_the_psf_change_nothing() -> None:
    """Programs whose PSF comes with the call take it among zeros: the steps have to be the same, though they are few."""
    psf = gaussian_psf((5, 4), 1.5, torch.float64)
    small = Blur(psf, "reflect", dtype=torch.float64)
    large = Blur(torch.nn.functional.pad(psf, (3, 4, 2, 2)), "reflect", dtype=torch.float64)
    _, y, z = situation(small, 0.1)
    torch.testing.assert_close(large.proximal(z, y, 50.0), small.proximal(z, y, 50.0), rtol=0, atol=1e-10)
