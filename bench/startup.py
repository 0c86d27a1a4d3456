"""Time from the start of a process to its first restored image by an artefact.

python -m bench.startup denoise.pt2 deblur.pt2 -o bench/results/startup.json
python -m bench.startup denoise.pt2 --latency build/programs/latency

Fresh processes measure the imports of torch and fastreg, the loading of the artefact, the first call and the following calls.
Start-up is ``load + first call - median call``, the time that is added to a solve; the limit is two seconds. The time of the
whole process, with the interpreter and ``import torch``, is reported, too. The first process fills the disk cache and does not
count. With ``--latency`` the C++ program is measured as well.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

#: Height and width of the image, and the limit on start-up in seconds.
SIZE, LIMIT = (192, 288), 2.0
#: Noise level of the calls, and the weight if an artefact has no rule; neither affects the time.
SIGMA, WEIGHT = 0.1, 0.2


def child(path: str, started: float, calls: int, size: tuple[int, int]) -> dict[str, Any]:
    """Times of one process, in seconds; `started` is the time it was started at, on the monotonic clock."""
    times = {"interpreter_s": time.monotonic() - started}
    clock = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        times[name], clock = now - clock, now

    import torch

    lap("import_torch_s")
    from fastreg.export import load

    lap("import_fastreg_s")
    artefact = load(path)
    lap("load_s")
    about = artefact.metadata
    first = about["inputs"][0]
    dtype = getattr(torch, first["dtype"])
    y = torch.rand(1, first["shape"][1], *size, generator=torch.Generator().manual_seed(0), dtype=dtype)
    y = y.to(about["device"])
    contents = {"psf": torch.ones(3, 3), "mask": torch.ones(size)}
    given = {spec["name"]: contents[spec["content"]] for spec in about["inputs"][3:]}
    weight = None if about["weight_rule"] else WEIGHT

    def call() -> None:
        x = artefact(y, SIGMA, weight, **given)
        assert bool(torch.isfinite(x).all())  # also waits for the device

    clock = time.perf_counter()
    call()
    lap("first_s")
    times["process_s"] = time.monotonic() - started
    following = []
    for _ in range(calls):
        before = time.perf_counter()
        call()
        following.append(time.perf_counter() - before)
    times["solve_s"] = statistics.median(following)
    times["startup_s"] = times["load_s"] + times["first_s"] - times["solve_s"]
    return {
        "times": times,
        "format": about["format"],
        "task": about["task"],
        "prior": about["prior"]["name"],
        "iterations": len(about["schedule"]),
        "precision": about["precision"],
        "device": about["device"],
        "bytes": artefact.path.stat().st_size,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cpu": torch.cpu.get_capabilities().get("cpu_name"),
    }


def measure(path: Path, processes: int, calls: int, size: tuple[int, int]) -> dict[str, Any]:
    """One row: medians over processes, and their ranges."""
    runs = []
    for k in range(processes + 1):
        command = [sys.executable, "-m", "bench.startup", str(path), "--calls", str(calls)]
        command += ["--size", *(str(n) for n in size)]
        result = subprocess.run([*command, "--started", repr(time.monotonic())], capture_output=True, text=True)
        if result.returncode != 0:
            raise SystemExit(f"{path} cannot be measured: {result.stderr.strip().splitlines()[-1]}")
        if k:  # the first one fills the disk cache
            runs.append(json.loads(result.stdout))
    times = {key: [run["times"][key] for run in runs] for key in runs[0]["times"]}
    row = {key: value for key, value in runs[0].items() if key != "times"}
    return {
        **row,
        "program": "python",
        "file": path.name,
        "processes": processes,
        "calls": calls,
        **{key: statistics.median(values) for key, values in times.items()},
        "ranges": {key: [min(values), max(values)] for key, values in times.items()},
    }


def measure_cpp(program: Path, path: Path, processes: int, calls: int, size: tuple[int, int]) -> dict[str, Any]:
    """The same for the program ``latency`` of export/cpp."""
    runs = []
    for k in range(processes + 1):
        sizes = ("--height", str(size[0]), "--width", str(size[1]), "--warmup", "1", "--samples", str(calls))
        started = time.monotonic()
        result = subprocess.run([str(program), str(path), *sizes], capture_output=True, text=True)
        if result.returncode != 0:
            raise SystemExit(f"{path} cannot be measured: {result.stderr.strip()}")
        seconds = time.monotonic() - started
        run = json.loads(result.stdout)
        # all calls take the same time; the rest is the time to the first image
        solves = (calls + 1) * run["p50_ms"] / 1e3
        if k:
            runs.append({**run, "process_s": seconds - solves})
    row = {key: runs[0][key] for key in ("task", "prior", "iterations", "precision", "device", "threads", "torch")}
    times = {
        "load_s": [run["load_ms"] / 1e3 for run in runs],
        "first_s": [run["first_ms"] / 1e3 for run in runs],
        "solve_s": [run["p50_ms"] / 1e3 for run in runs],
        "startup_s": [(run["load_ms"] + run["first_ms"] - run["p50_ms"]) / 1e3 for run in runs],
        "process_s": [run["process_s"] for run in runs],
    }
    return {
        **row,
        "program": "c++",
        "format": "aoti",
        "file": path.name,
        "processes": processes,
        "calls": calls,
        **{key: statistics.median(values) for key, values in times.items()},
        "ranges": {key: [min(values), max(values)] for key, values in times.items()},
    }


def main() -> None:
    """Measure the artefacts, and print or write JSON; the exit code is 1 if one is over the limit."""
    parser = argparse.ArgumentParser(prog="python -m bench.startup", description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("artefacts", nargs="+", type=Path, metavar="ARTEFACT")
    parser.add_argument("--processes", type=int, default=5, help="processes to measure for each")
    parser.add_argument("--calls", type=int, default=3, help="calls after the first one in each process")
    parser.add_argument("--size", type=int, nargs=2, default=SIZE, metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--latency", type=Path, metavar="PROGRAM", help="also measure this C++ program")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="JSON file to write")
    parser.add_argument("--started", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if min(given.processes, given.calls) < 1:
        parser.error("--processes and --calls must be positive")
    if given.started is not None:
        print(json.dumps(child(str(given.artefacts[0]), given.started, given.calls, tuple(given.size))))
        return
    rows = []
    for path in given.artefacts:
        if not path.exists():
            parser.error(f"there is no artefact {path}")
        rows.append(measure(path, given.processes, given.calls, tuple(given.size)))
        if given.latency is not None and path.suffix == ".pt2":
            rows.append(measure_cpp(given.latency, path, given.processes, given.calls, tuple(given.size)))
    document = {"size": list(given.size), "limit_s": LIMIT, "machine": platform.machine(), "rows": rows}
    text = json.dumps(document, indent=1) + "\n"
    if given.output is None:
        print(text, end="")
    else:
        given.output.write_text(text)
    slow = [row for row in rows if row["startup_s"] > LIMIT]
    for row in rows:
        what = f"{row['file']} ({row['program']}): start-up {row['startup_s']:.2f} s beside a solve of {row['solve_s']:.2f} s"
        print(f"{what}, whole process {row['process_s']:.2f} s", file=sys.stderr)
    raise SystemExit(1 if slow else 0)


if __name__ == "__main__":
    main()
