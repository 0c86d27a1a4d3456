"""The same solve in another precision, and through torch.compile."""

from __future__ import annotations

import copy
import itertools
import json
import types
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from fastreg.compiled.cache import use_persistent_cache
from fastreg.compiled.cuda_graphs import CapturedSolves
from fastreg.fidelities import Fidelity
from fastreg.kernels.precision import PRECISIONS, cpu_has_bf16, isolated
from fastreg.operators.base import LinearOperator
from fastreg.priors.base import Prior
from fastreg.problem import Problem
from fastreg.restorer import Restorer
from fastreg.solvers import Solver


def rounded(restorer: Restorer, precision: str) -> Restorer:
    """A frozen copy of a restorer whose prior computes in another number format.

    Parameters
    ----------
    restorer
        A restorer in float32 (or float64), not compiled; it is not changed.
    precision
        Of the convolutions of the prior: ``"ieee"`` (float32), ``"bf16"``, and on CUDA ``"tf32"``, ``"fp16"``. Iterates, data
        terms and sums stay in float32.

    Raises
    ------
    TypeError
        If it is not a restorer, or a compiled one.
    ValueError
        If the precision is unknown, the device has no instructions for it, or the restorer is in another one already.
    """
    if not isinstance(restorer, Restorer) or isinstance(restorer, CompiledRestorer):
        raise TypeError(f"expected a Restorer that is not compiled, got {type(restorer).__name__}")
    if restorer.precision != "ieee":
        raise ValueError(f"expected a restorer in float32, got one in {restorer.precision}")
    check_precision(precision, restorer.device)
    with torch.inference_mode(False), torch.no_grad():
        result = copy.deepcopy(restorer).requires_grad_(False)
        if precision in ("bf16", "fp16"):
            result.prior = result.prior.rounded(PRECISIONS[precision])
        # on an H200 convolutions in float32 are slower with the channels last; all others, and those of a CPU, are faster
        if result.device.type != "cuda" or precision != "ieee":
            result.prior = result.prior.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    result.precision = precision
    return result


def check_precision(precision: str, device: torch.device) -> None:
    """Raise `ValueError` unless convolutions on a device can be computed in a precision."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if device.type != "cuda" and precision in ("tf32", "fp16"):
        raise ValueError(f"precision {precision!r} needs a CUDA device, the restorer is on {device}")
    if device.type == "cpu" and precision == "bf16" and not cpu_has_bf16():
        raise ValueError("this CPU has no bf16 instructions: bf16 would be slower and less accurate than 'ieee'")


class CompiledRestorer(Restorer):
    """A restorer whose step is one compiled program with dynamic sizes; made by `fastreg.compile`.

    The program is compiled on first use, once for single images and once for batches. Sizes, masks and PSFs are its inputs.
    Tiny images may need another one: torch on a CPU computes float32 convolutions of up to 20 480 inputs differently, which the
    U-Net has below 5 120 pixels. On CUDA the steps of a solve become a graph for each shape, see `fastreg.compiled.cuda_graphs`.

    All parts are copies. It can be copied, pickled and moved; the copy compiles anew. It cannot be differentiated.
    """

    def __init__(self, restorer: Restorer, precision: str = "ieee") -> None:
        own = rounded(restorer, precision)
        super().__init__(own.operator, own.fidelity, own.prior, own.solver, own.weight_rule)
        self.weight_rule = own.weight_rule
        self.precision = precision
        self._make()

    def _make(self) -> None:
        """Set up what is neither copied nor pickled."""
        use_persistent_cache()
        # transforms are calls of torch's own inside a compiled program, as they are outside of one
        warnings.filterwarnings(
            "ignore", message="Torchinductor does not support code generation for complex operators"
        )
        # torch keeps at most eight programs for one function, whoever compiles it: every restorer has a function of its own
        step = types.FunctionType(_step.__code__.replace(), globals())
        self._program: Any = torch.compile(step, dynamic=True)
        self._captured = CapturedSolves(self._constants)

    def __getstate__(self) -> dict[str, Any]:
        """All but the programs."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_program", "_captured")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """All but the programs, which are compiled anew."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._make()

    def solve(self, y: Tensor, sigma: Tensor, weight: Tensor) -> Tensor:
        """Restore without checking the values; `sigma` and `weight` are ``[B]``.

        Raises
        ------
        ValueError
            If one of them asks for a gradient.
        """
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (y, sigma, weight)):
            raise ValueError(
                "a compiled restorer has no gradient: call it inside torch.no_grad(), or use the eager restorer"
            )
        # programs made inside and outside of inference mode would be two
        with torch.inference_mode(False), torch.no_grad(), isolated(self.precision == "tf32"):
            y, sigma, weight = (t.clone() if t.is_inference() else t.contiguous() for t in (y, sigma, weight))
            problem = self.problem(sigma, weight)
            # copies: a state that shares memory with y would be one more case to compile
            state = [t.clone(memory_format=torch.contiguous_format) for t in self.solver.start(problem, y)]
            inputs = (y, sigma, weight, *_tensors(self.operator).values(), *state)
            if y.is_cuda:
                about = json.dumps([self.operator.kind, self.operator.settings])
                return self._captured(self._steps, inputs, about)
            return self._steps(*inputs)

    def _steps(self, y: Tensor, sigma: Tensor, weight: Tensor, *rest: Tensor) -> Tensor:
        """All steps; `rest` are the tensors of the operator and the first state."""
        names = list(_tensors(self.operator))
        held, state = rest[: len(names)], rest[len(names) :]
        # without the tensors, which are inputs: a program would only fit their sizes
        bare = _with(self.operator, [tensor.new_empty(0) for tensor in held])
        step = _Step(bare, self.fidelity, self.prior, self.solver)
        named = {f"operator.{name}": tensor for name, tensor in zip(names, held, strict=True)}
        for k, row in enumerate(self.solver.schedule.unbind(0), 1):
            state = self._program(step, named, y, sigma, weight, row, *state)
            if self.after_step is not None and not y.is_cuda:
                self.after_step(k)
        return self.solver.result(self.solver.state(*state))

    def _constants(self) -> list[Tensor]:
        """Tensors that the steps read in addition to their inputs."""
        return [t for part in (self.fidelity, self.prior, self.solver) for t in _tensors(part).values()]


class _Step(nn.Module):
    """One step of a solver."""

    def __init__(self, operator: LinearOperator, fidelity: Fidelity, prior: Prior, solver: Solver[Any]) -> None:
        super().__init__()
        self.operator, self.fidelity, self.prior, self.solver = operator, fidelity, prior, solver

    def forward(self, y: Tensor, sigma: Tensor, weight: Tensor, row: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        problem = Problem(self.operator, self.fidelity, self.prior, sigma, weight)
        return tuple(t.contiguous() for t in self.solver.step(problem, y, self.solver.state(*state), row))


def _step(step: _Step, held: dict[str, Tensor], *inputs: Tensor) -> Any:
    return torch.func.functional_call(step, held, inputs)


def _tensors(part: nn.Module) -> dict[str, Tensor]:
    return dict(itertools.chain(part.named_buffers(), part.named_parameters()))


def _with(operator: LinearOperator, tensors: list[Tensor] | tuple[Tensor, ...]) -> LinearOperator:
    """A copy of an operator with other tensors in the place of its own."""
    memo: dict[int, Any] = {id(old): new for old, new in zip(_tensors(operator).values(), tensors, strict=True)}
    return copy.deepcopy(operator, memo)
