"""The weight lambda as a function of the noise level, tuned on held-out photographs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from fastreg import metrics
from fastreg.operators import Blur, Identity, LinearOperator, Mask, gaussian_psf
from fastreg.optimization import calibration_images, optimize
from fastreg.regularizers import PatchCritic, Regularizer
from fastreg.restorer import Restorer
from fastreg.solvers import Adam, Solver


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
    prior: Regularizer, plan: TuningPlan, images: Tensor, solver: Solver | None = None, tolerance: float = 0.15
) -> Iterator[TunedWeight]:
    """Find the weight of highest mean PSNR for each sigma of a plan, by golden sections of its logarithm.

    Parameters
    ----------
    prior
        The regularizer.
    plan
        Task, noise levels and degradations.
    images
        Clean images ``[B, C, H, W]`` in [0, 1] that neither training nor any reported figure has seen.
    solver
        ``Adam(50)`` if not given.
    tolerance
        Width of the last bracket of log(lambda).
    """
    solver = Adam() if solver is None else solver
    guess = None
    for sigma in plan.sigmas:
        cases = []
        for make in plan.operators:
            operator = make(images.shape[-2], images.shape[-1]).to(images.device)
            clean = operator(images)
            noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)).to(images)
            cases.append((Restorer(operator, prior=prior, solver=solver, weight=1.0), clean + sigma * noise))

        def quality(logarithm: float, cases: list[tuple[Restorer, Tensor]] = cases, sigma: float = sigma) -> float:
            weight = math.exp(logarithm) / sigma
            with torch.no_grad():
                values = [metrics.psnr(restorer(y, sigma, weight), images) for restorer, y in cases]
            return float(np.mean(values))

        # a critic of slope one balances the data near 0.1 / sigma; from one noise level to the next little changes
        bracket = (math.log(0.01), math.log(1.0)) if guess is None else (guess - 0.9, guess + 0.9)
        guess, best = maximise(quality, *bracket, tolerance)
        yield TunedWeight(plan.task, sigma, round(math.exp(guess) / sigma, 5), round(best, 3))


def maximise(function: Callable[[float], float], low: float, high: float, tolerance: float) -> tuple[float, float]:
    """Abscissa and value of the maximum of a unimodal function on an interval, by golden sections."""
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = function(left), function(right)
    while high - low > tolerance:
        if at_left > at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = function(right)
    return (left, at_left) if at_left > at_right else (right, at_right)


def tune_critic(
    critic: PatchCritic, images: Tensor, plans: Sequence[TuningPlan] = PLANS, calibration: Tensor | None = None
) -> Iterator[TunedWeight]:
    """Tune the weights of a critic; its ReLU channels of constant sign are folded away meanwhile.

    Folding moves a channel only where it wakes up outside the calibration images, which does not move a tuned weight by a
    visible amount, and makes tuning several times faster.
    """
    prior: Regularizer = critic
    if critic.activation == "relu":
        sigmas = {sigma for plan in plans for sigma in plan.sigmas}
        prior = optimize(critic, calibration_images([images if calibration is None else calibration], sorted(sigmas)))
    for plan in plans:
        yield from tune(prior, plan, images)
