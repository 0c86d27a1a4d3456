"""The pages that are made of the JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import report, training

MACHINE = {"cpu": "Abacus 9", "threads": 2, "instructions": "AVX512", "torch": "2.99", "commit": "abc+"}
TIMES = {"median": 10.0, "lower_quartile": 9.0, "upper_quartile": 12.0}


def solves(**changes: Any) -> dict[str, Any]:
    ratio = {"ratio": 3.0, "quartiles": [2.8, 3.1]}
    row = {
        "label": "fastreg, compiled",
        "precision": "bf16",
        "kind": "same",
        "p50": 10.0,
        "quartiles": [9.0, 11.0],
        "ratio": ratio,
    }
    row |= {"rms": 1e-5, "psnr": 31.5, "psnr_change": -0.0012, "passed": True, **changes}
    case = {"task": "denoise", "model": "alr", "sigma": 0.1, "shape": [1, 3, 321, 481], "photograph": "coffee"}
    return {"machine": MACHINE, "cases": [{**case, "iterations": 50, "solver": "adam", "rows": [row]}]}


def write(folder: Path, **documents: dict[str, Any]) -> None:
    for name, document in documents.items():
        (folder / f"{name}.json").write_text(json.dumps(document))


def test_the_whole_page(tmp_path: Path) -> None:
    rows = [
        {"size": 512, "psf": "dense 7", "planned": "direct", "wrong": [],
         "microseconds": {"direct": TIMES, "fft": {**TIMES, "median": 20.0}}},
        {"size": 512, "psf": "dense 9", "wrong": ["fft"]},
    ]  # fmt: skip
    gpu = {"machine": {"gpu": "Abacus GPU", "torch": "2.99"}, "rows": rows}
    write(tmp_path, **{"solve-a": solves(), "solve-b": solves(passed=False)}, **{"kernels-abacus": gpu})
    text, missing = report.page(tmp_path)
    assert missing == []
    assert "Not measured" not in text
    assert "Abacus 9, 2 threads, AVX512, torch 2.99, commit abc+" in text
    lines = text.splitlines()
    row = "| fastreg, compiled | bf16 | 10.00 s (9.00 to 11.00) | 3.00 (2.80 to 3.10) | 31.50 | 1.0e-05 | -0.0012 |"
    assert lines.count(row) == 1
    assert row.replace("1.0e-05", "1.0e-05 **outside the gate**") in lines
    assert "| dense 7, 512 | ieee | **direct 10** (9 to 12); fft 20 (9 to 12) | direct |" in lines
    assert "| dense 9, 512 | ieee | not timed, wrong: fft |  |" in lines


def test_what_is_missing_is_named_with_its_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report.main(["--results", str(tmp_path), "--tables", str(tmp_path)])
    printed = capsys.readouterr().out
    for command in ("python -m bench.solve", "python -m bench.kernels --device cuda"):
        assert command in printed
        assert command in (tmp_path / "speed.md").read_text()
    assert "python -m bench.compile_gate" in printed


def test_what_compiled_kernels_need(tmp_path: Path) -> None:
    records = [
        {"name": f"k/{case}", "architecture": architecture, "registers": 40, "shared": 2048, "stack": stack}
        for case, stack in (("a", 0), ("b", 16))
        for architecture in (80, 90)
    ]
    write(tmp_path, compile_gate={"triton": "3.99", "records": records})
    report.main(["--results", str(tmp_path), "--tables", str(tmp_path)])
    lines = (tmp_path / "kernels.md").read_text().splitlines()
    assert any("Triton 3.99" in line and "2 of 4 spill" in line for line in lines)
    assert "| `k/a` | 40, 2 KiB | 40, 2 KiB |" in lines
    assert "| `k/b` | 40, 2 KiB, **16 spilled** | 40, 2 KiB, **16 spilled** |" in lines


def test_training_steps(tmp_path: Path) -> None:
    """Both gradients give the same loss, and the table has their times."""
    out = tmp_path / "training-abacus.json"
    training.main([*("--widths", "4,6", "--crop", "8", "--batch", "2", "--rounds", "2"), "--output", str(out)])
    exact, half = json.loads(out.read_text())["cases"]
    losses = {row["name"]: row["loss"] for row in exact["rows"]}
    assert losses["written"] == pytest.approx(losses["create_graph"], rel=1e-5)
    assert losses["network"] != pytest.approx(losses["written"], rel=1e-3)
    assert (exact["precision"], half["precision"]) == ("ieee", "bf16")
    report.main(["--results", str(tmp_path), "--tables", str(tmp_path)])
    text = (tmp_path / "training.md").read_text()
    speed = exact["rows"][1]["kilopixels_per_second"]
    assert "## U-Net 4-6, ieee" in text and f"| written out | {speed:.1f} |" in text
