"""Model files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import fastreg
from fastreg import models
from fastreg.models import zoo
from fastreg.parts import build
from fastreg.priors import Denoiser, PatchCritic
from fastreg.solvers import SOLVERS
from tests.registry import critic, random

SHIPPED = ("alr", "alr-deblur")


def card(prior: PatchCritic) -> models.ModelCard:
    return models.ModelCard(
        "small", "patch_critic", prior.settings, tasks={"denoise": models.TaskSettings([[0.1, 2.0]])}
    )


@pytest.fixture
def small() -> PatchCritic:
    prior, _ = critic("strided", "leaky_relu", "replicate", torch.float32)
    assert isinstance(prior, PatchCritic)
    return prior


def test_a_model_survives_its_file(tmp_path: Path, small: PatchCritic) -> None:
    written = models.save_model(small, tmp_path / "small.safetensors", card(small))
    loaded = fastreg.load(tmp_path / "small.safetensors")
    assert loaded.card == written == dataclasses.replace(card(small), sha256=models.fingerprint(small))
    assert not any(p.requires_grad for p in loaded.parameters())
    x = random((1, 3, 20, 20), torch.float32)
    torch.testing.assert_close(loaded.gradient(x), small.gradient(x), rtol=0, atol=0)
    assert models.fingerprint(loaded) == models.fingerprint(small)
    small.biases[0][0] += 1e-6
    assert models.fingerprint(loaded) != models.fingerprint(small)


def test_bad_files_are_refused_in_words(tmp_path: Path, small: PatchCritic) -> None:
    with pytest.raises(ValueError, match=r"no model 'nothing'.*alr"):
        fastreg.load("nothing")
    text = tmp_path / "text.safetensors"
    text.write_text("not a model")
    with pytest.raises(ValueError, match="not a readable fastreg model"):
        fastreg.load(text)
    save_file({"a": torch.zeros(1)}, tmp_path / "bare.safetensors")
    with pytest.raises(ValueError, match="without a fastreg model card"):
        fastreg.load(tmp_path / "bare.safetensors")
    for change, message in (
        ({"kind": "diffusion"}, "got 'diffusion'"),
        ({"settings": {"layers": [[3, 8, 3, 1]]}}, "do not fit"),
        ({"settings": {"layer": []}}, "do not fit"),
    ):
        models.save_model(small, tmp_path / "odd.safetensors", dataclasses.replace(card(small), **change))
        with pytest.raises(ValueError, match=message):
            fastreg.load(tmp_path / "odd.safetensors")
    whole = tmp_path / "whole.safetensors"
    models.save_model(small, whole, card(small))
    whole.write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(ValueError, match="not a readable fastreg model"):
        fastreg.load(whole)


def test_weights_may_be_float16_in_the_file(tmp_path: Path, small: PatchCritic) -> None:
    written = models.save_model(small, tmp_path / "half.safetensors", card(small), half=True)
    loaded = fastreg.load(tmp_path / "half.safetensors")
    for mine, theirs in zip(loaded.parameters(), small.parameters(), strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, theirs.half().float(), rtol=0, atol=0)
    assert written == loaded.card
    assert loaded.card.sha256 == models.fingerprint(loaded) != models.fingerprint(small)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_loading_ignores_and_keeps_the_state_of_the_process(dtype: torch.dtype) -> None:
    before, random_state = torch.get_default_dtype(), torch.get_rng_state()
    try:
        torch.set_default_dtype(dtype)
        prior = fastreg.load("alr")
    finally:
        torch.set_default_dtype(before)
    assert models.fingerprint(prior) == prior.card.sha256
    assert torch.equal(torch.get_rng_state(), random_state)


def test_weight_rule_keeps_its_digits() -> None:
    rule = models.WeightRule([[0.02, 1.954691], [0.1, 0.633001], [0.3, 0.2461]])
    levels = torch.tensor([0.01, 0.02, 0.0447213595499958, 0.1, 0.3, 0.6], dtype=torch.float64)
    # beyond the points lambda goes as 1 / sigma, between them as a power of sigma
    expected = [2 * 1.954691, 1.954691, (1.954691 * 0.633001) ** 0.5, 0.633001, 0.2461, 0.2461 / 2]
    torch.testing.assert_close(rule(levels).tolist(), expected, rtol=1e-12, atol=0)
    exact = rule(levels)
    torch.testing.assert_close(rule.float().to(torch.bfloat16)(levels), exact, rtol=0, atol=0)
    assert models.WeightRule.constant(0.5)(levels).tolist() == pytest.approx([0.5] * 6, rel=1e-12)
    for pairs in ([], [[0.1, 0.0]], [[0.2, 1.0], [0.1, 1.0]], [[0.1, 1.0, 2.0]]):
        with pytest.raises(ValueError, match="weight rule"):
            models.WeightRule(pairs)


def test_shipped_models() -> None:
    assert set(SHIPPED) <= set(models.names())
    assert sum(path.stat().st_size for path in zoo.WEIGHTS.iterdir()) < 40_000_000


@pytest.mark.parametrize("name", models.names())
def test_shipped_model_cards(name: str) -> None:
    prior = fastreg.load(name)
    facts = prior.card
    assert facts is not None
    assert facts.name == name
    assert json.loads(json.dumps(prior.settings)) == {**prior.settings, **facts.settings}
    assert facts.sha256 == models.fingerprint(prior)
    assert facts.description
    assert "/" not in json.dumps(facts.data)
    assert facts.tasks or isinstance(prior, Denoiser)
    for settings in facts.tasks.values():
        build(SOLVERS, settings.solver)
        if settings.weights:
            assert (settings.rule(torch.tensor([0.01, 0.1, 0.5])) > 0).all()


@pytest.mark.parametrize("name", SHIPPED)
def test_critics_grow_with_the_noise(name: str) -> None:
    """Paper, Fig. 3: also at levels that were not trained on."""
    from skimage import data

    photograph = torch.from_numpy(data.chelsea()[:120, 100:240].copy()).permute(2, 0, 1)[None] / 255
    noise = torch.randn(photograph.shape, generator=torch.Generator().manual_seed(0))
    prior = fastreg.load(name)
    with torch.no_grad():
        values = torch.cat([prior(photograph + sigma * noise) for sigma in (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4)])
    assert (values[1:] > values[:-1]).all()


def test_slope_between_clean_and_noisy_patches() -> None:
    """The slope s that maximises s W - penalty (s - 1)^2 is 1 + W / (2 penalty), W the mean distance of noisy patches."""
    from skimage import data

    prior = fastreg.load("alr")
    assert isinstance(prior, PatchCritic)
    photograph = torch.from_numpy(data.coffee().copy()).permute(2, 0, 1) / 255
    generator = torch.Generator().manual_seed(0)
    corners = torch.randint(380, (256, 2), generator=generator).tolist()
    patches = torch.stack([photograph[:, i : i + 15, j : j + 15] for i, j in corners])
    along = torch.rand(256, 1, 1, 1, generator=generator)
    plain = PatchCritic(**{**prior.settings, "padding": "none"})
    plain.load_state_dict(prior.state_dict())
    noisy = patches.roll(1, 0) + 0.2 * torch.randn(patches.shape, generator=generator)
    with torch.no_grad():
        slopes = plain.gradient(along * patches + (1 - along) * noisy).flatten(1).norm(dim=1)
    distance = sum(prior.card.recipe["sigma"]) / 2 * (3 * 15 * 15) ** 0.5
    expected = 1 + distance / (2 * prior.card.recipe["penalty"])
    assert abs(slopes.mean() - expected) < 0.15 * expected  # the best critic is a young one, a little below it
