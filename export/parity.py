"""The comparison of a loaded artefact with the eager float32 solve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastreg.compiled import gates
from fastreg.compiled.gates import GATES, Report
from fastreg.export.cases import Case, conditioning
from fastreg.export.formats import Metadata
from fastreg.export.loading import Artefact
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
    """`compare`; if a float32 artefact fails, the report also says how far rounding alone moves the eager solve."""
    report = compare(artefact, cases)
    precision = artefact.metadata["precision"]
    if report.status == "passed" or not report.finite:
        return report
    rows = [dict(row) for row in report.cases]
    for row, case in zip(rows, cases, strict=True):
        if gates.outside(row, precision):
            row.update(conditioning(restorer, case))
    return gates.report(rows, precision)


def record(metadata: Metadata, report: Report) -> Metadata:
    """Metadata with the report."""
    return {**metadata, "parity": report.as_dict()}


def _row(artefact: Artefact, case: Case) -> dict[str, Any]:
    x = artefact(case.y, case.sigma, case.weight, **case.inputs)
    return gates.compare(case.name, case.sigma, x, case.reference, case.clean)
