"""Training of the critic: the toy of the paper, resuming, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import fastreg
from fastreg.cli import main
from fastreg.io import images
from fastreg.priors import PatchCritic
from fastreg.priors.smoothing import SHARPNESS
from fastreg.training import session
from fastreg.training.critic import (
    REPORT_EVERY,
    CriticRecipe,
    CriticTraining,
    blurred_noise,
    channel_census,
    noisy_pairing,
)
from fastreg.training.deconvolution import deconvolved
from fastreg.training.patches import PatchSource, split
from fastreg.training.tuning import maximise

TINY = [(3, 8, 5, 1), (8, 8, 5, 1), (8, 1, 7, 1)]


def source(seed: int) -> PatchSource:
    random = np.random.default_rng(seed)
    smooth = np.cumsum(random.normal(0, 2, (2, 40, 50, 3)), 1).cumsum(2)
    return PatchSource([(128 + photograph).clip(0, 255).astype(np.uint8) for photograph in smooth], 15)


def training(iterations: int = 20, **settings: object) -> CriticTraining:
    torch.manual_seed(0)
    recipe = CriticRecipe(sigma=(0.1, 0.3), iterations=iterations, batch=4, **settings)  # type: ignore[arg-type]
    return CriticTraining(PatchCritic(TINY), recipe, noisy_pairing(source(1), source(2), recipe))


def test_critic_learns_the_distance_to_a_circle() -> None:
    """Paper, Fig. 1: clean points lie on a circle, the others anywhere; r becomes the distance from the circle."""
    torch.manual_seed(0)
    layers = [(2, 64, 1, 1), (64, 64, 1, 1), (64, 64, 1, 1), (64, 1, 1, 1)]

    def circle(count: int, generator: torch.Generator) -> torch.Tensor:
        angle = 2 * torch.pi * torch.rand(count, generator=generator)
        return torch.stack([angle.cos(), angle.sin()], 1).reshape(count, 2, 1, 1)

    def pairing(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        noise = 0.4 * torch.randn(count, 2, 1, 1, generator=generator)
        return circle(count, generator), circle(count, generator) + noise

    recipe = CriticRecipe(sigma=None, iterations=800, batch=256, rate=(3e-3, 3e-4))
    run = CriticTraining(PatchCritic(layers), recipe, pairing)
    for _ in run.run():
        pass
    radii = torch.tensor([0.75, 0.9, 1.0, 1.2, 1.4, 1.6])
    angles = torch.linspace(0, 2 * torch.pi, 33)[:-1]
    points = torch.stack([angles.cos(), angles.sin()], 1)[None] * radii[:, None, None]
    with torch.no_grad():
        values = run.critic(points.reshape(-1, 2, 1, 1)).reshape(len(radii), -1).mean(1)
    values = values - values[2]
    torch.testing.assert_close(values, (radii - 1).abs(), rtol=0, atol=0.15)


def test_critic_tells_noisy_patches_from_clean_ones() -> None:
    run = training(iterations=150)
    records = list(run.run(every=50))
    assert [record.iteration for record in records] == [50, 100, 150]
    assert records[-1].degraded - records[-1].clean > 1.0
    assert records[-1].rate == pytest.approx(1e-4)


def test_resumed_training_is_the_uninterrupted_one(tmp_path: Path) -> None:
    whole, first, second = training(), training(), training()
    list(whole.run())
    list(first.run(until=7))
    first.save(tmp_path / "checkpoint.pt")
    second.restore(tmp_path / "checkpoint.pt")
    list(second.run())
    for mine, theirs in zip(second.critic.parameters(), whole.critic.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
    with pytest.raises(ValueError, match="made with other recipe"):
        training(iterations=21).restore(tmp_path / "checkpoint.pt")


def test_batches_of_patches() -> None:
    patches = source(3).draw(32, torch.Generator().manual_seed(0))
    assert patches.shape == (32, 3, 15, 15)
    assert 0 <= patches.min() <= patches.max() <= 1
    exact = PatchSource([np.arange(16 * 16 * 3, dtype=np.uint16).astype(np.uint8).reshape(16, 16, 3)], 16)
    assert (exact.draw(2, torch.Generator().manual_seed(1)) * 255).long().unique().numel() == 256
    with pytest.raises(ValueError, match="smaller than a patch of 15"):
        PatchSource([np.zeros((14, 20, 3), np.uint8)], 15)
    with pytest.raises(ValueError, match="uint8"):
        PatchSource([np.zeros((20, 20), np.uint8)], 15)


def test_noise_of_a_recipe() -> None:
    """Levels lean to the top where emphasised; blurred noise has the autocorrelation of its kernel and less variance."""
    zero = PatchSource([np.zeros((40, 40, 3), np.uint8)], 15)
    generator = torch.Generator().manual_seed(0)

    def draw(**settings: float) -> torch.Tensor:
        return noisy_pairing(zero, zero, CriticRecipe(sigma=(0.1, 0.3), **settings))(4000, generator)[1]  # type: ignore[arg-type]

    plain, high = draw().std((1, 2, 3)), draw(emphasis=4.0).std((1, 2, 3))
    assert plain.mean() == pytest.approx(0.2, abs=0.005)
    assert high.mean() == pytest.approx(0.1 + 0.2 * 0.8, abs=0.005)
    noise = blurred_noise(4000, 3, 15, generator)
    assert noise.shape == (4000, 3, 15, 15)
    neighbours = (noise[..., 1:] * noise[..., :-1]).mean((1, 2, 3)) / noise.square().mean((1, 2, 3))
    assert neighbours.mean() > 0.4
    assert 0.02 < noise.square().mean((1, 2, 3)).min() < 0.06 < 0.9 < noise.square().mean((1, 2, 3)).max()
    whole = draw(blurred=1.0).square().mean()
    assert whole < 0.6 * draw().square().mean()


def test_deconvolved_photographs_are_sharper_and_noisier() -> None:
    """Flat regions carry more noise than was added, edges stay; and a recipe takes its share of patches from them."""
    photograph = np.full((60, 70, 3), 60, np.uint8)
    photograph[:, 35:] = 180
    first, again = deconvolved([photograph, photograph[:50]]), deconvolved([photograph, photograph[:50]])
    for mine, theirs, shape in zip(first, again, ((60, 70, 3), (50, 70, 3)), strict=True):
        assert (mine.dtype, mine.shape) == (np.uint8, shape)
        np.testing.assert_array_equal(mine, theirs)
        assert 0.5 / 255 < mine[5:-5, 5:25].std() / 255 < 0.2
        assert mine[5:-5, 45:-5].mean() - mine[5:-5, 5:25].mean() == pytest.approx(120, abs=10)
    zero, one = (PatchSource([np.full((40, 40, 3), value, np.uint8)], 15) for value in (0, 255))
    recipe = CriticRecipe(sigma=(0.01, 0.02), deconvolved=0.25)
    clean, degraded = noisy_pairing(zero, zero, recipe, one)(8, torch.Generator().manual_seed(0))
    assert not clean.any()
    assert (degraded.mean((1, 2, 3)) > 0.5).tolist() == [True, True] + [False] * 6


def test_split_is_stable() -> None:
    files = [Path(f"{k:03}.png") for k in range(40)]
    used, held_out = split(files[::-1])
    assert [path.name for path in held_out] == ["000.png", "016.png", "032.png"]
    assert len(used) == 37


def test_census_counts_every_channel() -> None:
    torch.manual_seed(0)
    critic = PatchCritic(TINY).requires_grad_(False)
    critic.biases[0][0], critic.biases[0][1] = -100, 100
    first, _ = channel_census(critic, [torch.rand(1, 3, 24, 24)])
    assert first["always_off"] >= 1
    assert first["always_on"] >= 1
    assert first["always_off"] + first["always_on"] + first["alive"] == first["channels"] == 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sigma": (0.3, 0.1)}, "sigma must be a range"),
        ({"iterations": 0}, "must be positive"),
        ({"rate": (0.0, 1.0)}, "rates must be positive"),
        ({"precision": "int8"}, "precision must be"),
        ({"deconvolved": 1.5}, "deconvolved is a share"),
        ({"deconvolved": 0.5, "sigma": None}, "deconvolved is a share"),
    ],
)
def test_bad_recipes_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CriticRecipe(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("guess", [-3.0, 0.7, 0.95, 4.0])
def test_parabolas_find_a_maximum(guess: float) -> None:
    where, value = maximise(lambda x: 3 - (x - 0.7) ** 2, guess, 0.4)
    assert where == pytest.approx(0.7, abs=1e-9)
    assert value == pytest.approx(3, abs=1e-9)
    where, value = maximise(lambda x: -abs(x - 0.7) - (x - 0.7) ** 2, guess, 0.4)
    assert where == pytest.approx(0.7, abs=0.2)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_command_trains_resumes_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    random = np.random.default_rng(0)
    for k in range(4):
        pixels = random.random((3, 24, 26), np.float32)
        images.write(images.Image(pixels), photographs / f"{k}.png")
    out = tmp_path / "new" / "tiny.safetensors"
    options = ["train", "critic", "-o", out, "--data", photographs, "--iterations", 3, "--batch", 2, "--tune", "none"]
    assert run(*options) == 0
    prior = fastreg.load(out)
    assert prior.card.settings["padding"] == "replicate"
    assert prior.card.recipe["iterations"] == 3
    assert (prior.activation, prior.card.recipe["sharpness"]) == ("silu", SHARPNESS)
    assert "/" not in prior.card.command
    records = [json.loads(line) for line in (out.parent / "tiny.log.jsonl").read_text().splitlines()]
    assert records[-1]["iteration"] == 3
    assert (out.parent / "tiny.png").stat().st_size > 1000
    assert run(*options) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run(*options, "--resume") == 0
    assert run("train", "critic", "-o", tmp_path / "a.safetensors") == 2
    assert "either --data" in capsys.readouterr().err
    assert run("train", "critic", "-o", tmp_path / "a.txt", "--data", photographs) == 2
    assert ".safetensors" in capsys.readouterr().err
    sharp = tmp_path / "sharp.safetensors"
    for_blur = ["--data", photographs, "--iterations", 2, "--batch", 4, "--tune", "none", "--deconvolved", 0.5]
    assert run("train", "critic", "-o", sharp, "--select", "deblur", "--channels", "4,6", *for_blur) == 0
    assert fastreg.load(sharp).card.recipe["deconvolved"] == 0.5
    assert fastreg.load(sharp).card.measured["selected_iteration"] == 2
    with pytest.raises(ValueError, match="selected by one of denoise, deblur, got 'inpaint'"):
        session.CriticJob(sharp, CriticRecipe(), photographs, select="inpaint")
    unpaired = tmp_path / "unpaired.safetensors"
    both = ["--clean", photographs, "--degraded", photographs, "--iterations", 2, "--batch", 2, "--channels", "4,6"]
    assert run("train", "critic", "-o", unpaired, "--smooth", 0, *both) == 0
    small = fastreg.load(unpaired)
    assert (small.activation, small.card.recipe["sharpness"]) == ("relu", 0)
    assert small.card.recipe["sigma"] is None
    assert [list(layer) for layer in small.layers] == [[3, 4, 3, 1], [4, 6, 3, 1], [6, 1, 3, 1]]
    assert run("train", "critic", "-o", tmp_path / "a.safetensors", "--activation", "silu", "--smooth", 9, *both) == 2
    assert "is for critics with ReLU" in capsys.readouterr().err
    for wrong in ("4,x", "0", ""):
        assert run("train", "critic", "-o", tmp_path / "a.safetensors", *both[:-1], wrong) == 2
        assert "channels" in capsys.readouterr().err


@pytest.mark.parametrize("last", [3, 700, 30_000])
def test_critics_are_compared_when_progress_is_reported(last: int) -> None:
    chosen = session._milestones(last)
    assert max(chosen) == last
    assert all(iteration % REPORT_EVERY == 0 for iteration in chosen - {last})
    assert chosen >= {iteration for iteration in session.FIRST_SELECTIONS if iteration < last}
