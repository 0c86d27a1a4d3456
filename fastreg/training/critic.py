"""Training of a patch critic as a Wasserstein GAN on unpaired patches (Prost et al. 2021, Algorithm 1).

The critic r maximises ``E_degraded[r] - E_clean[r] - penalty * E_line[(|grad r| - 1)^2]``, the line joining a clean and a
degraded patch. The gradient inside the penalty is the analytic one, so a step costs one ordinary backward pass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from fastreg.priors.patch_critic import PatchCritic
from fastreg.training.patches import PatchSource

INITIALIZATIONS = ("uniform", "he")


@dataclasses.dataclass(frozen=True)
class CriticRecipe:
    """Settings of a training run; the defaults are those of the paper, section 3.2.

    Parameters
    ----------
    sigma
        Lowest and highest standard deviation of the noise, in units of the image range [0, 1]. One is drawn for each patch.
        ``None`` if degraded patches come from degraded photographs instead.
    deconvolved
        Share of the degraded patches that come from photographs which were blurred and restored by a linear filter, see
        `fastreg.training.deconvolution`, in place of white noise. Not for critics that take a noise level: these have none.
    batch
        Clean patches per iteration, and as many degraded ones.
    rate
        First and last learning rate; it decays exponentially.
    penalty
        Weight of the gradient penalty.
    initialization
        Initial weights: ``"uniform"`` between -1 and 1 divided by the root of the fan-in, biases too, or ``"he"``, normal of
        variance 2 / fan-in without biases. See `initialize`.
    average
        Decay of the running mean of the weights, which is measured and saved; 0 for the weights themselves.
    precision
        ``"ieee"`` (float32) or ``"bf16"`` for the convolutions.
    seed
        Seed of the weights, the patches and the noise.
    """

    sigma: tuple[float, float] | None = (0.05, 0.3)
    deconvolved: float = 0.0
    batch: int = 32
    rate: tuple[float, float] = (1e-3, 1e-4)
    penalty: float = 5.0
    initialization: str = "uniform"
    average: float = 0.998
    precision: str = "ieee"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.sigma is not None and not 0 < self.sigma[0] <= self.sigma[1]:
            raise ValueError(f"sigma must be a range 0 < low <= high, got {self.sigma}")
        if self.batch < 1:
            raise ValueError(f"batch must be positive, got {self.batch}")
        if min(self.rate) <= 0 or self.penalty < 0:
            raise ValueError(f"rates must be positive and the penalty not negative, got {self.rate}, {self.penalty}")
        if not 0 <= self.deconvolved <= 1 or (self.deconvolved and self.sigma is None):
            raise ValueError(
                "deconvolved is a share in [0, 1] of patches that are made from clean photographs, "
                f"got {self.deconvolved} and sigma {self.sigma}"
            )
        if self.initialization not in INITIALIZATIONS:
            raise ValueError(f"initialization must be one of {INITIALIZATIONS}, got {self.initialization!r}")
        if self.precision not in ("ieee", "bf16"):
            raise ValueError(f"precision must be 'ieee' or 'bf16', got {self.precision!r}")


@torch.no_grad()
def initialize(critic: PatchCritic, how: str, seed: int) -> None:
    """Draw the initial weights and biases of a critic in place.

    Notes
    -----
    With He's normal weights all channels are alive at the start. Small uniform weights leave most channels of the deeper layers
    on one side of zero. Neither keeps a critic from becoming a worse regularizer the longer it learns.
    """
    generator = torch.Generator().manual_seed(seed)
    for weight, bias in zip(critic.weights, critic.biases, strict=True):
        fan_in = weight[0].numel()
        if how == "he":
            weight.normal_(std=(2 / fan_in) ** 0.5, generator=generator)
            bias.zero_()
        else:
            weight.uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=generator)
            bias.uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=generator)


class Pairing(Protocol):
    """Draws clean and degraded patches, unpaired, and the noise levels of the latter, if they are known."""

    def __call__(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor | None]: ...


def noisy_pairing(
    clean: PatchSource, other: PatchSource, recipe: CriticRecipe, restored: PatchSource | None = None
) -> Pairing:
    """Clean patches from one set of photographs; those of another one with Gaussian noise, or deconvolved, as the recipe says."""
    assert recipe.sigma is not None
    low, high = recipe.sigma
    share = recipe.deconvolved if restored is not None else 0.0

    def draw(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        base, device = other.draw(count, generator), generator.device
        level = low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator, device=device)
        degraded = base + level * torch.randn(base.shape, generator=generator, device=device)
        if restored is not None:
            taken = round(share * count)
            degraded[:taken] = restored.draw(taken, generator)
        return clean.draw(count, generator), degraded, level.flatten()

    return draw


def unpaired(clean: PatchSource, degraded: PatchSource) -> Pairing:
    """Clean patches from one set of photographs, degraded ones from another."""
    return lambda count, generator: (clean.draw(count, generator), degraded.draw(count, generator), None)


class CriticObjective:
    """The loss of a critic on pairs of batches; see `fastreg.training.loop.Objective`.

    A critic that takes a noise level compares clean patches with those of this level.
    """

    model: PatchCritic

    def __init__(self, critic: PatchCritic, recipe: CriticRecipe, pairing: Pairing) -> None:
        self.model, self.recipe, self.pairing = critic, recipe, pairing
        critic.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        fused = critic.weights[0].device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.Adam(critic.parameters(), lr=recipe.rate[0], fused=fused)

    def rate(self, iteration: int, progress: float) -> float:
        """Exponential decay."""
        first, last = self.recipe.rate
        return float(first * (last / first) ** progress)

    def loss(self, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and the mean scores of clean and of degraded patches with the penalty."""
        batch, device = self.recipe.batch, generator.device
        clean, degraded, sigma = self.pairing(batch, generator)
        share = torch.rand(batch, 1, 1, 1, generator=generator, device=device)
        line = (share * clean + (1 - share) * degraded).contiguous(memory_format=torch.channels_last)
        both = torch.cat([clean, degraded]).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            score = self.model(both, None if sigma is None else sigma.repeat(2))
            gradient = self.model.gradient(line, sigma)
        low, high = score.float().unflatten(0, (2, batch)).mean(1)
        slope = gradient.float().flatten(1).norm(dim=1)
        penalty = (slope - 1).square().mean()
        loss = low - high + self.recipe.penalty * penalty
        return loss, {"clean": low, "degraded": high, "penalty": penalty}


@torch.no_grad()
def critic_values(critic: PatchCritic, source: PatchSource, sigmas: list[float]) -> list[list[float]]:
    """Critic values of the same patches under each level of noise (paper, Fig. 3): a list for each sigma."""
    generator = torch.Generator().manual_seed(0)
    patches = source.draw(256, generator)
    noise = torch.randn(patches.shape, generator=generator)
    return [critic(patches + sigma * noise, torch.full((len(patches),), sigma)).tolist() for sigma in sigmas]


@torch.no_grad()
def channel_census(critic: PatchCritic, batches: Iterable[tuple[Tensor, Tensor]]) -> list[dict[str, int]]:
    """Count, layer by layer, the channels that are always off, always on, or alive.

    Batches are pairs of images ``[B, C, H, W]`` and noise levels ``[B]``.

    A channel that never changes sign contributes nothing or an affine function: a critic most of whose channels do that has
    collapsed.
    """
    low: list[Tensor] = []
    high: list[Tensor] = []
    for k, z in _preactivations(critic, batches):
        least, most = z.amin((0, 2, 3)), z.amax((0, 2, 3))
        if k == len(low):
            low.append(least)
            high.append(most)
        low[k], high[k] = torch.minimum(low[k], least), torch.maximum(high[k], most)
    off, on = ([int(never.sum()) for never in layers] for layers in ([h <= 0 for h in high], [v > 0 for v in low]))
    return [
        {"channels": len(low[k]), "always_off": off[k], "always_on": on[k], "alive": len(low[k]) - off[k] - on[k]}
        for k in range(len(low))
    ]


def _preactivations(critic: PatchCritic, batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[int, Tensor]]:
    for x, sigma in batches:
        yield from enumerate(critic.preactivations(x.to(critic.weights[0]), sigma.to(critic.weights[0])))
