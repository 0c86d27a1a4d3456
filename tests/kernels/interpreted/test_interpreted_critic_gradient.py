"""The kernels of `critic_gradient` against float64, for chains of every shape that `PatchCritic` allows."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fastreg.kernels.critic_gradient import reference, triton_chain, triton_fused
from tests.kernels.accuracy import assert_as_accurate

#: (channels in, channels out, side, stride) of each layer.
CHAINS = {
    "one layer": ((3, 5, 3, 1),),
    "plain": ((3, 40, 3, 1), (40, 8, 3, 1)),
    "like the released critic": ((3, 48, 3, 1), (48, 33, 3, 3), (33, 32, 3, 1), (32, 16, 1, 1), (16, 16, 1, 1)),
    "strides": ((1, 16, 4, 2), (16, 35, 2, 1), (35, 3, 3, 2)),
    "more channels than a tile": ((1, 70, 1, 1), (70, 100, 1, 1), (100, 5, 1, 1)),
    "a stride larger than the kernel": ((2, 17, 2, 3), (17, 4, 1, 2)),
    "everything meets": ((3, 64, 3, 1), (64, 56, 3, 1), (56, 33, 3, 3), (33, 20, 3, 1), (20, 36, 1, 1), (36, 32, 1, 1)),
    "strides meet": ((1, 40, 4, 2), (40, 48, 3, 2), (48, 33, 2, 2), (33, 7, 1, 1), (7, 3, 2, 1)),
    "the first layer meets the last": ((2, 33, 2, 1), (33, 40, 3, 1), (40, 2, 2, 2)),
    "1x1 in between": ((3, 20, 3, 1), (20, 35, 1, 1), (35, 40, 1, 1), (40, 8, 2, 1), (8, 4, 3, 1)),
    "a row": ((1, 5, 2, 1), (5, 2, 1, 1)),
    "too many channels to meet": ((3, 16, 3, 1), (16, 130, 3, 1), (130, 4, 1, 1)),
}
SIZES = {
    "one layer": (3, 70),
    "plain": (5, 9),
    "like the released critic": (15, 17),
    "strides": (16, 15),
    "more channels than a tile": (5, 7),
    "strides meet": (20, 23),
    "the first layer meets the last": (9, 10),
    "too many channels to meet": (7, 8),
    "a row": (2, 9),
}
PATHS = {"a kernel a layer": triton_chain, "fused": triton_fused}
EVERY_PATH = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)


def chain(name: str) -> tuple[list[Tensor], list[Tensor], list[int]]:
    layers = CHAINS[name]
    weights = [torch.randn(o, i, k, k) * (2 / (i * k * k)) ** 0.5 for i, o, k, _ in layers]
    return weights, [0.1 * torch.randn(layer[1]) for layer in layers], [layer[3] for layer in layers]


def terms(x: Tensor, weights: list[Tensor], biases: list[Tensor], strides: list[int], activation: str) -> float:
    """The largest sum of the magnitudes of what a score adds up: terms of both signs cancel in it."""
    a = x
    for weight, bias, stride in zip(weights[:-1], biases[:-1], strides[:-1], strict=True):
        a = reference.activate(F.conv2d(a, weight, bias, stride), activation)
    return float(F.conv2d(a.abs(), weights[-1].abs(), biases[-1].abs(), strides[-1]).mean(1).max())


def check(path: ModuleType, name: str, x: Tensor, activation: str) -> None:
    weights, biases, strides = chain(name)
    energy, gradient = path.energy_and_gradient(x, weights, biases, strides, activation)
    torch32 = reference.energy_and_gradient(x, weights, biases, strides, activation)
    double = [[t.double() for t in tensors] for tensors in (weights, biases)]
    exact = reference.energy_and_gradient(x.double(), *double, strides, activation)
    assert gradient.dtype == torch.float32 and gradient.shape == x.shape
    assert_as_accurate(
        energy, torch32[0], exact[0], operations=8, magnitude=terms(x.double(), *double, strides, activation)
    )
    assert_as_accurate(gradient, torch32[1], exact[1], operations=8)


@EVERY_PATH
@pytest.mark.parametrize("activation", reference.ACTIVATIONS)
@pytest.mark.parametrize("name", CHAINS)
def test_chains_are_as_accurate_as_torch(path: ModuleType, name: str, activation: str) -> None:
    check(path, name, torch.rand(2, CHAINS[name][0][0], *SIZES.get(name, (13, 14))), activation)


@EVERY_PATH
@pytest.mark.parametrize("height", [15, 16, 17, 18, 19, 20, 21, 22])
def test_every_residue_of_a_strided_layer(path: ModuleType, height: int) -> None:
    """Rows and columns that no strided patch covers have a gradient of zero, and it is written."""
    check(path, "strides", torch.rand(1, 1, height, 37 - height), "relu")


@pytest.mark.parametrize("activation", ["relu", "silu"])
@pytest.mark.parametrize(("name", "least", "sizes"), [("strides meet", 20, 8), ("everything meets", 13, 3)])
def test_every_residue_of_strided_layers_that_meet(name: str, least: int, sizes: int, activation: str) -> None:
    """Pixels that are left out are neither computed nor kept; what is read of them must not count."""
    for k in range(sizes):
        check(triton_fused, name, torch.rand(1, CHAINS[name][0][0], least + k, least + (k + 1) % sizes), activation)


@EVERY_PATH
def test_every_width(path: ModuleType) -> None:
    """Pixels beyond the last one of a tile neither write nor count."""
    for width in range(2, 71):
        check(path, "a row", torch.rand(1, 1, 2, width), "relu")


@EVERY_PATH
def test_layouts(path: ModuleType) -> None:
    x = torch.rand(2, 3, 9, 8).to(memory_format=torch.channels_last)
    check(path, "plain", x, "relu")
    check(path, "plain", torch.rand(2, 3, 8, 9).transpose(2, 3), "relu")
    check(path, "plain", torch.rand(2, 9, 9, 8)[:, ::3], "relu")
    check(path, "everything meets", torch.rand(2, 9, 16, 15)[:, ::3], "relu")
