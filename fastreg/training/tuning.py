"""The weight lambda of a task as a function of the noise level, and the solver's settings, fitted on held-out photographs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastreg import metrics, models, tasks
from fastreg.compiled import rounded
from fastreg.models import TaskSettings
from fastreg.operators import LinearOperator
from fastreg.parts import build, describe
from fastreg.priors import Prior
from fastreg.restorer import Restorer
from fastreg.solvers import SOLVERS, MonotoneForwardBackward, Solver

#: Step of a search, in units of the logarithm.
STEP = 0.25
#: How often all weights and settings are searched in turn, where there is more than the weights.
ROUNDS = 2

#: Pairs (sigma, mean PSNR in dB).
Quality = list[list[float]]
Report = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Tuned:
    """The best settings for a task, and the mean PSNR with them: for the degradations of the fit, for others, for grey images."""

    settings: TaskSettings
    psnr: Quality
    held_out: Quality
    grey: Quality

    @property
    def measured(self) -> dict[str, Quality]:
        """For the model card."""
        return {"tuned_on": self.psnr, "held_out": self.held_out}


class Trial:
    """Observations of the same images through several operators, restored with any weight and settings.

    Parameters
    ----------
    prior, solver
        The restorer.
    operators
        Degradations over which the PSNR is averaged.
    images
        Clean images ``[B, C, H, W]`` in [0, 1] that neither training nor any reported figure has seen.
    grey
        The images are grey ones, repeated in the channels of the prior: so is their noise.
    precision
        Number format of the prior's convolutions.
    """

    def __init__(
        self,
        prior: Prior,
        solver: Solver[Any],
        operators: Sequence[LinearOperator],
        images: Tensor,
        grey: bool = False,
        precision: str = "ieee",
    ) -> None:
        self.images, self.grey = images, grey
        self.restorers = [
            rounded(Restorer(operator, prior=prior, solver=solver, weight=1.0), precision).to(_device(prior))
            for operator in operators
        ]

    @property
    def solver(self) -> Solver[Any]:
        """The solver of all restorations."""
        return self.restorers[0].solver

    @torch.no_grad()
    def psnr(self, sigma: float, weight: float) -> float:
        """Mean PSNR in dB over images and operators, always with the same noise."""
        values = []
        for restorer in self.restorers:
            y = restorer.operator.observe(self.images.to(restorer.device), sigma, torch.Generator().manual_seed(0))
            if self.grey:
                y = y[:, :1].expand_as(y).contiguous()
            x = restorer(y, sigma, weight).cpu()
            if self.grey:
                x = x.mean(1, keepdim=True).expand_as(x)
            values.append(float(np.mean(metrics.psnr(x, self.images))))
        return sum(values) / len(values)

    def quality(self, weights: Mapping[float, float]) -> Quality:
        """Pairs (sigma, PSNR) with a weight for each sigma."""
        return [[sigma, round(self.psnr(sigma, weight), 3)] for sigma, weight in weights.items()]

    def best_weight(self, sigma: float, guess: float) -> tuple[float, float]:
        """The weight of highest PSNR at a noise level, and that PSNR."""
        logarithm, best = maximise(lambda where: self.psnr(sigma, math.exp(where)), math.log(guess), STEP)
        return math.exp(logarithm), best

    def fit_setting(self, name: str, weights: Mapping[float, float]) -> float:
        """Give the solver the value of one setting that has the highest mean PSNR over the noise levels; returns that PSNR."""

        def mean(logarithm: float) -> float:
            settings = {**self.solver.settings, name: _rounded(math.exp(logarithm))}
            solver = build(SOLVERS, {"kind": self.solver.kind, "settings": settings})
            for restorer in self.restorers:
                restorer.solver = solver.to(restorer.device)
            return sum(self.psnr(sigma, weight) for sigma, weight in weights.items()) / len(weights)

        logarithm, best = maximise(mean, math.log(self.solver.settings[name]), STEP)
        mean(logarithm)
        return best


def tune(
    prior: Prior,
    start: TaskSettings,
    operators: Sequence[LinearOperator],
    sigmas: Sequence[float],
    images: Tensor,
    held_out: Sequence[LinearOperator] = (),
    precision: str = "ieee",
    report: Report = lambda line: None,
    weights_only: bool = False,
) -> Tuned:
    """Find the weight for each sigma and the settings of the solver with the highest mean PSNR, and the factor for grey images.

    One after the other is searched, with parabolas over its logarithm: the weights, and what the solver names as
    `Solver.fitted`.

    Parameters
    ----------
    prior, operators, precision
        See `Trial`.
    start
        The solver, and the weights to start from.
    sigmas
        Noise levels.
    images
        See `Trial`. In colour (unless the prior is for grey ones); they are made grey for the factor.
    held_out
        Other degradations, to measure the result with.
    report
        Called with a line after each search.
    weights_only
        Leave the settings of the solver as they are.
    """
    trial = Trial(prior, solver_of(start), operators, images, precision=precision)
    weights = {sigma: float(start.rule(torch.tensor(sigma, dtype=torch.float64))) for sigma in sigmas}
    fitted = () if weights_only else trial.solver.fitted
    for _ in range(ROUNDS if fitted else 1):
        for sigma, guess in weights.items():
            weight, best = trial.best_weight(sigma, guess)
            weights[sigma] = _rounded(weight)
            report(f"sigma {sigma:g}: weight {weight:.4g}, {best:.2f} dB on held-out crops")
        for name in fitted:
            best = trial.fit_setting(name, weights)
            report(f"{name} {trial.solver.settings[name]:g}: {best:.2f} dB")
    settings = TaskSettings([list(pair) for pair in weights.items()], start.exponent, describe(trial.solver))
    others = Trial(prior, trial.solver, held_out, images, precision=precision).quality(weights) if held_out else []
    if others:
        report("other degradations: " + _listed(others))
    factor, grey = tune_grey(prior, settings, operators, sigmas, images, precision)
    if grey:
        report(f"grey images: {factor:g} times the weight: {_listed(grey)}")
    return Tuned(dataclasses.replace(settings, grey=factor), trial.quality(weights), others, grey)


def tune_grey(
    prior: Prior,
    settings: TaskSettings,
    operators: Sequence[LinearOperator],
    sigmas: Sequence[float],
    images: Tensor,
    precision: str = "ieee",
) -> tuple[float, Quality]:
    """The factor on the weights of a task for grey images, and the PSNR with it.

    It is 1, and there are no pairs, for a prior for grey images and for operators that mix channels.
    """
    if prior.channels == 1 or not all(operator.measurement().channels is None for operator in operators):
        return 1.0, []
    plain = images.mean(1, keepdim=True).expand_as(images).contiguous()
    trial = Trial(prior, solver_of(settings), operators, plain, grey=True, precision=precision)

    def scaled(logarithm: float) -> dict[float, float]:
        rule = settings.rule
        return {s: math.exp(logarithm) * float(rule(torch.tensor(s, dtype=torch.float64))) for s in sigmas}

    def mean(logarithm: float) -> float:
        return sum(trial.psnr(sigma, weight) for sigma, weight in scaled(logarithm).items())

    logarithm, _ = maximise(mean, STEP, STEP)
    return _rounded(math.exp(logarithm)), trial.quality(scaled(logarithm))


def maximise(function: Callable[[float], float], guess: float, step: float) -> tuple[float, float]:
    """Abscissa and value of the maximum of a unimodal function that is close to a parabola over two steps.

    Walks from the guess until a point is not lower than both its neighbours, and evaluates the vertex of the parabola through
    the three.
    """
    left, middle, right = (function(guess + k * step) for k in (-1, 0, 1))
    while max(left, right) > middle:
        if left > right:
            guess, left, middle, right = guess - step, function(guess - 2 * step), left, middle
        else:
            guess, left, middle, right = guess + step, middle, right, function(guess + 2 * step)
    curvature = left - 2 * middle + right
    vertex = guess + (step * (left - right) / (2 * curvature) if curvature < 0 else 0.0)
    value = function(vertex)
    return (vertex, value) if value >= middle else (guess, middle)


def default_settings(task: str, prior: Prior) -> TaskSettings:
    """Where to start for a task: what the prior's card has, else a model that ships and is of the same sort.

    A calibrated prior whose card has nothing starts from a weight of one with `MonotoneForwardBackward`.

    Raises
    ------
    ValueError
        If no model that ships restores for the task with what the prior offers.
    """
    own = prior.card is not None and task in prior.card.tasks
    if prior.calibrated and not own:
        return TaskSettings([[1.0, 1.0]], 0.0, describe(MonotoneForwardBackward(60)))
    cards = [prior.card, *map(models.read_card, models.names())]
    for tuned in (card.tasks.get(task) for card in cards if card is not None):
        if tuned is not None and tuned.solver is not None:
            needs = solver_of(tuned).needs
            if {need for need in needs if need.startswith("prior.")} <= prior.offers:
                return tuned
    raise ValueError(f"no shipped model has a solver with which a {prior.kind} restores for {task}")


def tune_task(
    prior: Prior,
    task: str,
    images: Tensor,
    start: TaskSettings | None = None,
    precision: str = "ieee",
    report: Report = lambda line: None,
    weights_only: bool = False,
) -> Tuned:
    """Tune a prior for a task at the noise levels, and over the degradations, of its row in `fastreg.tasks.TASKS`.

    Arguments are those of `tune`; the start is `default_settings` if not given.
    """
    row = tasks.find(task)
    operators, others = (operators_of(task, images, cases) for cases in (row.tuned_on, row.held_out))
    start = start or default_settings(task, prior)
    # for the identity there is no other degradation
    held_out = [] if row.held_out == row.tuned_on else others
    return tune(prior, start, operators, row.tuned_sigmas, images, held_out, precision, report, weights_only)


def operators_of(task: str, images: Tensor, cases: Sequence[Mapping[str, Any]]) -> list[LinearOperator]:
    """Degradations of a row of `fastreg.tasks.TASKS` for images of a size."""
    height, width = images.shape[-2:]
    return [
        tasks.random_operator(task, height, width, torch.Generator().manual_seed(k), **case)
        for k, case in enumerate(cases)
    ]


def with_setting(settings: TaskSettings, name: str, value: float) -> TaskSettings:
    """The settings with another value of one setting of the solver."""
    solver = describe(solver_of(settings))
    return dataclasses.replace(settings, solver={**solver, "settings": {**solver["settings"], name: value}})


def solver_of(settings: TaskSettings) -> Solver[Any]:
    """The solver of the settings for a task; raises `ValueError` if they have none."""
    if settings.solver is None:
        raise ValueError("the settings of the task have no solver")
    solver: Solver[Any] = build(SOLVERS, settings.solver)
    return solver


def _device(prior: Prior) -> torch.device:
    return next(prior.parameters(), torch.empty(0, device="cpu")).device


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _listed(quality: Quality) -> str:
    return ", ".join(f"{psnr:.2f} dB at {sigma:g}" for sigma, psnr in quality)
