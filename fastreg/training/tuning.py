"""The weight lambda as a function of the noise level, tuned on held-out photographs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from fastreg import metrics
from fastreg.compiled import compile
from fastreg.operators import Blur, Identity, LinearOperator, Mask, gaussian_psf
from fastreg.priors import Regularizer
from fastreg.restorer import Restorer
from fastreg.solvers import Solver


@dataclasses.dataclass(frozen=True)
class TuningPlan:
    """What the weight of a task is tuned for.

    Parameters
    ----------
    task
        ``"denoise"``, ``"deblur"`` or ``"inpaint"``.
    sigmas
        Noise levels, in units of the image range [0, 1].
    operators
        Degradations over which the PSNR is averaged; each is made for images of the given height and width.
    """

    task: str
    sigmas: tuple[float, ...]
    operators: tuple[Callable[[int, int], LinearOperator], ...]


def _missing(share: float) -> Callable[[int, int], LinearOperator]:
    def make(height: int, width: int) -> LinearOperator:
        generator = torch.Generator().manual_seed(0)
        return Mask((torch.rand(height, width, generator=generator) >= share).float())

    return make


#: The degradations that shipped models are tuned on.
PLANS = (
    TuningPlan("denoise", (0.02, 0.05, 0.1, 0.2, 0.3, 0.4), (lambda height, width: Identity(),)),
    TuningPlan("deblur", (0.01, 0.03, 0.1), (lambda height, width: Blur(gaussian_psf(7, 3.0)),)),
    TuningPlan("inpaint", (0.01, 0.05), (_missing(0.5), _missing(0.8))),
)


@dataclasses.dataclass(frozen=True)
class TunedWeight:
    """The best weight of a task at one noise level, and the mean PSNR in dB it gives on the images."""

    task: str
    sigma: float
    weight: float
    psnr: float


def tune(
    prior: Regularizer, plan: TuningPlan, images: Tensor, solver: Solver | None = None, compiled: bool = False
) -> Iterator[TunedWeight]:
    """Find the weight of highest mean PSNR for each sigma of a plan, by parabolas over its logarithm.

    Parameters
    ----------
    prior
        The regularizer.
    plan
        Task, noise levels and degradations.
    images
        Clean images ``[B, C, H, W]`` in [0, 1] that neither training nor any reported figure has seen.
    solver
        `fastreg.solvers.default_solver` for the task if not given.
    compiled
        Compile the solves first: faster, where there is a compiler.
    """
    cases = []
    for make in plan.operators:
        operator = make(images.shape[-2], images.shape[-1]).to(images.device)
        restorer = Restorer(operator, prior=prior, solver=solver, weight=1.0)
        clean = operator(images)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)).to(images)
        cases.append((compile(restorer) if compiled else restorer, clean, noise))
    guess = math.log(0.1)  # a critic of slope one balances the data near lambda = 0.1 / sigma
    for sigma in plan.sigmas:

        def quality(logarithm: float, sigma: float = sigma) -> float:
            weight = math.exp(logarithm) / sigma
            with torch.no_grad():
                values = [
                    metrics.psnr(run(clean + sigma * noise, sigma, weight), images) for run, clean, noise in cases
                ]
            return float(np.mean(values))

        guess, best = maximise(quality, guess, 0.4)  # from one noise level to the next little changes
        yield TunedWeight(plan.task, sigma, round(math.exp(guess) / sigma, 5), round(best, 3))


def maximise(function: Callable[[float], float], guess: float, step: float) -> tuple[float, float]:
    """Abscissa and value of the maximum of a unimodal function, of which a parabola is a fair picture over two steps.

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
