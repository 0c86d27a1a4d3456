"""A training run of a prior inside a solver, on disk: photographs and a start in; checkpoint, log, plot and model out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from fastreg import models
from fastreg.models import TaskSettings, WeightRule
from fastreg.parts import build
from fastreg.priors import (
    GradientPrior,
    GradientStep,
    NetworkDenoiser,
    Potential,
    Prior,
    Regularizer,
    Residual,
    UNet,
)
from fastreg.priors.potentials import POTENTIALS
from fastreg.solvers import ForwardBackward, LearnedSplitting, MonotoneForwardBackward, Solver
from fastreg.training import patches
from fastreg.training.equilibrium import Backward, EquilibriumObjective
from fastreg.training.loop import Loop
from fastreg.training.plot import plot
from fastreg.training.restoration import Learned, Observations, RestorationRecipe, restoration_psnr
from fastreg.training.session import Job, Session
from fastreg.training.unrolled import UnrolledObjective, initialize

#: Held-out photographs that weights are compared on, and the side of their crops.
COMPARED_ON, COMPARED_SIZE = 4, 128


@dataclasses.dataclass(frozen=True)
class Unrolled:
    """Training through a number of steps of `fastreg.solvers.LearnedSplitting`.

    Parameters
    ----------
    iterations, first, data, prior
        The schedule to start from, see `LearnedSplitting.untrained`.
    compiled
        Compile the gradient of the prior.
    """

    iterations: int = 8
    first: float = 49 / 255
    data: float = 1.0
    prior: float = 1.0
    compiled: bool = False

    def solver(self, prior: GradientPrior, task: str) -> Solver[Any]:
        """The solver that learns."""
        return LearnedSplitting.untrained(self.iterations, self.first, data=self.data, prior=self.prior)

    def objective(self, model: Learned, recipe: RestorationRecipe, observations: Observations) -> UnrolledObjective:
        """What is minimised."""
        return UnrolledObjective(model, recipe, observations, self.compiled)


@dataclasses.dataclass(frozen=True)
class Equilibrium:
    """Training at the fixed point.

    Parameters
    ----------
    backward
        ``"implicit"``: conjugate gradients, or Anderson's acceleration for an implicit prior; or ``"jacobian_free"``.
    iterations, step_size, floor
        See `fastreg.solvers.MonotoneForwardBackward`; implicit priors use `fastreg.solvers.ForwardBackward`. What is not given is
        as in the card of the prior for the task and this solver, else 40, 8 and 0.018.
    tolerance, limit
        See `fastreg.solvers.tolerance.minimise`.
    """

    backward: Literal["implicit", "jacobian_free"] = "implicit"
    iterations: int | None = None
    step_size: float | None = None
    floor: float | None = None
    tolerance: float = 1e-3
    limit: int = 16

    def solver(self, prior: GradientPrior, task: str) -> Solver[Any]:
        """The solver whose fixed points are learned."""
        kind = MonotoneForwardBackward if isinstance(prior, Regularizer) else ForwardBackward
        tuned = _tuned(prior, task, kind)
        given = {"iterations": self.iterations, "step_size": self.step_size, "floor": self.floor}
        settings = {} if tuned is None or tuned.solver is None else tuned.solver["settings"]
        said = {name: value for name, value in given.items() if value is not None}
        return kind(**{"iterations": 40, "step_size": 8.0, "floor": 0.018, **settings, **said})

    def objective(self, model: Learned, recipe: RestorationRecipe, observations: Observations) -> EquilibriumObjective:
        """What is minimised."""
        exact: Backward = "conjugate_gradients" if isinstance(model.prior, Regularizer) else "anderson"
        backward: Backward = exact if self.backward == "implicit" else "jacobian_free"
        return EquilibriumObjective(model, recipe, observations, backward, self.tolerance, self.limit)


@dataclasses.dataclass(frozen=True)
class RestorationJob(Job[RestorationRecipe]):
    """What to train and where.

    Parameters
    ----------
    files, recipe, budget, device, command
        See `fastreg.training.session.Job`.
    method
        How.
    data
        A folder of clean photographs, one in sixteen of which is held out.
    start
        The model to start from, by its name or file: explicit, or a denoiser, whose residual is used in the place of a gradient.
        Or kind and settings of a potential of a U-Net, to start from random weights.
    weight
        The weight lambda to start from; that of the start's card for the task and this solver, else 1, if not given.
    """

    method: Unrolled | Equilibrium
    data: Path
    start: str | dict[str, Any]
    weight: float | None = None


class RestorationSession(Session):
    """A training run of a prior inside a solver.

    Raises
    ------
    ValueError
        If there are too few photographs, one cannot be read or is smaller than a crop, or the model cannot be trained.
    """

    compared_every, every, checkpoint_every = 100, 10, 100

    def compares(self, iteration: int) -> bool:
        """Whether the weights are compared at this iteration: also the first ones, which may stay the best."""
        return iteration % self.compared_every == 0

    job: RestorationJob

    def __init__(self, job: RestorationJob) -> None:
        self.job = job
        torch.manual_seed(job.recipe.seed)
        prior = _trainable(models.load(job.start) if isinstance(job.start, str) else _random(job.start))
        files, self.held_out = patches.photographs_in(job.data)
        self.images = len(files)
        source = patches.PatchSource(patches.decode(files), job.recipe.crop, job.device)
        observations = Observations(job.recipe, source, prior.channels)
        solver = job.method.solver(prior, job.recipe.task)
        tuned = _tuned(prior, job.recipe.task, type(solver))
        rule = WeightRule.constant(1.0 if job.weight is None else job.weight)
        if job.weight is None and tuned is not None:
            rule = tuned.rule
        settings = (job.recipe.sigmas, job.recipe.rate, job.recipe.precision)
        self.model = Learned(prior, solver, rule, *settings).to(job.device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        recipe = {
            **dataclasses.asdict(job.recipe),
            **dataclasses.asdict(job.method),
            "method": type(job.method).__name__,
            "start": job.start,
            "weight": job.weight,
        }
        objective = job.method.objective(self.model, job.recipe, observations)
        self.loop = Loop(objective, job.budget, recipe, job.recipe.average, clip=1e-1, seed=job.recipe.seed)
        crops = patches.tuning_crops(self.held_out, COMPARED_SIZE, COMPARED_ON)
        self._crops = crops.mean(1, keepdim=True) if prior.channels == 1 else crops

    def measure(self, model: nn.Module) -> list[float]:
        """PSNR of held-out crops."""
        return restoration_psnr(model, self.job.recipe.task, self._crops)

    def finish(self, report: Callable[[str], None] = lambda line: None) -> models.ModelCard:
        """Take the best weights, measure them, plot the loss and write the model, in float16."""
        job, task = self.job, self.job.recipe.task
        measured = self.take_best(self.model)
        quality = [round(value, 3) for value in self.measure(self.model)]
        report(f"on held-out crops: {', '.join(f'{value:.2f} dB' for value in quality)}")
        plot(job.files.beside(".png"), job.files.log, ("loss",))
        return self.write(
            self.model.prior,
            half=True,
            description=f"Trained for {task} {_how(job.method)}. It started from {_where_from(job.start)}.",
            recipe=self.loop.recipe,
            data={"folders": [job.data.name], "images": self.images, "held_out": [path.name for path in self.held_out]},
            tasks={task: self.model.finished()[1]},
            measured={**measured, "held_out_psnr": {task: quality}},
        )


def _how(method: Unrolled | Equilibrium) -> str:
    if isinstance(method, Unrolled):
        return f"through {method.iterations} steps, with their schedule"
    return "at the fixed point" + (" (Jacobian-free)" if method.backward == "jacobian_free" else "")


def _where_from(start: str | dict[str, Any]) -> str:
    return f"the weights of {Path(start).stem}" if isinstance(start, str) else "random weights"


def _random(description: dict[str, Any]) -> Potential:
    potential = build(POTENTIALS, description)
    if not isinstance(potential.network, UNet):
        raise ValueError(f"expected a potential of a U-Net, got one of a {potential.network.kind}")
    initialize(potential.network)
    return potential


def _trainable(model: Prior) -> GradientPrior:
    """The gradient, or the field in its place, that a model provides."""
    if isinstance(model, GradientStep):
        prior: GradientPrior = model.regularizer
    elif isinstance(model, NetworkDenoiser):
        prior = Residual(model)
    elif isinstance(model, GradientPrior):
        prior = model
    else:
        raise ValueError(f"expected an explicit prior or a network that denoises to train, got a {model.kind}")
    return prior.train().requires_grad_(True)


def _tuned(prior: GradientPrior, task: str, solver: type[Solver[Any]]) -> TaskSettings | None:
    """The settings in the card of a prior for a task, if they are for this solver."""
    tuned = prior.card.tasks.get(task) if prior.card is not None else None
    return tuned if tuned is not None and tuned.solver is not None and tuned.solver["kind"] == solver.kind else None
