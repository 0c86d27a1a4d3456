"""The same solve through torch.compile."""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fastreg.compiled.cache import use_persistent_cache
from fastreg.compiled.cuda_graphs import CapturedSolves
from fastreg.kernels.precision import PRECISIONS, cpu_has_bf16, tensor_float
from fastreg.operators.base import LinearOperator
from fastreg.problem import Problem
from fastreg.restorer import Restorer

if TYPE_CHECKING:
    from fastreg.compiled.gates import Report

# transforms are calls of torch's own inside a compiled program, as they are outside of one
warnings.filterwarnings("ignore", message="Torchinductor does not support code generation for complex operators")


class CompiledRestorer(Restorer):
    """A restorer whose step is one compiled program with dynamic sizes; made by `Restorer.compile`.

    The step is compiled once for single images and once for batches, on first use; sizes do not matter. The prior is a
    copy in the precision asked for; operator, fidelity and solver are those of the original.
    On CUDA the whole solve becomes a graph for each shape, see `fastreg.compiled.cuda_graphs`.
    """

    def __init__(self, restorer: Restorer, precision: str, graphs: bool = True) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        device = restorer.device
        if device.type != "cuda" and precision in ("tf32", "fp16"):
            raise ValueError(f"precision {precision!r} needs a CUDA device, the restorer is on {device}")
        if device.type == "cpu" and precision == "bf16" and not cpu_has_bf16():
            raise ValueError("this CPU has no bf16 instructions: bf16 would be slower than 'ieee' and less exact")
        prior = copy.deepcopy(restorer.prior)
        prior = prior.rounded(PRECISIONS[precision]).requires_grad_(False)
        prior = prior.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(restorer.operator, restorer.fidelity, prior, restorer.solver)
        self.weight_rule = restorer.weight_rule
        self.precision = precision
        use_persistent_cache()
        #: What a comparison with the eager solve found; None if there was none.
        self.report: Report | None = None
        self._compiled = torch.compile(self._step, dynamic=True)
        self._captured = CapturedSolves(self._fold, self._constants) if graphs and device.type == "cuda" else None

    def _step(
        self,
        operator: LinearOperator,
        y: Tensor,
        sigma: Tensor,
        weight: Tensor,
        row: Tensor,
        *state: Tensor,
    ) -> tuple[Tensor, ...]:
        problem = Problem(operator, self.fidelity, self.prior, sigma, weight)
        return tuple(self.solver.step(problem, y, self.solver.state(*state), row))

    def solve(self, y: Tensor, sigma: Tensor, weight: Tensor) -> Tensor:
        """Restore without looking at the values; `sigma` and `weight` are ``[B]``."""
        with torch.no_grad(), tensor_float(self.precision == "tf32"):
            if self._captured is not None:
                return self._captured(y, sigma, weight)
            return self._fold(y, sigma, weight)

    def _fold(self, y: Tensor, sigma: Tensor, weight: Tensor) -> Tensor:
        self.operator.prepare()
        problem = self.problem(sigma, weight)
        y = y.contiguous()
        # copies: a state that shares memory with y would be one more case to compile
        state = tuple(t.clone(memory_format=torch.contiguous_format) for t in self.solver.start(problem, y))
        for row in self.solver.schedule.unbind(0):
            state = self._compiled(self.operator, y, problem.sigma, problem.weight, row, *state)
        return self.solver.result(problem, self.solver.state(*state))

    def _constants(self) -> list[Tensor]:
        """What a solve reads besides its inputs."""
        parts = (self.operator, self.fidelity, self.prior, self.solver)
        return [tensor for part in parts for tensor in (*part.parameters(), *part.buffers())]
