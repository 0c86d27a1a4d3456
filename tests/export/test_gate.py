"""What the parity gate allows."""

from __future__ import annotations

from typing import Any

import pytest

from fastreg.compiled import gates


@pytest.mark.parametrize(
    ("rms", "border", "psnr", "precision", "status"),
    [
        (4e-4, 4e-4, 0.0049, "ieee", "passed"),
        (6e-4, 4e-4, 0.001, "ieee", "failed"),
        (4e-4, 4e-4, 0.006, "ieee", "failed"),
        (4e-4, 1.9e-3, 0.001, "ieee", "passed"),
        (4e-4, 2.1e-3, 0.001, "ieee", "failed"),
        (1.9e-3, 1.9e-3, 0.02, "bf16", "passed"),
        (2.1e-3, 1.9e-3, 0.02, "bf16", "failed"),
    ],
)
def test_the_gates_are_fixed(rms: float, border: float, psnr: float, precision: str, status: str) -> None:
    row = {"name": "coffee", "sigma": [0.4], "rms": rms, "border_rms": border, "psnr": psnr}
    easy = {"name": "chelsea", "sigma": [0.01], "rms": 1e-5, "border_rms": 1e-5, "psnr": 0.0}
    report = gates.report([easy, row], precision)
    assert report.status == status
    assert report.worst == 1
    excused: dict[str, Any] = {**row, "own_rms": 1.0, "own_psnr": 1.0}
    assert (
        gates.report([easy, excused], precision).status == status
    )  # that rounding does as much is said, and no excuse
    assert "the prior amplifies rounding" in gates.report([easy, excused], precision).summary()


def test_the_worst_image_is_the_one_outside_its_gate() -> None:
    first = {"name": "chelsea", "sigma": [0.1], "rms": 4e-4, "border_rms": 4e-4, "psnr": 0.001}
    second = {"name": "coffee", "sigma": [0.1], "rms": 1e-4, "border_rms": 1e-4, "psnr": 0.006}
    assert "worst for coffee" in gates.report([first, second], "ieee").summary()


def test_a_number_that_is_none_is_never_excused() -> None:
    row = {"name": "coffee", "sigma": [0.4], "rms": None, "border_rms": None, "psnr": None, "own_rms": 1.0}
    report = gates.report([row], "ieee")
    assert (report.status, report.finite) == ("failed", False)
