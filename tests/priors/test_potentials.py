"""Potentials: gradients and Hessians against autograd, and the denoisers that they learn as."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastreg.parts import build, describe
from fastreg.priors import PRIORS, FFDNet, GradientStep, Potential, UNet
from fastreg.priors.potentials import POTENTIALS, smooth_start
from tests.registry import random

NETWORKS = {
    "unet": lambda: UNet(3, (4, 6), 1, "silu"),
    "unet_value": lambda: UNet(1, (4, 5), 1, "elu", bias=True, residual=False),
    "ffdnet": lambda: FFDNet(3, 5, 4, "softplus"),
}
EVERY = pytest.mark.parametrize(
    ("kind", "network"), [(kind, network) for kind in POTENTIALS for network in NETWORKS], ids=lambda v: str(v)
)


def make(kind: str, network: str) -> tuple[Potential, Tensor, Tensor]:
    """A potential with random weights, images of an odd size, and noise levels."""
    torch.manual_seed(0)
    potential = POTENTIALS[kind](NETWORKS[network]()).double()
    return potential, random((2, potential.channels, 7, 9), seed=1), torch.tensor([0.1, 0.3], dtype=torch.float64)


@EVERY
def test_gradient_is_that_of_the_energy(kind: str, network: str) -> None:
    potential, x, sigma = make(kind, network)
    x.requires_grad_()
    energy, gradient = potential.energy_and_gradient(x, sigma)
    torch.testing.assert_close(gradient, torch.autograd.grad(energy.sum(), x)[0], rtol=1e-10, atol=1e-10)


@EVERY
def test_hessian_is_symmetric(kind: str, network: str) -> None:
    """Autograd through the written-out gradient gives its Jacobian, which for the gradient of a function is symmetric."""
    potential, x, sigma = make(kind, network)
    u, v = (random(tuple(x.shape), seed=seed) - 0.5 for seed in (2, 3))
    x.requires_grad_()

    def product(direction: Tensor) -> Tensor:
        return torch.autograd.grad(potential.gradient(x, sigma), x, direction)[0]

    torch.testing.assert_close((product(u) * v).sum(), (product(v) * u).sum(), rtol=1e-10, atol=1e-10)


@EVERY
def test_gradient_step_and_its_training(kind: str, network: str) -> None:
    """D = x − ∇h, with h by autograd; the gradients of the weights equal those of a second backward pass."""
    potential, x, sigma = make(kind, network)
    denoiser = GradientStep(potential)
    result = denoiser(x, sigma)
    copy = x.clone().requires_grad_()
    h = (potential(copy, sigma) * sigma.square() * 63).sum()
    expected = x - torch.autograd.grad(h, copy, create_graph=True)[0]
    torch.testing.assert_close(result, expected, rtol=1e-10, atol=1e-10)
    ours, theirs = (
        torch.autograd.grad(value.square().sum(), list(potential.parameters()), allow_unused=True)
        for value in (result, expected)
    )
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-10)


@EVERY
def test_settings_build_it_again(kind: str, network: str) -> None:
    potential, x, sigma = make(kind, network)
    for part, value in ((potential, potential.gradient(x, sigma)), (GradientStep(potential), None)):
        again = build(PRIORS, describe(part)).double()
        again.load_state_dict(part.state_dict())
        if value is not None:
            torch.testing.assert_close(again.gradient(x, sigma), value, rtol=0, atol=0)


def test_a_smooth_network_starts_near_the_one_with_relu() -> None:
    torch.manual_seed(0)
    denoiser = UNet(3, (8, 8), 1).double()
    x, sigma = random((1, 3, 16, 16)), torch.tensor([0.2], dtype=torch.float64)
    expected = denoiser(x, sigma)
    near, far = (smooth_start(denoiser, "silu", scale)(x, sigma) - expected for scale in (1000.0, 1.0))
    assert near.norm() < 0.02 * far.norm()


def test_bad_arguments_are_refused() -> None:
    potential, x, _ = make("least_squares", "unet")
    with pytest.raises(ValueError, match="noise level"):
        potential.energy_and_gradient(x)
    with pytest.raises(ValueError, match="U-Net with ReLU"):
        smooth_start(FFDNet(3, 5, 4))
    with pytest.raises(ValueError, match="kinds"):
        build(PRIORS, {"kind": "least_squares", "settings": {"network": {"kind": "patch_critic", "settings": {}}}})
