"""Half-quadratic splitting."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastreg import Restorer
from fastreg.operators import Blur, LinearOperator
from fastreg.solvers import HalfQuadraticSplitting
from tests.registry import random
from tests.solvers.parts import Shrinking


class Watched(Shrinking):
    """Remembers the noise levels it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.levels: list[Tensor] = []

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.levels.append(sigma)
        return super().forward(x, sigma)


def test_noise_levels_fall_evenly_on_a_logarithmic_scale() -> None:
    prior = Watched()
    sigma = torch.tensor([0.1, 0.001], dtype=torch.float64)
    Restorer(prior=prior, solver=HalfQuadraticSplitting(4, first=0.4, floor=0.008, last=0.5), weight=0.2).double()(
        random((2, 3, 5, 6)), sigma
    )
    expected = torch.tensor([[0.4, 0.2, 0.1, 0.05], [0.4, 0.4 / 100 ** (1 / 3), 0.4 / 100 ** (2 / 3), 0.004]])
    torch.testing.assert_close(torch.stack(prior.levels, 1), expected.double(), rtol=1e-6, atol=0)


def test_a_single_step_on_the_identity_is_denoising() -> None:
    y, sigma = random((2, 3, 5, 6)), torch.tensor([0.05, 0.2], dtype=torch.float64)
    run = Restorer(prior=Shrinking(), solver=HalfQuadraticSplitting(1), weight=0.3).double()
    torch.testing.assert_close(run(y, sigma), Shrinking()(y, sigma), rtol=0, atol=1e-12)


def test_steps_are_those_of_the_paper() -> None:
    """Zhang et al. (2022), equation 6 with alpha_k = lambda sigma^2 / sigma_k^2, solved as one linear system."""
    blur, prior = Blur(random((3, 2), seed=1), "circular", dtype=torch.float64), Shrinking()
    y = random((1, 3, 5, 6), seed=2)
    matrix = torch.stack([blur(e.reshape(1, 1, 5, 6)).flatten() for e in torch.eye(30, dtype=torch.float64)], 1)
    sigma, weight, x = 0.1, 0.2, y
    for level in (0.4, 0.2, 0.1):
        alpha = weight * sigma**2 / level**2
        right = y.reshape(3, 30) @ matrix + alpha * x.reshape(3, 30)
        z = torch.linalg.solve(matrix.T @ matrix + alpha * torch.eye(30), right.T).T.reshape(x.shape)
        x = prior(z, torch.tensor([level], dtype=torch.float64))
    run = Restorer(blur, prior=prior, solver=HalfQuadraticSplitting(3, first=0.4), weight=weight).double()
    torch.testing.assert_close(run(y, sigma), x, rtol=0, atol=1e-6)  # exponents are float32


def test_conjugate_gradients_do_what_the_closed_form_does() -> None:
    class Iterated(Blur):
        def proximal(self, z: Tensor, y: Tensor, step: Tensor | float) -> Tensor:
            return LinearOperator.proximal(self, z, y, step)

    psf, y = random((3, 3), seed=1) + 0.1, random((2, 3, 8, 9), seed=2)
    closed, iterated = (
        Restorer(
            kind(psf, "circular", dtype=torch.float64), prior=Shrinking(), solver=HalfQuadraticSplitting(4), weight=0.2
        ).double()(y, 0.05)
        for kind in (Blur, Iterated)
    )
    torch.testing.assert_close(iterated, closed, rtol=0, atol=1e-6)


@pytest.mark.parametrize("arguments", [{"iterations": 0}, {"first": -1.0}, {"floor": 0.0}, {"first": float("nan")}])
def test_bad_arguments(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be positive"):
        HalfQuadraticSplitting(**arguments)  # type: ignore[arg-type]
