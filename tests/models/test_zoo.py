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
from fastreg.io import inputs as options
from fastreg.priors import ALR, PatchCritic
from tests.registry import critic, random

SHIPPED = ("alr", "alr-deblur", "alr-005-030", "alr-005", "alr-010", "alr-020", "alr-040")


def card(prior: PatchCritic) -> models.ModelCard:
    return models.ModelCard("small", "patch_critic", prior.settings, weights={"denoise": [[0.1, 2.0]]})


@pytest.fixture
def small() -> PatchCritic:
    prior, _ = critic("strided", "leaky_relu", "replicate", torch.float32)
    assert isinstance(prior, PatchCritic)
    return prior


def test_a_model_survives_its_file(tmp_path: Path, small: PatchCritic) -> None:
    models.save_model(small, tmp_path / "small.safetensors", card(small))
    loaded = fastreg.load(tmp_path / "small.safetensors")
    assert loaded.card == card(small)
    assert not any(p.requires_grad for p in loaded.parameters())
    x = random((1, 3, 20, 20), torch.float32)
    torch.testing.assert_close(loaded.gradient(x), small.gradient(x), rtol=0, atol=0)
    assert models.fingerprint(loaded) == models.fingerprint(small)
    small.biases[0][0] += 1e-6
    assert models.fingerprint(loaded) != models.fingerprint(small)
    assert models.fingerprint(models.WeightRule([[0.1, 1.0]]))


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
        ({"kind": "diffusion"}, "kind 'diffusion'"),
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


@pytest.mark.parametrize("task", ["denoise", "deblur", "inpaint"])
def test_the_model_of_a_task_was_tuned_for_it(task: str) -> None:
    assert task in fastreg.load(models.best_for(task)).card.weights
    assert options.choose_prior("auto", task) == models.best_for(task)
    assert options.choose_prior("mine.safetensors", task) == "mine.safetensors"


def test_shipped_models() -> None:
    assert set(SHIPPED) <= set(models.names())
    assert sum(path.stat().st_size for path in models.WEIGHTS.iterdir()) < 10_000_000


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_model_cards(name: str) -> None:
    prior = fastreg.load(name)
    assert isinstance(prior, PatchCritic)
    assert [(layer.kernel, layer.stride) for layer in prior.layers] == [(3, 1)] * 7
    assert prior.layers == ALR or "--channels" in prior.card.command
    facts = prior.card
    assert facts.name == name
    assert facts.sha256 == models.fingerprint(prior)
    assert facts.command.startswith("fastreg train critic")
    assert facts.recipe["iterations"] >= {"alr": 30_000, "alr-005-030": 30_000, "alr-deblur": 700}.get(name, 20_000)
    assert "/" not in json.dumps(facts.data)
    task = "deblur" if name == "alr-deblur" else "denoise"
    assert task in facts.weights
    rule = facts.weight_rule(task)
    assert rule is not None
    assert (rule(torch.tensor([0.01, 0.1, 0.5])) > 0).all()


@pytest.mark.parametrize("name", SHIPPED)
def test_critics_grow_with_the_noise(name: str) -> None:
    """Paper, Fig. 3: also at levels that were not trained on."""
    from skimage import data

    photograph = torch.from_numpy(data.chelsea()[:240, :240].copy()).permute(2, 0, 1)[None] / 255
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
