"""Times of whole restorations with the models that ship, beside the usual ways to compute them, on one photograph.

    python -m bench.solve                                        # 321x481, two threads
    python -m bench.solve --device cuda --size 512 512 --rounds 15

Before anything is timed, every contender that solves the same problem is compared with a float64 solve; if they differ by more
than the gate of its precision, its row says so. In each round all contenders run once, one after the other, so that a change in
the speed of the machine hits all of them. The JSON goes into bench/results/; `python -m bench.report` makes the table from it.
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
from bench import machine, reference, rivals, timing
from fastreg import Restorer, metrics
from fastreg.compiled import prepare
from fastreg.compiled.gates import GATES
from fastreg.compiled.samples import photograph
from fastreg.kernels.precision import cpu_has_bf16, isolated
from fastreg.operators import LinearOperator
from fastreg.priors import PatchCritic
from fastreg.solvers import Adam
from fastreg.tasks import make_restorer, random_operator

RESULTS = Path(__file__).parent / "results"
PHOTOGRAPH = "coffee"


def _operator(task: str, **options: Any) -> Callable[[int, int], LinearOperator]:
    def make(height: int, width: int) -> LinearOperator:
        return random_operator(task, height, width, torch.Generator().manual_seed(0), **options)

    return make


#: For each case the model, the noise level, and what makes the operator for images of a height and a width.
CASES: dict[str, tuple[str, float, Callable[[int, int], LinearOperator]]] = {
    "denoise": ("unet", 0.1, _operator("denoise")),
    "deblur": ("unet", 0.03, _operator("deblur", psf="gaussian:7:3")),
    "deblur-circular": ("unet", 0.03, _operator("deblur", psf="gaussian:25:1.6", boundary="circular")),
    "inpaint": ("unet", 0.01, _operator("inpaint")),
    "super-resolve": ("unet", 0.01, _operator("super-resolve", factor=2)),
    "demosaick": ("unet", 0.01, _operator("demosaick", pattern="rggb")),
    "mri": ("unet", 0.01, _operator("mri", missing=0.7)),
    "denoise-alr": ("alr", 0.1, _operator("denoise")),
    "deblur-alr": ("alr-deblur", 0.03, _operator("deblur", psf="gaussian:7:3")),
}


class Contender(NamedTuple):
    """Something to time.

    Its `kind` is ``"same"`` if it solves the same problem and is compared with the float64 solve, ``"other"`` for another method,
    ``"untrained"`` if only its time means something, and ``"part"`` for a part of a solve.
    """

    label: str
    precision: str
    run: Callable[[], Tensor]
    kind: str = "same"


class Case(NamedTuple):
    """A problem: the clean image ``[1, 3, H, W]``, the observation, its noise level, and the restorer."""

    name: str
    clean: Tensor
    y: Tensor
    sigma: float
    restorer: Restorer

    def autograd(self, make: Callable[[PatchCritic], Callable[[Tensor], Tensor]]) -> Callable[[], Tensor]:
        """The solve as `bench.reference` writes it, with the gradient that `make` gives for the critic."""
        prior, solver, rule = self.restorer.prior, self.restorer.solver, self.restorer.weight_rule
        assert isinstance(prior, PatchCritic)
        assert isinstance(solver, Adam)
        assert rule is not None
        gradient, weight = make(prior), float(rule(torch.tensor([self.sigma], dtype=torch.float64)))

        def run() -> Tensor:
            with isolated(), torch.no_grad():
                return reference.solve(gradient, self.restorer.operator, solver, self.y, self.sigma, weight)

        return run

    def fastreg(self, restorer: Restorer | None = None) -> Callable[[], Tensor]:
        """The solve of fastreg: eager, or by another restorer."""
        chosen = restorer or self.restorer

        def run() -> Tensor:
            with torch.no_grad():
                result: Tensor = chosen(self.y, self.sigma)
            return result

        return run

    def exact(self) -> Tensor:
        """The result of the solve in float64."""
        y = self.y.to(torch.complex128 if self.y.is_complex() else torch.float64)
        double = self._replace(restorer=copy.deepcopy(self.restorer).double(), y=y)
        return double.autograd(reference.gradient)() if self.is_critic else double.fastreg()()

    @property
    def is_critic(self) -> bool:
        """Whether the prior is a critic."""
        return isinstance(self.restorer.prior, PatchCritic)


def load(name: str, size: Sequence[int], device: torch.device, iterations: int | None = None) -> Case:
    """A case by its name; the model card gives the number of iterations if it is not given."""
    model, sigma, operator = CASES[name]
    restorer = make_restorer(operator(size[0], size[1]), prior=model, iterations=iterations)
    form = restorer.operator.measurement()
    height, width = (side // form.scale * form.scale for side in size)
    clean = photograph(PHOTOGRAPH, (1, 3, height, width))
    y = restorer.operator.observe(clean, sigma, torch.Generator().manual_seed(0))
    return Case(name, clean.to(device), y.to(device), sigma, restorer.to(device))


def contenders(case: Case) -> dict[str, Contender]:
    """All that can run on the device; ratios of times are relative to the first."""
    return _critics(case) if case.is_critic else _denoisers(case)


def _critics(case: Case) -> dict[str, Contender]:
    reduced = ["tf32", "bf16", "fp16"] if case.y.is_cuda else ["bf16"] if cpu_has_bf16() else []
    result = {
        "autograd": Contender("eager autograd", "ieee", case.autograd(reference.gradient)),
        "autograd-compiled": Contender(
            "eager autograd, gradient compiled", "ieee", case.autograd(reference.compiled_gradient)
        ),
        "eager": Contender("fastreg", "ieee", case.fastreg()),
    }
    for precision in ("ieee", *reduced):
        compiled = fastreg.compile(case.restorer, precision)
        result[f"compiled-{precision}"] = Contender("fastreg, compiled", precision, case.fastreg(compiled))
    return result


def _denoisers(case: Case) -> dict[str, Contender]:
    operator, y, sigma, solver = case.restorer.operator, case.y, case.sigma, case.restorer.solver
    fast = prepare(case.restorer, "auto", "never")
    named = {"ieee": case.restorer, fast.precision: fast}
    result = {
        "drunet": Contender(
            "the same loop with DRUNet",
            "ieee",
            rivals.with_prior(rivals.drunet(), operator, solver, y, sigma),
            "untrained",
        ),
        "paper": Contender("PDHG, 30 steps, DnCNN", "ieee", rivals.paper(operator, y, sigma), "untrained"),
        "tv": Contender(
            "total variation, 50 steps", "ieee", rivals.total_variation(operator, y, sigma, case.clean), "other"
        ),
    }
    bm3d = rivals.bm3d(operator, y, sigma)
    if bm3d is not None:
        result["bm3d"] = Contender("BM3D", "float64", bm3d, "other")
    for precision, restorer in named.items():
        result[f"fastreg-{precision}"] = Contender("fastreg", precision, case.fastreg(restorer))
        result[f"network-{precision}"] = Contender(
            "fastreg, the network alone", precision, _network(case, restorer), "part"
        )
    return result


def _network(case: Case, restorer: Restorer) -> Callable[[], Tensor]:
    """The evaluations of the denoiser that a solve takes, without the rest of it."""
    level = torch.full((1,), 0.1, device=case.y.device)

    def run() -> Tensor:
        with torch.no_grad():
            x: Tensor = case.clean
            for _ in range(restorer.solver.iterations):
                x = restorer.prior(case.clean, level)
            return x

    return run


def judge(x: Tensor, exact: Tensor, clean: Tensor, precision: str) -> dict[str, Any]:
    """The distance of a result from the float64 solve, and whether that is within the gate of its precision."""
    rms = float((x.double() - exact).square().mean().sqrt())
    change = float(metrics.psnr(x, clean)[0] - metrics.psnr(exact.float(), clean)[0]) if rms < float("inf") else rms
    limits = GATES[precision]
    return {"rms": rms, "psnr_change": change, "passed": rms <= limits[0] and abs(change) <= limits[1]}


def measure(case: Case, rounds: int) -> dict[str, Any]:
    """Check and time all contenders; the rows of the JSON file."""
    rows: dict[str, dict[str, Any]] = {}
    exact, every = case.exact(), contenders(case)
    first = next(iter(every))
    for name, contender in every.items():
        rows[name] = {"name": name, "label": contender.label, "precision": contender.precision, "kind": contender.kind}
        result = contender.run()  # also warms up
        if contender.kind == "same":
            rows[name] |= judge(result, exact, case.clean, contender.precision)
        if contender.kind in ("same", "other"):
            rows[name]["psnr"] = float(metrics.psnr(result, case.clean)[0])
        print(case.name, rows[name], flush=True)
    samples = timing.interleaved({name: contender.run for name, contender in every.items()}, rounds, case.y.device)
    for name, values in samples.items():
        rows[name] |= timing.summary(values) | {"ratio": timing.ratio(samples[first], values)}
    restorer = case.restorer
    assert restorer.prior.card is not None
    return {
        "task": case.name,
        "model": restorer.prior.card.name,
        "sigma": case.sigma,
        "shape": list(case.clean.shape),
        "photograph": f"{PHOTOGRAPH} (scikit-image)",
        "solver": restorer.solver.kind,
        "iterations": restorer.solver.iterations,
        "rows": list(rows.values()),
    }


def file_name(bench: str, about: dict[str, Any], size: Sequence[int]) -> str:
    """The name of the JSON file: what was measured, the device and the size."""
    where = about.get("gpu") or f"{about['cpu']} {about['threads']} threads"
    return f"{bench}-{re.sub(r'[^a-z0-9]+', '-', where.lower()).strip('-')}-{size[0]}x{size[1]}.json"


def main(arguments: Sequence[str]) -> int:
    """Measure and write; returns 1 if a contender in float32 is outside its gate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--size", type=int, nargs=2, default=[321, 481], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--iterations", type=int, help="of the solver; those of the model card if not given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, help="the JSON file; by default one in bench/results/")
    options = parser.parse_args(arguments)
    device, about = machine.begin(options.threads, options.device)
    output = options.output or RESULTS / file_name("solve", about, options.size)
    output.parent.mkdir(parents=True, exist_ok=True)
    cases: list[dict[str, Any]] = []
    for task in options.task:  # the file is written after each one, in case the run is interrupted
        cases.append(measure(load(task, options.size, device, options.iterations), options.rounds))
        output.write_text(json.dumps({"bench": "solve", "machine": about, "cases": cases}, indent=1) + "\n")
    print(f"written: {output}")
    return int(
        not all(
            row["passed"] for case in cases for row in case["rows"] if row["precision"] == "ieee" and "passed" in row
        )
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
