"""Training of a patch critic as a Wasserstein GAN on unpaired patches (Prost et al. 2021, Algorithm 1).

The critic r maximises ``E_degraded[r] - E_clean[r] - penalty * E_line[(|grad r| - 1)^2]``, the line joining a clean and a
degraded patch. The gradient inside the penalty is the analytic one, so a step costs one ordinary backward pass.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from fastreg.priors.patch_critic import PatchCritic
from fastreg.training.channels import channel_ranges
from fastreg.training.patches import PatchSource

INITIALIZATIONS = ("uniform", "he")
#: Largest standard deviation, in pixels, of the blur of `blurred_noise`.
WIDEST_BLUR = 1.5

#: Iterations from one report of the progress to the next.
REPORT_EVERY = 100


@dataclasses.dataclass(frozen=True)
class CriticRecipe:
    """Settings of a training run; the defaults are those of the paper, section 3.2.

    Parameters
    ----------
    sigma
        Lowest and highest standard deviation of the noise, in units of the image range [0, 1]. One is drawn for each patch.
        ``None`` if degraded patches come from degraded photographs instead.
    emphasis
        Of high levels of noise: with u uniform in [0, 1], sigma is ``low + (high - low) * u ** (1 / emphasis)``.
    blurred
        Share of the degraded patches whose noise went through a Gaussian blur, as what is left in the middle of a solve has:
        white noise teaches a critic to look at the highest frequencies alone.
    deconvolved
        Share of the degraded patches that come from photographs which were blurred and restored by a linear filter, see
        `fastreg.training.deconvolution`, in place of white noise.
    iterations
        Steps of Adam.
    batch
        Clean patches, and as many degraded ones, a step.
    rate
        First and last learning rate; it decays exponentially.
    penalty
        Weight of the gradient penalty.
    initialization
        First weights: ``"uniform"`` between -1 and 1 over the root of the fan-in, biases too, or ``"he"``, normal of variance
        2 / fan-in without biases. See `initialize`.
    average
        Decay of the running mean of the weights, which is what is measured and shipped; 0 for the weights themselves.
    precision
        ``"ieee"`` (float32) or ``"bf16"`` for the convolutions.
    seed
        Seed of the weights, the patches and the noise.
    """

    sigma: tuple[float, float] | None = (0.05, 0.3)
    emphasis: float = 1.0
    blurred: float = 0.0
    deconvolved: float = 0.0
    iterations: int = 100_000
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
        if self.iterations < 1 or self.batch < 1:
            raise ValueError(f"iterations and batch must be positive, got {self.iterations} and {self.batch}")
        if min(self.rate) <= 0 or self.penalty < 0:
            raise ValueError(f"rates must be positive and the penalty not negative, got {self.rate}, {self.penalty}")
        if not (self.emphasis > 0 and 0 <= self.blurred <= 1):
            raise ValueError(
                f"emphasis must be positive and blurred a share in [0, 1], got {self.emphasis} and {self.blurred}"
            )
        if not 0 <= self.deconvolved <= 1 or (self.deconvolved and self.sigma is None):
            raise ValueError(
                "deconvolved is a share in [0, 1] of patches that are made from clean photographs, "
                f"got {self.deconvolved} and sigma {self.sigma}"
            )
        if not 0 <= self.average < 1:
            raise ValueError(f"the decay of the running mean must lie in [0, 1), got {self.average}")
        if self.initialization not in INITIALIZATIONS:
            raise ValueError(f"initialization must be one of {INITIALIZATIONS}, got {self.initialization!r}")
        if self.precision not in ("ieee", "bf16"):
            raise ValueError(f"precision must be 'ieee' or 'bf16', got {self.precision!r}")


@torch.no_grad()
def initialize(critic: PatchCritic, how: str, seed: int) -> None:
    """Draw the first weights and biases of a critic in place.

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
    """Draws a batch of clean and a batch of degraded patches that do not belong together."""

    def __call__(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]: ...


def noisy_pairing(
    clean: PatchSource, other: PatchSource, recipe: CriticRecipe, restored: PatchSource | None = None
) -> Pairing:
    """Clean patches from one set of photographs; those of another one with Gaussian noise, or deconvolved, as the recipe says."""
    assert recipe.sigma is not None
    low, high = recipe.sigma
    share = recipe.deconvolved if restored is not None else 0.0

    def draw(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        base = other.draw(count, generator)
        level = low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator) ** (1 / recipe.emphasis)
        noise = torch.randn(base.shape, generator=generator)
        if recipe.blurred:
            chosen = torch.rand(count, 1, 1, 1, generator=generator) < recipe.blurred
            noise = torch.where(chosen, blurred_noise(count, base.shape[1], base.shape[-1], generator), noise)
        degraded = base + level * noise
        if restored is not None:
            taken = round(share * count)
            degraded[:taken] = restored.draw(taken, generator)
        return clean.draw(count, generator), degraded

    return draw


def blurred_noise(count: int, channels: int, size: int, generator: torch.Generator) -> Tensor:
    """White noise of variance one after a Gaussian blur, of another width for each patch, ``[count, channels, size, size]``.

    The standard deviation of the blur is uniform up to `WIDEST_BLUR`; the noise loses variance accordingly.
    """
    widths = (WIDEST_BLUR * torch.rand(count, 1, generator=generator)).clamp_min(0.05)
    taps = torch.exp(-torch.arange(-3.0, 4.0).square() / (2 * widths.square()))
    taps = taps / taps.sum(1, keepdim=True)
    kernels = (taps[:, :, None] * taps[:, None, :])[:, None].repeat_interleave(channels, 0)
    noise = torch.randn(1, count * channels, size + 6, size + 6, generator=generator)
    return F.conv2d(noise, kernels, groups=count * channels).reshape(count, channels, size, size)


def unpaired(clean: PatchSource, degraded: PatchSource) -> Pairing:
    """Clean patches from one set of photographs, degraded ones from another."""
    return lambda count, generator: (clean.draw(count, generator), degraded.draw(count, generator))


@dataclasses.dataclass
class Progress:
    """One record of the log: running means over the steps since the last one."""

    iteration: int
    clean: float
    degraded: float
    penalty: float
    rate: float
    seconds: float


@dataclasses.dataclass
class CriticTraining:
    """A training run: the critic, its running mean, its optimiser and its source of randomness; can be saved and resumed."""

    critic: PatchCritic
    recipe: CriticRecipe
    pairing: Pairing
    iteration: int = 0
    seconds: float = 0.0
    mean: PatchCritic = dataclasses.field(init=False)
    optimizer: torch.optim.Adam = dataclasses.field(init=False)
    generator: torch.Generator = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.critic.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.mean = copy.deepcopy(self.critic).requires_grad_(False)
        fused = next(self.critic.parameters()).device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.Adam(self.critic.parameters(), lr=self.recipe.rate[0], fused=fused)
        self.generator = torch.Generator().manual_seed(self.recipe.seed)

    def run(self, until: int | None = None, every: int = REPORT_EVERY) -> Iterator[Progress]:
        """Train up to iteration `until` (the recipe's, if not given); yield a record each `every` iterations."""
        last = self.recipe.iterations if until is None else until
        total, count, started = torch.zeros(3), 0, time.monotonic()
        while self.iteration < last:
            total += self._step()
            count += 1
            if self.iteration % every == 0 or self.iteration == last:
                now = time.monotonic()
                self.seconds += now - started
                clean, degraded, penalty = (total / count).tolist()
                yield Progress(self.iteration, clean, degraded, penalty, self._rate(), round(self.seconds, 1))
                total, count, started = torch.zeros(3), 0, time.monotonic()

    def _rate(self) -> float:
        first, last = self.recipe.rate
        return float(first * (last / first) ** (self.iteration / self.recipe.iterations))

    def _step(self) -> Tensor:
        recipe = self.recipe
        device = next(self.critic.parameters()).device
        clean, degraded = self.pairing(recipe.batch, self.generator)
        along = torch.rand(recipe.batch, 1, 1, 1, generator=self.generator)
        line = along * clean + (1 - along) * degraded
        both = torch.cat([clean, degraded]).to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        line = line.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=recipe.precision == "bf16"):
            score = self.critic(both)
            gradient = self.critic.gradient(line)
        low, high = score.float().unflatten(0, (2, recipe.batch)).mean(1)
        slope = gradient.float().flatten(1).norm(dim=1)
        penalty = (slope - 1).square().mean()
        loss = low - high + recipe.penalty * penalty
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.iteration += 1
        # a young mean forgets faster
        decay = min(recipe.average, self.iteration / (self.iteration + 10)) if recipe.average else 0.0
        with torch.no_grad():
            torch._foreach_lerp_(list(self.mean.parameters()), list(self.critic.parameters()), 1 - decay)
        return torch.stack([low, high, penalty]).detach().cpu()

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        from fastreg.io.atomic import replacing

        state = {
            "critic": self.critic.state_dict(),
            "mean": self.mean.state_dict(),
            "settings": json.dumps(self.critic.settings),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "recipe": json.dumps(dataclasses.asdict(self.recipe)),
            "iteration": self.iteration,
            "seconds": self.seconds,
        }
        with replacing(path) as temporary:
            torch.save(state, temporary)

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint of the same recipe.

        Raises
        ------
        ValueError
            If the checkpoint belongs to another critic or another recipe.
        """
        state = torch.load(path, weights_only=True)
        for name, mine in (("settings", self.critic.settings), ("recipe", dataclasses.asdict(self.recipe))):
            if json.loads(state[name]) != json.loads(json.dumps(mine)):
                raise ValueError(f"{path} was made with other {name}: {state[name]}, expected {json.dumps(mine)}")
        self.critic.load_state_dict(state["critic"])
        self.mean.load_state_dict(state["mean"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.iteration, self.seconds = state["iteration"], state["seconds"]


@torch.no_grad()
def critic_values(critic: PatchCritic, source: PatchSource, sigmas: list[float], count: int = 256) -> list[list[float]]:
    """Critic values of the same patches under each level of noise (paper, Fig. 3): one list of `count` for each sigma."""
    generator = torch.Generator().manual_seed(0)
    patches = source.draw(count, generator)
    noise = torch.randn(patches.shape, generator=generator)
    return [critic(patches + sigma * noise).tolist() for sigma in sigmas]


def channel_census(critic: PatchCritic, batches: list[Tensor]) -> list[dict[str, int]]:
    """Count, layer by layer, the channels that are always off, always on, or alive on the given images.

    A channel that never changes sign contributes nothing or an affine function: a critic most of whose channels do that has
    collapsed.
    """
    counts = []
    for low, high in channel_ranges(critic, batches):
        off, on = int((high <= 0).sum()), int((low > 0).sum())
        counts.append({"channels": len(low), "always_off": off, "always_on": on, "alive": len(low) - off - on})
    return counts


def log_line(progress: Progress) -> str:
    """A record of the log as one line of JSON."""
    record: dict[str, Any] = dataclasses.asdict(progress)
    return json.dumps(record)
