"""Measures restorations: clean images are degraded with seeded noise, restored and compared."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fastreg import compiled, machine, metrics, models, tasks
from fastreg.batch.sources import expand
from fastreg.evaluation import baselines
from fastreg.evaluation.noise import read_noise
from fastreg.evaluation.results import Evaluation, Row, Score, Settings
from fastreg.io import decoders, images
from fastreg.parts import describe
from fastreg.tasks import effective_weight, solve, visible_part

__all__ = ["Evaluation", "Evaluator", "Pictures", "Row", "Score", "Settings", "parse_shard"]


class Pictures(NamedTuple):
    """The images ``float32 [C, H, W]`` that a row compares.

    `degraded` is not clipped. If a measurement is not an image of the same size, it is the initial image of the solver.
    """

    clean: Tensor
    degraded: Tensor
    restored: Tensor
    baseline: Tensor | None


class Evaluator:
    """Measures images one by one.

    Parameters
    ----------
    settings
        The settings.
    shard
        ``(i, n)``: only the i-th of n equal parts of the images, counted from 1, for several processes side by side.
    accept_drift
        Accept a precision that is outside its gates.

    Raises
    ------
    ValueError
        If there are no images, the model is unknown, or a setting is out of its range.
    """

    def __init__(self, settings: Settings, shard: tuple[int, int] = (1, 1), accept_drift: bool = False) -> None:
        part, parts = shard
        if not 1 <= part <= parts:
            raise ValueError(f"the part must be one of 1/{parts} to {parts}/{parts}, got {part}/{parts}")
        self.settings = settings
        sources = sorted(expand([settings.data]), key=lambda source: source.relative.as_posix())
        chosen = sources[: settings.limit][part - 1 :: parts]
        self.files = {source.relative.as_posix(): source.path for source in chosen}
        # where a mask is drawn for every image, this one stands for it
        operator = tasks.random_operator(settings.task, 8, 8, torch.Generator().manual_seed(0), **settings.options)
        restorer = tasks.make_restorer(operator, **settings.choice)
        self.noise = read_noise(settings.noise)
        if operator.measurement().dtype == "complex64" and settings.noise != "none":
            raise ValueError(f"{settings.task} has Gaussian noise only, got the noise {settings.noise}")
        self.restorer = compiled.prepare(restorer, settings.precision, settings.compile, self._pixels(), accept_drift)
        about = machine.describe(restorer.device)
        self.empty = Evaluation(settings, models.fingerprint(restorer.prior), describe(restorer.solver), about)

    def _pixels(self) -> int:
        """Of all the images that will be restored."""
        sizes = [decoders.count_pixels(path) for path in self.files.values()]
        side = self.settings.crop
        return sum(size if side is None else min(size, side**2) for size in sizes) * len(self.settings.sigmas)

    def run(self, known: Iterable[Row] = ()) -> Iterator[Row]:
        """Yield a row for every image and noise level; `known` rows are yielded unchanged."""
        ready = {(row.name, row.sigma): row for row in known}
        for name in self.files:
            for sigma in self.settings.sigmas:
                yield ready.get((name, sigma)) or self.measure(name, sigma)[0]

    def reusable(self, path: str | Path) -> tuple[Row, ...]:
        """Rows of an earlier evaluation with the same settings, model, solver and weights."""
        earlier = Evaluation.load(path)
        return tuple(row for row in earlier.rows if self._current(row)) if earlier.same_as(self.empty) else ()

    def _current(self, row: Row) -> bool:
        """Whether the model card still gives the weight of a row, for its number of channels."""
        weights = [effective_weight(self.restorer, channels, row.sigma) for channels in (1, 3)]
        return any(weight is not None and math.isclose(weight, row.weight, rel_tol=1e-5) for weight in weights)

    def measure(self, name: str, sigma: float) -> tuple[Row, Pictures]:
        """Degrade, restore and compare one image."""
        clean = torch.from_numpy(self._clean(name))[None]
        self._draw(name, *clean.shape[-2:])
        with torch.no_grad():
            # the same noise for every sigma but for its scale; it is not clipped
            noise = _seeded(self.settings.seed, name, "noise")
            measured = self._observe(clean.to(self.restorer.device), sigma, noise).cpu()
            implied = self.restorer.fidelity.noise_level(measured) is not None
            level = tasks.estimate(self.restorer, measured[0].numpy()) if implied else sigma
            start = time.perf_counter()
            restored = solve(self.restorer, measured, level)
            seconds = time.perf_counter() - start
            pictures = self._pictures(clean, measured, restored, level)
        weight = effective_weight(self.restorer, measured.shape[1], sigma)
        assert weight is not None  # make_restorer saw to it
        row = Row(
            name=name,
            sigma=sigma,
            height=clean.shape[-2],
            width=clean.shape[-1],
            weight=weight,
            degraded=_score(pictures.degraded, pictures.clean),
            restored=_score(pictures.restored, pictures.clean),
            baseline=None if pictures.baseline is None else _score(pictures.baseline, pictures.clean),
            seconds=seconds,
        )
        return row, pictures

    def _observe(self, x: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
        """The degraded image with Gaussian noise, which is drawn first, and the other noise of the settings."""
        operator = self.restorer.operator
        y = operator.observe(x, sigma, generator)
        return operator.measured(self.noise(operator(x), y, generator))

    def _draw(self, name: str, height: int, width: int) -> None:
        """Give an image its own random mask, if the task takes one."""
        settings = self.settings
        if tasks.find(settings.task).draw is None or settings.mask is not None:
            return
        generator = _seeded(settings.seed, name, "mask")
        operator = tasks.random_operator(settings.task, height, width, generator, settings.missing, **settings.options)
        self.restorer.operator = operator.to(self.restorer.device)

    def _pictures(self, clean: Tensor, measured: Tensor, restored: Tensor, sigma: float) -> Pictures:
        operator = self.restorer.operator
        frame, degraded = visible_part(self.restorer, clean), measured
        if measured.shape != frame.shape or measured.is_complex():
            degraded = visible_part(self.restorer, operator.initial(measured.to(self.restorer.device)).cpu())
        baseline = None
        if self.settings.baseline:
            method = baselines.BASELINES[tasks.find(self.settings.task).baseline]
            baseline = torch.from_numpy(method(operator, measured, sigma))[0]
        return Pictures(frame[0], degraded[0].cpu(), visible_part(self.restorer, restored)[0], baseline)

    def _clean(self, name: str) -> np.ndarray:
        """The image, cropped to a whole number of the pixels of a measurement."""
        pixels = images.read(self.files[name]).pixels
        form = self.restorer.operator.measurement()
        if form.image_channels is not None and len(pixels) != form.image_channels:
            raise ValueError(f"{self.settings.task} needs images of {form.image_channels} channels, got {len(pixels)}")
        size = pixels.shape[1:]
        side = self.settings.crop or max(size)
        height, width = (
            min(side, n) - (min(side, n) - margin) % form.scale for n, margin in zip(size, form.margin, strict=True)
        )
        top, left = (size[0] - height) // 2, (size[1] - width) // 2
        return np.ascontiguousarray(pixels[:, top : top + height, left : left + width])


def parse_shard(text: str) -> tuple[int, int]:
    """``I/N`` as a pair of numbers."""
    part, slash, parts = text.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal()):
        raise ValueError(f"a part is written I/N, such as 1/2, got {text!r}")
    return int(part), int(parts)


def _seeded(seed: int, name: str, purpose: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}/{purpose}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _score(x: Tensor, clean: Tensor) -> Score:
    return Score(float(metrics.psnr(x, clean)), float(metrics.ssim(x, clean)))
