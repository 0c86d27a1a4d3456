"""The table of speeds, from made-up measurements."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import report

MACHINE = {
    "cpu": "Abacus 9",
    "threads": 2,
    "instructions": "AVX512",
    "torch": "2.99",
    "fastreg": "0.1",
    "commit": "abc+",
}


def solve_document(critic: str = "released") -> dict[str, Any]:
    def row(name: str, label: str, precision: str, seconds: float) -> dict[str, Any]:
        return {
            "name": name,
            "label": label,
            "precision": precision,
            "flop": 2e12,
            "roofline": 0.42,
            "p50": seconds,
            "quartiles": [0.9 * seconds, 1.1 * seconds],
            "memory": {"solve": 123e6, "process": 456e6},
            "rms": 1e-5,
            "psnr_change": -0.0012,
            "passed": True,
        }

    wrong = {
        "name": "optimized-bf16",
        "label": "fastreg, optimized",
        "precision": "bf16",
        "flop": 1e11,
        "passed": False,
    }
    return {
        "bench": "solve",
        "machine": MACHINE,
        "case": {
            "shape": [1, 3, 321, 481],
            "iterations": 50,
            "sigma": 0.1,
            "critic": critic,
            "photograph": "cbsd68/0000.png",
            "autograd_rms": 2e-5,
        },
        "roofline": {"conv_ieee": 2e11, "conv_bf16": 4e11, "copy": 1.5e10},
        "rows": [
            row("autograd", "eager autograd", "ieee", 30.0),
            row("compiled-ieee", "fastreg, compiled", "ieee", 10.0),
            row("compiled-bf16", "fastreg, in haste", "bf16", 5.0) | {"passed": False},
            wrong | {"error": "a folded channel woke up"},
        ],
        "ratios": [{"baseline": "autograd", "name": "compiled-ieee", "ratio": 3.0, "quartiles": [2.8, 3.1]}],
        "start": {"compiled-ieee": {"cold": {"compiling": 31.5}, "warm": {"compiling": 4.5}}},
    }


def suite_document() -> dict[str, Any]:
    def row(contender: str, seconds: float, **more: float) -> dict[str, Any]:
        return {
            "name": f"test[{contender}]",
            "group": "gradient, alr",
            "extra_info": {"contender": contender, "precision": "ieee", "shape": [1, 3, 32, 48], **more},
            "stats": {"median": seconds, "q1": seconds, "q3": seconds},
        }

    return {
        "bench": "suite",
        "machine": MACHINE,
        "benchmarks": [row("autograd", 0.5, flop=5e10), row("analytic", 2e-5)],
    }


def gpu_document() -> dict[str, Any]:
    times = {"median": 10.0, "lower_quartile": 9.0, "upper_quartile": 12.0}
    return {
        "machine": {"device": "Abacus GPU", "torch": "2.99", "triton": "9.1", "cuda": "14.0"},
        "rows": [
            {"size": 512, "psf": "dense 7", "planned": "direct", "wrong": [],
             "microseconds": {"direct": times, "fft": {**times, "median": 20.0}}},
            {"size": 512, "psf": "dense 9", "wrong": ["fft"]},
        ],
    }  # fmt: skip


def write(folder: Path, **documents: dict[str, Any]) -> None:
    for name, document in documents.items():
        (folder / f"{name}.json").write_text(json.dumps(document))


def test_the_whole_page(tmp_path: Path) -> None:
    write(tmp_path, **{"solve-abacus-321x481": solve_document()}, suite=suite_document(), blur_gradient=gpu_document())
    write(tmp_path, critic_gradient={**gpu_document(), "rows": []}, solver_step={**gpu_document(), "rows": []})
    text, missing = report.page(tmp_path)
    assert missing == []
    assert "Not measured" not in text
    assert "Abacus 9, 2 threads, AVX512, torch 2.99, fastreg 0.1, commit abc+" in text
    assert "convolution ieee 200 GFLOP/s, convolution bf16 400 GFLOP/s, copy 15.0 GB/s" in text
    lines = text.splitlines()
    compiled = next(line for line in lines if line.startswith("| fastreg, compiled |"))
    assert compiled == (
        "| fastreg, compiled | ieee | 10.00 s (9.00 s to 11.00 s) | 3.00 (2.80 to 3.10) |  | 2.00 | 42 % "
        "| 123 MB (456) | 1.0e-05 | -0.0012 |"
    )
    assert any("a folded channel woke up" in line for line in lines if line.startswith("| fastreg, optimized |"))
    assert "1.0e-05 **outside the gate**" in next(line for line in lines if line.startswith("| fastreg, in haste |"))
    assert "* `compiled-ieee`: 31.5 s with an empty cache, 4.5 s with a warm one" in lines
    assert "| autograd | ieee | 500.00 ms | 500.00 ms to 500.00 ms | 100.0 |" in lines
    assert "| analytic | ieee | 20.0 µs | 20.0 µs to 20.0 µs |  |" in lines
    assert "| dense 7, 512 | ieee | **direct 10** (9 to 12); fft 20 (9 to 12) | direct |" in lines
    assert "| dense 9, 512 | ieee | not timed, wrong: fft |  |" in lines


def test_every_row_of_a_table_has_its_columns(tmp_path: Path) -> None:
    write(tmp_path, **{"solve-abacus": solve_document("random")}, suite=suite_document(), blur_gradient=gpu_document())
    text, _ = report.page(tmp_path)
    assert "random weights" in text
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("| ")]
    assert len(tables) == 3
    for table in tables:
        assert len({line.count("|") for line in table}) == 1


def test_what_is_missing_is_named_with_its_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "tables" / "speed.md"
    report.main(["--results", str(tmp_path), "--output", str(page)])
    printed = capsys.readouterr().out
    for command in ("python -m bench.solve", "make bench", "python -m bench.gpu_kernels critic_gradient"):
        assert command in printed
        assert command in page.read_text()
    assert "python -m fastreg.kernels.compile_gate" in printed
    assert len(printed.splitlines()) == 6


def test_what_compiled_kernels_need(tmp_path: Path) -> None:
    records = [
        {"name": f"default/k/{case}", "architecture": architecture, "registers": 40, "shared": 2048, "stack": stack}
        for case, stack in (("a", 0), ("b", 16))
        for architecture in (80, 90)
    ]
    write(tmp_path, compile_gate={"triton": "3.99", "records": records})
    report.main(["--results", str(tmp_path), "--output", str(tmp_path / "speed.md")])
    lines = (tmp_path / "kernels.md").read_text().splitlines()
    assert any("Triton 3.99" in line and "2 of 4 spill" in line for line in lines)
    assert "| `default/k/a` | 40, 2 KiB | 40, 2 KiB |" in lines
    assert "| `default/k/b` | 40, 2 KiB, **16 spilled** | 40, 2 KiB, **16 spilled** |" in lines


def test_a_timing_of_one_machine_is_a_section_of_its_own(tmp_path: Path) -> None:
    other = solve_document()
    other["machine"] = {**MACHINE, "gpu": "Abacus GPU", "cuda": "14.0"}
    write(tmp_path, **{"solve-a": solve_document(), "solve-b": other})
    text, _ = report.page(tmp_path)
    assert text.count("## Whole solve, 321x481") == 2
    assert "Abacus GPU, torch 2.99, cuda 14.0" in text


@pytest.mark.parametrize(("seconds", "text"), [(12.345, "12.35 s"), (0.0123, "12.30 ms"), (4.2e-5, "42.0 µs")])
def test_durations(seconds: float, text: str) -> None:
    assert report.duration(seconds) == text
