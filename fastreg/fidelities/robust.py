"""Distances for noise that is not Gaussian: outliers, and counted photons."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fastreg.fidelities.base import Separable
from fastreg.operators.base import LinearOperator


class L1(Separable):
    """Sum of absolute differences, for impulse noise and other outliers.

    .. math:: D(z, y; \\sigma) = \\frac{1}{\\sigma} \\sum_i |z_i - y_i|

    Its proximal map moves z towards y by at most ``step * sigma``. Its gradient is a subgradient: zero where z = y.
    """

    kind = "l1"

    def _value(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        return (z - y).abs() / sigma

    def _gradient(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        return sigma * (z - y).sign()

    def _proximal(self, z: Tensor, y: Tensor, sigma: Tensor, step: Tensor) -> Tensor:
        return z - _clip(z - y, step * sigma)


class Huber(Separable):
    """Squares of small differences, absolute values of large ones: Gaussian noise with outliers.

    .. math:: D(z, y; \\sigma) = \\frac{1}{\\sigma^2} \\sum_i h(z_i - y_i), \\quad
        h(r) = \\begin{cases} r^2 / 2 & |r| \\le \\delta \\sigma \\\\ \\delta \\sigma |r| - (\\delta \\sigma)^2 / 2 & \\text{else}
        \\end{cases}

    Parameters
    ----------
    delta
        Difference at which the squares end, in standard deviations of the noise. Large values approach `L2`.

    Raises
    ------
    ValueError
        If `delta` is not a positive number.

    Notes
    -----
    P. Huber, "Robust estimation of a location parameter", 1964; 1.345 has an efficiency of 95 % for Gaussian noise.
    """

    kind = "huber"

    def __init__(self, delta: float = 1.345) -> None:
        super().__init__()
        self.delta = _positive("delta", delta)

    def _value(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        size = (z - y).abs() / sigma
        inside = size.clamp(max=self.delta)
        return inside * (size - inside / 2)

    def _gradient(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        return _clip(z - y, self.delta * sigma)

    def _proximal(self, z: Tensor, y: Tensor, sigma: Tensor, step: Tensor) -> Tensor:
        difference = z - y
        return z - _clip(difference * (step / (1 + step)), step * self.delta * sigma)


class Poisson(Separable):
    """Kullback-Leibler divergence, for counted photons.

    .. math:: D(z, y) = p \\sum_i \\left( z_i - y_i + y_i \\log \\frac{y_i}{z_i} \\right)

    the negative logarithm of the likelihood of counts p y whose expectation is p z, but for a constant. It does not depend on
    sigma, and is infinite where z is negative. Observations below zero count as zero.

    Parameters
    ----------
    peak
        Expected count p where the image is one.

    Raises
    ------
    ValueError
        If `peak` is not a positive number.

    Notes
    -----
    The gradient exists for positive z only and is not Lipschitz: solvers take the proximal map, the positive root of a quadratic
    equation.
    """

    kind = "poisson"

    def __init__(self, peak: float) -> None:
        super().__init__()
        self.peak = _positive("peak", peak)

    def noise_level(self, y: Tensor) -> Tensor:
        """Standard deviation of the noise at the mean of each observation, the root of mean / p; real ones only."""
        if y.is_complex():
            raise ValueError("the fidelity poisson is for counts of photons, got complex measurements")
        return (y.flatten(1).mean(1).clamp(min=0) / self.peak).sqrt()

    def offers(self, operator: LinearOperator) -> frozenset[str]:
        """Proximal maps."""
        return super().offers(operator) - {"data.gradient"}

    def _value(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        y = y.clamp(min=0)
        divergence = z - y + torch.xlogy(y, y) - torch.xlogy(y, z)
        return self.peak * torch.where(z < 0, math.inf, divergence)

    def _gradient(self, z: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
        return sigma.square() * self.peak * (1 - y.clamp(min=0) / z)

    def _proximal(self, z: Tensor, y: Tensor, sigma: Tensor, step: Tensor) -> Tensor:
        weight = step * sigma.square() * self.peak
        middle = (z - weight) / 2
        product = weight * y.clamp(min=0)
        root = (middle.square() + product).sqrt()
        # middle + root, without a difference of nearly equal numbers where middle is negative
        return torch.where(middle > 0, middle + root, product / (root - middle).clamp(min=torch.finfo(z.dtype).tiny))


def _clip(x: Tensor, limit: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(x, -limit), limit)


def _positive(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a positive number, got {value!r}")
    return float(value)
