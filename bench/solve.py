"""The whole solve: 50 steps of Adam with the released critic on one photograph, all contenders interleaved.

    FASTREG_DATA=DATA python -m bench.solve                                   # 321x481, two threads, about half an hour
    FASTREG_DATA=DATA python -m bench.solve --device cuda --size 512 512
    python -m bench.solve --size 64 96 --iterations 5 --rounds 2 --output /tmp/solve.json     # to try it out

Every contender is compared with the float64 solve before anything is timed, and what is outside the gate is marked. Then come the
rates of the machine, the timing, one of each contender in turn, and fresh processes for peak memory and for cold and warm starts.
The JSON goes into bench/results/, and
`python -m bench.report` makes the table of it. Without FASTREG_DATA the critic has the same layers and random weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import re
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import cases, fresh, machine, reference, timing
from fastreg import metrics
from fastreg.compiled.cache import use_persistent_cache
from fastreg.compiled.gates import GATES
from fastreg.kernels.precision import tensor_float
from fastreg.operators import Identity

RESULTS = Path(__file__).parent / "results"
#: What the others are compared with.
BASELINES = ("autograd", "autograd-compiled")
#: Speed-ups over eager autograd on a CPU that are aimed at, by contender.
TARGETS = {"compiled-ieee": 2.5, "compiled-bf16": 4.5, "optimized-ieee": 10.0, "optimized-bf16": 10.0}
#: The start is timed on a small image: what the compiler does is the same for every size.
START_SIZE = (66, 98)


def say(text: str) -> None:
    """To the terminal, at once."""
    print(text, flush=True)


@dataclasses.dataclass(frozen=True)
class Exact:
    """The float64 solve, and how far the float32 one of the same code is from it."""

    x: Tensor
    psnr: float
    own: float

    def judge(self, x: Tensor, clean: Tensor, precision: str) -> dict[str, Any]:
        """Distances of a result from the float64 solve, and whether they pass the gate of its precision.

        Where eager autograd is itself further than half the gate from float64, twice its distance is allowed, and at most
        four times the gate.
        """
        rms, decibels = GATES[precision]
        difference = (x.double() - self.x).square().mean().sqrt().item()
        finite = bool(torch.isfinite(x).all())
        change = float(metrics.psnr(x, clean)[0]) - self.psnr if finite else math.inf
        limits = [rms, decibels]
        if 2 * self.own > rms:
            scale = min(2 * self.own / rms, 4.0)
            limits = [scale * rms, scale * decibels]
        passed = difference <= limits[0] and abs(change) <= limits[1]
        return {"rms": difference, "psnr_change": change, "limits": limits, "passed": passed}


def exact_solve(case: cases.Case) -> Exact:
    """The reference of everything, in float64."""
    solve = (Identity(), case.y, cases.SIGMA, case.weight, case.settings.iterations)
    model = reference.network(case.critic)
    with tensor_float(False):
        single = reference.solve(model, *solve)
        x = reference.solve(model.double(), solve[0], case.y.double(), *solve[2:])
    return Exact(x, float(metrics.psnr(x.float(), case.clean)[0]), (single - x).square().mean().sqrt().item())


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything, as one JSON document."""
    settings = cases.Settings(*options.size, options.iterations, options.device)
    case = cases.load(settings, options.critic)
    if case.kind == "random":
        say("the released critic is not at hand (FASTREG_DATA): the same layers with random weights")
    every = cases.contenders(case.device)
    names = [name for name in every if name in options.only or not options.only or name in BASELINES]
    say(f"float64 solve of {case.photograph}, {settings.height}x{settings.width}")
    exact = exact_solve(case)
    folded = case.folded
    rows: dict[str, dict[str, Any]] = {}
    runs: dict[str, Callable[[], Tensor]] = {}
    for name in names:
        contender = every[name]
        rows[name] = row = {"name": name, "label": contender.label, "precision": contender.precision}
        run = contender.prepare(case)
        try:
            row |= exact.judge(run(), case.clean, contender.precision)
        except cases.NotFoldedError as error:
            row |= {"passed": False, "error": str(error)}
        row["flop"] = cases.solve_flop(case, folded if contender.folded else None, run)
        effort = getattr(run, "effort", None)
        if effort is not None:
            row["certified"] = dataclasses.asdict(effort)
        say(f"{name}: " + (f"rms {row['rms']:.1e}, {row['psnr_change']:+.4f} dB" if "rms" in row else row["error"]))
        if "error" not in row:
            runs[name] = run
        if not row["passed"]:
            say(f"{name} is outside the gate: {row.get('limits', 'not timed')}")
    document: dict[str, Any] = {
        "bench": "solve",
        "machine": machine.describe(case.device),
        "case": {
            "shape": list(case.y.shape),
            "iterations": settings.iterations,
            "sigma": cases.SIGMA,
            "weight": case.weight,
            "critic": case.kind,
            "photograph": case.photograph,
            "work_per_pixel": list(folded.work),
            "autograd_rms": exact.own,
        },
        "roofline": machine.roofline(case.device),
    }
    for run in runs.values():
        run()
    samples = timing.interleaved(runs, options.rounds, case.device, lambda k: say(f"round {k} of {options.rounds}"))
    # the better one of two bounds: something else may have run during one of them
    again = machine.roofline(case.device)
    document["roofline"] = {name: max(rate, again[name]) for name, rate in document["roofline"].items()}
    for name, values in samples.items():
        rate = document["roofline"].get(f"conv_{rows[name]['precision']}")
        rows[name] |= timing.summary(values) | {"seconds": values}
        if rate:
            rows[name]["roofline"] = rows[name]["flop"] / statistics.median(values) / rate
    say("rates: " + ", ".join(f"{name} {value / 1e9:.0f} G/s" for name, value in document["roofline"].items()))
    document["ratios"] = [
        {"baseline": baseline, "name": name, **timing.ratio(samples[baseline], samples[name])}
        for baseline in BASELINES
        for name in samples
        if baseline in samples and name != baseline
    ]
    document["rows"] = list(rows.values())
    return document


def measure_fresh(document: dict[str, Any], options: argparse.Namespace) -> None:
    """Add peak memory and starts to the document; what fails is said, and the rest goes on."""
    settings = cases.Settings(*options.size, options.iterations, options.device)
    small = settings._replace(height=START_SIZE[0], width=START_SIZE[1])
    kind = document["case"]["critic"]
    document["start"] = {}
    for row in document["rows"]:
        name = row["name"]
        if "p50" not in row:
            continue
        try:
            row["memory"] = fresh.ask("memory", name, settings, options.threads, kind)
            say(f"{name}: peak memory of a solve {row['memory']['solve'] / 1e6:.0f} MB")
            if name in ("compiled-ieee", "optimized-ieee"):
                document["start"][name] = fresh.cold_and_warm(name, small, options.threads, kind)
        except RuntimeError as error:
            say(str(error))


def choosing(document: dict[str, Any]) -> dict[str, float]:
    """What the constants of `fastreg.batch.choosing` should be on this machine."""
    times = {row["name"]: row["p50"] for row in document["rows"] if "p50" in row}
    result = {}
    if {"eager", "compiled-ieee"} <= times.keys():
        result["SAVED"] = 1 - times["compiled-ieee"] / times["eager"]
    for which, constant in (("cold", "COMPILING"), ("warm", "COMPILING_WARM")):
        if "compiled-ieee" in document.get("start", {}):
            result[constant] = document["start"]["compiled-ieee"][which]["compiling"]
    return result


def summarise(document: dict[str, Any]) -> None:
    """The result in words, with what is aimed at."""
    rows = {row["name"]: row for row in document["rows"]}
    for entry in document["ratios"]:
        low, high = entry["quartiles"]
        target = TARGETS.get(entry["name"]) if entry["baseline"] == "autograd" else None
        aim = f", to reach {target}" if target and document["case"]["critic"] == "released" else ""
        say(f"{entry['name']} over {entry['baseline']}: {entry['ratio']:.2f} ({low:.2f} to {high:.2f}){aim}")
    base = rows.get("autograd", {}).get("memory")
    for name, row in rows.items():
        if base and "memory" in row:
            shares = [row["memory"][key] / base[key] for key in ("solve", "process")]
            say(f"{name}: {shares[0]:.2f} of the memory of autograd, {shares[1]:.2f} with the compiler's remains")
    for name, times in document.get("start", {}).items():
        cold, warm = (times[which]["compiling"] for which in ("cold", "warm"))
        say(f"{name}: compiling takes {cold:.1f} s cold, {warm:.1f} s from the cache")
    for constant, value in choosing(document).items():
        say(f"fastreg.batch.choosing: {constant} = {value:.2f} here")


def file_name(document: dict[str, Any]) -> str:
    """Of the JSON: the device and the size."""
    where = document["machine"].get("gpu") or document["machine"]["cpu"] + f" {document['machine']['threads']} threads"
    slug = re.sub(r"[^a-z0-9]+", "-", where.lower()).strip("-")
    return f"solve-{slug}-{document['case']['shape'][-2]}x{document['case']['shape'][-1]}.json"


def main(arguments: Sequence[str]) -> int:
    """Measure and write; returns 1 if a contender is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=[321, 481], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--iterations", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--critic", choices=["released", "random"], help="by default the released one if it is there")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these contenders, beside the baselines")
    parser.add_argument("--quick", action="store_true", help="no fresh processes: neither memory nor starts")
    parser.add_argument("--output", type=Path, help="the JSON file; by default one in bench/results/")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    use_persistent_cache()
    document = measure(options)
    output = options.output or RESULTS / file_name(document)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(document, indent=1) + "\n")
    if not options.quick:
        measure_fresh(document, options)
    document["choosing"] = choosing(document)
    summarise(document)
    output.write_text(json.dumps(document, indent=1) + "\n")
    say(f"written: {output}")
    return int(not all(row["passed"] for row in document["rows"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
