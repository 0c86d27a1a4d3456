"""The patch critic against its definition."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fastreg.kernels.critic_gradient import reference, strips
from fastreg.priors import ALR, ALR_RELEASED, PatchCritic
from tests.registry import CHAINS, critic, random


@pytest.mark.parametrize("chain", CHAINS)
def test_energy_is_the_mean_over_patches(chain: str) -> None:
    prior, shape = critic(chain, "relu", "none")
    assert isinstance(prior, PatchCritic)
    x = random((1, *shape[1:]), seed=1)
    size, jump = prior.receptive_field, 1
    for layer in prior.layers:
        jump *= layer.stride
    patches = F.unfold(x, size, stride=jump).transpose(1, 2).reshape(-1, shape[1], size, size)
    torch.testing.assert_close(prior(x), prior(patches).mean(0, keepdim=True), rtol=0, atol=1e-12)


def test_replicate_padding_centres_a_patch_on_every_pixel() -> None:
    prior, shape = critic("plain", "silu", "replicate")
    assert isinstance(prior, PatchCritic)
    x = random(shape, seed=1)
    assert prior.scores(x).shape == (shape[0], *shape[2:])
    alone, _ = critic("plain", "silu", "none")
    padded = F.pad(x, [prior.receptive_field // 2] * 4, mode="replicate")
    torch.testing.assert_close(prior(x), alone(padded), rtol=0, atol=1e-12)
    assert prior(random((1, 3, 1, 1))).isfinite().all()


@pytest.mark.parametrize(("layers", "field", "stride"), [(ALR, 15, 1), (ALR_RELEASED, 13, 3)])
def test_architectures_give_a_patch_of_fifteen_pixels_one_score(
    layers: tuple[tuple[int, ...], ...], field: int, stride: int
) -> None:
    prior = PatchCritic(layers)
    assert prior.receptive_field == field
    assert prior.scores(torch.rand(1, 3, 15, 15)).shape == (1, 1, 1)
    assert prior.scores(torch.rand(1, 3, field + stride, field + stride - 1)).shape == (1, 2, 1)
    with pytest.raises(ValueError, match=f"{field}x{field} pixels, got {field - 1}x20"):
        prior(torch.rand(1, 3, field - 1, 20))


def test_last_factor_survives_half_precision() -> None:
    """1/N of a mean over an image is below the smallest number of fp16: applied first it would leave nothing."""
    prior, _ = critic("plain", "silu", "none", torch.float32)
    x = random((1, 3, 300, 300), torch.float32)
    exact = prior.double().gradient(x.double())
    half = prior.half().gradient(x)
    assert half.dtype == torch.float32
    assert ((half - exact).norm() / exact.norm()) < 5e-3


def test_gradient_can_be_differentiated_by_the_weights() -> None:
    prior, shape = critic("plain", "silu", "none")
    prior.requires_grad_(True)
    x = random(shape, seed=2).requires_grad_()
    (first,) = torch.autograd.grad(prior(x).sum(), x, create_graph=True)
    expected = torch.autograd.grad(first.square().sum(), list(prior.parameters()), materialize_grads=True)
    actual = torch.autograd.grad(prior.gradient(x).square().sum(), list(prior.parameters()), materialize_grads=True)
    for mine, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("padding", ["none", "replicate"])
def test_a_critic_that_takes_a_noise_level(padding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its gradient in the image is exact, in strips as well; an image alone gives the same as in a batch."""
    monkeypatch.setattr(strips, "BUDGET", 1 << 12)
    torch.manual_seed(0)
    prior = PatchCritic(CHAINS["plain"], "silu", padding, noise_map=True).double().requires_grad_(False)
    x, sigma = random((2, 3, 17, 13), seed=1), torch.tensor([0.1, 0.3], dtype=torch.float64)
    energy, gradient = prior.energy_and_gradient(x, sigma)
    assert gradient.shape == x.shape and prior.channels == 3
    expected = torch.autograd.grad(prior(x.requires_grad_(), sigma).sum(), x)[0]
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(energy, prior(x, sigma), rtol=0, atol=1e-10)
    torch.testing.assert_close(prior(x[1:], sigma[1:]), energy[1:], rtol=0, atol=1e-10)
    assert float((prior(x.detach(), sigma.flip(0)) - energy).abs().min()) > 1e-4
    for wrong in (None, sigma[:1]):
        with pytest.raises(ValueError, match="one noise level for each image"):
            prior.gradient(x, wrong)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": []}, "at least one layer"),
        ({"layers": [(3, 4, 3), (5, 1, 3)]}, "4 outputs precedes one with 5 inputs"),
        ({"layers": [(3, 4, 0)]}, "must be positive"),
        ({"activation": "tanh"}, "activation must be one of"),
        ({"padding": "zero"}, "padding must be one of"),
    ],
)
def test_bad_settings_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PatchCritic(**arguments)  # type: ignore[arg-type]


def test_receptive_field() -> None:
    assert reference.receptive_field([3] * 7, [1] * 7) == 15
    assert reference.receptive_field([3, 3, 3, 3, 1, 1], [1, 1, 3, 1, 1, 1]) == 13
