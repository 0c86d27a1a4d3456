"""The results of an evaluation, its settings, and the file of both."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from fastreg.io.atomic import replacing
from fastreg.io.inputs import read_mask
from fastreg.tasks import Choice, Options

#: Version of the JSON files.
FORMAT = 2


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings on which the results of an evaluation depend.

    Parameters
    ----------
    data
        Folder (with sub-folders), glob or file of clean images.
    task
        A name in `fastreg.tasks.TASKS`.
    sigmas
        Noise levels in units of [0, 1].
    psf, boundary, factor, pattern, mask
        See `fastreg.tasks.Options`.
    mask_means
        What the values of the mask other than zero mean.
    missing
        Share that a random mask leaves out, for the tasks that take one, if `mask` is not given.
    noise
        What is added to Gaussian noise, see `fastreg.evaluation.noise.read_noise`.
    prior, fidelity, strength, weight, iterations
        See `fastreg.tasks.Choice`.
    limit, crop
        Number of images to use, by name; side of the central square to use, in pixels.
    seed
        Seed of noise and masks, together with the name of the image: a subset gives the same numbers.
    baseline
        Also measure the classical method of `fastreg.evaluation.baselines`.
    precision, compile, device
        How the restorer runs.
    """

    data: str
    task: str
    sigmas: tuple[float, ...]
    prior: str = "auto"
    psf: str | None = None
    boundary: str | None = None
    factor: int | None = None
    pattern: str | None = None
    mask: str | None = None
    mask_means: Literal["known", "missing"] = "known"
    missing: float = 0.5
    fidelity: str = "l2"
    strength: float = 1.0
    noise: str = "none"
    weight: float | None = None
    iterations: int | None = None
    limit: int | None = None
    crop: int | None = None
    seed: int = 0
    baseline: bool = False
    precision: str = "ieee"
    compile: str = "auto"
    device: str = "auto"

    def __post_init__(self) -> None:
        if not self.sigmas or not all(0 < sigma < 1 for sigma in self.sigmas):
            raise ValueError(f"sigmas must lie between 0 and 1, got {list(self.sigmas)}")
        if not 0 < self.missing < 1:
            raise ValueError(f"the share of missing pixels must lie between 0 and 1, got {self.missing}")
        for name in ("limit", "crop"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be positive, got {value}")

    def identity(self) -> dict[str, Any]:
        """The settings on which the result for one image and noise level depends."""
        everything = dataclasses.asdict(self)
        return {key: value for key, value in everything.items() if key not in ("sigmas", "limit")}

    @property
    def options(self) -> Options:
        """What the degradation depends on."""
        return {
            "psf": self.psf,
            "boundary": self.boundary,
            "factor": self.factor,
            "pattern": self.pattern,
            "mask": None if self.mask is None else read_mask(self.mask, self.mask_means),
        }

    @property
    def choice(self) -> Choice:
        """How it is undone."""
        return {
            "prior": self.prior,
            "fidelity": self.fidelity,
            "strength": self.strength,
            "weight": self.weight,
            "iterations": self.iterations,
            "device": self.device,
        }


class Score(NamedTuple):
    """Quality of an image: PSNR in decibels, and SSIM."""

    psnr: float
    ssim: float


@dataclasses.dataclass(frozen=True)
class Row:
    """One image at one noise level; `seconds` is the time of the restoration alone."""

    name: str
    sigma: float
    height: int
    width: int
    weight: float
    degraded: Score
    restored: Score
    baseline: Score | None
    seconds: float


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation.

    Parameters
    ----------
    settings
        The settings.
    model
        SHA-256 of the weights of the prior, `fastreg.models.zoo.fingerprint`.
    solver
        Kind and settings of the solver.
    versions
        Software and hardware that made the rows.
    rows
        Results, in ascending order of sigma and name.
    """

    settings: Settings
    model: str
    solver: dict[str, Any]
    versions: dict[str, Any]
    rows: tuple[Row, ...] = ()

    def with_rows(self, rows: Iterable[Row]) -> Evaluation:
        """The same with other rows; of two rows for one image and noise level the later one is kept."""
        unique = {(row.sigma, row.name): row for row in rows}
        return dataclasses.replace(self, rows=tuple(unique[key] for key in sorted(unique)))

    def same_as(self, other: Evaluation) -> bool:
        """Whether rows of both can be combined: the same settings, model and solver."""
        return (self.settings.identity(), self.model, self.solver) == (
            other.settings.identity(),
            other.model,
            other.solver,
        )

    def means(self) -> dict[float, dict[str, Score]]:
        """For each sigma the mean scores of ``degraded``, ``restored`` and, if measured, ``baseline``."""
        result: dict[float, dict[str, Score]] = {}
        for sigma in sorted({row.sigma for row in self.rows}):
            rows = [row for row in self.rows if row.sigma == sigma]
            result[sigma] = {}
            for kind in ("degraded", "restored", "baseline"):
                scores = [getattr(row, kind) for row in rows]
                if None not in scores:
                    result[sigma][kind] = Score(*(float(np.mean(values)) for values in zip(*scores, strict=True)))
        return result

    def save(self, path: str | Path) -> None:
        """Write everything as JSON, whole or not at all."""
        document = {
            "format": FORMAT,
            "settings": dataclasses.asdict(self.settings),
            "model": self.model,
            "solver": self.solver,
            "versions": self.versions,
            "images": len({row.name for row in self.rows}),
            "seconds": sum(row.seconds for row in self.rows),
            "means": [
                {"sigma": sigma, **{kind: _plain(score) for kind, score in scores.items()}}
                for sigma, scores in self.means().items()
            ],
            "rows": [
                {
                    **{field.name: getattr(row, field.name) for field in dataclasses.fields(row)},
                    **{kind: _plain(getattr(row, kind)) for kind in ("degraded", "restored", "baseline")},
                }
                for row in self.rows
            ],
        }
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Evaluation:
        """Read what `save` wrote; raises `ValueError` where a file is something else."""
        try:
            document = json.loads(Path(path).read_text())
            if document["format"] != FORMAT:
                raise ValueError(f"format {document['format']}")
            settings = Settings(**{**document["settings"], "sigmas": tuple(document["settings"]["sigmas"])})
            kinds = ("degraded", "restored", "baseline")
            rows = [Row(**{**row, **{kind: _score(row[kind]) for kind in kinds}}) for row in document["rows"]]
            return cls(settings, document["model"], document["solver"], document["versions"]).with_rows(rows)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a readable evaluation of fastreg: {error}") from error


def _plain(score: Score | None) -> dict[str, float | None] | None:
    """A score for JSON, which has no infinity: the PSNR of a perfect restoration is null."""
    return None if score is None else {"psnr": score.psnr if math.isfinite(score.psnr) else None, "ssim": score.ssim}


def _score(entry: Mapping[str, float | None] | None) -> Score | None:
    if entry is None:
        return None
    psnr, ssim = entry["psnr"], entry["ssim"]
    return Score(math.inf if psnr is None else psnr, math.nan if ssim is None else ssim)
