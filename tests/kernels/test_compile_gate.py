"""Every kernel and frozen setting compiles for GPUs that are not here, without spilling; nothing AOTInductor refuses is used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fastreg.kernels import lint, settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The records of the gate, from a process that is not under the interpreter."""
    pytest.importorskip("triton")
    output = tmp_path_factory.mktemp("gate") / "records.json"
    environment = {**os.environ, "TRITON_INTERPRET": "0", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [sys.executable, "-m", "fastreg.kernels.compile_gate", str(output)]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800)
    assert output.exists(), result.stdout[-3000:] + result.stderr[-3000:]
    found: list[dict[str, Any]] = json.loads(output.read_text())["records"]
    return found


def test_every_setting_was_compiled_for_every_architecture(records: list[dict[str, Any]]) -> None:
    for file, kernel, _ in settings.frozen():
        name = f"{file}/{kernel}"
        built = {record["architecture"] for record in records if record["name"].startswith(name)}
        assert built == {80, 90, 100}, name


def test_nothing_spills(records: list[dict[str, Any]]) -> None:
    assert [record for record in records if record["stack"]] == []


def test_shared_memory_is_there(records: list[dict[str, Any]]) -> None:
    limits = {80: 163, 90: 227, 100: 227}
    assert [record for record in records if record["shared"] > 1024 * limits[record["architecture"]]] == []


def test_nothing_is_used_that_aotinductor_refuses() -> None:
    assert lint.check_package() == []


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
def test_the_lint_sees(source: str, complaint: str) -> None:
    found = lint.complaints(source)
    assert len(found) == 1 and complaint in found[0]


def test_importing_the_package_does_not_import_triton() -> None:
    code = "import sys, fastreg.kernels, fastreg.kernels.critic_gradient.reference; assert 'triton' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_everything_imports_without_triton() -> None:
    code = (
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'triton' else find(name, *rest)\n"
        "sys.modules['triton'] = None\n"
        "import torch\n"
        "from fastreg.kernels.blur_gradient import planner\n"
        "from fastreg.kernels.solver_step import ops as step\n"
        "from fastreg.kernels.critic_gradient import ops as critic\n"
        "x = torch.rand(1, 1, 8, 8)\n"
        "step.descent_step(x, x, x, torch.ones(1), torch.tensor(0.5))\n"
        "planner.plan(torch.rand(3, 3), 'zero', (1, 1, 8, 8), x.dtype, x.device).gradient(x, x)\n"
        "critic.energy_and_gradient(x, [torch.rand(2, 1, 3, 3)], [torch.rand(2)], [1], 'relu')\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
