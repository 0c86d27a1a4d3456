"""Measurements through a restorer: grey and colour images with priors for either, and what of the result is kept."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastreg.restorer import Restorer


def solve(restorer: Restorer, y: Tensor, sigma: float | Sequence[float]) -> Tensor:
    """Restore grey or colour measurements ``[B, c, h, w]`` with a prior for grey or for colour images.

    If the operator works on each channel separately, a grey measurement is repeated in the channels of a prior for colour images,
    restored with `effective_weight`, and the results are averaged; a colour measurement is restored channel by channel with a
    prior for grey images. `sigma` is a number, or one for each measurement.

    Returns
    -------
    Tensor
        ``[B, C, H, W]`` on the CPU, clipped to [0, 1].
    """
    (batch, channels), wanted = y.shape[:2], restorer.prior.channels
    levels = [sigma] * batch if isinstance(sigma, float) else list(sigma)
    separate = restorer.operator.measurement().channels is None
    repeated, split = separate and channels == 1 < wanted, separate and channels > 1 == wanted
    if repeated:
        y = y.expand(-1, wanted, -1, -1)
    elif split:
        y = y.flatten(0, 1)[:, None]
        levels = [level for level in levels for _ in range(channels)]
    noise = _numbers(levels)
    weights = None  # the restorer's own rule
    if repeated and restorer.weight_rule is not None:
        weights = _numbers([w for level in levels if (w := effective_weight(restorer, channels, level)) is not None])
    with torch.no_grad():
        x = restorer(y.to(restorer.device).contiguous(), noise, weights)
    if repeated:
        x = x.mean(1, keepdim=True)
    elif split:
        x = x.unflatten(0, (batch, channels))[:, :, 0]
    result: Tensor = x.clamp(0, 1).cpu()
    return result


def _numbers(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device="cpu")


def effective_weight(restorer: Restorer, channels: int, sigma: float) -> float | None:
    """Lambda for a measurement with this number of channels; None if the restorer has no weight.

    Weights are tuned on noise that is independent in the channels. The noise of a grey image, repeated, is not, and the prior
    has to outweigh it: the model card has a factor for it.
    """
    if restorer.weight_rule is None:
        return None
    weight = float(restorer.weight_rule(torch.tensor([sigma], dtype=torch.float64, device=restorer.device)))
    separate = restorer.operator.measurement().channels is None
    if not (separate and channels == 1 < restorer.prior.channels) or restorer.prior.card is None:
        return weight
    tuned = restorer.prior.card.tasks.get(restorer.operator.task)
    return weight if tuned is None else weight * tuned.grey


def visible_part(restorer: Restorer, x: Tensor) -> Tensor:
    """The part of an image that measurements show: all of it, except for a blur with the boundary rule `valid`."""
    rows, columns = restorer.operator.measurement().margin
    top, left = rows // 2, columns // 2
    return x[..., top : x.shape[-2] - (rows - top), left : x.shape[-1] - (columns - left)]
