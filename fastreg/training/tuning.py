"""The weight lambda of a task as a function of the noise level, tuned on held-out photographs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from fastreg import metrics, models, tasks
from fastreg.models import TaskSettings, WeightRule
from fastreg.operators import LinearOperator
from fastreg.parts import build, describe
from fastreg.priors import Prior
from fastreg.restorer import Restorer
from fastreg.solvers import SOLVERS, Solver

#: A search starts from the best of these divided by sigma; for a critic of slope one, 0.1 balances the data term.
STARTS = (0.003, 0.01, 0.03, 0.1)
#: Step of a search, in units of the logarithm of the weight.
STEP = 0.4


@dataclasses.dataclass(frozen=True)
class Tuned:
    """The best settings for a task, and the mean PSNR in dB with them, as pairs (sigma, PSNR), for colour and grey images."""

    settings: TaskSettings
    psnr: list[list[float]]
    psnr_grey: list[list[float]]


class Trial:
    """Observations of the same images through several operators, restored with any weight.

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
    """

    def __init__(
        self,
        prior: Prior,
        solver: Solver[tuple[Tensor, ...]],
        operators: Sequence[LinearOperator],
        images: Tensor,
        grey: bool = False,
    ) -> None:
        self.images, self.grey = images, grey
        self.restorers = [Restorer(operator, prior=prior, solver=solver, weight=1.0) for operator in operators]

    @torch.no_grad()
    def psnr(self, sigma: float, weight: float) -> float:
        """Mean PSNR in dB over images and operators, always with the same noise."""
        values = []
        for restorer in self.restorers:
            y = restorer.operator.observe(self.images, sigma, torch.Generator().manual_seed(0))
            if self.grey:
                y = y[:, :1].expand_as(y).contiguous()
            x = restorer(y, sigma, weight)
            if self.grey:
                x = x.mean(1, keepdim=True).expand_as(x)
            values.append(float(np.mean(metrics.psnr(x, self.images))))
        return sum(values) / len(values)

    def best_weight(self, sigma: float, guess: float) -> tuple[float, float]:
        """The weight of highest PSNR at a noise level, and that PSNR."""
        logarithm, best = maximise(lambda where: self.psnr(sigma, math.exp(where)), math.log(guess), STEP)
        return math.exp(logarithm), best


def tune(
    prior: Prior,
    solver: Solver[tuple[Tensor, ...]],
    operators: Sequence[LinearOperator],
    sigmas: Sequence[float],
    images: Tensor,
    report: Callable[[str], None] = lambda line: None,
) -> Tuned:
    """Find the weight with the highest mean PSNR for each sigma, and the factor on it for grey images.

    Arguments are those of `Trial`; `images` are in colour (unless the prior is for grey ones), and are made grey for that factor.
    The searches fit parabolas over the logarithm of the weight.
    """
    trial = Trial(prior, solver, operators, images)
    weights, quality = [], []
    product = max(STARTS, key=lambda start: trial.psnr(sigmas[0], start / sigmas[0]))
    for sigma in sigmas:  # from one noise level to the next the product of both changes little
        weight, best = trial.best_weight(sigma, product / sigma)
        product = weight * sigma
        weights.append([sigma, round(weight, 5)])
        quality.append([sigma, round(best, 3)])
        report(f"sigma {sigma:g}: weight {weight:.5g}, {best:.2f} dB on held-out crops")
    factor, grey = tune_grey(prior, solver, operators, WeightRule(weights), sigmas, images)
    if grey:
        report(f"grey images: {factor:g} times the weight, " + ", ".join(f"{value:.2f} dB" for _, value in grey))
    return Tuned(TaskSettings(weights, solver=describe(solver), grey=factor), quality, grey)


def tune_grey(
    prior: Prior,
    solver: Solver[tuple[Tensor, ...]],
    operators: Sequence[LinearOperator],
    rule: WeightRule,
    sigmas: Sequence[float],
    images: Tensor,
) -> tuple[float, list[list[float]]]:
    """The factor on the weights of a rule for grey images, and pairs (sigma, PSNR) with it.

    It is 1, and there are no pairs, for a prior for grey images and for operators that mix channels.
    """
    if prior.channels == 1 or not all(operator.measurement().channels is None for operator in operators):
        return 1.0, []
    plain = images.mean(1, keepdim=True).expand_as(images).contiguous()
    trial = Trial(prior, solver, operators, plain, grey=True)
    levels = [(sigma, float(rule(torch.tensor(sigma, dtype=torch.float64)))) for sigma in sigmas]

    def quality(logarithm: float) -> list[float]:
        return [trial.psnr(sigma, math.exp(logarithm) * weight) for sigma, weight in levels]

    logarithm, _ = maximise(lambda where: sum(quality(where)) / len(levels), STEP, STEP)
    pairs = [[sigma, round(value, 3)] for sigma, value in zip(sigmas, quality(logarithm), strict=True)]
    return round(math.exp(logarithm), 3), pairs


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


def default_solver(task: str, prior: Prior) -> Solver[tuple[Tensor, ...]]:
    """The solver to tune a weight with: that of the prior's card, else of a model that ships and is of the same sort.

    Raises
    ------
    ValueError
        If no model that ships restores for the task with what the prior offers.
    """
    cards = [prior.card, *(models.load(name).card for name in models.names())]
    for tuned in (card.tasks.get(task) for card in cards if card is not None):
        if tuned is not None and tuned.solver is not None:
            solver = build(SOLVERS, tuned.solver)
            if {need for need in solver.needs if need.startswith("prior.")} <= prior.offers:
                return solver
    raise ValueError(f"no shipped model has a solver with which a {prior.kind} restores for {task}")


def tune_task(
    prior: Prior,
    task: str,
    images: Tensor,
    solver: Solver[tuple[Tensor, ...]] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Tuned:
    """Tune a prior for a task at the noise levels, and over the degradations, of its row in `fastreg.tasks.TASKS`.

    Arguments are those of `tune`; the solver is `default_solver` if not given.
    """
    solver = solver or default_solver(task, prior)
    return tune(prior, solver, operators_of(task, images), tasks.find(task).tuned_sigmas, images, report)


def operators_of(task: str, images: Tensor) -> list[LinearOperator]:
    """The degradations that a task is tuned on, for images of a size."""
    height, width = images.shape[-2:]
    return [
        tasks.random_operator(task, height, width, torch.Generator().manual_seed(k), **case)
        for k, case in enumerate(tasks.find(task).tuned_on)
    ]


def tune_grey_task(prior: Prior, task: str, images: Tensor) -> tuple[float, list[list[float]]]:
    """`tune_grey` with the weights that the prior's card has for a task.

    Raises
    ------
    ValueError
        If it has none.
    """
    tuned = prior.card.tasks.get(task) if prior.card is not None else None
    if tuned is None or not tuned.weights:
        raise ValueError(f"the model has no weights for {task} that a factor could be tuned for")
    sigmas = tasks.find(task).tuned_sigmas
    return tune_grey(prior, default_solver(task, prior), operators_of(task, images), tuned.rule, sigmas, images)
