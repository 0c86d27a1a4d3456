"""Measures restorations: clean images are degraded with seeded noise, restored and compared."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

import fastreg
from fastreg import metrics, models, tasks
from fastreg.batch import folder
from fastreg.batch.restoring import frame, solve
from fastreg.evaluation import baselines
from fastreg.evaluation.results import Evaluation, Row, Score, Settings, merge
from fastreg.io import images
from fastreg.operators import LinearOperator, Mask

__all__ = ["Evaluation", "Evaluator", "Pictures", "Row", "Score", "Settings", "merge", "parse_shard", "versions"]


class Pictures(NamedTuple):
    """The images ``float32 [C, H, W]`` that a row compares; the degraded one is not clipped."""

    clean: Tensor
    degraded: Tensor
    restored: Tensor
    baseline: Tensor | None


class Evaluator:
    """Measures images one by one.

    Parameters
    ----------
    settings
        What to measure.
    shard
        ``(i, n)``: only the i-th of n equal parts of the images, counted from 1, for several processes side by side.
    accept_drift
        Measure also with a precision that is outside its gates.

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
        sources = sorted(folder.expand([settings.data]), key=lambda source: source.relative.as_posix())
        chosen = sources[: settings.limit][part - 1 :: parts]
        self.files = {source.relative.as_posix(): source.path for source in chosen}
        if settings.task == "inpaint":
            operator: LinearOperator = Mask(np.ones((1, 1)))  # every image gets its own
        else:
            operator = tasks.make_operator(settings.task, settings.psf, None, settings.boundary)
        restorer = tasks.make_restorer(
            operator, settings.prior, settings.iterations, settings.weight, tasks.choose_device(settings.device)
        )
        self.restorer = tasks.prepare(restorer, settings.precision, settings.compile, accept_drift)
        self.empty = Evaluation(settings, models.fingerprint(restorer.prior), versions(restorer))

    def run(self, known: Iterable[Row] = ()) -> Iterator[Row]:
        """Yield a row for every image and noise level; `known` rows are handed on as they are."""
        ready = {(row.name, row.sigma): row for row in known}
        for name in self.files:
            for sigma in self.settings.sigmas:
                yield ready.get((name, sigma)) or self.measure(name, sigma)[0]

    def reusable(self, path: str | Path) -> tuple[Row, ...]:
        """Rows of an earlier evaluation with the same settings and model, none if it had others."""
        earlier = Evaluation.load(path)
        same = earlier.settings.identity() == self.settings.identity() and earlier.model == self.empty.model
        return earlier.rows if same else ()

    def measure(self, name: str, sigma: float) -> tuple[Row, Pictures]:
        """Degrade, restore and compare one image."""
        settings = self.settings
        clean = torch.from_numpy(self._clean(name))[None]
        operator = self._operator(name, clean)
        degraded = _on_cpu(operator, clean)
        # the same noise for every sigma but for its scale; it is not clipped
        degraded = degraded + sigma * torch.randn(degraded.shape, generator=_seeded(settings.seed, name, "noise"))
        if isinstance(operator, Mask):
            degraded = degraded * operator.mask.cpu()  # nothing is measured of the missing pixels, not even noise
        start = time.perf_counter()
        restored = solve(self.restorer, degraded, sigma)
        seconds = time.perf_counter() - start
        baseline = None
        if settings.baseline:
            baseline = torch.from_numpy(baselines.restore(operator, degraded[0].numpy(), sigma))
        pictures = Pictures(frame(clean, degraded)[0], degraded[0], frame(restored, degraded)[0], baseline)
        assert self.restorer.weight_rule is not None  # make_restorer saw to it
        weight = self.restorer.weight_rule(torch.tensor([sigma], device=self.restorer.device))
        row = Row(
            name=name,
            sigma=sigma,
            height=clean.shape[-2],
            width=clean.shape[-1],
            weight=float(weight),
            degraded=_score(pictures.degraded, pictures.clean),
            restored=_score(pictures.restored, pictures.clean),
            baseline=None if pictures.baseline is None else _score(pictures.baseline, pictures.clean),
            seconds=seconds,
        )
        return row, pictures

    def _clean(self, name: str) -> np.ndarray:
        pixels = images.read(self.files[name]).pixels
        side = self.settings.crop
        if side is None:
            return pixels
        height, width = (min(side, size) for size in pixels.shape[1:])
        top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
        return np.ascontiguousarray(pixels[:, top : top + height, left : left + width])

    def _operator(self, name: str, clean: Tensor) -> LinearOperator:
        operator = self.restorer.operator
        if isinstance(operator, Mask):
            generator = _seeded(self.settings.seed, name, "mask")
            known = torch.rand(clean.shape[-2:], generator=generator) >= self.settings.missing
            if not known.any():
                raise ValueError(f"no pixel of {name} is known with a share of {self.settings.missing} missing")
            operator.mask = known.float()[None, None].to(operator.mask.device)
        return operator


def parse_shard(text: str) -> tuple[int, int]:
    """``I/N`` as a pair of numbers."""
    part, slash, parts = text.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal()):
        raise ValueError(f"a part is written I/N, such as 1/2, got {text!r}")
    return int(part), int(parts)


def versions(restorer: fastreg.Restorer) -> dict[str, str]:
    """Software and hardware that a restorer runs on."""
    device = restorer.device
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "fastreg": fastreg.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "device": f"{device.type} ({hardware})",
        "threads": str(torch.get_num_threads()),
    }


def _seeded(seed: int, name: str, purpose: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}/{purpose}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _on_cpu(operator: LinearOperator, x: Tensor) -> Tensor:
    device = next((buffer.device for buffer in operator.buffers()), x.device)
    with torch.no_grad():
        result: Tensor = operator(x.to(device)).cpu()
    return result


def _score(x: Tensor, clean: Tensor) -> Score:
    return Score(float(metrics.psnr(x, clean)), float(metrics.ssim(x, clean)))
