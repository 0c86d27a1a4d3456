"""The cache of compiled programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fastreg.compiled import cache as compile_cache
from fastreg.compiled.cache import VARIABLE, persistent_cache, use_persistent_cache

SOLVE = """
import json, os, sys, torch
from torch._inductor import cpp_builder
import fastreg
from fastreg.priors import PatchCritic
from fastreg.solvers import Adam

built = []
build = cpp_builder.CppBuilder.build
cpp_builder.CppBuilder.build = lambda self: (built.append(self._name), build(self))[1]
torch.manual_seed(0)
prior = PatchCritic([(1, 4, 3, 1), (4, 1, 3, 1)]).requires_grad_(False)
fast = fastreg.compile(fastreg.Restorer(prior=prior, solver=Adam(2), weight=0.3))
x = fast(torch.rand(1, 1, 12, 13), 0.1)
counters = torch._dynamo.utils.counters
print(json.dumps({
    "directory": os.environ["TORCHINDUCTOR_CACHE_DIR"],
    "built": built,
    "hits": counters["inductor"]["fxgraph_cache_hit"] + counters["aot_autograd"]["autograd_cache_hit"],
    "misses": counters["inductor"]["fxgraph_cache_miss"],
    "sum": x.double().sum().item(),
}))
"""


def solve_in_a_new_process(home: Path, **environment: str) -> dict[str, Any]:
    inherited = {key: value for key, value in os.environ.items() if key != VARIABLE}
    # one process builds, so that the count of builds sees every one
    inherited |= {"XDG_CACHE_HOME": str(home), "TORCHINDUCTOR_COMPILE_THREADS": "1"} | environment
    done = subprocess.run([sys.executable, "-c", SOLVE], env=inherited, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.slow
def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    cold, warm = (solve_in_a_new_process(tmp_path) for _ in range(2))
    assert str(cold["directory"]).startswith(str(tmp_path / "fastreg"))
    assert warm["directory"] == cold["directory"]
    assert cold["built"] and not cold["hits"]
    # torch runs its own headers through the preprocessor, to see whether they are still the same: that is no compilation
    assert warm["hits"] and not warm["misses"]
    assert [name for name in warm["built"] if not name.endswith("/header")] == []
    assert warm["sum"] == cold["sum"]


def test_the_choice_of_the_user_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "mine"))
    use_persistent_cache()
    assert os.environ[VARIABLE] == str(tmp_path / "mine")
    assert not (tmp_path / "cache").exists()


def test_versions_and_machines_do_not_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    here = persistent_cache()
    assert here.parent == tmp_path / "fastreg"
    assert torch.__version__ in here.name
    monkeypatch.setattr(compile_cache, "_machine", lambda: "another")
    assert persistent_cache() != here
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert persistent_cache().is_relative_to(Path.home() / ".cache")


def test_a_home_that_cannot_be_written_leaves_torch_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.delenv(VARIABLE, raising=False)
    use_persistent_cache()
    assert VARIABLE not in os.environ
