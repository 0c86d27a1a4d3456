"""Training of a denoiser: the recipe of the U-Nets that ship."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from fastreg import metrics
from fastreg.priors import Denoiser
from fastreg.training.patches import PatchSource

#: Range of the noise level, in units of 1/255, for most samples, and for the others.
USUAL, STRONG = (0.5, 55.0), (55.0, 110.0)
#: Shares of the samples with usual noise, and with grey images.
USUAL_SHARE, GREY_SHARE = 0.85, 0.15
#: The learning rate of the last iteration.
LAST_RATE = 1e-6


@dataclasses.dataclass(frozen=True)
class DenoiserRecipe:
    """Settings of a training run; the defaults are those of ``unet``.

    Parameters
    ----------
    crop, batch
        Side of the crops in pixels, and their number per iteration.
    rate
        Learning rate of AdamW, reached after `warm_up` iterations.
    warm_up
        Iterations at the start over which the rate rises.
    decay
        Share of the training, at its end, over which the rate falls, as a cosine, to 1e-6; 1 for all of it.
    average
        Decay of the running mean of the weights, which is measured and saved.
    precision
        ``"ieee"`` (float32) or ``"bf16"`` for the convolutions.
    seed
        Seed of the weights, the crops and the noise.
    """

    crop: int = 128
    batch: int = 64
    rate: float = 1.2e-3
    warm_up: int = 300
    decay: float = 1.0
    average: float = 0.999
    precision: str = "bf16"
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.crop, self.batch) < 1 or self.warm_up < 0:
            raise ValueError(
                f"crop and batch must be positive, warm_up not negative, got {self.crop}, {self.batch}, {self.warm_up}"
            )
        if not (self.rate > 0 and 0 <= self.decay <= 1):
            raise ValueError(f"rate must be positive and decay a share in [0, 1], got {self.rate} and {self.decay}")
        if self.precision not in ("ieee", "bf16"):
            raise ValueError(f"precision must be 'ieee' or 'bf16', got {self.precision!r}")


class DenoiserObjective:
    """The mean absolute error of a denoiser on crops with white noise; see `fastreg.training.loop.Objective`.

    The first 15 % of a batch are grey; for a colour network they are three equal channels with the same noise.

    Parameters
    ----------
    denoiser
        The denoiser to train, for grey or for colour images.
    recipe, source
        Settings, and a source of photographs on the device of the denoiser.
    compiled
        Compile the loss: faster on a CPU, but needs a C++ compiler.
    """

    def __init__(self, denoiser: Denoiser, recipe: DenoiserRecipe, source: PatchSource, compiled: bool = False) -> None:
        self.model: nn.Module = denoiser.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.recipe, self.source, self.grey = recipe, source, denoiser.channels == 1
        self.optimizer = torch.optim.AdamW(
            denoiser.parameters(), lr=recipe.rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True
        )
        self._error: Callable[..., Tensor] = torch.compile(self._distance) if compiled else self._distance

    def rate(self, iteration: int, progress: float) -> float:
        """The rate rises, is constant, and falls as a cosine."""
        rate = self.recipe.rate * min(1.0, (iteration + 1) / max(self.recipe.warm_up, 1))
        late = (progress - (1 - self.recipe.decay)) / max(self.recipe.decay, 1e-9)
        return LAST_RATE + (rate - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * min(max(late, 0.0), 1.0)))

    def loss(self, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean absolute error of a batch."""
        clean, noisy, sigma = self.draw(generator)
        loss = self._error(clean, noisy, sigma)
        return loss, {"loss": loss.detach()}

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Clean and noisy crops ``[B, C, s, s]`` (channels last), and the noise levels ``[B]``."""
        count, device = self.recipe.batch, generator.device
        x = self.source.draw(count, generator)
        u, v = torch.rand(2, count, generator=generator, device=device)
        usual, strong = (low + (high - low) * u for low, high in (USUAL, STRONG))
        sigma = torch.where(v < USUAL_SHARE, usual, strong) / 255
        noise = torch.randn(count, *x.shape[2:], 3, generator=generator, device=device).permute(0, 3, 1, 2)
        grey = count if self.grey else round(GREY_SHARE * count)
        x[:grey], noise[:grey] = x[:grey].mean(1, keepdim=True), noise[:grey, :1].clone()
        if self.grey:
            x, noise = x[:, :1], noise[:, :1]
        noisy = torch.addcmul(x, sigma.view(-1, 1, 1, 1), noise)
        return x, noisy.contiguous(memory_format=torch.channels_last), sigma

    def _distance(self, clean: Tensor, noisy: Tensor, sigma: Tensor) -> Tensor:
        with torch.autocast(noisy.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            result: Tensor = self.model(noisy, sigma)
        return (result.float() - clean).abs().mean()


@torch.no_grad()
def denoising_psnr(denoiser: nn.Module, images: Tensor, levels: Sequence[float]) -> list[float]:
    """Mean PSNR in dB of images ``[B, C, H, W]`` with noise of each level (of 255), always the same noise, in float32."""
    result = []
    device = next(denoiser.parameters()).device
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    for level in levels:
        y, sigma = (images + level / 255 * noise).to(device), torch.full((1,), level / 255, device=device)
        restored = torch.cat([denoiser(y[k : k + 1], sigma).cpu() for k in range(len(y))])
        result.append(float(np.mean(metrics.psnr(restored, images))))
    return result
