"""What all training runs share: the job, the choice of the best weights, and the model card."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from fastreg import models
from fastreg.models import ModelCard
from fastreg.priors import Prior
from fastreg.training.loop import Budget, Files, Loop, Record, Selection, train

Recipe = TypeVar("Recipe")


@dataclasses.dataclass(frozen=True)
class Job(Generic[Recipe]):
    """What to train and where.

    Parameters
    ----------
    files
        The model to write and the files beside it.
    recipe, budget
        Settings of the training, and how long it takes.
    device
        Where to train.
    command
        The command that this job came from, for the model card.
    """

    files: Files
    recipe: Recipe
    budget: Budget
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"), kw_only=True)
    command: str = dataclasses.field(default="", kw_only=True)


class Session(abc.ABC):
    """A training run on disk: photographs in; checkpoint, log, plot and model out."""

    job: Job[Any]
    loop: Loop
    #: Photographs that are not trained on.
    held_out: list[Path]
    #: Iterations between two comparisons of the weights, between records, and between checkpoints.
    compared_every, every, checkpoint_every = 2000, 100, 1000
    #: Whether the best weights are kept, not the last ones.
    selects = True

    @abc.abstractmethod
    def measure(self, model: nn.Module) -> list[float]:
        """Scores of a model on held-out photographs, by whose mean the best weights are chosen."""

    def compares(self, iteration: int) -> bool:
        """Whether the weights are compared with the best so far at this iteration."""
        return iteration > 0 and iteration % self.compared_every == 0

    def run(self, resume: bool = False) -> Iterator[Record]:
        """Train with log and checkpoints."""
        selection = Selection(self.measure, self.compares) if self.selects else None
        yield from train(self.loop, self.job.files, resume, selection, self.every, self.checkpoint_every)

    def take_best(self, model: nn.Module) -> dict[str, Any]:
        """Load the best weights into a model; returns the entries of the model card about the training."""
        best = torch.load(self.job.files.best, map_location=self.job.device, weights_only=True)
        model.load_state_dict(best["model"])
        model.eval().requires_grad_(False)
        return {
            "iterations": self.loop.iteration,
            "seconds": round(self.loop.seconds),
            "selected_iteration": best["iteration"],
            "trials": best["trials"],
        }

    def write(self, prior: Prior, half: bool, **about: Any) -> ModelCard:
        """Write the model with its card; `about` has the entries of the card that differ between kinds of training."""
        job = self.job
        card = ModelCard(job.files.output.stem, prior.kind, prior.settings, command=job.command, **about)
        return models.save_model(prior, job.files.output, card, half)
