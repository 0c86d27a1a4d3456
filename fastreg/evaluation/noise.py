"""Noise that is not Gaussian: counted photons, and outliers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: From a clean measurement, the same with Gaussian noise, and a generator on the CPU to what is observed.
Noise = Callable[[Tensor, Tensor, torch.Generator], Tensor]


def read_noise(text: str) -> Noise:
    """The noise ``none``, ``poisson:PEAK`` or ``salt-pepper:SHARE``.

    ``poisson``: photons, whose expected number is PEAK where the image is one. ``salt-pepper``: a share of the numbers, half of
    them each, is one or zero.

    Raises
    ------
    ValueError
        If it is none of these, or a number is out of range.
    """
    name, _, number = text.partition(":")
    try:
        value = float(number or 0)
    except ValueError:
        value = 0.0
    if text == "none":
        return lambda clean, y, generator: y
    if name == "poisson" and 0 < value < float("inf"):
        return lambda clean, y, generator: y - clean + _photons(clean, value, generator)
    if name == "salt-pepper" and 0 < value < 1:
        return lambda clean, y, generator: _outliers(y, value, generator)
    raise ValueError(f"the noise is none, poisson:PEAK or salt-pepper:SHARE with a share below one, got {text!r}")


def _photons(y: Tensor, peak: float, generator: torch.Generator) -> Tensor:
    return torch.poisson(y.cpu().clamp(min=0) * peak, generator).to(y.device) / peak


def _outliers(y: Tensor, share: float, generator: torch.Generator) -> Tensor:
    chance = torch.rand(y.shape, generator=generator, dtype=torch.float32, device="cpu").to(y.device)
    return torch.where(chance < share, (chance < share / 2).to(y.dtype), y)
