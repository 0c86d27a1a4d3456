"""Weights that are tuned, against optima in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastreg import models
from fastreg.operators import Blur, Identity, LinearOperator, Mask, gaussian_psf
from fastreg.parts import describe
from fastreg.priors import Denoiser, Regularizer
from fastreg.solvers import GradientDescent, HalfQuadraticSplitting
from fastreg.training import tuning
from fastreg.training.tuning import Trial, maximise, tune


class Shrinkage(Regularizer):
    """R(x) = mean (x - 1/2)^2 / 2: the solution of denoising is a weighted mean of the observation and 1/2."""

    kind = "shrinkage"

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.channels = channels

    @property
    def settings(self) -> dict[str, Any]:
        return {"channels": self.channels}

    def energy_and_gradient(self, x: Tensor, sigma: Tensor | None = None) -> tuple[Tensor, Tensor]:
        size = x.shape[-2] * x.shape[-1]
        return (x - 0.5).square().sum((1, 2, 3)) / (2 * size), (x - 0.5) / size


def images(channels: int = 1) -> Tensor:
    """White images around 1/2 with a standard deviation of 0.1."""
    return 0.5 + 0.1 * torch.randn(2, channels, 64, 64, generator=torch.Generator().manual_seed(3))


START = models.TaskSettings([[0.1, 40.0]], exponent=0.0, solver=describe(GradientDescent(60, 0.1)))


def test_the_weight_is_that_of_the_best_linear_estimator() -> None:
    """sigma^2 lambda is the ratio of the variances of noise and image (Wiener), so that lambda = 100 at every sigma."""
    tuned = tune(Shrinkage(), START, [Identity()], [0.05, 0.1, 0.2], images())
    for sigma, weight in tuned.settings.weights:
        assert weight == pytest.approx(100, rel=0.1), sigma
    for sigma, psnr in tuned.psnr:
        assert psnr == pytest.approx(-10 * np.log10(0.01 * sigma**2 / (0.01 + sigma**2)), abs=0.15)
    assert tuned.settings.solver == START.solver
    assert (tuned.settings.grey, tuned.held_out, tuned.grey) == (1.0, [], [])


def test_grey_images_get_a_factor_of_their_own() -> None:
    """Clean images of grey have the same variance in every channel: the weight of colours is right for them, too."""
    tuned = tune(Shrinkage(3), START, [Identity()], [0.1], images(3).mean(1, True).expand(-1, 3, -1, -1))
    assert tuned.settings.weights[0][1] == pytest.approx(300, rel=0.15)  # the mean of three has a third of the variance
    assert tuned.settings.grey == pytest.approx(1, abs=0.1)
    noise = Trial(Shrinkage(3), GradientDescent(1, 0.1), [Identity()], images(3), grey=True)
    assert noise.psnr(0.1, 1e-6) < noise.psnr(0.01, 1e-6)


class Wiener(Denoiser):
    """The best linear denoiser of white images around 1/2 with a standard deviation of 0.1."""

    kind = "wiener"
    channels = 1

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return 0.5 + (x - 0.5) * 0.01 / (0.01 + sigma.square().reshape(-1, 1, 1, 1))


def test_settings_of_a_solver_are_fitted_and_measured_with_other_degradations() -> None:
    """A single step of half-quadratic splitting denoises at `last` times the noise level, best at once."""
    start = models.TaskSettings([[0.1, 1.0]], solver=describe(HalfQuadraticSplitting(1, last=2.0)))
    clean = images()
    tuned = tune(Wiener(), start, [Identity()], [0.1, 0.05], clean, held_out=[Mask(torch.ones(64, 64))])
    assert tuned.settings.solver is not None
    assert tuned.settings.solver["settings"]["last"] == pytest.approx(1, abs=0.05)
    assert tuned.settings.solver["settings"]["iterations"] == 1
    assert tuned.held_out == tuned.psnr  # nothing is missing: the same problem
    assert tuned.measured == {"tuned_on": tuned.psnr, "held_out": tuned.held_out}
    before = Trial(Wiener(), tuning.solver_of(start), [Identity()], clean).psnr(0.1, 1.0)
    assert tuned.psnr[0][1] > before + 0.5


def test_the_psnr_is_averaged_over_degradations() -> None:
    operators: list[LinearOperator] = [Identity(), Blur(gaussian_psf(5, 2.0))]
    solver, clean = GradientDescent(3, 0.5), images()
    each = [Trial(Shrinkage(), solver, [operator], clean).psnr(0.1, 10.0) for operator in operators]
    assert Trial(Shrinkage(), solver, operators, clean).psnr(0.1, 10.0) == pytest.approx(sum(each) / 2)


def test_the_row_of_a_task_says_what_it_is_tuned_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(tuning, "tune", lambda *arguments: seen.extend(arguments))
    tuning.tune_task(Shrinkage(3), "inpaint", images(3))
    _, start, operators, sigmas, _, held_out, *_ = seen
    row = tuning.tasks.find("inpaint")
    assert sigmas == row.tuned_sigmas
    for masks, cases in ((operators, row.tuned_on), (held_out, row.held_out)):
        shares = [1 - float(operator.mask.mean()) for operator in masks]
        assert shares == pytest.approx([case["missing"] for case in cases], abs=0.03)
    assert tuning.solver_of(start).kind == "adam"  # of a model that ships and has a gradient
    with pytest.raises(ValueError, match="no shipped model"):
        tuning.default_settings("nothing", Shrinkage(3))
    with pytest.raises(ValueError, match="no solver"):
        tuning.solver_of(models.TaskSettings([[0.1, 1.0]]))


@pytest.mark.parametrize("guess", [-3.0, 0.7, 0.95, 4.0])
def test_parabolas_find_a_maximum(guess: float) -> None:
    where, value = maximise(lambda x: 3 - (x - 0.7) ** 2, guess, 0.4)
    assert where == pytest.approx(0.7, abs=1e-9)
    assert value == pytest.approx(3, abs=1e-9)
    where, value = maximise(lambda x: -abs(x - 0.7) - (x - 0.7) ** 2, guess, 0.4)
    assert where == pytest.approx(0.7, abs=0.2)
