"""Step rules and their schedules."""

from __future__ import annotations

from typing import Any

from fastreg.solvers.adam import Adam, AdamState
from fastreg.solvers.admm import ADMM, ADMMState
from fastreg.solvers.base import Solver
from fastreg.solvers.douglas_rachford import DouglasRachford, DouglasRachfordState
from fastreg.solvers.forward_backward import ForwardBackward, ForwardBackwardState
from fastreg.solvers.gradient_descent import GradientDescent
from fastreg.solvers.half_quadratic_splitting import HalfQuadraticSplitting, HalfQuadraticSplittingState
from fastreg.solvers.learned_splitting import LearnedSplitting, LearnedSplittingState
from fastreg.solvers.monotone import MonotoneForwardBackward, MonotoneForwardBackwardState
from fastreg.solvers.pdhg import PDHG1, PDHG2, PDHG1State, PDHG2State
from fastreg.solvers.proximal_gradient import ProximalGradient
from fastreg.solvers.scaled import ScaledState

#: Every solver by its kind.
SOLVERS: dict[str, type[Solver[Any]]] = {
    cls.kind: cls
    for cls in (
        Adam,
        GradientDescent,
        ForwardBackward,
        MonotoneForwardBackward,
        LearnedSplitting,
        HalfQuadraticSplitting,
        ProximalGradient,
        ADMM,
        DouglasRachford,
        PDHG1,
        PDHG2,
    )
}

__all__ = [
    "ADMM",
    "PDHG1",
    "PDHG2",
    "SOLVERS",
    "ADMMState",
    "Adam",
    "AdamState",
    "DouglasRachford",
    "DouglasRachfordState",
    "ForwardBackward",
    "ForwardBackwardState",
    "GradientDescent",
    "HalfQuadraticSplitting",
    "HalfQuadraticSplittingState",
    "LearnedSplitting",
    "LearnedSplittingState",
    "MonotoneForwardBackward",
    "MonotoneForwardBackwardState",
    "PDHG1State",
    "PDHG2State",
    "ProximalGradient",
    "ScaledState",
    "Solver",
]
