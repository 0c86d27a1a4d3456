"""Training a prior, the weight and the schedule through a fixed number of steps."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from fastreg.priors import UNet
from fastreg.priors.layers import ResidualBlock
from fastreg.priors.unet import UNetLayers
from fastreg.training.precision import computed
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
        self.prior = computed(model.prior, recipe.precision, compiled)
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
