"""The residual of a denoiser in the place of a gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fastreg.fidelities.base import per_entry
from fastreg.parts import build
from fastreg.priors.base import GradientPrior
from fastreg.priors.network import NetworkDenoiser
from fastreg.priors.potentials import NETWORKS


class Residual(GradientPrior):
    """The field (x − N(x, s)) / (s² |Ω|) with a denoiser N, in the place of the gradient of an energy.

    It has the scale of a `Potential`. In general it is not the gradient of anything: there is no energy that solvers decrease,
    and they need not converge.

    Parameters
    ----------
    network
        The denoiser N, or its kind and settings, see `fastreg.parts.describe`.

    Notes
    -----
    Romano, Elad, Milanfar, "The little engine that could: regularization by denoising (RED)", SIAM J. Imaging Sciences 2017;
    Reehorst and Schniter, "Regularization by denoising: clarifications and new interpretations", IEEE TCI 2019.
    """

    kind = "residual"

    def __init__(self, network: NetworkDenoiser | Mapping[str, Any]) -> None:
        super().__init__()
        self.network = network if isinstance(network, NetworkDenoiser) else build(NETWORKS, network)
        self.channels, self.multiple, self.reach = self.network.channels, self.network.multiple, self.network.reach

    def gradient(self, x: Tensor, sigma: Tensor | None = None) -> Tensor:
        """The field ``[B, C, H, W]`` at the noise level `sigma` ``[B]``.

        Raises
        ------
        ValueError
            If there is not one noise level for each image.
        """
        level = self.noise_level(x, sigma)
        rest: Tensor = x - self.network(x, level)
        return per_entry(1 / (level.square() * (x.shape[-2] * x.shape[-1])), x) * rest
