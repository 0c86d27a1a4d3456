"""Step rules and their schedules."""

from __future__ import annotations

from typing import Any

from fastreg.solvers.adam import Adam, AdamState
from fastreg.solvers.base import Solver
from fastreg.solvers.gradient_descent import GradientDescent, GradientDescentState

#: Every solver by its kind.
SOLVERS: dict[str, type[Solver[Any]]] = {cls.kind: cls for cls in (Adam, GradientDescent)}

__all__ = ["SOLVERS", "Adam", "AdamState", "GradientDescent", "GradientDescentState", "Solver"]
