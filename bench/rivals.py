"""What the denoisers are compared with: other networks in the same solver, Meinhardt et al. (2017), and classical methods."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastreg import metrics
from fastreg.operators import Identity, LinearOperator
from fastreg.priors import Denoiser, DnCNN, Prior, UNet
from fastreg.restorer import Restorer
from fastreg.solvers import PDHG2, Solver
from fastreg.training.tuning import maximise

Solve = Callable[[], Tensor]


class Nothing(Denoiser):
    """A denoiser that changes nothing, so that total variation is the only prior of `PDHG2`."""

    kind = "nothing"

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The images, unchanged."""
        return x


def with_prior(prior: Prior, operator: LinearOperator, solver: Solver[Any], y: Tensor, sigma: float) -> Solve:
    """A solve with another prior, eager and in float32. The prior is untrained: only the time means something."""
    restorer = Restorer(operator, prior=prior.eval().requires_grad_(False), solver=solver, weight=1.0).to(y.device)

    def run() -> Tensor:
        with torch.no_grad():
            result: Tensor = restorer(y, sigma)
        return result

    return run


def drunet() -> Prior:
    """DRUNet, the network of DPIR and the usual one of deepinv, with 32.6 million parameters."""
    return UNet(3, (64, 128, 256, 512), blocks=4, residual=False)


def paper(operator: LinearOperator, y: Tensor, sigma: float) -> Solve:
    """Meinhardt et al. (2017): 30 steps of a primal-dual algorithm (PDHG2) with their network of 17 layers."""
    return with_prior(DnCNN(3), operator, PDHG2(30, 0.06).to(y.device), y, sigma)


def total_variation(operator: LinearOperator, y: Tensor, sigma: float, clean: Tensor) -> Solve:
    """Isotropic total variation of each channel: 50 steps, with the weight that is best for this image."""
    solver = PDHG2(50, 0.1, total_variation=1.0).to(y.device)
    restorer = Restorer(operator, prior=Nothing(clean.shape[1]), solver=solver, weight=1.0).to(y.device)

    def solve(weight: float) -> Tensor:
        with torch.no_grad():
            result: Tensor = restorer(y, sigma, weight)
        return result

    def quality(logarithm: float) -> float:
        return float(metrics.psnr(solve(math.exp(logarithm)), clean)[0])

    best = math.exp(maximise(quality, 0.0, 0.8)[0])
    return lambda: solve(best)


def bm3d(operator: LinearOperator, y: Tensor, sigma: float) -> Solve | None:
    """BM3D, for denoising; None for other tasks and where it is not installed (pip install bm3d)."""
    if importlib.util.find_spec("bm3d") is None or type(operator) is not Identity:
        return None
    package = importlib.import_module("bm3d")
    pixels = y[0].cpu().double().permute(1, 2, 0).numpy()

    def run() -> Tensor:
        result = package.bm3d_rgb(pixels, sigma)
        return torch.from_numpy(np.ascontiguousarray(result.transpose(2, 0, 1), np.float32))[None].to(y.device)

    return run
