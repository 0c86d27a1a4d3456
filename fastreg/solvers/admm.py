"""ADMM with a denoiser."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fastreg.problem import Problem
from fastreg.solvers.fixed_level import FixedLevel


class ADMMState(NamedTuple):
    """Image and scaled multiplier, ``[B, C, H, W]``."""

    x: Tensor
    dual: Tensor


class ADMM(FixedLevel[ADMMState]):
    """Alternating direction method of multipliers, with a denoiser as the proximal map of the prior.

    .. math::
        v = G(x + w; s), \\quad x \\leftarrow \\text{prox}_{t D \\circ A}(v - w), \\quad w \\leftarrow w + x - v

    Parameters and fixed points are the same as for `FixedLevel`. The result is the image after the data step.

    Notes
    -----
    Meinhardt et al., "Learning proximal operators", ICCV 2017; w is their y / gamma. Venkatakrishnan et al., "Plug-and-play
    priors for model based reconstruction", GlobalSIP 2013.
    """

    kind = "admm"
    state = ADMMState

    def start(self, problem: Problem, y: Tensor) -> ADMMState:
        """The operator's initial image, and a zero multiplier."""
        x = problem.operator.initial(y)
        return ADMMState(x, torch.zeros_like(x))

    def step(self, problem: Problem, y: Tensor, state: ADMMState, row: Tensor) -> ADMMState:
        """Denoiser, data, multiplier."""
        level, step = self.levels(problem, row)
        v = problem.denoise(state.x + state.dual, level)
        x = problem.data_proximal(v - state.dual, y, step)
        return ADMMState(x, state.dual + x - v)
