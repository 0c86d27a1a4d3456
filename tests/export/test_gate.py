"""What the parity gate allows."""

from __future__ import annotations

from typing import Any

import pytest

from fastreg import gates


@pytest.mark.parametrize(
    ("rms", "own", "psnr", "precision", "status"),
    [
        (4e-4, None, 0.001, "ieee", "passed"),
        (9e-4, None, 0.001, "ieee", "failed"),
        (9e-4, 1e-4, 0.001, "ieee", "failed"),  # float32 does far better: the artefact is wrong
        (9e-4, 6e-4, 0.001, "ieee", "passed"),  # float32 does no better
        (9e-4, 6e-4, 0.009, "ieee", "failed"),
        (9e-4, 20e-4, 0.015, "ieee", "passed"),
        (9e-4, 90e-4, 0.021, "ieee", "failed"),
        (2.1e-3, 9e-1, 0.001, "ieee", "failed"),  # four times the gate, however bad float32 is
        (1.9e-3, None, 0.02, "bf16", "passed"),
        (2.1e-3, 9e-3, 0.02, "bf16", "failed"),  # the excuse is that of float32
    ],
)
def test_differences_are_judged_by_what_float32_does(
    rms: float, own: float | None, psnr: float, precision: str, status: str
) -> None:
    row: dict[str, Any] = {"name": "coffee", "sigma": [0.4], "rms": rms, "border_rms": rms, "psnr": psnr}
    if own is not None:
        row |= {"own_rms": own, "own_psnr": 4 * own}
    easy = {"name": "chelsea", "sigma": [0.01], "rms": 1e-5, "border_rms": 1e-5, "psnr": 0.0}
    assert gates.report([easy, row], precision).status == status


def test_a_number_that_is_none_is_never_excused() -> None:
    row = {"name": "coffee", "sigma": [0.4], "rms": None, "border_rms": None, "psnr": None, "own_rms": 1.0}
    report = gates.report([row], "ieee")
    assert (report.status, report.finite) == ("failed", False)
