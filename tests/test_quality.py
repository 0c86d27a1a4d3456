"""Default settings on real photographs, with degradations that nothing was tuned on: better than classical methods."""

from __future__ import annotations

import pytest
import torch

import fastreg
from fastreg import metrics, models, tasks
from fastreg.evaluation.baselines import BASELINES
from fastreg.io import images
from fastreg.operators import Blur, gaussian_psf
from tests.data import data

SIZE = 80
#: Noise levels that are reported for each task.
SIGMAS = {"denoise": (0.1, 0.2), "deblur": (0.03, 0.1)}


def cases() -> list[tuple[str, float, int]]:
    """Task, noise level and number of the degradation, for every task that its default model was tuned for."""
    return [
        (name, sigma, k)
        for name, row in tasks.TASKS.items()
        if name in models.load(row.prior).card.tasks
        for sigma in SIGMAS.get(name, (0.01,))
        for k in range(len(row.held_out))
    ]


@pytest.mark.parametrize(("task", "sigma", "k"), cases())
def test_photographs_are_restored_better_than_by_classical_methods(task: str, sigma: float, k: int) -> None:
    files = sorted(data("bsd400").iterdir())[:48:16]  # held out from the training of the shipped models
    row = tasks.find(task)
    gains = []
    for number, file in enumerate(files):
        clean = torch.from_numpy(images.read_rgb8(file)[100 : 100 + SIZE, 100 : 100 + SIZE].copy())
        clean = clean.permute(2, 0, 1)[None] / 255
        generator = torch.Generator().manual_seed(number)
        options = dict(row.held_out[k])
        scale = options.get("factor", 1)
        clean = clean[..., : SIZE // scale * scale, : SIZE // scale * scale]
        operator = tasks.random_operator(task, *clean.shape[-2:], generator, **options)
        restorer = tasks.make_restorer(operator)
        y = operator.observe(clean, sigma, generator)
        classical = torch.from_numpy(BASELINES[row.baseline](operator, y, sigma))
        gains.append(metrics.psnr(tasks.solve(restorer, y, sigma), clean) - metrics.psnr(classical, clean))
    assert sum(float(gain[0]) for gain in gains) / len(gains) > 0.5, gains


def test_compiled_solve_equals_the_eager_one() -> None:
    """Gates of a float32 backend: rms 5e-4 and 0.005 dB; one program for all sizes."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    photograph = (
        torch.from_numpy(images.read_rgb8(sorted(data("bsd400").iterdir())[0]).copy()).permute(2, 0, 1)[None] / 255
    )
    restorer = fastreg.Restorer(Blur(gaussian_psf(5, 1.5)), prior=fastreg.load("alr"), solver=fastreg.solvers.Adam(6))
    fast = fastreg.compile(restorer)
    for height, width in ((41, 50), (52, 39), (64, 33)):
        clean = photograph[..., :height, :width]
        y = clean + 0.05 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            eager, compiled = restorer(y, 0.05), fast(y, 0.05)
        assert float((eager - compiled).square().mean().sqrt()) < 5e-4
        assert abs(float(metrics.psnr(eager, clean)[0] - metrics.psnr(compiled, clean)[0])) < 0.005
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 2
