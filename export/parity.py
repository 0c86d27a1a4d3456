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
#: How much further than the eager float32 solve is from float64 a float32 artefact may be from that solve, and the most times
#: the gate that this may come to.
_OWN_ALLOWANCE, _MOST_ALLOWANCE = 2.0, 4.0


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
        For the worst image, where it is outside the fixed gate: how far the eager float32 solve is from float64 itself. It
        tells a wrong artefact from a solve that amplifies rounding, see `judge`.
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
    """Run an artefact on every case and judge it by the fixed gates.

    Raises
    ------
    ValueError
        If there is no case.
    """
    if not cases:
        raise ValueError("there is nothing to compare the artefact on")
    return _report([_row(artefact, case) for case in cases], artefact.metadata["precision"])


def judge(artefact: Artefact, cases: Sequence[Case], restorer: Restorer) -> Report:
    """`compare`; where a float32 artefact fails, again with the gates of the differences that float32 itself allows.

    Every step of a solve amplifies rounding, so that for noisy images the eager float32 solve may be further from float64 than
    the gate. Nothing in float32 can be expected to be much nearer to it than it is to the truth: in such a case an artefact may
    differ by twice that distance, and by no more than four times the gate. The gate of the PSNR stays.
    """
    report = compare(artefact, cases)
    precision = artefact.metadata["precision"]
    if report.status == "passed" or not report.finite:
        return report
    rows = [dict(row) for row in report.cases]
    for row, case in zip(rows, cases, strict=True):
        if row["rms"] > report.gates[0] or row["border_rms"] > report.gates[0] * _BORDER_ALLOWANCE:
            row["own_rms"] = own_error(restorer, case)
    report = _report(rows, precision)
    return dataclasses.replace(report, own_rms=report.cases[report.worst].get("own_rms"))


def _report(rows: Sequence[dict[str, Any]], precision: str) -> Report:
    finite = all(row["rms"] is not None for row in rows)
    gates = GATES[precision]
    rms, psnr, border = (_largest(rows, key) for key in ("rms", "psnr", "border_rms"))
    real = _largest([row for row in rows if not row["name"].startswith("random")], "psnr")
    well = finite and psnr <= gates[1] and all(_within(row, gates[0], precision) for row in rows)
    return Report("passed" if well else "failed", rms, psnr, real, border, finite, gates, tuple(rows))


def _within(row: dict[str, Any], gate: float, precision: str) -> bool:
    """Whether the differences of one image are within the gate, or what its own conditioning makes of it."""
    own = row.get("own_rms", 0.0) if precision == "ieee" else 0.0
    allowed = max(gate, min(_OWN_ALLOWANCE * own, _MOST_ALLOWANCE * gate))
    return bool(row["rms"] <= allowed and row["border_rms"] <= allowed * _BORDER_ALLOWANCE)


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
