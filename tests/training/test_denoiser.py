"""Training of denoisers: what they are shown, and that they learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fastreg.priors import GradientStep, UNet
from fastreg.priors.potentials import POTENTIALS
from fastreg.training.denoiser import LAST_RATE, DenoiserObjective, DenoiserRecipe, denoising_psnr
from fastreg.training.loop import Budget, Loop
from fastreg.training.patches import PatchSource, split


def source(size: int = 16, value: int | None = None) -> PatchSource:
    if value is not None:
        return PatchSource([np.full((40, 40, 3), value, np.uint8)], size)
    pixels = np.add.outer(np.arange(60), np.arange(70))[..., None] + 40 * np.arange(3)
    return PatchSource([pixels.astype(np.uint8), pixels[:50, ::-1].astype(np.uint8).copy()], size)


def objective(channels: int = 3, **recipe: object) -> DenoiserObjective:
    torch.manual_seed(0)
    settings = DenoiserRecipe(**{"crop": 16, "batch": 4, "warm_up": 5, **recipe})  # type: ignore[arg-type]
    return DenoiserObjective(UNet(channels, widths=(4, 8), blocks=1), settings, source(settings.crop))


def test_noise_and_grey_images_are_those_of_the_recipe() -> None:
    made = objective(batch=4000, crop=8)
    made.source = source(8, 128)
    clean, noisy, sigma = made.draw(torch.Generator().manual_seed(0))
    assert noisy.is_contiguous(memory_format=torch.channels_last)
    noise = noisy - clean
    torch.testing.assert_close((noise.std((1, 2, 3)) / sigma).mean(), torch.tensor(1.0), rtol=0, atol=0.01)
    share = ((sigma * 255 > 55) & (sigma * 255 <= 110)).float().mean()
    assert float(share) == pytest.approx(0.15, abs=0.02)
    assert 0.5 / 255 <= float(sigma.min()) < 2 / 255
    grey = (noise[:, 0] == noise[:, 1]).flatten(1).all(1)
    assert float(grey.float().mean()) == pytest.approx(0.15, abs=0.02)
    single = objective(1, batch=3)
    assert [tuple(images.shape) for images in single.draw(torch.Generator().manual_seed(0))[:2]] == [(3, 1, 16, 16)] * 2


def test_crops_are_squares_of_the_photographs_flipped_and_turned() -> None:
    """Colours of a crop of a ramp: from one pixel to the next they change by one, in every orientation."""
    crops = source(15).draw(200, torch.Generator().manual_seed(0))
    assert crops.shape == (200, 3, 15, 15)
    ways = {
        tuple(int(d) for d in (crop[0, 1, 0] - crop[0, 0, 0], crop[0, 0, 1] - crop[0, 0, 0])) for crop in crops * 255
    }
    assert ways == {(a, b) for a in (-1, 1) for b in (-1, 1)}
    torch.testing.assert_close(crops[:, 1] - crops[:, 0], torch.full((200, 15, 15), 40 / 255))
    exact = PatchSource([np.arange(16 * 16 * 3, dtype=np.uint16).astype(np.uint8).reshape(16, 16, 3)], 16)
    assert (exact.draw(2, torch.Generator().manual_seed(1)) * 255).round().long().unique().numel() == 256


def test_rate_rises_stays_and_falls() -> None:
    made = objective(rate=1e-3, warm_up=10, decay=0.5)
    assert made.rate(0, 0.0) == pytest.approx(1e-4)
    assert made.rate(9, 0.01) == made.rate(500, 0.5) == pytest.approx(1e-3)
    assert made.rate(900, 0.75) == pytest.approx((1e-3 + LAST_RATE) / 2)
    assert made.rate(1000, 1.0) == pytest.approx(LAST_RATE)


@pytest.mark.parametrize("precision", ["ieee", "bf16"])
def test_it_learns_to_denoise(precision: str) -> None:
    made = objective(rate=1e-2, precision=precision)
    loop = Loop(made, Budget(30), {}, average=0.8, clip=1.0)
    images = source(24).draw(4, torch.Generator().manual_seed(9))
    noisy = images + 50 / 255 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    list(loop.run())
    before = -10 * float((noisy.clamp(0, 1) - images).square().mean().log10())
    (after,) = denoising_psnr(loop.mean, images, [50])
    assert after > before + 2


@pytest.mark.parametrize("kind", sorted(POTENTIALS))
def test_potentials_learn_as_gradient_steps(kind: str) -> None:
    torch.manual_seed(0)
    recipe = DenoiserRecipe(crop=16, batch=4, warm_up=5, rate=1e-2)
    network = UNet(3, (4, 8), 1, "silu", residual=kind != "sum", scale=10.0)
    loop = Loop(
        DenoiserObjective(GradientStep(POTENTIALS[kind](network)), recipe, source(16)), Budget(30), {}, 0.8, 1.0
    )
    images = source(24).draw(4, torch.Generator().manual_seed(9))
    noisy = images + 50 / 255 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    list(loop.run())
    (after,) = denoising_psnr(loop.mean, images, [50])
    assert after > -10 * float((noisy.clamp(0, 1) - images).square().mean().log10()) + 0.5


def test_split_is_stable() -> None:
    files = [Path(f"{k:03}.png") for k in range(40)]
    used, held_out = split(files[::-1])
    assert [path.name for path in held_out] == ["000.png", "016.png", "032.png"]
    assert len(used) == 37


def test_bad_recipes_and_photographs_are_refused() -> None:
    for settings, message in (
        ({"batch": 0}, "must be positive"),
        ({"decay": 1.5}, "decay a share"),
        ({"precision": "int8"}, "precision must be"),
    ):
        with pytest.raises(ValueError, match=message):
            DenoiserRecipe(**settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="smaller than a patch of 15"):
        PatchSource([np.zeros((14, 20, 3), np.uint8)], 15)
    with pytest.raises(ValueError, match="uint8"):
        PatchSource([np.zeros((20, 20), np.uint8)], 15)
    with pytest.raises(ValueError, match="at least one"):
        PatchSource([], 15)
