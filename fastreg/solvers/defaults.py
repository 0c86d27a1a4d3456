"""The solver that a task gets where none is chosen."""

from __future__ import annotations

from fastreg.solvers.adam import Adam
from fastreg.solvers.base import Solver

#: First and last rate of Adam. Where a pixel is missing nothing but the prior moves it, at the full rate whatever the weight: the
#: first image of `fastreg.operators.Mask` is a smooth filling, which the rates of the paper would shake up.
RATES = {"denoise": (0.1, 0.01), "deblur": (0.1, 0.01), "inpaint": (0.02, 0.0005)}


def default_solver(task: str, iterations: int = 50) -> Solver:
    """Adam with the rates for a task, those of the paper for any that is not known."""
    return Adam(iterations, RATES.get(task, (0.1, 0.01)))
