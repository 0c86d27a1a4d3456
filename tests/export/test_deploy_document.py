"""docs/deploy.md does what it says, as far as it can without a server; and the table of the bench is made of the JSON."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.export_table import table
from fastreg.export import FORMATS
from fastreg.export.parity import GATES

PAGE = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_python_service(made, tmp_path, monkeypatch):
    shutil.copy(made("deblur", "aoti").path, tmp_path / "deblur.pt2")
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in BLOCKS:
        code = compile(block, "docs/deploy.md", "exec")
        if "tritonclient" not in block:
            exec(code, names)
    pixels = np.random.default_rng(0).integers(0, 256, (30, 41, 3), np.uint8)
    status, x = names["handle"](pixels, np.ones((3, 3)))
    assert (status, x.shape, x.dtype) == (200, (30, 41, 3), np.uint8)
    status, words = names["handle"](pixels, np.ones((99, 99)))
    assert status == 400
    assert "at most" in words
    assert names["weight"] == pytest.approx(0.4 * 0.05 / 0.03, rel=1e-4)


def test_the_tables_are_complete():
    assert all(f"| `{name}` |" in PAGE for name in FORMATS)
    for precision, (rms, psnr) in GATES.items():
        row = next(line for line in PAGE.splitlines() if line.startswith("| ") and f"`{precision}`" in line)
        assert f"{psnr} dB" in row
        assert f"{rms:.0e}".replace("e-0", "e-") in row


def test_the_table_of_the_bench():
    rows = [
        {"format": "onnx", "bytes": 17000, "export_s": 2.0, "rms": 1e-6, "psnr_real_db": 1e-5, "status": "passed"},
        {"format": "aoti", "status": "refused", "reason": "rms"},
    ]
    document = {
        "task": "deblur", "prior": "alr", "psf": "input", "boundary": "reflect", "iterations": 50, "precision": "ieee",
        "timed_size": [321, 481], "machine": {"cpu": "x", "device": "x", "threads": 2, "torch": "2"}, "rows": rows,
    }  # fmt: skip
    lines = table([document]).splitlines()
    assert "| onnx | 0.02 MB | 2.00 s |  |  |  | 1.0e-06 | 0.00001 dB | passed |" in lines
    assert any(line.startswith("| aoti |") and line.endswith("| refused |") for line in lines)
    assert "PSF as an input, reflect" in "\n".join(lines)
