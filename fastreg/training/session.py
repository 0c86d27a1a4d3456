"""A training run on disk: photographs in; checkpoint, log, plot and model out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastreg import models
from fastreg.batch import folder
from fastreg.io.atomic import replacing
from fastreg.operators import Blur, Identity, gaussian_psf
from fastreg.priors import PatchCritic, alr_layers
from fastreg.priors.smoothing import smooth
from fastreg.training import patches, tuning
from fastreg.training.channels import calibration_images
from fastreg.training.critic import (
    CriticRecipe,
    CriticTraining,
    Pairing,
    Progress,
    channel_census,
    critic_values,
    initialize,
    log_line,
    noisy_pairing,
    unpaired,
)
from fastreg.training.deconvolution import deconvolved
from fastreg.training.plot import plot_critic

#: The first of the held-out photographs are kept for reported figures; the weights are tuned on the others.
REPORTED = 11
#: Held-out photographs that weights are tuned on, and the side of their central crops in pixels.
TUNED_ON, TUNED_SIZE = 4, 96
#: What a critic is compared with its earlier selves by, on how many of the held-out photographs, and the side of their crops.
SELECTED_ON = {
    "denoise": (tuning.TuningPlan("denoise", (0.05, 0.1, 0.2), (lambda height, width: Identity(),)), TUNED_ON, 48),
    "deblur": (tuning.TuningPlan("deblur", (0.03,), (lambda height, width: Blur(gaussian_psf(7, 3.0)),)), 14, 96),
}
#: Iterations of the first comparisons, the best critics being young; each that follows comes after twice as many.
FIRST_SELECTIONS = (300, 400, 500, 600, 700, 800, 1000, 1400, 2000, 3000, 4000)
PLOTTED = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)


@dataclasses.dataclass(frozen=True)
class CriticJob:
    """What to train and where.

    Parameters
    ----------
    output
        The ``.safetensors`` file to write. Beside it stand ``NAME.checkpoint.pt``, ``NAME.log.jsonl`` and ``NAME.png``.
    recipe
        Settings of the training.
    data
        A folder of clean photographs: one in sixteen is held out, the others are divided into two halves at random, for clean
        patches and for noisy ones.
    clean, degraded
        In its place: clean images, and degraded ones that need not match them.
    activation
        Of the critic, whose layers are those of the paper.
    channels
        Of the critic's layers but the last, see `fastreg.priors.alr_layers`.
    select
        Keep the critic of the iteration that restores held-out photographs best at this task, ``"denoise"`` or ``"deblur"``, not
        the last one. A critic that tells noisy patches apart ever better does not become an ever better regularizer.
    sharpness
        Of the kinks of the finished critic, see `fastreg.priors.smoothing.smooth`; 0 keeps its ReLU.
    device
        Where to train.
    command
        The command that this job came from, for the model card.
    """

    output: Path
    recipe: CriticRecipe
    data: Path | None = None
    clean: Path | None = None
    degraded: Path | None = None
    activation: str = "relu"
    channels: tuple[int, ...] = (32,) * 6
    select: str | None = None
    sharpness: float = 0.0
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))
    command: str = ""

    def __post_init__(self) -> None:
        if self.output.suffix != ".safetensors":
            raise ValueError(f"a model is a .safetensors file, got {self.output}")
        if (self.clean is None) != (self.degraded is None) or (self.data is None) == (self.clean is None):
            raise ValueError("training needs either --data, or both --clean and --degraded")
        if self.sharpness < 0 or (self.sharpness and self.activation != "relu"):
            raise ValueError(
                f"a sharpness, not negative, is for critics with ReLU: got {self.sharpness:g} and {self.activation}"
            )
        if self.select not in (None, *SELECTED_ON):
            raise ValueError(f"a critic is selected by one of {', '.join(SELECTED_ON)}, got {self.select!r}")
        if (self.recipe.sigma is None) != (self.data is None):
            raise ValueError("a recipe has a sigma exactly where degraded patches are made from clean photographs")

    def beside(self, suffix: str) -> Path:
        """A file beside the output."""
        return self.output.with_name(self.output.stem + suffix)


class CriticSession:
    """A job under way.

    Parameters
    ----------
    job
        What to train.
    resume
        Go on from the checkpoint of an earlier run.

    Raises
    ------
    ValueError
        If there are too few photographs, one cannot be read, or there is no checkpoint of this job to resume.
    """

    def __init__(self, job: CriticJob, resume: bool = False) -> None:
        self.job = job
        job.output.parent.mkdir(parents=True, exist_ok=True)
        self.checkpoint = job.beside(".checkpoint.pt")
        self.log = job.beside(".log.jsonl")
        self.best = job.beside(".best.pt")
        if resume and not self.checkpoint.exists():
            raise ValueError(f"there is no checkpoint {self.checkpoint} to resume")
        critic = PatchCritic(alr_layers(job.channels), job.activation)
        initialize(critic, job.recipe.initialization, job.recipe.seed)
        size = critic.receptive_field
        if job.data is not None:
            files, self.held_out = patches.split(_files(job.data))
            if len(files) < 2:
                raise ValueError(f"training needs at least three photographs, {job.data} holds {len(_files(job.data))}")
            order = torch.randperm(len(files), generator=torch.Generator().manual_seed(job.recipe.seed)).tolist()
            halves = [[files[i] for i in part] for part in (order[: len(files) // 2], order[len(files) // 2 :])]
            sources = [patches.PatchSource(patches.decode(half), size) for half in halves]
            restored = None
            if job.recipe.deconvolved:
                blurry = deconvolved(patches.decode(halves[1]), job.recipe.seed)
                restored = patches.PatchSource(blurry, size)
            pairing: Pairing = noisy_pairing(sources[0], sources[1], job.recipe, restored)
        else:
            assert job.clean is not None
            assert job.degraded is not None
            files, self.held_out = patches.split(_files(job.clean))
            halves = [files, _files(job.degraded)]
            sources = [patches.PatchSource(patches.decode(half), size) for half in halves]
            pairing = unpaired(sources[0], sources[1])
        self.data: dict[str, Any] = {
            "folders": [path.name for path in (job.data, job.clean, job.degraded) if path is not None],
            "clean_images": len(halves[0]),
            "degraded_images": len(halves[1]),
            "held_out": [path.name for path in self.held_out],
        }
        self.training = CriticTraining(critic.to(job.device), job.recipe, pairing)
        if resume:
            self.training.restore(self.checkpoint)
        else:
            self.log.unlink(missing_ok=True)
            self.best.unlink(missing_ok=True)

    def run(self) -> Iterator[Progress]:
        """Train, log, save a checkpoint each thousand iterations and at the end, and keep the best critic where asked for."""
        last = self.job.recipe.iterations
        comparisons = _milestones(last) if self.job.select else set()
        with self.log.open("a", encoding="utf-8") as log:
            for progress in self.training.run():
                log.write(log_line(progress) + "\n")
                log.flush()
                if progress.iteration in comparisons:
                    self._compare(progress.iteration)
                if progress.iteration % 1000 == 0 or progress.iteration == last:
                    self.training.save(self.checkpoint)
                yield progress

    def _compare(self, iteration: int) -> None:
        """Measure the running mean of the critic, and keep it if it is the best so far."""
        earlier = torch.load(self.best, weights_only=True) if self.best.exists() else None
        critic = self._shipped()
        assert self.job.select is not None
        plan, count, side = SELECTED_ON[self.job.select]
        images = _crops(patches.decode(self.held_out[REPORTED:] or self.held_out), side, count)
        levels = [[best.sigma, best.psnr] for best in tuning.tune_critic(critic, images, [plan])]
        score = sum(level[1] for level in levels) / len(levels)
        before = [trial for trial in earlier["trials"] if trial[0] != iteration] if earlier else []
        trials = [*before, [iteration, *(level[1] for level in levels)]]
        if earlier is None or score > earlier["score"]:
            earlier = {"critic": critic.state_dict(), "iteration": iteration, "score": score}
        with replacing(self.best) as temporary:
            torch.save({**earlier, "trials": trials}, temporary)

    def _shipped(self) -> PatchCritic:
        """The running mean of the critic on the CPU, with a border, as it is used on images."""
        mean = self.training.mean
        critic = PatchCritic(**{**mean.settings, "padding": "replicate"})
        critic.load_state_dict({key: value.cpu() for key, value in mean.state_dict().items()})
        return critic.requires_grad_(False)

    def finish(
        self, tasks: Sequence[str], report: Callable[[str], None] = lambda line: None, compiled: bool = False
    ) -> models.ModelCard:
        """Measure the critic, tune its weights for `tasks` (in compiled solves), plot its values and write the model."""
        job, padded = self.job, self._shipped()
        plans = [plan for plan in tuning.PLANS if plan.task in tasks]
        measured: dict[str, Any] = {"iterations": self.training.iteration}
        if job.select and self.best.exists():
            best = torch.load(self.best, weights_only=True)
            padded.load_state_dict(best["critic"])
            measured["selected_iteration"] = best["iteration"]
            measured["trials"] = best["trials"]
            report(f"the critic of iteration {best['iteration']} is the best on held-out crops: {best['score']:.2f} dB")
        photographs = patches.decode(self.held_out)
        source = patches.PatchSource(photographs, padded.receptive_field)
        plain = PatchCritic(**{**padded.settings, "padding": "none"}).requires_grad_(False)
        plain.load_state_dict(padded.state_dict())
        values = critic_values(plain, source, list(PLOTTED))
        plot_critic(job.beside(".png"), list(PLOTTED), values, self.log)
        measured["critic_values"] = [
            [sigma, round(sum(row) / len(row), 4)] for sigma, row in zip(PLOTTED, values, strict=True)
        ]
        held = _crops(photographs[REPORTED:] or photographs)
        measured["channels"] = channel_census(plain, calibration_images([held], PLOTTED[1:]))
        alive = sum(row["alive"] for row in measured["channels"])
        report(f"channels alive: {alive} of {sum(row['channels'] for row in measured['channels'])}")
        sharpness = job.sharpness
        if sharpness:
            try:
                padded = smooth(padded, [held], sharpness)
            except ValueError as error:
                sharpness = 0.0
                report(f"the critic keeps its ReLU: {error}")
        weights: dict[str, list[list[float]]] = {}
        quality: dict[str, list[list[float]]] = {}
        for best in (best for plan in plans for best in tuning.tune(padded, plan, held, compiled=compiled)):
            weights.setdefault(best.task, []).append([best.sigma, best.weight])
            quality.setdefault(best.task, []).append([best.sigma, best.psnr])
            report(f"{best.task} at sigma {best.sigma:g}: weight {best.weight:g}, {best.psnr:.2f} dB on held-out crops")
        measured["held_out_psnr"] = quality
        card = models.ModelCard(
            name=job.output.stem,
            kind="patch_critic",
            settings=padded.settings,
            description="A patch critic trained as a Wasserstein GAN on unpaired patches (adversarial local regularizer).",
            command=job.command,
            recipe={**dataclasses.asdict(job.recipe), "sharpness": sharpness},
            data=self.data,
            weights=weights,
            measured=measured,
            sha256=models.fingerprint(padded),
            source="Prost et al., Learning local regularization for variational image restoration, SSVM 2021",
        )
        models.save_model(padded, job.output, card)
        return card


def _files(path: Path) -> list[Path]:
    return [source.path for source in folder.expand([str(path)])]


def _milestones(last: int) -> set[int]:
    """Iterations at which the critic is compared with its earlier selves."""
    chosen, iteration = [last, *FIRST_SELECTIONS], 2 * FIRST_SELECTIONS[-1]
    while iteration < last:
        chosen.append(iteration)
        iteration *= 2
    return {iteration for iteration in chosen if iteration <= last}


def _crops(photographs: Sequence[Any], size: int = TUNED_SIZE, count: int = TUNED_ON) -> Tensor:
    """Central crops of the first photographs as one batch, as large as the smallest allows."""
    chosen = photographs[:count]
    side = min([size, *(min(photograph.shape[:2]) for photograph in chosen)])
    crops = []
    for photograph in chosen:
        top, left = (photograph.shape[0] - side) // 2, (photograph.shape[1] - side) // 2
        crops.append(torch.from_numpy(photograph[top : top + side, left : left + side].copy()).permute(2, 0, 1))
    return torch.stack(crops).float() / 255
