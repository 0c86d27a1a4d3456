"""What was measured, how, and its file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastreg.io.atomic import replacing

#: Version of the JSON files.
FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the numbers of an evaluation depend on.

    Parameters
    ----------
    data
        Folder (with sub-folders), glob or file of clean images.
    task
        ``denoise``, ``deblur`` or ``inpaint``.
    sigmas
        Noise levels in units of [0, 1].
    psf, boundary
        For deblur; see `fastreg.io.inputs.read_psf` and `fastreg.operators.Blur`.
    missing
        For inpaint: share of the pixels, chosen at random, that is not known.
    prior, weight, iterations
        The model, lambda (None: the rule in the model card), the steps of Adam.
    limit, crop
        Only the first images by name; only their central square of so many pixels.
    seed
        Noise and masks are drawn from this seed and the name of the image: a subset gives the same numbers.
    baseline
        Also measure the classical method of `fastreg.evaluation.baselines`.
    precision, compile, device
        How the restorer runs.
    """

    data: str
    task: str
    sigmas: tuple[float, ...]
    prior: str = "alr"
    psf: str | None = None
    boundary: str = "reflect"
    missing: float = 0.5
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
        """The settings that the numbers of one image and one noise level depend on."""
        everything = dataclasses.asdict(self)
        return {key: value for key, value in everything.items() if key not in ("sigmas", "limit")}


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
    """Everything an evaluation found out.

    Parameters
    ----------
    settings
        What was asked for.
    model
        SHA-256 of the weights of the prior, `fastreg.models.zoo.fingerprint`.
    versions
        Software and hardware that made the rows.
    rows
        Results, in ascending order of sigma and name.
    """

    settings: Settings
    model: str
    versions: dict[str, str]
    rows: tuple[Row, ...] = ()

    def with_rows(self, rows: Iterable[Row]) -> Evaluation:
        """The same with other rows."""
        return dataclasses.replace(self, rows=tuple(sorted(rows, key=lambda row: (row.sigma, row.name))))

    def means(self) -> dict[float, dict[str, Score]]:
        """For each sigma the mean scores of ``degraded``, ``restored`` and, where measured, ``baseline``."""
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
            "versions": self.versions,
            "images": len({row.name for row in self.rows}),
            "seconds": sum(row.seconds for row in self.rows),
            "means": [
                {"sigma": sigma, **{kind: score._asdict() for kind, score in scores.items()}}
                for sigma, scores in self.means().items()
            ],
            "rows": [
                {
                    **{field.name: getattr(row, field.name) for field in dataclasses.fields(row)},
                    **{kind: getattr(row, kind)._asdict() for kind in ("degraded", "restored")},
                    "baseline": row.baseline._asdict() if row.baseline else None,
                }
                for row in self.rows
            ],
        }
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(document, indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Evaluation:
        """Read what `save` wrote; raises `ValueError` where a file is something else."""
        try:
            document = json.loads(Path(path).read_text())
            if document["format"] != FORMAT:
                raise ValueError(f"format {document['format']}")
            settings = Settings(**{**document["settings"], "sigmas": tuple(document["settings"]["sigmas"])})
            rows = [
                Row(
                    **{
                        **row,
                        **{kind: Score(**row[kind]) for kind in ("degraded", "restored", "baseline") if row[kind]},
                    }
                )
                for row in document["rows"]
            ]
            return cls(settings, document["model"], document["versions"]).with_rows(rows)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a readable evaluation of fastreg: {error}") from error


def merge(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Put parts of one evaluation together.

    Raises
    ------
    ValueError
        If there is none, or they differ in their settings or their model.
    """
    if not evaluations:
        raise ValueError("expected evaluations to merge, got none")
    first = evaluations[0]
    for other in evaluations[1:]:
        if other.settings.identity() != first.settings.identity() or other.model != first.model:
            raise ValueError("evaluations with different settings or models cannot be merged")
    rows = {(row.name, row.sigma): row for evaluation in evaluations for row in evaluation.rows}
    sigmas = tuple(sorted({sigma for evaluation in evaluations for sigma in evaluation.settings.sigmas}))
    settings = dataclasses.replace(first.settings, sigmas=sigmas)
    return dataclasses.replace(first, settings=settings).with_rows(rows.values())
