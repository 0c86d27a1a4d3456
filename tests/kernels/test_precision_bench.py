"""`bench.precision` counts what it says."""

from __future__ import annotations

import pytest
import torch

from bench.precision import flips, forced_gradient
from fastreg.priors import PatchCritic


def critic() -> PatchCritic:
    torch.manual_seed(0)
    result = PatchCritic([(3, 6, 3), (6, 5, 3, 2), (5, 2, 2)]).requires_grad_(False)
    for bias in result.biases:
        torch.nn.init.normal_(bias, std=0.3)
    return result


def test_own_masks_forced_give_the_own_gradient() -> None:
    network, x = critic().double(), torch.rand(2, 3, 14, 17, dtype=torch.float64)
    masks = [z > 0 for z in network.preactivations(x)]
    torch.testing.assert_close(forced_gradient(x, network, masks), network.gradient(x), rtol=0, atol=1e-13)


def test_bf16_flips_few_masks_near_zero_and_they_make_up_the_error() -> None:
    found = flips(critic(), torch.rand(1, 3, 40, 40), "bf16")
    assert len(found["layers"]) == 2
    for layer in found["layers"]:
        assert 0 < layer["flipped"] < 0.02
        assert 0 < layer["farthest"] < 0.1
    assert found["gradient_with_masks_forced"] < 0.01 < found["gradient"]


def test_float32_flips_hardly_any() -> None:
    found = flips(critic(), torch.rand(1, 3, 40, 40), "ieee")
    assert max(layer["flipped"] for layer in found["layers"]) < 1e-4
    assert found["gradient_with_masks_forced"] == pytest.approx(0, abs=1e-6)
