"""Operator, fidelity, prior and solver, combined in one module."""

from __future__ import annotations

import copy
import math
import numbers
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from fastreg.fidelities import L2, Fidelity
from fastreg.kernels.precision import isolated
from fastreg.models.weight_rule import WeightRule
from fastreg.operators.base import LinearOperator
from fastreg.operators.identity import Identity
from fastreg.parts import build
from fastreg.priors.base import Prior
from fastreg.problem import Problem
from fastreg.solvers import SOLVERS, Solver

if TYPE_CHECKING:
    from fastreg.compiled.gates import Report

#: Larger observations cannot be in units of the image range: white plus nine standard deviations of the strongest noise.
_LARGEST = 10.0


class Restorer(nn.Module):
    """Restores images by minimising a data term plus a learned prior with a fixed number of steps.

    .. math:: F(x) = \\frac{1}{|\\Omega|} D(A x, y; \\sigma) + \\lambda R(x)

    Parameters
    ----------
    operator
        The degradation A; `Identity` (denoising) if not given.
    fidelity
        The distance D; `L2` if not given.
    prior
        The learned prior, for example ``fastreg.load("unet")``; a denoiser takes the place of the proximal map of R.
    solver
        The solver with its schedule. If not given, the one in the prior's model card for the operator's task.
    weight
        The weight lambda: a number, or a rule that maps sigma to it. If not given, the rule in the prior's model card for the
        operator's task.

    Raises
    ------
    TypeError
        If a part is of the wrong kind, or the weight is not a number.
    ValueError
        If the solver needs what the other parts do not offer, there is no solver, or the weight is not positive.

    Examples
    --------
    >>> import torch, fastreg
    >>> restorer = fastreg.Restorer(prior=fastreg.load("alr"), solver=fastreg.solvers.Adam(iterations=2))
    >>> restorer(torch.rand(1, 3, 24, 32), sigma=0.1).shape
    torch.Size([1, 3, 24, 32])

    Notes
    -----
    Images are ``float32 [B, C, H, W]`` in [0, 1]; the result is not clipped. Entries of a batch are independent.

    Results do not depend on global settings of torch: default dtype and device, autocast, tf32. Restorers may be called from
    several threads.
    """

    #: Number format of the prior's convolutions, see `fastreg.compiled.rounded`.
    precision: str = "ieee"
    #: Result of the comparison with the float32 solve; None if there was none.
    report: Report | None = None
    #: Called after each step with the number of steps done, for example to show progress; not by a program on CUDA.
    after_step: Callable[[int], None] | None = None

    def __init__(
        self,
        operator: LinearOperator | None = None,
        fidelity: Fidelity | None = None,
        prior: Prior | None = None,
        solver: Solver[Any] | None = None,
        weight: float | Tensor | WeightRule | None = None,
    ) -> None:
        super().__init__()
        self.operator: LinearOperator = _part("operator", Identity() if operator is None else operator, LinearOperator)
        self.fidelity: Fidelity = _part("fidelity", L2() if fidelity is None else fidelity, Fidelity)
        self.prior: Prior = _part("prior", prior, Prior)
        tuned = self.prior.card.tasks.get(self.operator.task) if self.prior.card is not None else None
        if solver is None:
            if tuned is None or tuned.solver is None:
                raise ValueError(
                    f"this prior was not tuned for the task {self.operator.task!r}: give the solver as solver= "
                    "and the weight as weight="
                )
            solver = build(SOLVERS, tuned.solver)
        self.solver: Solver[Any] = _part("solver", solver, Solver)
        self._require_what_the_solver_needs()
        if weight is None:
            self.weight_rule = tuned.rule if tuned is not None else None
        elif isinstance(weight, WeightRule):
            self.weight_rule = weight
        else:
            self.weight_rule = WeightRule.constant(_number("weight", weight))

    def _require_what_the_solver_needs(self) -> None:
        offered = self.prior.offers | self.fidelity.offers(self.operator)
        missing = sorted(self.solver.needs - offered)
        if missing:
            raise ValueError(
                f"the solver {self.solver.kind} needs {' and '.join(missing)}, which the prior {self.prior.kind} with the "
                f"fidelity {self.fidelity.kind} and the operator {self.operator.kind} does not offer"
            )

    def with_operator(self, operator: LinearOperator) -> Self:
        """The same restorer with another operator for the same task, such as another mask; all other parts are shared.

        Raises
        ------
        TypeError
            If it is not an operator.
        ValueError
            If it is for another task, or does not offer what the solver needs.
        """
        _part("operator", operator, LinearOperator)
        if operator.task != self.operator.task:
            raise ValueError(f"expected an operator for {self.operator.task}, got one for {operator.task}")
        result = object.__new__(type(self))
        result.__dict__ = {
            name: copy.copy(value) if type(value) is dict else value for name, value in vars(self).items()
        }
        if any(buffer.device != self.device for buffer in operator.buffers()):
            operator = copy.deepcopy(operator).to(self.device)
        result.operator = operator
        result._require_what_the_solver_needs()
        return result

    @property
    def device(self) -> torch.device:
        """The device on which the restorer computes."""
        return self.solver.schedule.device

    def forward(self, y: Tensor, sigma: float | Tensor, weight: float | Tensor | None = None) -> Tensor:
        """Restore a batch of observations.

        Parameters
        ----------
        y
            Observations: what the operator makes of images ``[B, C, H, W]`` in [0, 1].
        sigma
            Standard deviation of the noise in units of the image range, below 1: a number, or one for each entry, ``[B]``.
        weight
            The weight lambda, likewise; the restorer's own rule if not given.

        Returns
        -------
        Tensor
            Restored images ``[B, C, H, W]``, not clipped.

        Raises
        ------
        TypeError
            If an argument is not a tensor of float32 or float64 (or a number, for sigma and weight).
        ValueError
            If a shape does not fit, a value is not finite or not in units of the image range, or there is no weight.
        """
        if torch.compiler.is_compiling():
            return self.solve(y, *self.levels(y, sigma, weight))
        with isolated(self.precision == "tf32"):
            return self.solve(y, *self.levels(y, sigma, weight))

    def solve(self, y: Tensor, sigma: Tensor, weight: Tensor) -> Tensor:
        """Restore without checking the values: the computation that is compiled and exported.

        `sigma` and `weight` are ``[B]``.
        """
        return self.solver.fold(self.problem(sigma, weight), y, after_step=self.after_step)

    def problem(self, sigma: Tensor, weight: Tensor) -> Problem:
        """The objective for noise levels and weights ``[B]``."""
        return self.solver.objective(Problem(self.operator, self.fidelity, self.prior, sigma, weight))

    def trace(
        self, y: Tensor, sigma: float | Tensor, weight: float | Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterates of `forward` and their energies F(x), ``[B, C, H, W]`` and ``[B]``, from the start to the result.

        Raises
        ------
        ValueError
            If the prior is a denoiser, which has no energy; and as `forward`.
        """
        if "prior.energy" not in self.prior.offers:
            raise ValueError(f"energies need an explicit prior, and a {self.prior.kind} has no energy")
        with isolated(self.precision == "tf32"):
            levels = self.levels(y, sigma, weight)
        return self._trace(y, self.problem(*levels))

    def _trace(self, y: Tensor, problem: Problem) -> Iterator[tuple[Tensor, Tensor]]:
        state = None
        for k in range(-1, self.solver.iterations):
            # the caller's code runs between two steps
            with isolated(self.precision == "tf32"):
                if state is None:
                    state = self.solver.start(problem, y)
                else:
                    state = self.solver.step(problem, y, state, self.solver.schedule[k])
                x = self.solver.result(state)
                energy = problem.energy(x, y)
            yield x, energy

    def check(self, y: Tensor) -> None:
        """Raise `TypeError` or `ValueError` if `y` cannot be restored."""
        self.operator.check(y)
        self.fidelity.check(y)
        if y.real.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"observations must be float32 (or float64), or complex of that precision, got {y.dtype}")
        shape = self.operator.image_shape(tuple(y.shape))
        if shape[1] != self.prior.channels:
            hint = f"; repeat a grey image: y.expand(-1, {self.prior.channels}, -1, -1)" if shape[1] == 1 else ""
            raise ValueError(f"the prior works on images of {self.prior.channels} channels, got {shape[1]}{hint}")
        if min(shape[-2:]) < self.prior.minimum_size:
            raise ValueError(
                f"the prior needs images of at least {self.prior.minimum_size}x{self.prior.minimum_size} pixels, "
                f"got {shape[-2]}x{shape[-1]}"
            )
        if y.device != self.device:
            raise ValueError(f"the restorer is on {self.device}, got observations on {y.device}")
        if not torch.compiler.is_compiling():
            check_values(y)

    def levels(self, y: Tensor, sigma: float | Tensor, weight: float | Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Check the arguments of `forward`, and return noise levels and weights as it uses them, ``[B]``."""
        self.check(y)
        noise = one_per_entry("sigma", sigma, y)
        if weight is not None:
            return noise, one_per_entry("weight", weight, noise)
        if self.weight_rule is None:
            raise ValueError("this prior has no tuned weight for the task: give one as weight=")
        rule: Tensor = self.weight_rule(noise)
        return noise, rule


def _part(name: str, value: object, kind: type[Any]) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, got {type(value).__name__}")
    return value


def _number(name: str, value: object) -> float:
    """A number of Python or numpy, or a tensor of no dimension, as a float."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if isinstance(value, Tensor):
        real = value.ndim == 0 and value.dtype != torch.bool and not value.is_complex()
    if not real:
        what = f"a tensor of {value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{name} must be a number or a WeightRule, got {what}")
    return float(value)  # type: ignore[arg-type]


def check_values(y: Tensor) -> None:
    """Raise `ValueError` if observations are not finite, or real ones are not in units of [0, 1]."""
    largest = float(y.detach().abs().max())  # NaN if there is one
    if not math.isfinite(largest):
        raise ValueError("observations must be finite, got NaN or infinity")
    if largest > _LARGEST and not y.is_complex():
        raise ValueError(
            f"observations must be in units of [0, 1], as sigma is, got values up to {largest:g}: "
            "divide images of 8 bits by 255"
        )


def one_per_entry(name: str, value: float | Tensor, like: Tensor) -> Tensor:
    """A positive number, or one for each entry of the batch, as ``[B]``; ``sigma`` must be below 1."""
    if isinstance(value, Tensor):
        if value.dtype == torch.bool or value.is_complex():
            raise TypeError(f"{name} must hold real numbers, got a tensor of {value.dtype}")
    elif isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number or a tensor, got {type(value).__name__}")
    else:  # on the CPU, where asking for its value costs nothing
        try:
            number = float(value)
        except OverflowError:  # of Python's integers
            number = math.inf
        value = torch.tensor(number, dtype=like.real.dtype, device="cpu")
    batch = like.shape[0]
    if value.ndim > 1 or (value.ndim == 1 and value.shape[0] not in (1, batch)):
        raise ValueError(f"{name} must be a number or one for each of the {batch} entries, got {list(value.shape)}")
    if not torch.compiler.is_compiling():
        if not bool(((value > 0) & torch.isfinite(value)).all()):
            raise ValueError(f"{name} must be positive and finite, got {value.tolist()}")
        if name == "sigma" and bool((value >= 1).any()):
            raise ValueError(
                f"sigma must be below 1, got {float(value.detach().max()):g}; it is in units of [0, 1]: 25/255 is 0.098"
            )
    return value.to(like.device, like.real.dtype).expand(batch)
