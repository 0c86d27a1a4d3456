"""The kernels of `critic_gradient` against float64, for chains of every shape that `PatchCritic` allows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastreg.kernels.critic_gradient import reference, triton_chain
from tests.kernels.accuracy import assert_as_accurate

#: (channels in, channels out, side, stride) of each layer.
CHAINS = {
    "one layer": ((3, 5, 3, 1),),
    "plain": ((3, 40, 3, 1), (40, 8, 3, 1)),
    "like the released critic": ((3, 48, 3, 1), (48, 33, 3, 3), (33, 32, 3, 1), (32, 16, 1, 1), (16, 16, 1, 1)),
    "strides": ((1, 16, 4, 2), (16, 35, 2, 1), (35, 3, 3, 2)),
    "more channels than a tile": ((1, 70, 1, 1), (70, 100, 1, 1), (100, 5, 1, 1)),
    "a stride larger than the kernel": ((2, 17, 2, 3), (17, 4, 1, 2)),
}
SIZES = {
    "one layer": (3, 70),
    "plain": (5, 9),
    "like the released critic": (15, 17),
    "strides": (16, 15),
    "more channels than a tile": (5, 7),
}


def chain(name: str) -> tuple[list[Tensor], list[Tensor], list[int]]:
    layers = CHAINS[name]
    weights = [torch.randn(o, i, k, k) * (2 / (i * k * k)) ** 0.5 for i, o, k, _ in layers]
    return weights, [0.1 * torch.randn(layer[1]) for layer in layers], [layer[3] for layer in layers]


def check(name: str, x: Tensor, activation: str) -> None:
    weights, biases, strides = chain(name)
    energy, gradient = triton_chain.energy_and_gradient(x, weights, biases, strides, activation)
    torch32 = reference.energy_and_gradient(x, weights, biases, strides, activation)
    double = [[t.double() for t in tensors] for tensors in (weights, biases)]
    exact = reference.energy_and_gradient(x.double(), *double, strides, activation)
    assert gradient.dtype == torch.float32 and gradient.shape == x.shape
    # scores of both signs cancel in their mean
    scores = float(reference.scores(x.double(), *double, strides, activation).abs().max())
    assert_as_accurate(energy, torch32[0], exact[0], operations=8, magnitude=scores)
    assert_as_accurate(gradient, torch32[1], exact[1], operations=8)


@pytest.mark.parametrize("activation", reference.ACTIVATIONS)
@pytest.mark.parametrize("name", CHAINS)
def test_chains_are_as_accurate_as_torch(name: str, activation: str) -> None:
    check(name, torch.rand(2, CHAINS[name][0][0], *SIZES.get(name, (13, 14))), activation)


@pytest.mark.parametrize("height", [15, 16, 17, 18, 19, 20, 21, 22])
def test_every_residue_of_a_strided_layer(height: int) -> None:
    """Rows and columns that no strided patch covers have a gradient of zero, and it is written."""
    check("strides", torch.rand(1, 1, height, 37 - height), "relu")


def test_layouts() -> None:
    x = torch.rand(2, 3, 9, 8).to(memory_format=torch.channels_last)
    check("plain", x, "relu")
    check("plain", torch.rand(2, 3, 8, 9).transpose(2, 3), "relu")
    check("plain", torch.rand(2, 9, 9, 8)[:, ::3], "relu")
