"""The kernels of `critic_gradient` against float64, for chains of every shape that `PatchCritic` allows."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fastreg.kernels.critic_gradient import reference, triton_chain
from tests.kernels.accuracy import assert_as_accurate

#: (channels in, channels out, side, stride) of each layer, and the size of an image.
CHAINS = {
    "one layer": (((3, 5, 3, 1),), (3, 70)),
    "plain": (((3, 40, 3, 1), (40, 8, 3, 1)), (5, 9)),
    "strides": (((1, 16, 4, 2), (16, 35, 2, 1), (35, 3, 3, 2)), (16, 15)),
    "a stride as large as the kernel": (((3, 33, 3, 3), (33, 32, 3, 1), (32, 16, 1, 1)), (10, 11)),
    "more channels than a tile": (((1, 70, 1, 1), (70, 100, 1, 1), (100, 5, 1, 1)), (5, 7)),
    "a stride larger than the kernel": (((2, 17, 2, 3), (17, 4, 1, 2)), (9, 10)),
}


def chain(layers: tuple[tuple[int, int, int, int], ...]) -> tuple[list[Tensor], list[Tensor], list[int]]:
    weights = [torch.randn(o, i, k, k) * (2 / (i * k * k)) ** 0.5 for i, o, k, _ in layers]
    return weights, [0.1 * torch.randn(layer[1]) for layer in layers], [layer[3] for layer in layers]


def terms(x: Tensor, weights: list[Tensor], biases: list[Tensor], strides: list[int], activation: str) -> float:
    """The largest sum of the magnitudes of what a score adds up: terms of both signs cancel in it."""
    a = x
    for weight, bias, stride in zip(weights[:-1], biases[:-1], strides[:-1], strict=True):
        a = reference.activate(F.conv2d(a, weight, bias, stride), activation)
    return float(F.conv2d(a.abs(), weights[-1].abs(), biases[-1].abs(), strides[-1]).mean(1).max())


def check(layers: tuple[tuple[int, int, int, int], ...], x: Tensor, activation: str) -> None:
    weights, biases, strides = chain(layers)
    energy, gradient = triton_chain.energy_and_gradient(x, weights, biases, strides, activation)
    torch32 = reference.energy_and_gradient(x, weights, biases, strides, activation)
    double = [[t.double() for t in tensors] for tensors in (weights, biases)]
    exact = reference.energy_and_gradient(x.double(), *double, strides, activation)
    assert gradient.dtype == torch.float32 and gradient.shape == x.shape
    magnitude = terms(x.double(), *double, strides, activation)
    assert_as_accurate(energy, torch32[0], exact[0], operations=8, magnitude=magnitude)
    assert_as_accurate(gradient, torch32[1], exact[1], operations=8)


@pytest.mark.parametrize("activation", reference.ACTIVATIONS)
@pytest.mark.parametrize("name", CHAINS)
def test_chains_are_as_accurate_as_torch(name: str, activation: str) -> None:
    layers, size = CHAINS[name]
    check(layers, torch.rand(2, layers[0][0], *size), activation)


@pytest.mark.parametrize("height", [16, 17, 18, 19])
def test_every_residue_of_a_strided_layer(height: int) -> None:
    """Rows and columns that no strided patch covers have a gradient of zero, and it is written."""
    check(CHAINS["strides"][0], torch.rand(1, 1, height, 35 - height), "relu")


@pytest.mark.parametrize("width", [2, 17, 64, 65, 66, 67])
def test_widths(width: int) -> None:
    """Pixels beyond the last one of a tile of 64 neither write nor count."""
    check(((1, 5, 2, 1), (5, 2, 1, 1)), torch.rand(1, 1, 2, width), "relu")


@pytest.mark.slow
@pytest.mark.parametrize("width", range(3, 71))
def test_every_width(width: int) -> None:
    check(((1, 5, 2, 1), (5, 2, 1, 1)), torch.rand(1, 1, 2, width), "relu")


def test_layouts() -> None:
    for x in (
        torch.rand(2, 3, 9, 8).to(memory_format=torch.channels_last),
        torch.rand(2, 3, 8, 9).transpose(2, 3),
        torch.rand(2, 9, 9, 8)[:, ::3],
    ):
        check(CHAINS["plain"][0], x, "relu")
