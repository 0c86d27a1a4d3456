"""Runs the files of tests/kernels/interpreted in processes with TRITON_INTERPRET=1, side by side."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

pytest.importorskip("triton")
FOLDER = Path(__file__).parent / "interpreted"
FILES = sorted(path.name for path in FOLDER.glob("test_*.py"))
Run = tuple["subprocess.Popen[bytes]", IO[bytes]]


def start(file: str, marker: str) -> Run:
    """A process that runs the tests of a file that have a marker, and where its output goes."""
    root = Path(__file__).parents[2]
    paths = [str(root), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", marker, str(FOLDER / file)]
    output = tempfile.TemporaryFile()  # noqa: SIM115 (open until the process has ended)
    return subprocess.Popen(command, cwd=root, env=environment, stdout=output, stderr=subprocess.STDOUT), output


def finish(run: Run) -> None:
    """Wait for a process, and fail with what it printed if it failed."""
    process, output = run
    code = process.wait(timeout=1800)
    output.seek(0)
    assert code == 0, output.read().decode(errors="replace")[-8000:]


@pytest.fixture(scope="module")
def runs() -> Iterator[dict[str, Run]]:
    """A running process for each file."""
    started = {file: start(file, "not slow") for file in FILES}
    yield started
    for process, output in started.values():
        process.kill()
        process.wait()
        output.close()


@pytest.mark.parametrize("file", FILES)
def test_under_the_interpreter(file: str, runs: dict[str, Run]) -> None:
    finish(runs[file])


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_sweeps_under_the_interpreter(file: str) -> None:
    finish(start(file, "slow"))
