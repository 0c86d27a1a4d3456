"""The gate: an artefact, loaded as it will be used, against the eager float32 solve."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastreg import metrics
from fastreg.export.cases import Case, own_error
from fastreg.export.formats import Metadata
from fastreg.export.loading import Artefact
from fastreg.restorer import Restorer

#: Largest root mean square difference and change of PSNR in decibels, for each precision.
GATES: dict[str, tuple[float, float]] = {
    "ieee": (5e-4, 0.005),
    "tf32": (1e-3, 0.01),
    "fp16": (1e-3, 0.01),
    "bf16": (2e-3, 0.03),
}
#: Width in pixels of the border that is judged by itself: the last rows that no strided patch covers are there.
_BORDER = 3
#: A border is a few hundred pixels, and single pixels scatter more than images.
_BORDER_ALLOWANCE = 4.0


@dataclasses.dataclass(frozen=True)
class Report:
    """What a comparison found.

    Parameters
    ----------
    status
        ``passed``, ``failed``, or ``drift accepted``.
    rms, psnr, border_rms
        Largest differences of all images: root mean square, change of PSNR in decibels, root mean square of the border.
    psnr_real
        Largest change of PSNR on photographs.
    finite
        Whether the artefact gave numbers everywhere.
    gates
        What was allowed of `rms` and `psnr`.
    cases
        Name, sigma, rms and change of PSNR of every image.
    own_rms
        For the worst image of a comparison that failed: how far the eager float32 solve is from float64 itself. The gates do
        not move with it; it tells a wrong artefact from a solve that amplifies rounding.
    """

    status: str
    rms: float
    psnr: float
    psnr_real: float
    border_rms: float
    finite: bool
    gates: tuple[float, float]
    cases: tuple[dict[str, Any], ...]
    own_rms: float | None = None

    @property
    def worst(self) -> int:
        """Index of the image with the largest rms."""
        return max(
            range(len(self.cases)), key=lambda k: math.inf if self.cases[k]["rms"] is None else self.cases[k]["rms"]
        )

    def words(self) -> str:
        """Why it failed."""
        if not self.finite:
            where = next(case["name"] for case in self.cases if case["rms"] is None)
            return f"the artefact gives NaN, infinity or another shape for {where}"
        worst = self.cases[self.worst]
        own = "" if self.own_rms is None else f"; there the eager solve in float32 is {self.own_rms:.2e} from float64"
        return (
            f"rms {self.rms:.2e} of {self.gates[0]:.0e}, border rms {self.border_rms:.2e} of "
            f"{self.gates[0] * _BORDER_ALLOWANCE:.0e}, PSNR {self.psnr:.4f} dB of {self.gates[1]} dB, "
            f"worst for {worst['name']}{own}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**dataclasses.asdict(self), "gates": list(self.gates), "cases": list(self.cases)}


def compare(artefact: Artefact, cases: Sequence[Case]) -> Report:
    """Run an artefact on every case and judge it.

    Raises
    ------
    ValueError
        If there is no case.
    """
    if not cases:
        raise ValueError("there is nothing to compare the artefact on")
    rows = [_row(artefact, case) for case in cases]
    finite = all(row["rms"] is not None for row in rows)
    gates = GATES[artefact.metadata["precision"]]
    rms, psnr, border = (_largest(rows, key) for key in ("rms", "psnr", "border_rms"))
    real = _largest([row for row in rows if not row["name"].startswith("random")], "psnr")
    well = finite and rms <= gates[0] and psnr <= gates[1] and border <= gates[0] * _BORDER_ALLOWANCE
    return Report("passed" if well else "failed", rms, psnr, real, border, finite, gates, tuple(rows))


def judge(artefact: Artefact, cases: Sequence[Case], restorer: Restorer) -> Report:
    """`compare`, and where that fails what the eager solve's own rounding amounts to."""
    report = compare(artefact, cases)
    if report.status == "passed" or not report.finite:
        return report
    return dataclasses.replace(report, own_rms=own_error(restorer, cases[report.worst]))


def record(metadata: Metadata, report: Report) -> Metadata:
    """Metadata with the report."""
    return {**metadata, "parity": report.as_dict()}


def _row(artefact: Artefact, case: Case) -> dict[str, Any]:
    x = artefact(case.y, case.sigma, case.weight, psf=case.psf, mask=case.mask)
    row: dict[str, Any] = {"name": case.name, "sigma": [float(s) for s in case.sigma]}
    if x.shape != case.reference.shape or not bool(torch.isfinite(x).all()):
        return {**row, "rms": None, "psnr": None, "border_rms": None}
    difference = (x - case.reference).double()
    change = metrics.psnr(x, case.clean) - metrics.psnr(case.reference, case.clean)
    return {
        **row,
        "rms": _rms(difference.flatten(1)),
        "border_rms": _rms(_border(difference)),
        "psnr": float(abs(change).max()),
    }


def _rms(difference: Tensor) -> float:
    """Largest root mean square of the entries of a batch."""
    return float(difference.square().mean(1).sqrt().max())


def _border(image: Tensor) -> Tensor:
    n = _BORDER
    sides = (image[..., :n, :], image[..., -n:, :], image[..., :n], image[..., -n:])
    return torch.cat([side.flatten(1) for side in sides], 1)


def _largest(rows: Sequence[dict[str, Any]], key: str) -> float:
    values = [row[key] for row in rows if row[key] is not None]
    return max(values) if values else math.inf
