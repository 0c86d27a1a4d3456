"""Training of the critic: the toy of the paper, what it is shown, and the commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import fastreg
from fastreg.cli import main
from fastreg.io import images
from fastreg.models import TaskSettings, fingerprint
from fastreg.parts import describe
from fastreg.priors import PatchCritic
from fastreg.priors.smoothing import SHARPNESS
from fastreg.solvers import Adam
from fastreg.tasks import TASKS
from fastreg.training import critic_session, tuning
from fastreg.training.critic import CriticObjective, CriticRecipe, channel_census, noisy_pairing
from fastreg.training.deconvolution import deconvolved
from fastreg.training.loop import Budget, Loop
from fastreg.training.patches import PatchSource

TINY = [(3, 8, 5, 1), (8, 8, 5, 1), (8, 1, 7, 1)]


def source(seed: int) -> PatchSource:
    random = np.random.default_rng(seed)
    smooth = np.cumsum(random.normal(0, 2, (2, 40, 50, 3)), 1).cumsum(2)
    return PatchSource([(128 + photograph).clip(0, 255).astype(np.uint8) for photograph in smooth], 15)


def test_critic_learns_the_distance_to_a_circle() -> None:
    """Paper, Fig. 1: clean points lie on a circle, the others anywhere; r becomes the distance from the circle."""
    torch.manual_seed(0)
    critic = PatchCritic([(2, 64, 1, 1), (64, 64, 1, 1), (64, 64, 1, 1), (64, 1, 1, 1)])

    def circle(count: int, generator: torch.Generator) -> torch.Tensor:
        angle = 2 * torch.pi * torch.rand(count, generator=generator)
        return torch.stack([angle.cos(), angle.sin()], 1).reshape(count, 2, 1, 1)

    def pairing(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, None]:
        noise = 0.4 * torch.randn(count, 2, 1, 1, generator=generator)
        return circle(count, generator), circle(count, generator) + noise, None

    recipe = CriticRecipe(sigma=None, batch=256, rate=(3e-3, 3e-4))
    objective = CriticObjective(critic, recipe, pairing)
    list(Loop(objective, Budget(800), {}, average=0.9).run())
    radii = torch.tensor([0.75, 0.9, 1.0, 1.2, 1.4, 1.6])
    angles = torch.linspace(0, 2 * torch.pi, 33)[:-1]
    points = torch.stack([angles.cos(), angles.sin()], 1)[None] * radii[:, None, None]
    with torch.no_grad():
        values = objective.model(points.reshape(-1, 2, 1, 1)).reshape(len(radii), -1).mean(1)
    values = values - values[2]
    torch.testing.assert_close(values, (radii - 1).abs(), rtol=0, atol=0.15)


def test_critic_tells_noisy_patches_from_clean_ones() -> None:
    torch.manual_seed(0)
    recipe = CriticRecipe(sigma=(0.1, 0.3), batch=4)
    objective = CriticObjective(PatchCritic(TINY), recipe, noisy_pairing(source(1), source(2), recipe))
    records = list(Loop(objective, Budget(150), {}).run(every=50))
    assert records[-1]["degraded"] - records[-1]["clean"] > 1.0
    assert objective.rate(0, 0.0) == pytest.approx(1e-3)
    assert objective.rate(0, 1.0) == pytest.approx(1e-4)


def test_critic_that_takes_a_noise_level_learns_with_it() -> None:
    """The level is that of the noisy patches; told another one, the critic gives other scores."""
    torch.manual_seed(0)
    recipe = CriticRecipe(sigma=(0.02, 0.4), batch=8, rate=(3e-3, 3e-4))
    critic = PatchCritic(TINY, "silu", noise_map=True)
    objective = CriticObjective(critic, recipe, noisy_pairing(source(1), source(2), recipe))
    records = list(Loop(objective, Budget(150), {}).run(every=50))
    assert records[-1]["degraded"] - records[-1]["clean"] > 0.7
    assert critic.weights[0].grad is not None and float(critic.weights[0].grad[:, 3].abs().max()) > 0


def test_noise_of_a_recipe() -> None:
    """Levels are uniform in their range; a share of the patches is deconvolved."""
    zero, one = (PatchSource([np.full((40, 40, 3), value, np.uint8)], 15) for value in (0, 255))
    generator = torch.Generator().manual_seed(0)
    clean, degraded, sigma = noisy_pairing(zero, zero, CriticRecipe(sigma=(0.1, 0.3)))(3000, generator)
    levels = degraded.std((1, 2, 3))
    torch.testing.assert_close(levels, sigma, rtol=0.15, atol=0)
    assert not clean.any()
    assert levels.mean() == pytest.approx(0.2, abs=0.005)
    assert 0.09 < levels.min() < 0.11 < 0.29 < levels.max() < 0.33
    recipe = CriticRecipe(sigma=(0.01, 0.02), deconvolved=0.25)
    _, degraded, _ = noisy_pairing(zero, zero, recipe, one)(8, generator)
    assert (degraded.mean((1, 2, 3)) > 0.5).tolist() == [True, True] + [False] * 6


def test_deconvolved_photographs_are_sharper_and_noisier() -> None:
    """Flat regions carry more noise than was added, edges stay."""
    photograph = np.full((60, 70, 3), 60, np.uint8)
    photograph[:, 35:] = 180
    first, again = deconvolved([photograph, photograph[:50]]), deconvolved([photograph, photograph[:50]])
    for mine, theirs, shape in zip(first, again, ((60, 70, 3), (50, 70, 3)), strict=True):
        assert (mine.dtype, mine.shape) == (np.uint8, shape)
        np.testing.assert_array_equal(mine, theirs)
        assert 0.5 / 255 < mine[5:-5, 5:25].std() / 255 < 0.2
        assert mine[5:-5, 45:-5].mean() - mine[5:-5, 5:25].mean() == pytest.approx(120, abs=10)


def test_census_counts_every_channel() -> None:
    torch.manual_seed(0)
    critic = PatchCritic(TINY).requires_grad_(False)
    critic.biases[0][0], critic.biases[0][1] = -100, 100
    batches = [torch.rand(1, 3, 24, 24), torch.rand(2, 3, 20, 24)]
    first, _ = channel_census(critic, [(x, torch.full((len(x),), 0.1)) for x in batches])
    values = torch.cat([next(iter(critic.preactivations(x))).flatten(2).transpose(0, 1).flatten(1) for x in batches], 1)
    assert first["always_off"] == int((values <= 0).all(1).sum()) >= 1
    assert first["always_on"] == int((values > 0).all(1).sum()) >= 1
    assert first["always_off"] + first["always_on"] + first["alive"] == first["channels"] == 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sigma": (0.3, 0.1)}, "sigma must be a range"),
        ({"batch": 0}, "must be positive"),
        ({"rate": (0.0, 1.0)}, "rates must be positive"),
        ({"precision": "int8"}, "precision must be"),
        ({"deconvolved": 1.5}, "deconvolved is a share"),
        ({"deconvolved": 0.5, "sigma": None}, "deconvolved is a share"),
    ],
)
def test_bad_recipes_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CriticRecipe(**settings)  # type: ignore[arg-type]


def test_critics_are_compared_ever_more_seldom() -> None:
    chosen = [
        iteration for iteration in range(100, 70_001, 100) if critic_session.CriticSession.compares(object(), iteration)
    ]
    assert chosen == [*critic_session.FIRST_SELECTIONS, 8000, 16_000, 32_000, 64_000]


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for k in range(4):
        images.write(images.Image(np.random.default_rng(k).random((3, 24, 26), np.float32)), folder / f"{k}.png")
    return folder


def test_critic_command_trains_resumes_and_refuses(
    tmp_path: Path, photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "tiny.safetensors"
    base = ["train", "critic", "-o", out, "--data", photographs, "--batch", 4, "--tune", "none", "--channels", "4,6"]
    assert run(*base, "--iterations", 2, "--select", "best", "--deconvolved", 0.5) == 0
    prior = fastreg.load(out)
    assert prior.card is not None
    assert prior.card.settings["padding"] == "replicate"
    assert [layer[:2] for layer in prior.card.settings["layers"]] == [[3, 4], [4, 6], [6, 1]]
    assert (prior.card.settings["activation"], prior.card.recipe["sharpness"]) == ("silu", SHARPNESS)
    assert prior.card.recipe["deconvolved"] == 0.5
    assert (prior.card.measured["iterations"], prior.card.measured["selected_iteration"]) == (2, 2)
    assert prior.card.sha256 == fingerprint(prior)
    assert "/" not in prior.card.command
    assert json.loads((out.parent / "tiny.log.jsonl").read_text())["iteration"] == 2
    assert (out.parent / "tiny.png").stat().st_size > 1000
    assert run(*base) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run(*base, "--iterations", 3, "--select", "last", "--deconvolved", 0.5, "--resume") == 0
    assert fastreg.load(out).card.measured["iterations"] == 3
    assert run("train", "critic", "-o", tmp_path / "a.safetensors") == 2
    assert "either --data" in capsys.readouterr().err
    assert run("train", "critic", "-o", tmp_path / "a.txt", "--data", photographs) == 2
    assert ".safetensors" in capsys.readouterr().err
    other = tmp_path / "other.safetensors"
    assert run(*base, "--iterations", 2, "--noise-map", "--overwrite") == 0
    conditioned = fastreg.load(out)
    assert conditioned.card.settings["noise_map"] and conditioned.weights[0].shape[1] == 4
    assert run(*base, "--iterations", 2, "--noise-map", "--overwrite", "--deconvolved", 0.5) == 2
    assert "known levels" in capsys.readouterr().err
    both = ["train", "critic", "-o", other, "--clean", photographs, "--degraded", photographs, "--iterations", 1]
    assert run(*both, "--smooth", 0, "--channels", "4") == 0
    assert (fastreg.load(other).card.recipe["sigma"], fastreg.load(other).activation) == (None, "relu")
    assert run(*both, "--overwrite", "--activation", "silu", "--smooth", 9) == 2
    assert "is for critics with ReLU" in capsys.readouterr().err
    for wrong in ("4,x", "0", ""):
        assert run(*both, "--overwrite", "--channels", wrong) == 2
        assert "channels" in capsys.readouterr().err


def test_denoiser_command(tmp_path: Path, photographs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tiny.safetensors"
    base = ["train", "denoiser", "-o", out, "--data", photographs, "--batch", 2, "--crop", 16, "--no-compile"]
    assert run(*base, "--widths", "4,8", "--iterations", 2) == 0
    prior = fastreg.load(out)
    assert prior.card is not None
    assert prior.card.settings["widths"] == [4, 8]
    assert prior.card.sha256 == fingerprint(prior)
    assert [level for level, _ in prior.card.measured["held_out_psnr_255"]] == [15, 25, 50]
    assert run(*base, "--widths", "4,8", "--iterations", 4, "--resume") == 0
    assert fastreg.load(out).card.measured["iterations"] == 4
    capsys.readouterr()
    assert run(*base, "--widths", "4,4", "--iterations", 4, "--resume") == 2
    assert "made with other settings: settings" in capsys.readouterr().err
    more = [*base[:3], tmp_path / "more.safetensors", *base[4:]]
    assert run(*more, "--start", out, "--minutes", 0.001, "--rate", 1e-9) == 0
    after = fastreg.load(tmp_path / "more.safetensors")
    assert "tiny" in after.card.description
    for mine, theirs in zip(after.parameters(), fastreg.load(out).parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-3)
    assert run(*more, "--overwrite", "--start", "alr", "--iterations", 1) == 2
    assert "expected a denoiser" in capsys.readouterr().err
    assert run(*more, "--overwrite", "--start", out, "--grey") == 2
    assert run(*more, "--overwrite", "--network", "dncnn", "--widths", "4") == 2


def test_schedule_command(
    tmp_path: Path, photographs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = TaskSettings([[0.05, 1.0]], solver=describe(Adam(2)))
    monkeypatch.setattr(tuning, "default_settings", lambda task, prior: start)
    small, out = tmp_path / "small.safetensors", tmp_path / "tuned.safetensors"
    made = ["train", "critic", "-o", small, "--data", photographs, "--iterations", 1, "--batch", 2, "--tune", "none"]
    assert run(*made, "--channels", "2", "--select", "last") == 0
    tune = ["train", "schedule", small, "-o", out, "--data", photographs, "--crops", 1, "--crop", 16, "--iterations", 3]
    assert run(*tune, "--task", "inpaint") == 0
    tuned = fastreg.load(out).card
    assert tuned is not None
    assert [sigma for sigma, _ in tuned.tasks["inpaint"].weights] == list(TASKS["inpaint"].tuned_sigmas)
    assert tuned.tasks["inpaint"].solver == describe(Adam(3))
    assert tuned.measured["held_out_psnr"].keys() == {"inpaint"}
    fastreg.Restorer(TASKS["inpaint"].operator(torch.ones(8, 8)), prior=fastreg.load(out))  # knows its solver
    assert tuned.sha256 == fastreg.load(small).card.sha256
    assert run(*tune, "--task", "nothing", "--overwrite") == 2
    assert "expected tasks among" in capsys.readouterr().err
