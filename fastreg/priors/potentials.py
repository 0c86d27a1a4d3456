"""Explicit regularizers made of a denoising network, with their gradients written out."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fastreg.fidelities.base import per_entry
from fastreg.parts import build, describe
from fastreg.priors.base import Denoiser, Regularizer
from fastreg.priors.dncnn import DnCNN, FFDNet
from fastreg.priors.network import NetworkDenoiser
from fastreg.priors.unet import UNet

NETWORKS: dict[str, type[NetworkDenoiser]] = {cls.kind: cls for cls in (UNet, DnCNN, FFDNet)}


class Potential(Regularizer):
    """A regularizer R(x, s) = h(x, s) / (s² |Ω|) of images of |Ω| pixels, with h made of a network N.

    For a potential that was trained as a denoiser (see `GradientStep`), x − ∇h(x, s) removes white noise of standard deviation s.
    Then R is the negative logarithm, per pixel, of a density of images with such noise, and a weight of one belongs to the
    maximum a posteriori estimate.

    The gradient takes one evaluation of N and one product with its transposed Jacobian, in plain torch operations. It is exact
    at the borders as well, if N is differentiable: use a smooth activation.

    Parameters
    ----------
    network
        The network N, or its kind and settings, see `fastreg.parts.describe`.

    Raises
    ------
    ValueError
        If there is no such network.
    """

    calibrated = True

    def __init__(self, network: NetworkDenoiser | Mapping[str, Any]) -> None:
        super().__init__()
        self.network = network if isinstance(network, NetworkDenoiser) else build(NETWORKS, network)
        self.channels, self.multiple, self.reach = self.network.channels, self.network.multiple, 2 * self.network.reach

    def energy_and_gradient(self, x: Tensor, sigma: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Energy ``[B]`` and gradient ``[B, C, H, W]`` at the noise level `sigma` ``[B]``.

        Raises
        ------
        ValueError
            If there is not one noise level for each image.
        """
        level = self.noise_level(x, sigma)
        value, saved = self.network.linearize(x, level)
        energy, gradient = self.potential(x, value, saved)
        scale = 1 / (level.square() * (x.shape[-2] * x.shape[-1]))
        return scale * energy, per_entry(scale, x) * gradient

    @abc.abstractmethod
    def potential(self, x: Tensor, value: Tensor, saved: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """h ``[B]`` and its gradient ``[B, C, H, W]``, from `value` = N(x) and what was saved for its vjp."""


class LeastSquares(Potential):
    """h(x) = ½ ‖x − N(x)‖², never negative.

    Notes
    -----
    Hurault, Leclaire, Papadakis, "Gradient step denoiser for convergent plug-and-play", ICLR 2022; Zou, Liu, Wohlberg, Kamilov,
    "Deep equilibrium learning of explicit regularizers for imaging inverse problems", IEEE OJSP 2023.
    """

    kind = "least_squares"

    def potential(self, x: Tensor, value: Tensor, saved: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """∇h = x − N − Jᵀ(x − N)."""
        rest = x - value
        return 0.5 * rest.square().sum((1, 2, 3)), rest - self.network.vjp(saved, rest)


class RED(Potential):
    """h(x) = ½ xᵀ(x − N(x)), which is not bounded below for every network.

    Notes
    -----
    Romano, Elad, Milanfar, "The little engine that could: regularization by denoising (RED)", SIAM J. Imaging Sciences 2017,
    with the exact gradient in the place of x − N(x); Zou et al. 2023.
    """

    kind = "red"

    def potential(self, x: Tensor, value: Tensor, saved: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """∇h = x − ½(N + Jᵀx)."""
        energy = 0.5 * (x * (x - value)).sum((1, 2, 3))
        return energy, x - 0.5 * (value + self.network.vjp(saved, x))


class Sum(Potential):
    """h(x) = Σ N(x), the sum over all pixels and channels; not bounded below for every network.

    Notes
    -----
    Zou et al. 2023. The network should compute its value, not a residual (``residual=False``).
    """

    kind = "sum"

    def potential(self, x: Tensor, value: Tensor, saved: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """∇h = Jᵀ1."""
        return value.sum((1, 2, 3)), self.network.vjp(saved, torch.ones_like(value))


class GradientStep(Denoiser):
    """The denoiser D(x, σ) = x − σ² |Ω| ∇R(x, σ): one gradient step on an explicit regularizer.

    Potentials learn as this denoiser, and any solver that takes a denoiser can use it.

    Parameters
    ----------
    regularizer
        A potential, or its kind and settings.

    Notes
    -----
    Hurault, Leclaire, Papadakis, "Gradient step denoiser for convergent plug-and-play", ICLR 2022.
    """

    kind = "gradient_step"

    def __init__(self, regularizer: Potential | Mapping[str, Any]) -> None:
        super().__init__()
        self.regularizer = regularizer if isinstance(regularizer, Potential) else build(POTENTIALS, regularizer)
        self.channels, self.multiple, self.reach = (
            self.regularizer.channels,
            self.regularizer.multiple,
            self.regularizer.reach,
        )

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Clean images ``[B, C, H, W]`` from images with noise of standard deviation `sigma` ``[B]``."""
        value, saved = self.regularizer.network.linearize(x, sigma)
        return x - self.regularizer.potential(x, value, saved)[1]


POTENTIALS: dict[str, type[Potential]] = {cls.kind: cls for cls in (LeastSquares, RED, Sum)}


def smooth_start(denoiser: NetworkDenoiser, activation: str = "silu", scale: float = 10.0) -> NetworkDenoiser:
    """A network with a smooth activation that computes about the same as a U-Net with ReLU and without biases.

    For such a U-Net N(s x) / s = N(x). With a smooth activation the left side is close to it where s is large. On crops of
    photographs with noise of 25/255, the untrained gradient step of the shipped U-Net with SiLU reaches 28.1 dB with s = 10 and
    18.4 dB with s = 1.

    Raises
    ------
    ValueError
        If the denoiser is not a U-Net with ReLU and without biases.
    """
    if not isinstance(denoiser, UNet) or denoiser.bias or denoiser.activation != "relu":
        raise ValueError(f"expected a U-Net with ReLU and without biases, got {describe(denoiser)}")
    result = UNet(**{**denoiser.settings, "activation": activation, "scale": scale})
    result.load_state_dict(denoiser.state_dict())
    return result
