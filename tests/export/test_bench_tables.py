"""bench/tables/export.md is made of the JSON of the commands, and `python -m bench.startup` measures what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bench.export_table import table

ROOT = Path(__file__).parents[2]


def test_the_table_of_the_formats():
    rows = [
        {
            "format": "onnx", "bytes": 17000, "export_s": 2.0, "load_s": 0.1, "first_s": 0.5, "p50_s": 0.4, "eager_s": 0.6,
            "rms": 1e-6, "psnr_real_db": 1e-5, "status": "passed",
        },
        {"format": "aoti", "status": "refused", "reason": "rms 1 of 0.1"},
    ]  # fmt: skip
    document = {
        "task": "deblur", "prior": "alr", "psf": "input", "boundary": "reflect", "iterations": 50, "precision": "ieee",
        "timed_size": [321, 481], "machine": {"cpu": "x", "threads": 2, "torch": "2"}, "rows": rows,
    }  # fmt: skip
    lines = table([document]).splitlines()
    headings = "| format | size | export | load | first call | p50 | eager | rms | ΔPSNR on photographs | status |"
    assert headings in lines
    row = "| onnx | 0.02 MB | 2.00 s | 0.10 s | 0.50 s | 0.40 s | 0.60 s | 1.0e-06 | 0.00001 dB | passed |"
    assert row in lines
    assert {line.count("|") for line in lines if line.startswith("|")} == {headings.count("|")}
    assert any(line.startswith("| aoti |") and line.endswith("| refused |") for line in lines)
    assert "* `aoti`: rms 1 of 0.1" in lines
    assert "psf input, boundary reflect" in "\n".join(lines)


def test_startup_in_fresh_processes(made, tmp_path):
    path = made("deblur", "aoti").path
    command = [
        sys.executable,
        "-m",
        "bench.startup",
        str(path),
        "--processes",
        "1",
        "--calls",
        "1",
        "--size",
        "48",
        "64",
    ]
    result = subprocess.run([*command, "-o", str(tmp_path / "s.json")], cwd=ROOT, capture_output=True, text=True)
    document = json.loads((tmp_path / "s.json").read_text())
    (row,) = document["rows"]
    assert result.returncode == (1 if row["startup_s"] > document["limit_s"] else 0), result.stderr
    assert "deblur-aoti.pt2 (python): start-up" in result.stderr
    assert (row["task"], row["format"], row["processes"], row["calls"]) == ("deblur", "aoti", 1, 1)
    keys = ("interpreter_s", "import_torch_s", "import_fastreg_s", "load_s", "first_s", "solve_s", "process_s")
    assert all(row[key] > 0 for key in keys)
    assert row["process_s"] >= sum(row[key] for key in keys[:5])
    assert abs(row["startup_s"] - (row["load_s"] + row["first_s"] - row["solve_s"])) < 1e-9
    lines = table([], [document]).splitlines()
    assert "start-up | whole process |" in "\n".join(lines)
    assert any(line.startswith("| deblur-aoti.pt2 | python | ") for line in lines)


def test_startup_refuses_what_is_no_artefact(tmp_path):
    (tmp_path / "x.pt2").write_text("hello")
    for name, code, words in (("x.pt2", 1, "neither a .pt2 package"), ("none.pt2", 2, "there is no artefact")):
        command = [sys.executable, "-m", "bench.startup", str(tmp_path / name), "--processes", "1"]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert result.returncode == code
        assert words in result.stderr
        assert "Traceback" not in result.stderr


def test_loading_a_package_does_not_import_the_compiler(made):
    """torch._inductor and torch._dynamo take longer to import than a small package takes to load."""
    code = (
        "import sys, torch; from fastreg.export import load; artefact = load(sys.argv[1]);"
        "artefact(torch.rand(1, 3, 20, 21), 0.1, psf=torch.ones(3, 3));"
        "print(*[n for n in ('torch._inductor', 'torch._dynamo', 'sympy', 'onnx', 'skimage', 'PIL') if n in sys.modules])"
    )
    path = made("deblur", "aoti").path
    result = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stdout.split()) == (0, []), result.stderr[-500:]
