"""Training a prior, the weight and the schedule through a fixed number of steps."""

from __future__ import annotations

import torch
from torch import Tensor

from fastreg.training.restoration import Learned, Observations, RestorationRecipe


class UnrolledObjective:
    """The mean squared error of what a `LearnedSplitting` restores, differentiated through all of its steps.

    The gradient of the prior is written out as ordinary operations, so that this is a single backward pass.

    Parameters
    ----------
    model
        What is learned.
    recipe, observations
        Settings, and observations on the device of the model.
    """

    def __init__(self, model: Learned, recipe: RestorationRecipe, observations: Observations) -> None:
        self.model, self.recipe, self.observations = model, recipe, observations
        self.optimizer = torch.optim.Adam(model.parameters(), lr=recipe.rate, betas=(0.9, 0.99))

    def rate(self, iteration: int, progress: float) -> float:
        """See `RestorationRecipe.learning_rate`."""
        return self.recipe.learning_rate(iteration, progress)

    def loss(self, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error of a batch."""
        clean, operator, y, sigma = self.observations.draw(generator)
        problem = self.model.problem(operator, sigma, self.recipe.precision)
        x = self.model.solver.fold(problem, y, self.model.schedule())
        loss = (x - clean).square().mean()
        return loss, {"loss": loss.detach()}
