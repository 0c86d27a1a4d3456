"""A training run of a denoiser on disk: photographs in; checkpoint, log, plot and model out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastreg import models
from fastreg.parts import build, describe
from fastreg.priors import PRIORS, Denoiser, GradientStep, NetworkDenoiser, Potential, Prior
from fastreg.priors.potentials import POTENTIALS, smooth_start
from fastreg.training import patches
from fastreg.training.denoiser import DenoiserObjective, DenoiserRecipe, denoising_psnr
from fastreg.training.loop import Loop
from fastreg.training.plot import plot
from fastreg.training.session import Job, Session

#: Held-out photographs that weights are compared on, the side of their crops, and the noise level (of 255).
COMPARED_ON, COMPARED_SIZE, COMPARED_LEVEL = 8, 256, 25.0
#: Noise levels of the card's figures, of 255.
REPORTED_LEVELS = (15.0, 25.0, 50.0)


@dataclasses.dataclass(frozen=True)
class DenoiserJob(Job[DenoiserRecipe]):
    """What to train and where.

    Parameters
    ----------
    files, recipe, budget, device, command
        See `fastreg.training.session.Job`.
    data
        A folder of clean photographs, one in sixteen of which is held out.
    network
        Kind and settings of the denoiser, see `fastreg.parts.describe`.
    start
        A model whose weights to begin with, by its name or file; the network is then its own.
    potential
        The kind of an explicit potential to make of the network; it learns as a gradient-step denoiser and is what is written.
    compiled
        Compile the loss.
    """

    data: Path
    network: dict[str, Any]
    start: str | None = None
    potential: str | None = None
    compiled: bool = False


class DenoiserSession(Session):
    """A training run of a denoiser.

    Raises
    ------
    ValueError
        If there are too few photographs, one cannot be read or is smaller than a crop, or the model is not a denoiser.
    """

    job: DenoiserJob

    def __init__(self, job: DenoiserJob) -> None:
        self.job = job
        torch.manual_seed(job.recipe.seed)
        first = build(PRIORS, job.network) if job.start is None else models.load(job.start)
        self.earlier = first.card
        model = _learner(first, job.potential)
        files, self.held_out = patches.photographs_in(job.data)
        source = patches.PatchSource(patches.decode(files), job.recipe.crop, job.device)
        self.images = len(files)
        self.denoiser = model.train().requires_grad_(True).to(job.device)
        objective = DenoiserObjective(self.denoiser, job.recipe, source, job.compiled)
        recipe = {**dataclasses.asdict(job.recipe), **describe(self.denoiser), "start": job.start}
        self.loop = Loop(objective, job.budget, recipe, job.recipe.average, clip=1.0, seed=job.recipe.seed)
        self._crops = self._channels(patches.tuning_crops(self.held_out, COMPARED_SIZE, COMPARED_ON))

    def _channels(self, images: Tensor) -> Tensor:
        return images.mean(1, keepdim=True) if self.denoiser.channels == 1 else images

    def measure(self, model: nn.Module) -> list[float]:
        """PSNR of held-out crops at one noise level."""
        return denoising_psnr(model, self._crops, [COMPARED_LEVEL])

    def finish(self, report: Callable[[str], None] = lambda line: None) -> models.ModelCard:
        """Take the best weights, measure them, plot the loss and write the model, in float16."""
        job = self.job
        measured = self.take_best(self.denoiser)
        levels = denoising_psnr(self.denoiser, self._crops, REPORTED_LEVELS)
        figures = [[level, round(psnr, 3)] for level, psnr in zip(REPORTED_LEVELS, levels, strict=True)]
        report("on held-out crops: " + ", ".join(f"{psnr:.2f} dB at {level:g}/255" for level, psnr in figures))
        plot(job.files.beside(".png"), job.files.log, ("loss",))
        pixels = self.loop.iteration * job.recipe.batch * job.recipe.crop**2
        start = f" It started from the weights of {Path(job.start).stem}." if job.start else ""
        product: Prior = self.denoiser
        what = "A denoiser for white noise up to 110/255"
        if isinstance(self.denoiser, GradientStep):
            product = self.denoiser.regularizer
            what = "An explicit potential that learned as a gradient-step denoiser of white noise up to 110/255"
        return self.write(
            product,
            half=True,
            description=f"{what}, trained on {pixels / 1e9:.2g} gigapixels of crops.{start}",
            recipe=dataclasses.asdict(job.recipe),
            data={"folders": [job.data.name], "images": self.images, "held_out": [path.name for path in self.held_out]},
            tasks=self.earlier.tasks if self.earlier is not None and self.earlier.kind == product.kind else {},
            measured={**measured, "held_out_psnr_255": figures},
        )


def _learner(model: Prior, potential: str | None) -> Denoiser:
    """The denoiser that is trained: the model itself, or one gradient step on a potential.

    Raises
    ------
    ValueError
        If the model is neither a denoiser nor a potential, or no potential can be made of it.
    """
    if isinstance(model, Potential) and potential in (None, model.kind):
        return GradientStep(model)
    if potential is None:
        if not isinstance(model, Denoiser):
            raise ValueError(f"expected a denoiser or a potential to train, got a {model.kind}")
        return model
    if not isinstance(model, NetworkDenoiser):
        raise ValueError(f"expected a network to make a {potential} of, got a {model.kind}")
    return GradientStep(POTENTIALS[potential](smooth_start(model)))
