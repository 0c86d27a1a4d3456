"""What a prior learns that is trained as part of a solver: observations of a task, its weight and schedule, and the loss."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fastreg import metrics, tasks
from fastreg.fidelities import L2
from fastreg.models import TaskSettings, WeightRule
from fastreg.operators import LinearOperator
from fastreg.parts import describe
from fastreg.priors import GradientPrior
from fastreg.problem import Problem
from fastreg.restorer import Restorer
from fastreg.solvers import LearnedSplitting, Solver
from fastreg.training.patches import PatchSource
from fastreg.training.precision import computed

#: The learning rate of the weight and the schedule.
SCHEDULE_RATE = 3e-3


@dataclasses.dataclass(frozen=True)
class RestorationRecipe:
    """Settings of a training run.

    Parameters
    ----------
    task
        A name in `fastreg.tasks.TASKS`; observations are made with the degradations and noise levels of its row.
    crop, batch
        Side of the crops in pixels, and their number per iteration.
    rate
        Learning rate of Adam, reached after `warm_up` iterations; it falls as a cosine.
    warm_up
        Iterations at the start over which the rate rises.
    average
        Decay of the running mean of the weights, which is measured and saved.
    precision
        ``"ieee"`` (float32) or ``"bf16"`` for the convolutions.
    seed
        Seed of crops, degradations and noise.
    sigma
        Range of the noise level; that of the task's row if not given.
    """

    task: str
    crop: int = 96
    batch: int = 8
    rate: float = 1e-4
    warm_up: int = 100
    average: float = 0.99
    precision: str = "ieee"
    seed: int = 0
    sigma: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        tasks.find(self.task)
        if min(self.crop, self.batch) < 1 or self.warm_up < 0 or not self.rate > 0:
            raise ValueError(
                f"crop, batch and rate must be positive, warm_up not negative, got {self.crop}, {self.batch}, {self.rate} and "
                f"{self.warm_up}"
            )
        if self.precision not in ("ieee", "bf16"):
            raise ValueError(f"precision must be 'ieee' or 'bf16', got {self.precision!r}")

        if self.sigma is not None and not 0 < self.sigma[0] <= self.sigma[1] < 1:
            raise ValueError(f"sigma must be a range of noise levels in (0, 1), got {self.sigma}")

    @property
    def sigmas(self) -> tuple[float, ...]:
        """Noise levels, in ascending order."""
        return tasks.find(self.task).tuned_sigmas if self.sigma is None else self.sigma

    def learning_rate(self, iteration: int, progress: float) -> float:
        """It rises, and falls as a cosine to nothing."""
        return (
            self.rate
            * min(1.0, (iteration + 1) / max(self.warm_up, 1))
            * 0.5
            * (1 + math.cos(math.pi * min(progress, 1)))
        )


class Learned(nn.Module):
    """A prior with the weight of a task, lambda = exp(a) (sigma / sigma_0)^-b, and the schedule of a solver, all learned.

    Parameters
    ----------
    prior
        The prior.
    solver
        The solver that it is for. The schedule of a `LearnedSplitting` is learned, too.
    rule
        The weight to start from.
    sigmas
        The noise levels of the task; sigma_0 is their geometric mean.
    rate
        The learning rate of the prior. Weight and schedule have another one, see `SCHEDULE_RATE`.
    precision
        In which it restores what is measured, see `fastreg.training.precision.computed`.
    """

    def __init__(
        self,
        prior: GradientPrior,
        solver: Solver[Any],
        rule: WeightRule,
        sigmas: tuple[float, ...],
        rate: float = 1e-4,
        precision: str = "ieee",
    ) -> None:
        super().__init__()
        self.precision = precision
        self.gain = SCHEDULE_RATE / rate
        self.prior, self.solver, self.sigmas = prior, solver, sigmas
        self.middle = math.exp(sum(map(math.log, sigmas)) / len(sigmas))
        self.first = math.log(float(rule(torch.tensor(self.middle, dtype=torch.float64))))
        ends = rule(torch.tensor([sigmas[0], sigmas[-1]], dtype=torch.float64)).log()
        spread = math.log(sigmas[-1] / sigmas[0])
        self.slope = -float(ends[1] - ends[0]) / spread if spread > 0 else 0.0
        # changes, divided by the gain; zero at first
        self.weight_change = nn.Parameter(torch.zeros(2))
        learned = isinstance(solver, LearnedSplitting)
        self.schedule_change = nn.Parameter(torch.zeros_like(solver.schedule)) if learned else None

    def weight(self, sigma: Tensor) -> Tensor:
        """The weight lambda for noise levels ``[B]``."""
        change = self.gain * self.weight_change
        return (self.first + change[0] - (self.slope + change[1]) * (sigma / self.middle).log()).exp()

    def schedule(self) -> Tensor:
        """The schedule, a function of the parameters."""
        before: Tensor = self.solver.schedule
        if self.schedule_change is None:
            return before
        change = self.gain * self.schedule_change
        positive = torch.tensor([name != "momentum" for name in self.solver.columns], device=before.device)
        return torch.where(positive, before * change.exp(), before + change)

    def problem(self, operator: LinearOperator, sigma: Tensor, prior: GradientPrior | None = None) -> Problem:
        """The objective for noise levels ``[B]``; `prior` computes in the place of the model's own."""
        return self.solver.objective(Problem(operator, L2(), prior or self.prior, sigma, self.weight(sigma)))

    def finished(self) -> tuple[Solver[Any], TaskSettings]:
        """The solver with what it has learned, and the settings for the model card."""
        with torch.no_grad():
            solver = self.solver
            if self.schedule_change is not None:
                solver = LearnedSplitting(self.schedule().cpu().tolist())
            weight = float(self.weight(torch.tensor([self.middle], device=self.weight_change.device)))
            exponent = self.slope + self.gain * float(self.weight_change[1])
        return solver, TaskSettings([[self.middle, weight]], exponent, describe(solver))

    def restorer(self, operator: LinearOperator) -> Restorer:
        """The restorer with what was learned."""
        solver, settings = self.finished()
        prior = computed(self.prior, self.precision)
        restorer = Restorer(operator, prior=prior, solver=solver, weight=settings.rule)
        return restorer.to(self.weight_change.device)


class Observations:
    """Draws crops of photographs, degradations of a task, and noise.

    Parameters
    ----------
    recipe
        Settings.
    source
        Photographs.
    channels
        Of the images, 1 or 3.
    """

    def __init__(self, recipe: RestorationRecipe, source: PatchSource, channels: int) -> None:
        self.recipe, self.source, self.channels = recipe, source, channels
        self.row = tasks.find(recipe.task)
        self.random = len(self.row.tuned_on) > 1 or self.row.draw is not None
        self._fixed: dict[int, LinearOperator] = {}

    def draw(self, generator: torch.Generator) -> tuple[Tensor, LinearOperator, Tensor, Tensor]:
        """Clean images ``[B, C, s, s]``, an operator, measurements, and noise levels ``[B]``, log-uniform in their range."""
        device, choices = generator.device, torch.Generator()
        if self.random:  # this waits for the device
            choices.manual_seed(int(torch.randint(2**31, (1,), generator=generator, device=device)))
        operator = self._operator(int(torch.randint(len(self.row.tuned_on), (1,), generator=choices)), choices).to(
            device
        )
        clean = self.source.draw(self.recipe.batch, generator)
        if self.channels == 1:
            clean = clean.mean(1, keepdim=True)
        scale = operator.measurement().scale
        side = clean.shape[-1] // scale * scale
        clean = clean[..., :side, :side].contiguous()
        low, high = math.log(self.recipe.sigmas[0]), math.log(self.recipe.sigmas[-1])
        sigma = (low + (high - low) * torch.rand(len(clean), generator=generator, device=device)).exp()
        return clean, operator, operator.observe(clean, sigma, generator), sigma

    def _operator(self, case: int, generator: torch.Generator) -> LinearOperator:
        options = self.row.tuned_on[case]
        if self.row.draw is None and case in self._fixed:
            return self._fixed[case]
        operator = tasks.random_operator(self.row.name, self.source.size, self.source.size, generator, **options)
        operator.prepare()
        return self._fixed.setdefault(case, operator) if self.row.draw is None else operator


@torch.no_grad()
def restoration_psnr(model: nn.Module, task: str, images: Tensor) -> list[float]:
    """Mean PSNR in dB for each degradation that a task is tuned on, at the middle noise level, always with the same noise."""
    assert isinstance(model, Learned)
    row, values = tasks.find(task), []
    for k, case in enumerate(row.tuned_on):
        size = images.shape[-1]
        operator = tasks.random_operator(task, size, size, torch.Generator().manual_seed(k), **case)
        scale = operator.measurement().scale
        side = size // scale * scale
        clean = images[..., :side, :side].contiguous()
        y = operator.observe(clean, model.middle, torch.Generator().manual_seed(0))
        restorer = model.restorer(operator)
        restored = torch.cat([restorer(y[n : n + 1].to(restorer.device), model.middle).cpu() for n in range(len(y))])
        values.append(float(np.mean(metrics.psnr(restored.clamp(0, 1), clean))))
    return values
