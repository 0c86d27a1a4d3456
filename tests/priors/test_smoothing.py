"""Critics with rounded kinks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastreg import models
from fastreg.compiled.samples import photograph
from fastreg.priors import PatchCritic, alr_layers
from fastreg.priors.smoothing import smooth


def critic(activation: str = "relu") -> PatchCritic:
    torch.manual_seed(0)
    made = PatchCritic(alr_layers((8, 8, 8)), activation, padding="replicate").requires_grad_(False)
    for bias in made.biases:
        bias.normal_(std=0.1)
    return made


def zero() -> PatchCritic:
    made = critic()
    for parameter in made.parameters():
        parameter.zero_()
    return made


def images() -> Tensor:
    return photograph("astronaut", (2, 3, 40, 44)) + 0.1 * torch.randn(2, 3, 40, 44, generator=_seeded())


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_the_sharper_the_nearer() -> None:
    sharp, x = critic().double(), images().double()
    exact = sharp.scores(x)
    errors = [float((smooth(sharp, [x], sharpness).scores(x) - exact).abs().max()) for sharpness in (10, 100, 1000)]
    assert errors[0] > 5 * errors[1] > 25 * errors[2]
    assert errors[2] < 1e-3 * float(exact.std() + exact.abs().mean())


def test_one_layer_is_the_scaled_silu() -> None:
    """One channel, z between -1 and 1: the formula of the docstring, with the spread measured."""
    made = PatchCritic([(1, 1, 1, 1), (1, 1, 1, 1)]).requires_grad_(False).double()
    for weight, bias in zip(made.weights, made.biases, strict=True):
        weight.fill_(2.0)
        bias.zero_()
    x = torch.linspace(-1, 1, 101, dtype=torch.float64).reshape(1, 1, 1, -1)
    z = 2 * x
    expected = 2 * z * torch.sigmoid(7 / z.std(correction=0) * z)
    torch.testing.assert_close(smooth(made, [x], 7.0).scores(x)[:, None], expected, rtol=1e-12, atol=1e-12)


def test_the_gradient_jumps_no_more() -> None:
    """On a line through images: steps of a continuous gradient shrink with the distance, jumps of another one do not."""
    start, stop = images().double()[:1, :, :12, :12], images().double()[1:, :, :12, :12]
    sharp = critic().double()

    def largest_step(prior: PatchCritic, points: int) -> float:
        shares = torch.arange(points, dtype=torch.float64)[:, None, None, None] * 5e-2 / points
        gradients = prior.gradient(start + shares * (stop - start))
        return float((gradients[1:] - gradients[:-1]).flatten(1).norm(dim=1).max())

    ratios = [largest_step(prior, 64) / largest_step(prior, 4) for prior in (sharp, smooth(sharp, [start, stop]))]
    assert ratios[0] > 0.5
    assert ratios[1] < 0.1


@pytest.mark.parametrize(
    ("made", "batches", "sharpness", "message"),
    [
        (critic("silu"), [images()], 20.0, "expected a critic with the activation relu"),
        (critic(), [images()], 0.0, "must be positive, got 0"),
        (zero(), [images()], 20.0, "is constant on the images"),
        (critic(), [], 20.0, "there are no images"),
    ],
)
def test_what_cannot_be_made_smooth(made: PatchCritic, batches: list[Tensor], sharpness: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        smooth(made, batches, sharpness)


def test_a_smooth_critic_keeps_its_card() -> None:
    sharp = critic()
    assert smooth(sharp, [images()]).card is None
    tasks = {"denoise": models.TaskSettings([[0.1, 2.0]])}
    sharp.card = models.ModelCard("mine", "patch_critic", sharp.settings, tasks=tasks, sha256=models.fingerprint(sharp))
    rounded = smooth(sharp, [images()])
    assert rounded.card is not None
    assert (rounded.card.tasks, rounded.card.settings) == (tasks, rounded.settings)
    assert rounded.card.sha256 == models.fingerprint(rounded) != sharp.card.sha256
