"""What `import fastreg` costs and does not pull in."""

from __future__ import annotations

import subprocess
import sys

LAZY = ("PIL", "onnx", "onnxruntime", "skimage", "scipy", "typer", "rich", "triton", "matplotlib")
OURS = ("fastreg.export", "fastreg.cli", "fastreg.batch", "fastreg.training")


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)


def test_import_is_cheap_beside_that_of_torch() -> None:
    """At most a fifth of the time that `import torch` takes, measured in one process so that load does not matter."""
    shares = []
    for _ in range(3):
        lines = python("-X", "importtime", "-c", "import torch, fastreg").stderr.splitlines()
        cumulative = {
            line.split("|")[2].strip(): int(line.split("|")[1])
            for line in lines
            if line.count("|") == 2 and "cumulative" not in line
        }
        shares.append(cumulative["fastreg"] / cumulative["torch"])
    assert min(shares) < 0.2


def test_import_pulls_in_nothing_that_is_not_needed() -> None:
    code = "import torch, sys; before = set(sys.modules); import fastreg; print(*(set(sys.modules) - before))"
    loaded = python("-c", code).stdout.split()
    assert not [name for name in loaded if name.split(".")[0] in LAZY or name.startswith(OURS)]


def test_top_level_packages() -> None:
    """The folders kernels/ and export/ are packages of fastreg, and of nobody else."""
    code = "import fastreg.kernels, fastreg.export; print(fastreg.kernels.__name__, fastreg.export.__name__)"
    assert python("-c", code).stdout.split() == ["fastreg.kernels", "fastreg.export"]


def test_a_solve_on_a_cpu_does_not_load_triton() -> None:
    """It takes longer to import than torch, and would do nothing."""
    code = (
        "import sys, torch, fastreg\n"
        "from fastreg.operators import Blur, gaussian_psf\n"
        "prior = fastreg.priors.PatchCritic([(3, 2, 3)])\n"
        "for solver in (fastreg.solvers.Adam(1), fastreg.solvers.GradientDescent(1)):\n"
        "    run = fastreg.Restorer(Blur(gaussian_psf(3, 1.0)), prior=prior, solver=solver, weight=1.0)\n"
        "    run(torch.rand(1, 3, 8, 8), 0.1)\n"
        "print('triton' in sys.modules)"
    )
    assert python("-c", code).stdout.split() == ["False"]
