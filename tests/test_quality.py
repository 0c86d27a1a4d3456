"""Default settings on real photographs: every task improves on what it was given."""

from __future__ import annotations

import pytest
import torch

import fastreg
from fastreg import metrics, models
from fastreg.io import images
from fastreg.operators import Blur, Identity, LinearOperator, Mask, gaussian_psf
from tests.data import data

SIZE = 80


def random_mask() -> Mask:
    return Mask(torch.rand(SIZE, SIZE, generator=torch.Generator().manual_seed(0)) > 0.5)


@pytest.mark.parametrize(
    ("operator", "sigma", "gain"),
    [
        (Identity(), 0.1, 6.0),
        (Identity(), 0.2, 7.0),
        (Blur(gaussian_psf(7, 3.0)), 0.03, 1.0),
        (random_mask(), 0.01, 10.0),
    ],
    ids=["denoise-0.1", "denoise-0.2", "deblur", "inpaint"],
)
def test_photographs_get_better(operator: LinearOperator, sigma: float, gain: float) -> None:
    files = sorted(data("bsd400").iterdir())[:48:16]  # held out from the training of the shipped models
    clean = (
        torch.stack([torch.from_numpy(images.read_rgb8(f)[100:180, 100:180].copy()).permute(2, 0, 1) for f in files])
        / 255
    )
    y = operator(clean + 0)
    y = y + sigma * torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    if isinstance(operator, Mask):
        y = operator(y)
    restorer = fastreg.Restorer(operator, prior=fastreg.load(models.best_for(operator.task)))
    with torch.no_grad():
        x = restorer(y, sigma)
    before, after = metrics.psnr(y, clean).mean(), metrics.psnr(x, clean).mean()
    assert after > before + gain


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
