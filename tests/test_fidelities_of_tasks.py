"""Fidelities and strengths, as options of every task."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import data

import fastreg
from fastreg import metrics, tasks
from fastreg.evaluation.noise import read_noise
from fastreg.fidelities import Huber, Poisson

UNET = fastreg.load("unet")
ASTRONAUT = torch.from_numpy(data.astronaut()[20:84, 180:244]).permute(2, 0, 1)[None] / 255


def observed(operator: fastreg.operators.LinearOperator, noise: str, sigma: float = 0.02) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    clean = operator(ASTRONAUT)
    return read_noise(noise)(clean, operator.observe(ASTRONAUT, sigma, generator), generator)


def quality(operator: fastreg.operators.LinearOperator, fidelity: str, y: torch.Tensor, sigma: float) -> float:
    restorer = tasks.make_restorer(operator, prior=UNET, fidelity=fidelity)
    return float(metrics.psnr(tasks.solve(restorer, y, sigma), ASTRONAUT)[0])


@pytest.mark.parametrize(("task", "fidelity"), [("denoise", "l1"), ("denoise", "huber"), ("deblur", "l1")])
def test_robust_fidelities_are_better_than_l2_with_outliers(task: str, fidelity: str) -> None:
    operator = tasks.make_operator(task, psf="gaussian:5:1" if task == "deblur" else None)
    y = observed(operator, "salt-pepper:0.1")
    best = max(quality(operator, "l2", y, sigma) for sigma in (0.1, 0.2, 0.3))
    assert quality(operator, fidelity, y, 0.02) > best + 3


def test_the_fidelity_of_photons_is_better_than_l2_with_few_of_them() -> None:
    operator = tasks.make_operator("denoise")
    y = observed(operator, "poisson:10", 1e-6)
    restorer = tasks.make_restorer(operator, prior=UNET, fidelity="poisson:10")
    sigma = tasks.estimate(restorer, y[0].numpy())
    assert sigma == pytest.approx(float((y.mean() / 10).sqrt()))
    best = max(quality(operator, "l2", y, factor * sigma) for factor in (0.8, 1, 1.25, 1.6))
    assert quality(operator, "poisson:10", y, sigma) > best


@pytest.mark.parametrize("task", tasks.TASKS)
@pytest.mark.parametrize("fidelity", ["l1", "huber:2", "poisson:30"])
def test_every_task_has_a_solver_for_every_fidelity(task: str, fidelity: str) -> None:
    generator = torch.Generator().manual_seed(0)
    given: tasks.Options = {"psf": "gaussian:3:1"} if task == "deblur" else {}
    given |= {"factor": 2} if task == "super-resolve" else {"pattern": "rggb"} if task == "demosaick" else {}
    operator = tasks.random_operator(task, 16, 16, generator, **given)
    restorer = tasks.make_restorer(operator, prior=UNET, iterations=1, fidelity=fidelity)
    assert restorer.fidelity.kind == fidelity.split(":")[0]
    assert restorer.solver.iterations == 1
    y = operator.observe(torch.rand(1, 3, 16, 16, generator=generator), 0.05, generator)
    assert bool(restorer(y, 0.05).isfinite().all())


def test_a_strength_is_a_stronger_noise() -> None:
    y = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for prior in ("unet", "unet-gradient"):
        plain, stronger = (tasks.restorer_for("denoise", prior=prior, strength=strength) for strength in (1, 2))
        torch.testing.assert_close(stronger(y, 0.1), plain(y, 0.2), rtol=0, atol=1e-6)
    counts = [
        tasks.restorer_for("denoise", prior=UNET, iterations=2, fidelity=Poisson(peak), strength=strength)
        for peak, strength in ((40.0, 2), (10.0, 1))
    ]
    torch.testing.assert_close(counts[0](y, 0.1), counts[1](y, 0.1))
    weights = [tasks.restorer_for("denoise", prior="alr", strength=strength).weight_rule for strength in (1, 1.5)]
    sigma = torch.tensor([0.03, 0.5])
    torch.testing.assert_close(weights[1](sigma), 1.5 * weights[0](sigma))


@pytest.mark.parametrize("task", ["denoise", "deblur", "inpaint", "super-resolve", "demosaick"])
def test_more_strength_is_smoother(task: str) -> None:
    given: tasks.Options = {"psf": "gaussian:3:1"} if task == "deblur" else {}
    given |= {"factor": 2} if task == "super-resolve" else {"pattern": "rggb"} if task == "demosaick" else {}
    operator = tasks.random_operator(task, 32, 32, torch.Generator().manual_seed(0), **given)
    clean = ASTRONAUT[..., :32, :32]
    y = operator.observe(clean, 0.05, torch.Generator().manual_seed(0))
    variation = []
    for strength in (0.5, 1, 2):
        x = tasks.make_restorer(operator, prior=UNET, strength=strength)(y, 0.05)
        variation.append(float(x.diff(dim=-1).abs().mean() + x.diff(dim=-2).abs().mean()))
    assert variation == sorted(variation, reverse=True)


def test_words() -> None:
    assert tasks.read_fidelity("huber").settings == Huber().settings
    assert tasks.read_fidelity("huber:2").settings == {"delta": 2.0}
    assert tasks.read_fidelity("poisson:12.5").settings == {"peak": 12.5}
    for text, form in (
        ("poisson", "poisson:PEAK"),
        ("poisson:-1", "poisson:PEAK"),
        ("huber:wide", "huber"),
        ("l2:3", "l2"),
        ("cauchy", "l2.l1.huber"),
    ):
        with pytest.raises(ValueError, match=f"is written {form}"):
            tasks.read_fidelity(text)
    for text in ("poisson", "poisson:x", "salt-pepper:1", "gauss", "none:3"):
        with pytest.raises(ValueError, match="the noise is none"):
            read_noise(text)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"adam needs data\.gradient, which"):
        tasks.restorer_for("denoise", prior="alr", fidelity="poisson:30")
    with pytest.raises(ValueError, match="follows from its peak"):
        tasks.noise_level("denoise", 0.1, "poisson:30")
    assert tasks.noise_level("mri", None, "poisson:30") is None
    for strength in (0.4, 2.1, float("nan")):
        with pytest.raises(ValueError, match=r"between 0\.5 and 2"):
            tasks.restorer_for("denoise", prior=UNET, strength=strength)
    with pytest.raises(ValueError, match="not both"):
        tasks.restorer_for("denoise", prior=UNET, strength=2, weight=0.1)
    dark = tasks.make_restorer(tasks.make_operator("denoise"), prior=UNET, fidelity="poisson:0.2")
    with pytest.raises(ValueError, match="got complex measurements"):
        tasks.estimate(dark, np.ones((1, 8, 8), np.complex64))
    with pytest.raises(ValueError, match="as strong as the image"):
        tasks.estimate(dark, np.ones((3, 8, 8), np.float32))
