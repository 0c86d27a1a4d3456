"""The gradient of a chain in strips of rows, against the reference."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastreg import Restorer
from fastreg.kernels.critic_gradient import ops, reference, strips
from fastreg.priors import PatchCritic
from fastreg.solvers import Adam
from fastreg.training.channels import optimize
from tests.registry import random

#: Inputs, outputs, side and stride of the layers: strides that meet the kernel, cut it, and leave rows out; one layer alone.
CHAINS = {
    "plain": [(3, 5, 3, 1), (5, 4, 3, 1), (4, 1, 3, 1)],
    "released": [(3, 6, 3, 1), (6, 5, 3, 3), (5, 4, 3, 1), (4, 3, 1, 1), (3, 2, 1, 1)],
    "strided": [(1, 4, 5, 2), (4, 3, 2, 1), (3, 2, 3, 2)],
    "apart": [(3, 4, 3, 2), (4, 5, 2, 2), (5, 1, 4, 3)],
    "skipping": [(2, 4, 2, 3), (4, 3, 3, 1), (3, 1, 1, 2)],
    "linear": [(3, 2, 3, 1)],
}
ADDED = [(0, 0), (1, 0), (2, 5), (13, 20), (14, 33), (40, 41)]


def chain(name: str, dtype: torch.dtype = torch.float64) -> tuple[list[Tensor], list[Tensor], list[int], int]:
    """Random weights and biases, strides, and the receptive field."""
    generator = torch.Generator().manual_seed(0)
    layers = CHAINS[name]
    weights = [torch.randn(o, i, k, k, dtype=dtype, generator=generator) for i, o, k, _ in layers]
    biases = [torch.randn(o, dtype=dtype, generator=generator) for _, o, _, _ in layers]
    field = reference.receptive_field([k for _, _, k, _ in layers], [s for *_, s in layers])
    return weights, biases, [s for *_, s in layers], field


@pytest.mark.parametrize("budget", [1, 3000, strips.BUDGET])
@pytest.mark.parametrize("activation", reference.ACTIVATIONS)
@pytest.mark.parametrize("name", CHAINS)
def test_strips_are_the_reference(monkeypatch: pytest.MonkeyPatch, name: str, activation: str, budget: int) -> None:
    monkeypatch.setattr(strips, "BUDGET", budget)
    weights, biases, strides, field = chain(name)
    for k, (height, width) in enumerate(ADDED):
        x = random((1 + 2 * (k % 2), weights[0].shape[1], field + height, field + width), seed=k)
        before = x.clone()
        expected = reference.energy_and_gradient(x, weights, biases, strides, activation)[1]
        got = strips.gradient(x.transpose(2, 3).contiguous().transpose(2, 3), weights, biases, strides, activation)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)
        assert got.is_contiguous()
        assert torch.equal(x, before)


@pytest.mark.parametrize("sides", [(1, 1), (2, 3), (3, 3), (3, 2), (1, 3)])
def test_the_cotangent_of_an_affine_tail_is_that_of_the_whole_image(sides: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes, strides = [(4, 3, sides[0], sides[0]), (2, 4, 2, 2), (1, 2, sides[1], sides[1])], [sides[0], 1, 2]
    weights = [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]
    tail = strips.Tail(weights, strides)
    for height in range(tail.field, 40):
        x = torch.zeros(1, 3, height, tail.field + height % 7, dtype=torch.float64, requires_grad=True)
        z = x
        for weight, stride in zip(weights, strides, strict=True):
            z = torch.nn.functional.conv2d(z, weight, stride=stride)
        (expected,) = torch.autograd.grad(z.sum(), x)
        assert z.shape[-1] == tail.scores(x.shape[-1])
        got = tail.cotangent(height, x.shape[-1], 0, height)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
        assert torch.equal(tail.cotangent(height, x.shape[-1], 1, height - 1), got[:, :, 1:-1])


@pytest.mark.parametrize("name", ["plain", "released", "strided"])
def test_affine_layers_are_passed_over(name: str) -> None:
    """With always positive values behind the first layer, ReLU there is the identity."""
    weights, biases, strides, field = chain(name)
    large = [1e3 * 100.0**k for k in range(len(biases))]
    biases = [biases[0], *(bias + more for bias, more in zip(biases[1:], large[1:], strict=True))]
    x = random((2, weights[0].shape[1], field + 17, field + 8))
    expected = reference.energy_and_gradient(x, weights, biases, strides, "relu")[1]
    for affine in ([False] + [True] * (len(weights) - 2), [False, True] + [False] * (len(weights) - 3)):
        got = strips.gradient(x, weights, biases, strides, "relu", affine)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)
    everywhere = [biases[0] + large[0], *biases[1:]]
    expected = reference.energy_and_gradient(x, weights, everywhere, strides, "relu")[1]
    got = strips.gradient(x, weights, everywhere, strides, "relu", [True] * (len(weights) - 1))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)


def test_half_precision_is_near_the_reference_in_it() -> None:
    weights, biases, strides, field = chain("released", torch.float32)
    half = [weight.bfloat16() for weight in weights], [bias.bfloat16() for bias in biases]
    x = random((1, 3, field + 30, field + 21), torch.float32)
    exact = reference.energy_and_gradient(
        x.double(), [w.double() for w in half[0]], [b.double() for b in half[1]], strides, "silu"
    )[1]
    got = strips.gradient(x, *half, strides, "silu")
    theirs = reference.energy_and_gradient(x, *half, strides, "silu")[1]
    assert got.dtype == torch.float32
    assert (got - exact).norm() <= 2 * (theirs - exact).norm()


def test_what_is_traced_or_differentiated_runs_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("strips were taken")

    monkeypatch.setattr(strips, "gradient", refuse)
    weights, biases, strides, field = chain("plain")
    x = random((1, 3, field, field))
    with pytest.raises(AssertionError, match="strips were taken"):
        ops.gradient(x, weights, biases, strides, "relu")
    for tensor in (x, *weights):
        tensor.requires_grad_()
        assert ops.gradient(x, weights, biases, strides, "silu").requires_grad
        tensor.requires_grad_(False)
    traced = torch.compile(lambda x: ops.gradient(x, weights, biases, strides, "relu"), backend="eager", fullgraph=True)
    traced(x)


def test_extremes_cover_all_that_scores_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    prior = PatchCritic(CHAINS["released"]).double().requires_grad_(False)
    x = random((3, 3, 54, 40))
    for budget in (1, strips.BUDGET):
        monkeypatch.setattr(strips, "BUDGET", budget)
        low = [torch.full((3, layer.outputs), torch.inf, dtype=torch.float64) for layer in prior.layers[:-1]]
        high = [-bound for bound in low]
        for entries, ranges in prior.extremes(x):
            for k, (a, b) in enumerate(ranges):
                low[k][entries], high[k][entries] = low[k][entries].minimum(a), high[k][entries].maximum(b)
        # the last of 54 rows is seen by no patch
        for k, z in enumerate(prior.preactivations(x[..., :53, :])):
            torch.testing.assert_close(low[k], z.amin((2, 3)), rtol=0, atol=1e-12)
            torch.testing.assert_close(high[k], z.amax((2, 3)), rtol=0, atol=1e-12)


def test_a_compiled_solve_takes_its_gradient_from_the_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    prior = PatchCritic(CHAINS["plain"]).requires_grad_(False)
    restorer = Restorer(prior=optimize(prior, [random((2, 3, 20, 20), torch.float32)]), solver=Adam(3), weight=1.0)
    y = random((2, 3, 21, 17), torch.float32, seed=1)
    expected = restorer(y, 0.1)
    taken = []
    whole = strips.gradient
    monkeypatch.setattr(strips, "gradient", lambda *given: taken.append(given) or whole(*given))
    torch.testing.assert_close(restorer.compile()(y, 0.1), expected, rtol=0, atol=1e-5)
    assert len(taken) == 3
