"""Compile only where it pays."""

from __future__ import annotations

import shutil
import time

import torch
from torch import Tensor

from fastreg.certified import certified
from fastreg.precision import cpu_has_bf16
from fastreg.restorer import Restorer

#: Seconds that compiling the step for a new kind of input takes: an assumption on the cautious side, as is the next one.
COMPILING = 40.0
#: Share of an eager solve that the compiled one saves.
SAVED = 0.4
#: Seconds that it takes to find out whether a critic on a CPU can be certified, at most.
CERTIFYING = 5.0


class ThriftyRestorer(Restorer):
    """Runs the eager solve until the work ahead is long enough for compiling to pay, and the compiled one from then on.

    What is ahead is estimated from one gradient of the prior on the image at hand, the steps of the solver, and the number of
    images announced. Small jobs thus never wait for the compiler, large ones for hardly more than one gradient.

    Nothing is compiled where the gradient of the prior stays outside the program (`Regularizer.apart`: critics on a CPU, whose
    gradient is all but a hundredth of a solve). Such a critic is certified (`fastreg.certified`) where that can be done.

    Parameters
    ----------
    restorer
        The eager restorer.
    images
        How many images are to be restored.
    """

    def __init__(self, restorer: Restorer, images: int) -> None:
        super().__init__(restorer.operator, restorer.fidelity, restorer.prior, restorer.solver)
        self.weight_rule = restorer.weight_rule
        self.images = images
        self.fast: Restorer | None = None
        on_cpu = restorer.solver.schedule.device.type == "cpu"
        self._certifiable = on_cpu and restorer.prior.apart
        self._possible = not restorer.prior.apart and (not on_cpu or shutil.which("c++") is not None)

    def solve(self, y: Tensor, sigma: Tensor, weight: Tensor) -> Tensor:
        """Restore without looking at the values; `sigma` and `weight` are ``[B]``."""
        if self.fast is None and self._possible and self._ahead(y) * SAVED > COMPILING:
            self.fast = self.compile()
        if self._certifiable:
            self._certifiable = False
            prior = certified(self.prior, cpu_has_bf16()) if self._ahead(y) * SAVED > CERTIFYING else None
            if prior is not None:
                self.fast = Restorer(self.operator, self.fidelity, prior, self.solver)
        self.images -= len(y)
        return super().solve(y, sigma, weight) if self.fast is None else self.fast.solve(y, sigma, weight)

    def _ahead(self, y: Tensor) -> float:
        """Seconds that the eager solves of all images to come would take, were they like this one."""
        with torch.no_grad():
            x = self.operator.initial(y)
            self._wait()
            start = time.perf_counter()
            self.prior.gradient(x)
            self._wait()
        each = (time.perf_counter() - start) * self.solver.iterations
        return each * max(self.images / len(y), 1)

    def _wait(self) -> None:
        if self.solver.schedule.is_cuda:
            torch.cuda.synchronize(self.solver.schedule.device)
