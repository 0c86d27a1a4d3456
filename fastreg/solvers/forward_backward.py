"""Forward-backward splitting: a gradient step on an explicit prior, then the proximal map of the data."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fastreg.fidelities.base import per_entry
from fastreg.problem import Problem
from fastreg.solvers.base import Solver, positive


class ForwardBackwardState(NamedTuple):
    """The image and the one before it, ``[B, C, H, W]``."""

    x: Tensor
    previous: Tensor


class ForwardBackward(Solver[ForwardBackwardState]):
    """Gradient step on an explicit prior at an extrapolated image, then the proximal map of the data.

    .. math::
        v = x_k + m_k (x_k - x_{k-1}), \\quad
        x_{k+1} = \\text{prox}_{\\tau \\sigma^2 D \\circ A}(v - \\tau \\sigma^2 \\lambda |\\Omega| \\nabla R(v))

    Parameters
    ----------
    iterations
        Number of steps.
    step_size
        The step tau. Without extrapolation F decreases in every step if it is below ``2 / (sigma^2 lambda |Omega| L)``, L the
        Lipschitz constant of the gradient of R, for any convex fidelity and any operator.
    accelerated
        Whether the momenta m_k are those of Nesterov, which rise from 0 towards 1; without, they are 0. For convex R the
        energy then is O(1 / k^2) above its minimum, but it may rise in single steps.
    floor
        Lower limit on the noise level s = max(sigma, floor) at which the prior is evaluated.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Zou et al., "Deep equilibrium learning of explicit regularizers for imaging inverse problems", IEEE OJSP 2023. Beck and
    Teboulle, "A fast iterative shrinkage-thresholding algorithm", SIAM J. Imaging Sciences 2009.
    """

    kind = "forward_backward"
    columns = ("step", "momentum", "floor")
    needs = frozenset({"data.proximal", "prior.gradient"})
    fitted = ("floor",)
    state = ForwardBackwardState

    def __init__(
        self, iterations: int = 100, step_size: float = 1.0, accelerated: bool = False, floor: float = 0.04
    ) -> None:
        positive(iterations=iterations, step_size=step_size, floor=floor)
        momenta = nesterov(iterations) if accelerated else torch.zeros(iterations, dtype=torch.float32, device="cpu")
        super().__init__(
            torch.stack([torch.full_like(momenta, step_size), momenta, torch.full_like(momenta, floor)], 1)
        )
        self.step_size = float(step_size)
        self.accelerated = accelerated
        self.floor = float(floor)

    def objective(self, problem: Problem) -> Problem:
        """With the prior at the noise level of the last step."""
        return problem.with_floor(self.schedule[-1, 2])

    def start(self, problem: Problem, y: Tensor) -> ForwardBackwardState:
        """The operator's initial image, twice."""
        x = problem.operator.initial(y)
        return ForwardBackwardState(x, x.clone())

    def step(self, problem: Problem, y: Tensor, state: ForwardBackwardState, row: Tensor) -> ForwardBackwardState:
        """Prior, then data."""
        problem = problem.with_floor(row[2])
        step = row[0].to(problem.sigma.dtype).expand_as(problem.sigma)
        v = state.x + row[1] * (state.x - state.previous)
        z = v - per_entry(step, v) * problem.prior_gradient(v)
        return ForwardBackwardState(problem.data_proximal(z, y, step), state.x)


def nesterov(iterations: int) -> Tensor:
    """The momenta of Beck and Teboulle: ``(t_k - 1) / t_{k+1}`` with ``t_{k+1} = (1 + sqrt(1 + 4 t_k^2)) / 2``, ``t_0 = 1``."""
    t, momenta = 1.0, []
    for _ in range(iterations):
        following = (1 + (1 + 4 * t * t) ** 0.5) / 2
        momenta.append((t - 1) / following)
        t = following
    return torch.tensor(momenta, dtype=torch.float32, device="cpu")
