"""The solver that a task gets where none is chosen."""

from __future__ import annotations

from fastreg.solvers.adam import Adam
from fastreg.solvers.base import Solver


def default_solver(task: str, iterations: int = 50) -> Solver:
    """Adam with the settings for a task, those of the paper for any that is not known.

    Notes
    -----
    Where a pixel is missing nothing but the prior moves it. The Adam of the paper would take it at the full rate whatever the
    weight, away from the good first image of `fastreg.operators.Mask`. With an epsilon far above the gradient of the prior the
    steps are proportional to it, as in gradient descent with momentum, and the weight says how far they lead.

    Deblurring starts near the result, and what a blur has all but removed is put back by many small steps in one direction. Less
    than half the rate at first, more at the end and a shorter memory of the gradient end 0.03 dB higher on held-out crops than
    half the rate at first alone, and that 0.06 dB higher than the paper's schedule; four times the steps are worth as much.
    """
    if task == "deblur":
        return Adam(iterations, rate=(0.04, 0.015), betas=(0.8, 0.999))
    if task == "inpaint":
        return Adam(iterations, rate=(0.05, 0.01), epsilon=0.05)
    return Adam(iterations)
