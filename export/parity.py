"""The gate: an artefact, loaded as it will be used, against the eager float32 solve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastreg import gates
from fastreg.export.cases import Case, own_error
from fastreg.export.formats import Metadata
from fastreg.export.loading import Artefact
from fastreg.gates import GATES, Report
from fastreg.restorer import Restorer

__all__ = ["GATES", "Report", "compare", "judge", "record"]


def compare(artefact: Artefact, cases: Sequence[Case]) -> Report:
    """Run an artefact on every case and judge it by the fixed gates.

    Raises
    ------
    ValueError
        If there is no case.
    """
    if not cases:
        raise ValueError("there is nothing to compare the artefact on")
    return gates.report([_row(artefact, case) for case in cases], artefact.metadata["precision"])


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
        if gates.outside(row, precision):
            row["own_rms"] = own_error(restorer, case)
    return gates.report(rows, precision)


def record(metadata: Metadata, report: Report) -> Metadata:
    """Metadata with the report."""
    return {**metadata, "parity": report.as_dict()}


def _row(artefact: Artefact, case: Case) -> dict[str, Any]:
    x = artefact(case.y, case.sigma, case.weight, psf=case.psf, mask=case.mask)
    return gates.compare(case.name, case.sigma, x, case.reference, case.clean)
