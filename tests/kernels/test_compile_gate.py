"""Kernels compile, as they are launched, for GPUs that are not here, without spilling; nothing AOTInductor refuses is used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kernels import sources

ROOT = Path(__file__).parents[2]


def gate(output: Path, *arguments: str) -> list[dict[str, Any]]:
    """The records of the gate, from a process that is not under the interpreter."""
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "0", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [sys.executable, "-m", "bench.compile_gate", str(output), *arguments]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800)
    assert output.exists(), result.stdout[-3000:] + result.stderr[-3000:]
    found: list[dict[str, Any]] = json.loads(output.read_text())["records"]
    assert found
    assert (result.returncode == 0) == all(record["stack"] == 0 for record in found)
    return found


@pytest.mark.parametrize("launches", ["alr/silu", "blur/reflect"])
def test_what_the_shipped_models_launch_does_not_spill(launches: str, tmp_path: Path) -> None:
    records = gate(tmp_path / "records.json", "--match", launches, "--architectures", "90")
    assert [record for record in records if record["stack"] or record["shared"] > 227 * 1024] == []


@pytest.mark.slow
def test_nothing_spills_anywhere_and_shared_memory_is_there(tmp_path: Path) -> None:
    records = gate(tmp_path / "records.json")
    limits = {80: 163, 90: 227, 100: 227}
    assert {record["architecture"] for record in records} == set(limits)
    failed = [r for r in records if r["stack"] or r["shared"] > 1024 * limits[r["architecture"]]]
    assert failed == []


def test_nothing_is_used_that_aotinductor_refuses() -> None:
    assert sources.check_package() == []


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("triton.Config({}, pre_hook=f)", "pre_hook"),
        ("wrap_triton(k)[(1,)](x, num_ctas=2)", "num_ctas"),
        ("config = {'num_ctas': 2}", "num_ctas"),
        ("wrap_triton(k)[lambda meta: (1,)](x)", "grid"),
        ("grid = (1,)\nwrap_triton(k)[grid](x)", "grid"),
        ("my_kernel[(1,)](x)", "without wrap_triton"),
        ("@triton.autotune([], [])\n@triton.heuristics({})\n@triton.jit\ndef f(x):\n    pass", "2 tuning decorators"),
    ],
)
def test_complaints(source: str, complaint: str) -> None:
    found = sources.complaints(source)
    assert len(found) == 1 and complaint in found[0]


def test_importing_the_package_does_not_import_triton() -> None:
    code = "import sys, fastreg.kernels, fastreg.kernels.critic_gradient.reference; assert 'triton' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_everything_runs_without_triton() -> None:
    code = (
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'triton' else find(name, *rest)\n"
        "sys.modules['triton'] = None\n"
        "import torch\n"
        "from fastreg.kernels.blur_gradient import plan\n"
        "from fastreg.kernels.critic_gradient import ops as critic\n"
        "x, psf = torch.rand(1, 1, 8, 8), torch.rand(3, 3)\n"
        "plan.by_values(psf, 'zero').gradient(x, x, psf)\n"
        "critic.energy_and_gradient(x, [torch.rand(2, 1, 3, 3)], [torch.rand(2)], [1], 'relu')\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
