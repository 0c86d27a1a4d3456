"""Training a prior, the weight and the schedule through a fixed number of steps."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from fastreg.priors import GradientPrior, UNet
from fastreg.priors.layers import ResidualBlock
from fastreg.priors.unet import UNetLayers
from fastreg.training.restoration import Learned, Observations, RestorationRecipe


class UnrolledObjective:
    """The mean absolute error of what a `LearnedSplitting` restores, differentiated through all of its steps.

    The gradient of the prior is written out as ordinary operations, so that this is a single backward pass.

    Parameters
    ----------
    model
        What is learned.
    recipe, observations
        Settings, and observations on the device of the model.
    compiled
        Compile the gradient of the prior, which all steps share.
    """

    def __init__(
        self, model: Learned, recipe: RestorationRecipe, observations: Observations, compiled: bool = False
    ) -> None:
        self.model, self.recipe, self.observations = model, recipe, observations
        self.prior = _Fast(model.prior, recipe.precision, compiled)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=recipe.rate, betas=(0.9, 0.99))

    def rate(self, iteration: int, progress: float) -> float:
        """See `RestorationRecipe.learning_rate`."""
        return self.recipe.learning_rate(iteration, progress)

    def loss(self, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean absolute error of a batch."""
        clean, operator, y, sigma = self.observations.draw(generator)
        problem = self.model.problem(operator, sigma, self.prior)
        x = self.model.solver.fold(problem, y, self.model.schedule())
        loss = (x - clean).abs().mean()
        return loss, {"loss": loss.detach()}


class _Fast(GradientPrior):
    """A prior as it is evaluated in training: compiled, or with convolutions in bfloat16 and weights in float32."""

    kind = "fast"

    def __init__(self, prior: GradientPrior, precision: str, compiled: bool) -> None:
        super().__init__()
        self.precision, self.channels = precision, prior.channels
        self.function = torch.compile(prior.gradient) if compiled else prior.gradient

    def gradient(self, x: Tensor, sigma: Tensor | None = None) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return self.function(x, sigma).to(x.dtype)


def initialize(network: UNet) -> None:
    """Random weights with which the values keep their size from layer to layer, and a potential begins small."""
    layers = cast(UNetLayers, network.network)
    for module in layers.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    with torch.no_grad():
        for module in layers.modules():
            if isinstance(module, ResidualBlock):
                module.b.weight.mul_(0.3)
        layers.tail.weight.mul_(0.2)
