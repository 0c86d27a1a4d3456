"""The same solve through torch.compile."""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fastreg.captured import CapturedSolves
from fastreg.certified import CertifiedPath, Effort, certified
from fastreg.compile_cache import use_persistent_cache
from fastreg.operators.base import LinearOperator
from fastreg.precision import cpu_has_bf16, tensor_float
from fastreg.regularizers.base import Regularizer
from fastreg.restorer import Restorer
from fastreg.solvers.base import Problem

if TYPE_CHECKING:
    from fastreg.gates import Report

# transforms are calls of torch's own inside a compiled program, as they are outside of one
warnings.filterwarnings("ignore", message="Torchinductor does not support code generation for complex operators")

#: Number formats for the convolutions of a prior; everything else stays in float32.
PRECISIONS: dict[str, torch.dtype] = {
    "ieee": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


class CompiledRestorer(Restorer):
    """A restorer whose step is one compiled program with dynamic sizes; made by `Restorer.compile`.

    The step is compiled once for single images and once for batches, on first use; sizes do not matter. The prior is a
    copy in the precision asked for; operator, fidelity and solver are those of the original. Where the gradient of the prior is
    faster outside the program (`Regularizer.apart`) and the solver says where it takes it (`Solver.point`), it is computed there.
    On a CPU a ReLU critic that is affine behind its first layer on most images is run as such, and watched: `fastreg.certified`.
    On CUDA the whole solve becomes a graph for each shape, see `fastreg.captured`.
    """

    def __init__(self, restorer: Restorer, precision: str, graphs: bool = True) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        device = restorer.solver.schedule.device
        if device.type != "cuda" and precision in ("tf32", "fp16"):
            raise ValueError(f"precision {precision!r} needs a CUDA device, the restorer is on {device}")
        if device.type == "cpu" and precision == "bf16" and not cpu_has_bf16():
            raise ValueError("this CPU has no bf16 instructions: bf16 would be slower than 'ieee' and less exact")
        prior = copy.deepcopy(restorer.prior)
        prior = certified(prior, rounded=cpu_has_bf16()) or prior
        prior = prior.rounded(PRECISIONS[precision]).requires_grad_(False)
        prior = prior.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(restorer.operator, restorer.fidelity, prior, restorer.solver)
        self.weight_rule = restorer.weight_rule
        self.precision = precision
        use_persistent_cache()
        #: What a comparison with the eager solve found; None if there was none.
        self.report: Report | None = None
        #: What the gradients of the last solve took, where the prior is a `fastreg.certified.CertifiedCritic`.
        self.effort: Effort | None = None
        self._compiled = torch.compile(self._step, dynamic=True)
        self._captured = CapturedSolves(self._fold, self._constants) if graphs and device.type == "cuda" else None

    def _step(
        self,
        operator: LinearOperator,
        y: Tensor,
        sigma: Tensor,
        weight: Tensor,
        row: Tensor,
        gradient: Tensor | None,
        *state: Tensor,
    ) -> tuple[Tensor, ...]:
        prior = self.prior if gradient is None else _Given(gradient)
        problem = Problem(operator, self.fidelity, prior, sigma, weight)
        return tuple(self.solver.step(problem, y, self.solver.state(*state), row))

    def solve(self, y: Tensor, sigma: Tensor, weight: Tensor) -> Tensor:
        """Restore without looking at the values; `sigma` and `weight` are ``[B]``."""
        with torch.no_grad(), tensor_float(self.precision == "tf32"):
            if self._captured is not None:
                return self._captured(y, sigma, weight)
            return self._fold(y, sigma, weight)

    def _fold(self, y: Tensor, sigma: Tensor, weight: Tensor) -> Tensor:
        operator = self.operator.traceable(y)
        problem = self.problem(sigma, weight)._replace(operator=operator)
        y = y.contiguous()
        # copies: a state that shares memory with y would be one more case to compile
        state = tuple(t.clone(memory_format=torch.contiguous_format) for t in self.solver.start(problem, y))
        prior = self.prior.along()
        for row in self.solver.schedule.unbind(0):
            point = self.solver.point(self.solver.state(*state)) if self.prior.apart else None
            gradient = None if point is None else prior.gradient(point)
            state = self._compiled(operator, y, problem.sigma, problem.weight, row, gradient, *state)
        self.effort = prior.effort if isinstance(prior, CertifiedPath) else None
        return self.solver.result(problem, self.solver.state(*state))

    def _constants(self) -> list[Tensor]:
        """What a solve reads besides its inputs."""
        parts = (self.operator, self.fidelity, self.prior, self.solver)
        return [tensor for part in parts for tensor in (*part.parameters(), *part.buffers())]


class _Given(Regularizer):
    """A prior whose gradient at the point of a step is known."""

    def __init__(self, gradient: Tensor) -> None:
        super().__init__()
        self.known = gradient

    def energy_and_gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError("a step takes the gradient of its prior only")

    def gradient(self, x: Tensor) -> Tensor:
        return self.known
