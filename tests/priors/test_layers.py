"""Layers whose derivative is written by hand, against autograd."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fastreg.priors.layers import (
    ACTIVATIONS,
    Activation,
    Chain,
    Conv,
    Down,
    Layer,
    ResidualBlock,
    Shuffle,
    Unshuffle,
    Up,
)
from fastreg.priors.unet import UNetLayers
from tests.registry import random

LAYERS: dict[str, Callable[[], Layer]] = {
    "conv": lambda: Conv(4, 3),
    "conv_bias": lambda: Conv(4, 5, bias=True),
    "conv_dilated": lambda: Conv(4, 3, dilation=3),
    "down": lambda: Down(4, 6, bias=True),
    "up": lambda: Up(4, 2, bias=True),
    "unshuffle": Unshuffle,
    "shuffle": Shuffle,
    "chain": lambda: Chain(Conv(4, 3), Activation("silu"), Down(3, 5), Activation("relu"), Up(5, 2)),
    **{name: lambda name=name: Activation(name) for name in ACTIVATIONS},  # type: ignore[misc]
    **{f"block_{name}": lambda name=name: ResidualBlock(4, name, True) for name in ACTIVATIONS},  # type: ignore[misc]
    "unet": lambda: UNetLayers(4, 3, (4, 5, 6), 2, "elu", True),
}
EVERY = pytest.mark.parametrize("name", LAYERS)


def products(name: str) -> tuple[Layer, Tensor, Tensor, Tensor]:
    """A layer, its input, and the product with a random vector as it is written out and by autograd."""
    torch.manual_seed(0)
    layer = LAYERS[name]().double()
    x = (4 * random((2, 4, 8, 12), seed=1) - 2).requires_grad_()
    tape: list[Tensor] = []
    y = layer(x, tape)
    torch.testing.assert_close(y, layer(x), rtol=0, atol=0)
    v = random(tuple(y.shape), seed=2) - 0.5
    written = layer.vjp(v, tape)
    assert not tape
    (automatic,) = torch.autograd.grad((y * v).sum(), x, create_graph=True)
    return layer, x, written, automatic


@EVERY
def test_the_product_is_that_of_autograd(name: str) -> None:
    _, _, written, automatic = products(name)
    torch.testing.assert_close(written, automatic, rtol=0, atol=1e-10)


@EVERY
def test_a_loss_on_the_product_has_the_gradients_of_autograd(name: str) -> None:
    layer, x, written, automatic = products(name)
    wanted = [x, *layer.parameters()]
    gradients = [
        torch.autograd.grad(
            product.square().sum(), wanted, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        if product.requires_grad
        else [torch.zeros_like(t) for t in wanted]
        for product in (written, automatic)
    ]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu"])
def test_kinks_and_large_values(name: str) -> None:
    x = torch.tensor([-800.0, -30.0, -1e-9, 0.0, 1e-9, 30.0, 800.0], dtype=torch.float64, requires_grad=True)
    tape: list[Tensor] = []
    y = Activation(name)(x, tape)
    (automatic,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(Activation(name).vjp(torch.ones_like(x), tape), automatic, rtol=0, atol=1e-10)


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(ValueError, match="one of relu, leaky_relu, elu, silu, softplus, got 'tanh'"):
        Activation("tanh")
