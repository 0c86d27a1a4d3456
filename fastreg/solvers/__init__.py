"""Step rules and their schedules."""

from fastreg.solvers.adam import Adam, AdamState
from fastreg.solvers.base import Problem, Solver, Terms
from fastreg.solvers.defaults import default_solver
from fastreg.solvers.gradient_descent import GradientDescent, GradientDescentState

__all__ = [
    "Adam",
    "AdamState",
    "GradientDescent",
    "GradientDescentState",
    "Problem",
    "Solver",
    "Terms",
    "default_solver",
]
