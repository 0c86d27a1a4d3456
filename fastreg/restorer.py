"""Operator, fidelity, prior and solver, composed into one module."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fastreg.fidelities import L2, Fidelity
from fastreg.kernels.precision import tensor_float
from fastreg.models.weight_rule import WeightRule
from fastreg.operators.base import LinearOperator
from fastreg.operators.identity import Identity
from fastreg.parts import build
from fastreg.priors.base import Prior
from fastreg.problem import Problem
from fastreg.solvers import SOLVERS, Solver

if TYPE_CHECKING:
    from fastreg.compiled.gates import Report
    from fastreg.compiled.restorer import CompiledRestorer


class Restorer(nn.Module):
    """Restores images by minimising a data term plus a learned regularizer with a fixed number of steps.

    .. math:: F(x) = \\frac{1}{|\\Omega|} D(A x, y; \\sigma) + \\lambda R(x)

    Parameters
    ----------
    operator
        The degradation A; `Identity` (denoising) if not given.
    fidelity
        The distance D; `L2` if not given.
    prior
        The learned prior, for example ``fastreg.load("alr")``.
    solver
        The step rule and its schedule. If not given, those in the prior's model card for the operator's task.
    weight
        The weight lambda: a number, or a rule that maps sigma to it. If not given, the rule in the prior's model card for the
        operator's task.

    Raises
    ------
    TypeError
        If a part is not what it has to be.
    ValueError
        If the solver needs what the other parts do not offer, or there is no solver.

    Examples
    --------
    >>> import torch, fastreg
    >>> restorer = fastreg.Restorer(prior=fastreg.load("alr"), solver=fastreg.solvers.Adam(iterations=2))
    >>> restorer(torch.rand(1, 3, 24, 32), sigma=0.1).shape
    torch.Size([1, 3, 24, 32])

    Notes
    -----
    Images are ``float32 [B, C, H, W]`` in [0, 1]; the result is not clipped. Entries of a batch are independent.
    """

    def __init__(
        self,
        operator: LinearOperator | None = None,
        fidelity: Fidelity | None = None,
        prior: Prior | None = None,
        solver: Solver[Any] | None = None,
        weight: float | WeightRule | None = None,
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
        offered = self.prior.offers | self.fidelity.offers(self.operator)
        missing = sorted(self.solver.needs - offered)
        if missing:
            raise ValueError(
                f"the solver {self.solver.kind} needs {' and '.join(missing)}, which the prior {self.prior.kind} with the "
                f"fidelity {self.fidelity.kind} and the operator {self.operator.kind} does not offer"
            )
        if isinstance(weight, numbers.Real) and not isinstance(weight, bool):
            weight = WeightRule.constant(float(weight))
        elif weight is None:
            weight = tuned.rule if tuned is not None else None
        elif not isinstance(weight, WeightRule):
            raise TypeError(f"weight must be a number or a WeightRule, got {type(weight).__name__}")
        self.weight_rule = weight

    @property
    def device(self) -> torch.device:
        """Where the restorer computes."""
        return self.solver.schedule.device

    def forward(self, y: Tensor, sigma: float | Tensor, weight: float | Tensor | None = None) -> Tensor:
        """Restore a batch of observations.

        Parameters
        ----------
        y
            Observations, as the operator makes them of images ``[B, C, H, W]`` in [0, 1].
        sigma
            Standard deviation of the noise in units of the image range: a number, or one for each entry, ``[B]``.
        weight
            The weight lambda, likewise; overrides the restorer's own rule.

        Returns
        -------
        Tensor
            Restored images ``[B, C, H, W]``, not clipped.

        Raises
        ------
        TypeError
            If an argument is not a tensor of floating point numbers (or a number, for sigma and weight).
        ValueError
            If a shape does not fit, a value is not finite, sigma is not positive, or no weight is known.
        """
        self.check(y)
        noise = _per_entry("sigma", sigma, y)
        if torch.compiler.is_compiling():
            return self.solve(y, noise, self._weight(noise, weight))
        with tensor_float(False):
            return self.solve(y, noise, self._weight(noise, weight))

    def solve(self, y: Tensor, sigma: Tensor, weight: Tensor) -> Tensor:
        """Restore without looking at the values: the pure computation that is compiled and exported.

        `sigma` and `weight` are ``[B]``.
        """
        return self.solver.fold(self.problem(sigma, weight), y)

    def problem(self, sigma: Tensor, weight: Tensor) -> Problem:
        """The objective for noise levels and weights ``[B]``."""
        return Problem(self.operator, self.fidelity, self.prior, sigma, weight)

    def compile(  # type: ignore[override]
        self, precision: str = "ieee", check: bool = False, accept_drift: bool = False
    ) -> CompiledRestorer:
        """A restorer that runs the same solve as a compiled program: the step on a CPU, the whole solve as a graph on CUDA.

        On a CPU the convolutions of a critic are as fast without it (``bench/tables/speed.md``); what it brings there is bf16.

        Parameters
        ----------
        precision
            Number format of the prior's convolutions: ``"ieee"`` (float32), ``"bf16"``, and on CUDA ``"tf32"``, ``"fp16"``.
            Iterates, data terms and sums stay in float32.
        check
            Restore pieces of three photographs with this restorer and with the compiled one, at noise levels of the range that
            the weight was tuned for, and hold the differences against
            `fastreg.compiled.gates.GATES`. The result says what was found as
            its `report`; to judge on images of your own call `fastreg.compiled.gates.judge`.
        accept_drift
            Accept finite results outside the gates; the status of the report is then ``drift accepted``.

        Returns
        -------
        CompiledRestorer
            With frozen copies of the prior's weights; this one is left as it is. The first call compiles (seconds to a minute).

        Raises
        ------
        ValueError
            If the precision is unknown, the device has no instructions for it, or the results are outside the gates.
        """
        from fastreg.compiled.restorer import CompiledRestorer

        fast = CompiledRestorer(self, precision)
        if check:
            fast.report = _accepted(fast, self, precision, accept_drift)
        return fast

    def trace(
        self, y: Tensor, sigma: float | Tensor, weight: float | Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterates and their energies F(x), ``[B, C, H, W]`` and ``[B]``, from the start to the result."""
        self.check(y)
        noise = _per_entry("sigma", sigma, y)
        problem = self.problem(noise, self._weight(noise, weight))
        state = self.solver.start(problem, y)
        x = self.solver.result(problem, state)
        yield x, problem.energy(x, y)
        for row in self.solver.schedule.unbind(0):
            state = self.solver.step(problem, y, state, row)
            x = self.solver.result(problem, state)
            yield x, problem.energy(x, y)

    def check(self, y: Tensor) -> None:
        """Raise `TypeError` or `ValueError`, saying why, where `y` cannot be restored."""
        self.operator.check(y)
        self.fidelity.check(y)
        if y.real.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"observations must be float32 (or float64), or complex of that precision, got {y.dtype}")
        shape = self.operator.image_shape(tuple(y.shape))
        if shape[1] != self.prior.channels:
            raise ValueError(f"the prior works on images of {self.prior.channels} channels, got {shape[1]}")
        if min(shape[-2:]) < self.prior.minimum_size:
            raise ValueError(
                f"the prior needs images of at least {self.prior.minimum_size}x{self.prior.minimum_size} pixels, "
                f"got {shape[-2]}x{shape[-1]}"
            )
        if y.device != self.device:
            raise ValueError(f"the restorer is on {self.device}, got observations on {y.device}")
        if not torch.compiler.is_compiling() and not bool(torch.isfinite(y).all()):
            raise ValueError("observations must be finite, got NaN or infinity")

    def _weight(self, sigma: Tensor, weight: float | Tensor | None) -> Tensor:
        if weight is not None:
            return _per_entry("weight", weight, sigma)
        if self.weight_rule is None:
            raise ValueError("this prior has no tuned weight for the task: give one as weight=")
        result: Tensor = self.weight_rule(sigma)
        return result


def _accepted(fast: Restorer, eager: Restorer, precision: str, accept_drift: bool) -> Report:
    """What a comparison found, where that can be accepted."""
    from fastreg.compiled import gates

    report = gates.judge(fast, eager, precision)
    if report.status == "passed":
        return report
    if not (accept_drift and report.finite):
        way_out = "" if not report.finite else "; take a finer precision, or accept the drift"
        raise ValueError(f"the precision {precision} is outside its gates for this restorer: {report.words()}{way_out}")
    return dataclasses.replace(report, status="drift accepted")


def _part(name: str, value: object, kind: type[Any]) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, got {type(value).__name__}")
    return value


def _per_entry(name: str, value: float | Tensor, like: Tensor) -> Tensor:
    """A positive number, or one for each entry of the batch, as ``[B]``."""
    if isinstance(value, bool) or not isinstance(value, (numbers.Real, Tensor)):
        raise TypeError(f"{name} must be a number or a tensor, got {type(value).__name__}")
    batch = like.shape[0]
    number = value if isinstance(value, Tensor) else float(value)
    result = torch.as_tensor(number, dtype=like.real.dtype, device=like.device)
    if result.ndim > 1 or (result.ndim == 1 and result.shape[0] not in (1, batch)):
        raise ValueError(f"{name} must be a number or one for each of the {batch} entries, got {list(result.shape)}")
    if not torch.compiler.is_compiling() and not bool(((result > 0) & torch.isfinite(result)).all()):
        raise ValueError(f"{name} must be positive and finite, got {result.tolist()}")
    return result.expand(batch)
