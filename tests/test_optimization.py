"""Folding the channels that never change sign."""

from __future__ import annotations

import pytest
import torch

from fastreg import Restorer
from fastreg.optimization import calibration_images, channel_ranges, optimize, restore_audited
from fastreg.regularizers import PatchCritic
from fastreg.solvers import Adam
from tests.registry import CHAINS, critic, random

LINEAR = [(3, 6, 3, 1), (6, 5, 3, 2), (5, 4, 3, 1), (4, 3, 1, 1)]


def constant_in_sign(chain: list[tuple[int, int, int, int]], seed: int = 0) -> PatchCritic:
    """The first layer is alive; behind it some channels are always off and the others always on."""
    torch.manual_seed(seed)
    prior = PatchCritic(chain).double().requires_grad_(False)
    for bias in prior.biases[1:-1]:
        bias += torch.where(torch.arange(len(bias)) % 3 == 0, -100.0, 100.0)
    return prior


@pytest.mark.parametrize("size", [(20, 21), (19, 24), (23, 22)])
def test_folded_equals_full(size: tuple[int, int]) -> None:
    prior = constant_in_sign(LINEAR)
    folded = optimize(prior, [random((2, 3, 20, 20))])
    assert len(folded.small.layers) < len(prior.layers)  # affine layers are multiplied together
    assert folded.work[0] < folded.work[1]
    x = random((2, 3, *size), seed=1)
    assert folded.audit(x).all()
    for mine, theirs in zip(folded.energy_and_gradient(x), prior.energy_and_gradient(x), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


def test_a_critic_without_constant_channels_stays_whole() -> None:
    prior, shape = critic("plain", "relu", "none")
    assert isinstance(prior, PatchCritic)
    images = calibration_images([random(shape, seed=k) for k in range(3)], [0.5, 3.0])
    folded = optimize(prior, images)
    x = random(shape, seed=9)
    torch.testing.assert_close(folded.gradient(x), prior.gradient(x), rtol=0, atol=1e-10)
    ranges = channel_ranges(prior, images)
    alive = [int((~(r.always_off | r.always_on)).sum()) for r in ranges]
    assert alive == [layer.outputs for layer in prior.layers[:-1]]


def test_all_channels_off_is_a_constant() -> None:
    torch.manual_seed(0)
    prior = PatchCritic(CHAINS["plain"]).double().requires_grad_(False)
    prior.biases[0] -= 100
    prior.biases[1] += 1.0
    folded = optimize(prior, [random((1, 3, 12, 12))])
    x = random((2, 3, 13, 12), seed=1)
    torch.testing.assert_close(folded(x), prior(x), rtol=0, atol=1e-10)
    torch.testing.assert_close(folded.gradient(x), torch.zeros_like(x), rtol=0, atol=0)


def test_audit_sees_a_channel_wake_and_falls_back() -> None:
    torch.manual_seed(0)
    prior = PatchCritic(CHAINS["plain"]).requires_grad_(False)
    prior.weights[0][0] = 1.0
    prior.biases[0][0] = -0.5 * 27  # off for dark images, on for bright ones
    folded = optimize(prior, [0.2 * random((2, 3, 16, 16), torch.float32)])
    dark, bright = 0.2 * random((1, 3, 16, 16), torch.float32, seed=1), torch.full((1, 3, 16, 16), 0.9)
    both = torch.cat([dark, bright])
    assert folded.audit(both).tolist() == [True, False]
    full = Restorer(prior=prior, solver=Adam(3), weight=0.1)
    result = restore_audited(Restorer(prior=folded, solver=Adam(3), weight=0.1), full, both, 0.01)
    assert result.folded.tolist() == [True, False]
    torch.testing.assert_close(result.x, full(both, 0.01), rtol=0, atol=1e-5)


@pytest.mark.parametrize("padding", ["none", "replicate"])
def test_a_folded_solve_computes_what_repeats_once(padding: str) -> None:
    chain = LINEAR if padding == "none" else CHAINS["plain"]
    prior = PatchCritic(**{**constant_in_sign(chain).settings, "padding": padding}).double().requires_grad_(False)
    prior.load_state_dict(constant_in_sign(chain).state_dict())
    folded = optimize(prior, [random((2, 3, 20, 20))])
    path = folded.along()
    assert path is not folded
    for size in ((20, 21), (20, 21), (33, 24)):
        x = random((2, 3, *size), seed=1)
        torch.testing.assert_close(path.gradient(x), prior.gradient(x), rtol=0, atol=1e-10)
    torch.testing.assert_close(path(x), prior(x))
    with pytest.raises(ValueError, match=r"got an image of \dx2"):
        path.gradient(random((1, 3, 2, 2)) if padding == "none" else random((1, 3, 0, 2)))


def test_an_audit_that_starts_in_bf16_ends_as_the_exact_one() -> None:
    prior = constant_in_sign(LINEAR).float()
    calm = random((2, 3, 20, 20), torch.float32)
    folded = optimize(prior, [calm])
    assert folded._certificate is not None
    both = torch.cat([calm, 60 * random((3, 3, 20, 20), torch.float32, seed=2) - 30])
    holds = folded.audit(both)
    assert holds.tolist() == folded._audit(both).tolist()
    assert holds.tolist() == [True, True, False, False, False]


def test_misuse_is_refused() -> None:
    smooth, shape = critic("plain", "silu", "none")
    with pytest.raises(ValueError, match="only a critic with ReLU"):
        optimize(smooth, [random(shape)])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="only a PatchCritic"):
        optimize(torch.nn.Identity(), [])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one calibration image"):
        optimize(PatchCritic(CHAINS["plain"]), [])
    whole = Restorer(prior=smooth, weight=1.0)
    with pytest.raises(TypeError, match="must be a FoldedCritic"):
        restore_audited(whole, whole, random(shape), 0.1)
