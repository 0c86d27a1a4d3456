"""One measurement through a restorer: grey and colour images with priors for either, and what of the result is kept."""

from __future__ import annotations

import torch
from torch import Tensor

from fastreg.restorer import Restorer


def solve(restorer: Restorer, y: Tensor, sigma: float) -> Tensor:
    """Restore a grey or colour measurement ``[1, c, h, w]`` with a prior for grey or for colour images.

    If the operator works on each channel separately, a grey measurement is repeated in the channels of a prior for colour images,
    restored with `effective_weight`, and the results are averaged; a colour measurement is restored channel by channel with a
    prior for grey images.

    Returns
    -------
    Tensor
        ``[1, C, H, W]`` on the CPU, clipped to [0, 1].
    """
    channels, wanted = y.shape[1], restorer.prior.channels
    separate = restorer.operator.measurement().channels is None
    repeated, split = separate and channels == 1 < wanted, separate and channels > 1 == wanted
    if repeated:
        y = y.expand(-1, wanted, -1, -1)
    elif split:
        y = y.transpose(0, 1)
    weight = effective_weight(restorer, channels, sigma) if repeated else None  # else the restorer's own rule
    with torch.no_grad():
        x = restorer(y.to(restorer.device).contiguous(), sigma, weight)
    if repeated:
        x = x.mean(1, keepdim=True)
    elif split:
        x = x.transpose(0, 1)
    result: Tensor = x.clamp(0, 1).cpu()
    return result


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


def shown(restorer: Restorer, x: Tensor) -> Tensor:
    """The part of an image that measurements show: all of it, except for a blur with the boundary rule `valid`."""
    rows, columns = restorer.operator.measurement().margin
    top, left = rows // 2, columns // 2
    return x[..., top : x.shape[-2] - (rows - top), left : x.shape[-1] - (columns - left)]
