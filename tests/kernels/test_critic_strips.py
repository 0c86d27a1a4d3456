"""Energy and gradient of a chain in strips of rows, against the reference."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastreg.kernels.critic_gradient import ops, reference, strips
from tests.registry import random

#: Inputs, outputs, side and stride of the layers: strides that meet the kernel, cut it, and leave rows out; one layer alone.
CHAINS = {
    "plain": [(3, 5, 3, 1), (5, 4, 3, 1), (4, 1, 3, 1)],
    "released": [(3, 6, 3, 1), (6, 5, 3, 3), (5, 4, 3, 1), (4, 3, 1, 1), (3, 2, 1, 1)],
    "strided": [(1, 4, 5, 2), (4, 3, 2, 1), (3, 2, 3, 2)],
    "skipping": [(2, 4, 2, 3), (4, 3, 3, 1), (3, 1, 1, 2)],
    "linear": [(3, 2, 3, 1)],
}
ADDED = [(0, 0), (1, 0), (2, 5), (14, 33), (40, 41)]


def chain(name: str) -> tuple[list[Tensor], list[Tensor], list[int], int]:
    """Random weights and biases, strides, and the receptive field."""
    generator = torch.Generator().manual_seed(0)
    layers = CHAINS[name]
    weights = [torch.randn(o, i, k, k, dtype=torch.float64, generator=generator) for i, o, k, _ in layers]
    biases = [torch.randn(o, dtype=torch.float64, generator=generator) for _, o, _, _ in layers]
    field = reference.receptive_field([k for _, _, k, _ in layers], [s for *_, s in layers])
    return weights, biases, [s for *_, s in layers], field


@pytest.mark.parametrize("budget", [1, 3000, strips.BUDGET])
@pytest.mark.parametrize("name", CHAINS)
def test_strips_are_the_reference(monkeypatch: pytest.MonkeyPatch, name: str, budget: int) -> None:
    monkeypatch.setattr(strips, "BUDGET", budget)
    weights, biases, strides, field = chain(name)
    for k, (height, width) in enumerate(ADDED):
        activation = reference.ACTIVATIONS[k % 3]
        x = random((1 + 2 * (k % 2), weights[0].shape[1], field + height, field + width), seed=k)
        x = x.transpose(2, 3).contiguous().transpose(2, 3)
        before = x.clone()
        expected = reference.energy_and_gradient(x, weights, biases, strides, activation)
        energy, gradient = strips.energy_and_gradient(x, weights, biases, strides, activation)
        torch.testing.assert_close(energy, expected[0], rtol=0, atol=1e-10)
        torch.testing.assert_close(gradient, expected[1], rtol=0, atol=1e-10)
        assert gradient.is_contiguous()
        assert torch.equal(x, before)


def test_strips_are_no_larger_than_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    weights, biases, strides, _ = chain("plain")
    heights = []
    whole = strips._strip

    def watched(x: Tensor, *rest: object) -> tuple[Tensor, Tensor]:
        heights.append(x.shape[-2])
        return whole(x, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(strips, "_strip", watched)
    monkeypatch.setattr(strips, "BUDGET", 10 * 50 * 5 * 8)
    strips.energy_and_gradient(random((1, 3, 46, 50)), weights, biases, strides, "relu")
    assert len(heights) == 5
    assert max(heights) - 6 <= 10


def test_what_is_traced_or_differentiated_runs_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("strips were taken")

    monkeypatch.setattr(strips, "energy_and_gradient", refuse)
    weights, biases, strides, field = chain("plain")
    x = random((1, 3, field, field))
    with pytest.raises(AssertionError, match="strips were taken"):
        ops.energy_and_gradient(x, weights, biases, strides, "relu")
    for tensor in (x, *weights):
        tensor.requires_grad_()
        assert ops.energy_and_gradient(x, weights, biases, strides, "silu")[1].requires_grad
        tensor.requires_grad_(False)
    traced = torch.compile(
        lambda x: ops.energy_and_gradient(x, weights, biases, strides, "relu"), backend="eager", fullgraph=True
    )
    traced(x)
