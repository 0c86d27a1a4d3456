"""Whole solves of the critics that ship, on one photograph: the papers' way against fastreg, interleaved.

    python -m bench.solve                                        # 321x481, two threads
    python -m bench.solve --device cuda --size 512 512 --rounds 15

Every contender is first compared with the float64 solve; one that leaves the gate of its precision is marked. Then each is timed
once a round. The JSON goes into bench/results/; `python -m bench.report` makes the table of it.
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import fastreg
from bench import machine, reference, timing
from fastreg import Restorer, metrics
from fastreg.compiled.cache import use_persistent_cache
from fastreg.compiled.gates import GATES
from fastreg.compiled.samples import photograph
from fastreg.kernels.precision import cpu_has_bf16, isolated
from fastreg.operators import Blur, Identity, LinearOperator, gaussian_psf
from fastreg.priors import PatchCritic
from fastreg.solvers import Adam

RESULTS = Path(__file__).parent / "results"
PHOTOGRAPH = "coffee"
#: Model, noise level and operator of each task.
TASKS: dict[str, tuple[str, float, Callable[[], LinearOperator]]] = {
    "denoise": ("alr", 0.1, Identity),
    "deblur": ("alr-deblur", 0.03, lambda: Blur(gaussian_psf(7, 3.0))),
}


class Case(NamedTuple):
    """A problem: the clean image and the observation ``[1, 3, H, W]``, the noise level, and the restorer for it."""

    task: str
    clean: Tensor
    y: Tensor
    sigma: float
    restorer: Restorer

    def autograd(self, make: Callable[[PatchCritic], Callable[[Tensor], Tensor]]) -> Callable[[], Tensor]:
        """The solve of `bench.reference` with a way to take the gradient."""
        prior, solver, rule = self.restorer.prior, self.restorer.solver, self.restorer.weight_rule
        assert isinstance(prior, PatchCritic)
        assert isinstance(solver, Adam)
        assert rule is not None
        gradient, weight = make(prior), float(rule(torch.tensor([self.sigma], dtype=torch.float64)))

        def run() -> Tensor:
            with isolated(), torch.no_grad():
                return reference.solve(gradient, self.restorer.operator, solver, self.y, self.sigma, weight)

        return run

    def fastreg(self, precision: str | None = None) -> Callable[[], Tensor]:
        """Our solve: eager, or compiled in a precision."""
        restorer = self.restorer if precision is None else fastreg.compile(self.restorer, precision)
        return lambda: restorer(self.y, self.sigma)

    def exact(self) -> Tensor:
        """The float64 solve."""
        double = self._replace(restorer=copy.deepcopy(self.restorer).double(), y=self.y.double())
        return double.autograd(reference.gradient)()


def load(task: str, size: Sequence[int], device: torch.device, iterations: int | None = None) -> Case:
    """The case of a task; without `iterations`, as many as the model card says."""
    name, sigma, operator = TASKS[task]
    restorer = Restorer(operator(), prior=fastreg.load(name))
    if iterations is not None:
        settings: dict[str, Any] = {**restorer.solver.settings, "iterations": iterations}
        restorer = Restorer(restorer.operator, prior=restorer.prior, solver=Adam(**settings))
    clean = photograph(PHOTOGRAPH, (1, 3, size[0], size[1]))
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    y = restorer.operator(clean) + sigma * noise
    return Case(task, clean.to(device), y.to(device), sigma, restorer.to(device))


def contenders(case: Case) -> dict[str, tuple[str, str, Callable[[], Tensor]]]:
    """Label, precision and solve of everything that runs on the device; the first is what fastreg is measured against."""
    reduced = ["tf32", "bf16", "fp16"] if case.y.is_cuda else ["bf16"] if cpu_has_bf16() else []
    result = {
        "autograd": ("eager autograd", "ieee", case.autograd(reference.gradient)),
        "autograd-compiled": ("eager autograd, gradient compiled", "ieee", case.autograd(reference.compiled_gradient)),
        "eager": ("fastreg", "ieee", case.fastreg()),
    }
    for precision in ("ieee", *reduced):
        result[f"compiled-{precision}"] = ("fastreg, compiled", precision, case.fastreg(precision))
    return result


def judge(x: Tensor, exact: Tensor, clean: Tensor, precision: str) -> dict[str, Any]:
    """Distance of a result from the float64 solve, and whether it passes the gate of its precision."""
    rms = float((x.double() - exact).square().mean().sqrt())
    change = float(metrics.psnr(x, clean)[0] - metrics.psnr(exact.float(), clean)[0]) if rms < float("inf") else rms
    limits = GATES[precision]
    return {"rms": rms, "psnr_change": change, "passed": rms <= limits[0] and abs(change) <= limits[1]}


def measure(case: Case, rounds: int) -> dict[str, Any]:
    """Correctness and times of every contender, as JSON values."""
    rows: dict[str, dict[str, Any]] = {}
    exact, every = case.exact(), contenders(case)
    for name, (label, precision, run) in every.items():
        rows[name] = {"name": name, "label": label, "precision": precision}
        rows[name] |= judge(run(), exact, case.clean, precision)
        print(case.task, rows[name], flush=True)
    samples = timing.interleaved({name: run for name, (_, _, run) in every.items()}, rounds, case.y.device)
    for name, values in samples.items():
        rows[name] |= timing.summary(values) | {"ratio": timing.ratio(samples["autograd"], values)}
    restorer = case.restorer
    assert restorer.prior.card is not None
    return {
        "task": case.task,
        "model": restorer.prior.card.name,
        "sigma": case.sigma,
        "shape": list(case.y.shape),
        "photograph": f"{PHOTOGRAPH} (scikit-image)",
        "iterations": restorer.solver.iterations,
        "rows": list(rows.values()),
    }


def file_name(about: dict[str, Any], size: Sequence[int]) -> str:
    """Of the JSON: the device and the size."""
    where = about.get("gpu") or f"{about['cpu']} {about['threads']} threads"
    return f"solve-{re.sub(r'[^a-z0-9]+', '-', where.lower()).strip('-')}-{size[0]}x{size[1]}.json"


def main(arguments: Sequence[str]) -> int:
    """Measure and write; returns 1 if a float32 contender is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--size", type=int, nargs=2, default=[321, 481], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--iterations", type=int, help="of the solver; those of the model card if not given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, help="the JSON file; by default one in bench/results/")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    use_persistent_cache()
    device = torch.device(options.device)
    about = machine.describe(device)
    cases = [measure(load(task, options.size, device, options.iterations), options.rounds) for task in options.task]
    output = options.output or RESULTS / file_name(about, options.size)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({"bench": "solve", "machine": about, "cases": cases}, indent=1) + "\n")
    print(f"written: {output}")
    return int(not all(row["passed"] for case in cases for row in case["rows"] if row["precision"] == "ieee"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
