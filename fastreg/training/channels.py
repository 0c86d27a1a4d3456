"""Which channels of a critic are alive: how far their values range before the activation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from fastreg.priors.patch_critic import PatchCritic


class ChannelRange(NamedTuple):
    """Lowest and highest value before the activation of each channel of a layer, over a set of images."""

    low: Tensor
    high: Tensor

    @property
    def always_off(self) -> Tensor:
        """Channels that are never positive."""
        return self.high <= 0

    @property
    def always_on(self) -> Tensor:
        """Channels that are always positive."""
        return self.low > 0


@torch.no_grad()
def channel_ranges(critic: PatchCritic, images: Iterable[Tensor]) -> list[ChannelRange]:
    """Range of every channel of every layer but the last, over batches ``[B, C, H, W]``."""
    like = critic.weights[0]
    ranges = [
        ChannelRange(*(like.new_full((layer.outputs,), bound) for bound in (torch.inf, -torch.inf)))
        for layer in critic.layers[:-1]
    ]
    for x in images:
        for k, z in enumerate(critic.preactivations(x.to(like))):
            ranges[k] = ChannelRange(
                torch.minimum(ranges[k].low, z.amin((0, 2, 3))), torch.maximum(ranges[k].high, z.amax((0, 2, 3)))
            )
    return ranges


def calibration_images(images: Iterable[Tensor], sigmas: Iterable[float], seed: int = 0) -> list[Tensor]:
    """The images themselves and with white Gaussian noise of each level: where a denoising solve starts and ends."""
    generator = torch.Generator().manual_seed(seed)
    levels = list(sigmas)
    result = []
    for x in images:
        result.append(x)
        result.extend(x + sigma * torch.randn(x.shape, generator=generator).to(x) for sigma in levels)
    return result
