"""The interface of solvers: a solve applies one step again and again, with the rows of a schedule."""

from __future__ import annotations

import abc
import math
import numbers
from collections.abc import Callable
from typing import ClassVar, Generic, TypeVar

from torch import Tensor

from fastreg.parts import Part
from fastreg.problem import Problem

#: A NamedTuple of tensors: what a step takes and returns.
State = TypeVar("State", bound=tuple[Tensor, ...])


class Solver(Part, abc.ABC, Generic[State]):
    """A step rule and its schedule.

    The schedule is a buffer ``[iterations, len(columns)]``; row k has the parameters of step k. A step is a pure function: it
    takes and returns a NamedTuple of tensors and does not branch on their values. Eager, compiled and exported solves run the
    same step.
    """

    #: Names of the parameters in a row of the schedule.
    columns: ClassVar[tuple[str, ...]]
    #: What a step uses, of ``"prior.energy"``, ``"prior.gradient"``, ``"prior.denoise"``, ``"data.gradient"``,
    #: ``"data.proximal"``, ``"fidelity.proximal"``.
    needs: ClassVar[frozenset[str]]
    #: Positive settings that can be fitted for a task, see `fastreg.training.tuning`.
    fitted: ClassVar[tuple[str, ...]] = ()
    #: The NamedTuple of tensors that a step takes and returns; its first entry is the restored image.
    state: type[State]
    schedule: Tensor

    def __init__(self, schedule: Tensor) -> None:
        super().__init__()
        if schedule.ndim != 2 or schedule.shape[1] != len(self.columns) or len(schedule) < 1:
            raise ValueError(
                f"a schedule of {type(self).__name__} is [iterations, {len(self.columns)}] with the columns "
                f"{self.columns}, got {list(schedule.shape)}"
            )
        self.register_buffer("schedule", schedule)

    @property
    def iterations(self) -> int:
        """Number of steps."""
        return len(self.schedule)

    def objective(self, problem: Problem) -> Problem:
        """The objective that the last steps minimise, where the solver sets the noise level of an explicit prior."""
        return problem

    def stronger(self, strength: float) -> Solver[State]:
        """The same solver with noise levels that depend on sigma multiplied by `strength`."""
        return self

    @abc.abstractmethod
    def start(self, problem: Problem, y: Tensor) -> State:
        """State before the first step."""

    @abc.abstractmethod
    def step(self, problem: Problem, y: Tensor, state: State, row: Tensor) -> State:
        """State after one more step; `row` is ``[len(columns)]``."""

    def result(self, state: State) -> Tensor:
        """The restored image ``[B, C, H, W]`` of a state."""
        return state[0]

    def fold(
        self,
        problem: Problem,
        y: Tensor,
        schedule: Tensor | None = None,
        after_step: Callable[[int], None] | None = None,
    ) -> Tensor:
        """Run the whole schedule, or another one that is being learned, and return the restored image.

        `after_step` is called with the number of steps done.
        """
        state = self.start(problem, y)
        for k, row in enumerate((self.schedule if schedule is None else schedule).unbind(0), 1):
            state = self.step(problem, y, state, row)
            if after_step is not None:
                after_step(k)
        return self.result(state)


def positive(**values: float) -> None:
    """Raise `ValueError` unless all arguments, given by name, are positive and finite; iterations must be a whole number."""
    for name, value in values.items():
        if name == "iterations" and (isinstance(value, bool) or not isinstance(value, numbers.Integral)):
            raise ValueError(f"iterations must be a whole number, got {value!r}")
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {value}")
