"""A training run of a critic on disk: photographs in; checkpoint, log, plot and model out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fastreg import models, tasks
from fastreg.priors import PatchCritic, alr_layers
from fastreg.priors.smoothing import smooth
from fastreg.training import patches, tuning
from fastreg.training.critic import (
    CriticObjective,
    CriticRecipe,
    Pairing,
    channel_census,
    critic_values,
    initialize,
    noisy_pairing,
    unpaired,
)
from fastreg.training.deconvolution import deconvolved
from fastreg.training.loop import Loop
from fastreg.training.plot import plot
from fastreg.training.session import Job, Session

#: Number of held-out photographs that weights are tuned on, and the side of their central crops in pixels.
TUNED_ON, TUNED_SIZE = 4, 96
#: Noise levels at which critics of different iterations are compared, and the size of the crops.
COMPARED_AT, COMPARED_SIZE = (0.05, 0.1, 0.2), 48
#: Iterations of the first comparisons: the best critics come early. Each later comparison is at twice the iteration of the last.
FIRST_SELECTIONS = (300, 400, 500, 600, 700, 800, 1000, 1400, 2000, 3000, 4000)
PLOTTED = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)


@dataclasses.dataclass(frozen=True)
class CriticJob(Job[CriticRecipe]):
    """What to train and where.

    Parameters
    ----------
    files, recipe, budget, device, command
        See `fastreg.training.session.Job`.
    data
        A folder of clean photographs: one in sixteen is held out, the others are divided into two halves at random, for clean
        patches and for noisy ones.
    clean, degraded
        In place of `data`: clean images, and degraded ones that need not match them.
    activation
        Activation of the critic, which has the layers of the paper.
    channels
        Channels of the critic's layers except the last, see `fastreg.priors.alr_layers`.
    noise_map
        Whether the critic depends on the noise level.
    select
        Keep the critic of the iteration that denoises held-out photographs best, not the last one. A critic that separates
        noisy patches ever better does not become an ever better regularizer.
    sharpness
        See `fastreg.priors.smoothing.smooth`, which is applied to the finished critic; 0 keeps its ReLU.
    """

    data: Path | None = None
    clean: Path | None = None
    degraded: Path | None = None
    activation: str = "relu"
    channels: tuple[int, ...] = (32,) * 6
    noise_map: bool = False
    select: bool = False
    sharpness: float = 0.0

    def __post_init__(self) -> None:
        if (self.clean is None) != (self.degraded is None) or (self.data is None) == (self.clean is None):
            raise ValueError("training needs either --data, or both --clean and --degraded")
        if self.sharpness < 0 or (self.sharpness and self.activation != "relu"):
            raise ValueError(
                f"a sharpness, not negative, is for critics with ReLU: got {self.sharpness:g} and {self.activation}"
            )
        if self.noise_map and (self.recipe.sigma is None or self.recipe.deconvolved):
            raise ValueError("a critic that takes a noise level learns from white noise of known levels alone")
        if (self.recipe.sigma is None) != (self.data is None):
            raise ValueError(
                "a recipe needs a sigma if degraded patches are made from clean photographs, and only then"
            )


class CriticSession(Session):
    """A training run of a critic.

    Raises
    ------
    ValueError
        If there are too few photographs, or one cannot be read.
    """

    job: CriticJob

    def __init__(self, job: CriticJob) -> None:
        self.job, self.selects = job, job.select
        critic = PatchCritic(alr_layers(job.channels), job.activation, noise_map=job.noise_map)
        initialize(critic, job.recipe.initialization, job.recipe.seed)
        self.data, pairing = self._pairing(critic.receptive_field)
        objective = CriticObjective(critic.to(job.device), job.recipe, pairing)
        recipe = {**dataclasses.asdict(job.recipe), **critic.settings}
        self.loop = Loop(objective, job.budget, recipe, job.recipe.average, seed=job.recipe.seed)

    def _pairing(self, size: int) -> tuple[dict[str, Any], Pairing]:
        """The entry of the model card about the data, and the source of the patches."""
        job = self.job
        if job.data is not None:
            files, self.held_out = patches.photographs_in(job.data)
            order = torch.randperm(len(files), generator=torch.Generator().manual_seed(job.recipe.seed)).tolist()
            halves = [[files[i] for i in part] for part in (order[: len(files) // 2], order[len(files) // 2 :])]
        else:
            assert job.clean is not None
            assert job.degraded is not None
            files, self.held_out = patches.photographs_in(job.clean)
            halves = [files, [*patches.photographs_in(job.degraded)[0], *patches.photographs_in(job.degraded)[1]]]
        photographs = [patches.decode(half) for half in halves]
        clean, other = (patches.PatchSource(half, size, job.device) for half in photographs)
        if job.recipe.sigma is None:
            pairing = unpaired(clean, other)
        else:
            restored = None
            if job.recipe.deconvolved:
                restored = patches.PatchSource(deconvolved(photographs[1], job.recipe.seed), size, job.device)
            pairing = noisy_pairing(clean, other, job.recipe, restored)
        about = {
            "folders": [path.name for path in (job.data, job.clean, job.degraded) if path is not None],
            "clean_images": len(halves[0]),
            "degraded_images": len(halves[1]),
            "held_out": [path.name for path in self.held_out],
        }
        return about, pairing

    def compares(self, iteration: int) -> bool:
        """Whether the critic is compared with the best so far at this iteration."""
        beyond, last = divmod(iteration, FIRST_SELECTIONS[-1])
        return iteration in FIRST_SELECTIONS or (last == 0 and beyond > 0 and beyond & (beyond - 1) == 0)

    def measure(self, model: nn.Module) -> list[float]:
        """PSNR of held-out crops, restored by the running mean with the best weight for each noise level."""
        assert isinstance(model, PatchCritic)
        images = patches.tuning_crops(self.held_out, COMPARED_SIZE, TUNED_ON)
        critic = _shipped(model)
        start = tuning.default_settings("denoise", critic)
        trial = tuning.Trial(critic, tuning.solver_of(start), [tasks.make_operator("denoise")], images)
        guesses = start.rule(torch.tensor(COMPARED_AT, dtype=torch.float64)).tolist()
        return [trial.best_weight(*guess)[1] for guess in zip(COMPARED_AT, guesses, strict=True)]

    def finish(self, tuned: Sequence[str], report: Callable[[str], None] = lambda line: None) -> models.ModelCard:
        """Measure the critic, tune its weights for tasks, plot its values and write the model."""
        job = self.job
        critic = _shipped(self.loop.mean)
        measured: dict[str, Any] = {"iterations": self.loop.iteration}
        if job.select and job.files.best.exists():
            measured = self.take_best(critic)
            report(f"the critic of iteration {measured['selected_iteration']} is the best on held-out crops")
        photographs = patches.decode(self.held_out)
        plain = PatchCritic(**{**critic.settings, "padding": "none"}).requires_grad_(False)
        plain.load_state_dict(critic.state_dict())
        values = critic_values(plain, patches.PatchSource(photographs, critic.receptive_field), list(PLOTTED))
        boxes = {f"{sigma:g}": row for sigma, row in zip(PLOTTED, values, strict=True)}
        plot(job.files.beside(".png"), job.files.log, ("clean", "degraded", "penalty"), boxes)
        measured["critic_values"] = [[float(sigma), round(sum(row) / len(row), 4)] for sigma, row in boxes.items()]
        held = patches.tuning_crops(self.held_out, TUNED_SIZE, TUNED_ON)
        noise = torch.randn(held.shape, generator=torch.Generator().manual_seed(0))
        measured["channels"] = channel_census(
            plain, [(held + sigma * noise, torch.full((len(held),), sigma)) for sigma in PLOTTED]
        )
        alive = sum(row["alive"] for row in measured["channels"])
        report(f"channels alive: {alive} of {sum(row['channels'] for row in measured['channels'])}")
        sharpness = job.sharpness
        if sharpness:
            try:
                critic = smooth(critic, [held], sharpness)
            except ValueError as error:
                sharpness = 0.0
                report(f"the critic keeps its ReLU: {error}")
        settings, quality = {}, {}
        for task in tuned:
            report(f"tuning for {task}")
            found = tuning.tune_task(critic, task, held, report=report)
            settings[task], quality[task] = found.settings, found.measured
        return self.write(
            critic,
            half=False,
            description="A patch critic trained as a Wasserstein GAN on unpaired patches (adversarial local regularizer).",
            recipe={**dataclasses.asdict(job.recipe), "sharpness": sharpness},
            data=self.data,
            tasks=settings,
            measured={**measured, "held_out_psnr": quality},
            source="Prost et al., Learning local regularization for variational image restoration, SSVM 2021",
        )


def _shipped(mean: nn.Module) -> PatchCritic:
    """A critic on the CPU, with a border, as it is used on images."""
    assert isinstance(mean, PatchCritic)
    critic = PatchCritic(**{**mean.settings, "padding": "replicate"})
    critic.load_state_dict({key: value.cpu() for key, value in mean.state_dict().items()})
    return critic.requires_grad_(False)
