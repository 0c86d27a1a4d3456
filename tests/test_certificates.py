"""Proofs that channels keep their sign, and the gradients that rest upon them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fastreg import Restorer
from fastreg.batch.choosing import ThriftyRestorer
from fastreg.certificates import Certificate, changed, fields, movement, reach
from fastreg.certified import CertifiedCritic, CertifiedPath, certified
from fastreg.gates import GATES
from fastreg.kernels.critic_gradient import strips
from fastreg.optimization import channel_ranges
from fastreg.precision import cpu_has_bf16
from fastreg.regularizers import PatchCritic
from fastreg.solvers import Adam
from tests.registry import critic, random

#: Inputs, outputs, side and stride: strides that meet the kernel, cut it, and leave rows out; one layer behind the first only.
CHAINS = {
    "plain": [(3, 6, 3, 1), (6, 5, 3, 1), (5, 4, 3, 1), (4, 1, 3, 1)],
    "released": [(3, 20, 3, 1), (20, 9, 3, 1), (9, 8, 3, 3), (8, 6, 3, 1), (6, 5, 1, 1), (5, 2, 1, 1)],
    "strided": [(1, 4, 5, 1), (4, 3, 2, 2), (3, 2, 3, 1)],
    "skipping": [(2, 17, 2, 1), (17, 33, 3, 2), (33, 18, 1, 3), (18, 2, 3, 1)],
    "short": [(3, 4, 3, 1), (4, 3, 3, 2), (3, 1, 1, 1)],
}
SIZE = (41, 38)


def collapsed(name: str, room: float = 3.0, dtype: torch.dtype = torch.float64, padding: str = "none") -> PatchCritic:
    """A critic whose channels behind the first layer keep their sign on images in [0, 1], by `room` times the spread."""
    torch.manual_seed(0)
    prior = PatchCritic(CHAINS[name], padding=padding).double().requires_grad_(False)
    x = random((4, prior.channels, *SIZE), seed=7)
    for k, bias in enumerate(prior.biases[1:-1], 1):
        ends = channel_ranges(prior, [x])[k]
        spread, sign = ends.high - ends.low, torch.where(torch.arange(len(bias)) % 3 == 0, -1.0, 1.0)
        bias -= (ends.high + ends.low) / 2 - sign * (0.5 + room) * spread
    return prior.to(dtype)


def signs(prior: PatchCritic, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Channels that are never positive (behind the first layer), and always."""
    ranges = channel_ranges(prior, [x])
    off, on = [r.always_off for r in ranges], [r.always_on for r in ranges]
    return [torch.zeros_like(off[0]), *off[1:]], on


def preactivations(prior: PatchCritic, x: Tensor) -> list[Tensor]:
    return [z.clone() for z in prior.preactivations(x)]


def image(prior: PatchCritic, seed: int = 0, batch: int = 1) -> Tensor:
    return random((batch, prior.channels, *SIZE), prior.weights[0].dtype, seed)


@pytest.mark.parametrize("name", CHAINS)
def test_no_change_moves_a_layer_further_than_its_bound(name: str) -> None:
    prior = collapsed(name)
    x = image(prior)
    off, on = signs(prior, x)
    count = len(prior.layers) - 1
    weights, strides = list(prior.weights[:count]), prior.strides[:count]
    sides = fields(weights, strides)
    bounds = reach(weights, strides, off, on)
    before, nearest = preactivations(prior, x), 0.0
    changes = [scale * (random(tuple(x.shape), seed=k) - 0.5) for k, scale in enumerate((1e-3, 0.03, 0.3))]
    for k in range(count):  # along what moves a value most
        leaf = x.clone().requires_grad_(True)
        z = list(prior.preactivations(leaf))[k]
        (steepest,) = torch.autograd.grad(z[0, 0, 2, 2], leaf)
        changes += [0.1 * steepest.sign(), 0.1 * steepest]
    single = torch.zeros_like(x)
    single[0, :, 15, 17] = 0.4
    for change in [*changes, single]:
        sizes = movement(change, sides)
        for k, after in enumerate(preactivations(prior, x + change)):
            moved, allowed = (after - before[k]).abs().amax((0, 2, 3)), changed(bounds[k], sizes[k])
            assert (moved <= allowed * (1 + 1e-9) + 1e-12).all()
            nearest = max(nearest, float((moved / allowed).max()))
    assert nearest > 0.3  # and the bounds are not idle


def test_movement_is_measured_in_windows() -> None:
    change = random((1, 3, 19, 23)) - 0.5
    squares = change.square().sum(1, keepdim=True)
    for side, (own, first, together) in zip((3, 5, 13), movement(change, (3, 5, 13)).tolist(), strict=True):
        boxes = 9 * F.avg_pool2d(squares, 3, 1)
        expected = [side**2 * F.avg_pool2d(squares, side, 1), boxes, (side - 2) ** 2 * F.avg_pool2d(boxes, side - 2, 1)]
        assert [own, first, together] == pytest.approx([float(e.max()) ** 0.5 for e in expected], rel=2e-3)
        assert own >= float(expected[0].max()) ** 0.5


@pytest.mark.parametrize("budget", [1, 4000, strips.BUDGET])
@pytest.mark.parametrize("name", CHAINS)
def test_margins_are_the_least_distance_from_zero(monkeypatch: pytest.MonkeyPatch, name: str, budget: int) -> None:
    monkeypatch.setattr(strips, "BUDGET", budget)
    prior = collapsed(name)
    for shape in (SIZE, (prior.receptive_field,) * 2, (prior.receptive_field + 1, 29), (30, prior.receptive_field + 2)):
        x = random((2, prior.channels, *shape), seed=3)
        off, on = signs(prior, x)
        if not all(bool((never | always).all()) for never, always in zip(off[1:], on[1:], strict=True)):
            continue
        got = Certificate(prior, off, on).margins(x)
        for k, z in enumerate(preactivations(prior, x)):
            own = got[:, Certificate(prior, off, on).layers == k]
            every = torch.where(off[k], -z.amax((2, 3)), torch.where(on[k], z.amin((2, 3)), torch.inf))
            seen = off[k] | on[k]
            # rows that no score depends on may be left out, the order of channels is free
            assert (
                own[torch.isfinite(own)].reshape(2, -1).sort(1).values >= every[:, seen].sort(1).values - 1e-9
            ).all()
            if all(stride == 1 for stride in prior.strides):
                torch.testing.assert_close(
                    own[torch.isfinite(own)].reshape(2, -1).sort(1).values, every[:, seen].sort(1).values
                )


@pytest.mark.skipif(not cpu_has_bf16(), reason="bf16 in software takes long")
@pytest.mark.parametrize("name", ["released", "skipping"])
def test_rounded_margins_are_not_larger_than_exact_ones(name: str) -> None:
    prior = collapsed(name, dtype=torch.float32)
    x = image(prior, batch=2)
    off, on = signs(prior, x)
    exact, rounded = Certificate(prior, off, on), Certificate(prior, off, on, rounded=True)
    assert any(stage.weight.dtype == torch.bfloat16 for stage in rounded.stages)
    mine, theirs = (c.margins(x) for c in (rounded, exact))
    assert ((mine <= theirs + 1e-6) | (theirs == torch.inf)).all()
    assert (mine > 0.8 * theirs).all()  # collapsed by far more than what rounding loses


def test_parts_look_at_what_they_are_about() -> None:
    prior = collapsed("released")
    x = image(prior)
    off, on = signs(prior, x)
    whole = Certificate(prior, off, on).margins(x)[0]
    found = []
    for part in (0, 1, 2):
        watched = [(torch.arange(len(mask)) % 3 == part) & (mask | other) for mask, other in zip(off, on, strict=True)]
        found.append(Certificate(prior, off, on, watched).margins(x)[0])
    together = torch.cat(found)
    torch.testing.assert_close(
        together[torch.isfinite(together)].sort().values, whole[torch.isfinite(whole)].sort().values
    )


def test_a_certificate_refuses_what_it_cannot_prove() -> None:
    prior = collapsed("plain")
    off, on = signs(prior, image(prior))
    alive = [on[0], on[1] & False, *on[2:]]
    with pytest.raises(ValueError, match="all keep their sign"):
        Certificate(prior, off, alive)
    with pytest.raises(ValueError, match="does not stride, this one has 2"):
        Certificate(
            PatchCritic([(3, 4, 3, 2), (4, 3, 3, 1), (3, 1, 1, 1)]), [on[0][:4], off[1][:3]], [on[0][:4], ~off[1][:3]]
        )


def walk(prior: CertifiedCritic, points: list[Tensor]) -> CertifiedPath:
    """Check the gradient at one point after the other."""
    path = prior.along()
    for x in points:
        torch.testing.assert_close(path.gradient(x), prior.full.gradient(x), rtol=0, atol=1e-10)
    return path


@pytest.mark.parametrize(
    ("name", "padding"), [("plain", "none"), ("plain", "replicate"), ("released", "none"), ("skipping", "none")]
)
def test_a_certified_gradient_is_the_gradient(name: str, padding: str) -> None:
    prior = collapsed(name, padding=padding)
    x, step = image(prior, batch=2), 2e-3 * (image(prior, seed=5, batch=2) - 0.5)
    fast = CertifiedCritic(prior, *signs(prior, prior.extended(x)))
    path = walk(fast, [x + k * step for k in range(12)])
    assert path.effort.fallbacks == 0
    assert 2 <= path.effort.looks[0] < 12  # both entries once, and no more than half of the time
    mine, theirs = fast.energy_and_gradient(x), prior.energy_and_gradient(x)
    for got, expected in zip(mine, theirs, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(fast(x), prior(x))


def test_a_first_layer_that_is_always_on_keeps_its_activation() -> None:
    prior = collapsed("released")
    prior.biases[0].add_(20.0)
    for k in range(1, len(prior.layers) - 1):  # the signs behind it as they were
        moved = list(prior.preactivations(image(prior)))[k].mean((0, 2, 3))
        prior.biases[k].add_(torch.where(torch.arange(len(moved)) % 3 == 0, -50.0, 50.0) - moved)
    x = image(prior)
    off, on = signs(prior, x)
    assert on[0].all()
    fast = CertifiedCritic(prior, off, on)
    path = walk(fast, [x, x + 0.01, x - 40.0, x])
    assert (path.effort.gradients, path.effort.fallbacks) == (2, 2)
    assert path.effort.work > 2 * 2 * prior.work


@pytest.mark.parametrize("budget", [1, strips.BUDGET])
def test_a_channel_that_wakes_up_is_noticed(monkeypatch: pytest.MonkeyPatch, budget: int) -> None:
    """On the way from an image where channels keep their sign to one where they do not, and back; one entry stays."""
    monkeypatch.setattr(strips, "BUDGET", budget)
    prior = collapsed("released", room=0.2)
    calm, wild = image(prior), 6 * image(prior, seed=2) - 3
    fast = CertifiedCritic(prior, *signs(prior, calm))
    for wake in (0.02, 0.3, 1.0):
        steps = [0.0, 0.001, 0.002, wake, wake, wake, 0.001, 0.0, 0.0, 0.0, 0.0, 0.001, 0.0015]
        points = [torch.cat([calm + t * (wild - calm), calm]) for t in steps]
        path = walk(fast, points)
        if wake == 1.0:
            assert 3 <= path.effort.fallbacks < len(steps)  # noticed, and after a while tried again
    with pytest.raises(ValueError, match="got an image of 2x2"):
        fast.along().gradient(torch.zeros(1, 3, 2, 2, dtype=torch.float64))


def test_groups_prove_only_together() -> None:
    """The nearer channels are looked at more often; a step that wakes any channel is noticed by one of them."""
    prior = collapsed("released", room=0.5)
    x = image(prior)
    off, on = signs(prior, x)
    groups = [[(torch.arange(len(m)) % 2 == part) & (m | o) for m, o in zip(off, on, strict=True)] for part in (0, 1)]
    fast = CertifiedCritic(prior, off, on, groups)
    direction = image(prior, seed=4) - 0.5
    path = walk(fast, [x + t * direction for t in (0, 0.001, 0.002, 0.1, 0.1005, 3.0, 0.1, 0.0, 0.0, 0.001)])
    assert len(path.effort.looks) == 2
    assert path.effort.fallbacks > 0


def test_compiled_solves_take_it_and_only_where_it_fits() -> None:
    x = random((1, 3, *SIZE), torch.float32)
    solver = Adam(iterations=6)
    silu, _ = critic("plain", "silu", "none", torch.float32)
    alive, _ = critic("plain", "relu", "none", torch.float32)
    assert certified(silu, rounded=False) is None
    assert certified(alive, rounded=False) is None
    prior = collapsed("released", room=6.0, dtype=torch.float32)
    restorer = Restorer(prior=prior, solver=solver, weight=0.5)
    fast = restorer.compile()
    assert isinstance(fast.prior, CertifiedCritic)
    assert isinstance(restorer.prior, PatchCritic)
    torch.testing.assert_close(fast(x, 0.1), restorer(x, 0.1), rtol=0, atol=1e-5)
    assert fast.effort is not None
    assert (fast.effort.gradients, fast.effort.fallbacks) == (6, 0)
    if cpu_has_bf16():
        half = restorer.compile("bf16")
        assert isinstance(half.prior, CertifiedCritic)
        assert half.prior.full.weights[0].dtype == torch.bfloat16
        assert (half(x, 0.1) - restorer(x, 0.1)).square().mean().sqrt() < GATES["bf16"][0]


def test_folders_are_restored_by_it_without_being_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    prior = collapsed("released", room=6.0, dtype=torch.float32)
    eager = Restorer(prior=prior, solver=Adam(iterations=6), weight=0.5)
    y = random((1, 3, *SIZE), torch.float32)
    few, many = ThriftyRestorer(eager, images=2), ThriftyRestorer(eager, images=2)
    monkeypatch.setattr(few, "_ahead", lambda y: 1.0)
    monkeypatch.setattr(many, "_ahead", lambda y: 100.0)
    for restorer in (few, many):
        torch.testing.assert_close(restorer(y, 0.1), eager(y, 0.1), rtol=0, atol=1e-5)
    assert few.fast is None
    assert many.fast is not None
    assert isinstance(many.fast.prior, CertifiedCritic)
