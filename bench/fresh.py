"""What only a fresh process can tell: the peak memory of one contender, and how long its first call takes.

Called by `bench.solve`, which says what the numbers mean; prints one line of JSON.

    python -m bench.fresh memory autograd --size 321 481 --threads 2
    python -m bench.fresh start compiled-ieee --size 64 96 --threads 2
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

START = time.perf_counter()


def _status(key: str) -> int:
    """An entry of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return 1024 * int(line.split()[1])
    raise KeyError(key)


def _trim() -> None:
    """Give freed memory back to the system, so that what is resident is in use."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def memory(name: str, settings: Sequence[Any], kind: str | None) -> dict[str, Any]:
    """Peak resident memory in bytes of a warm solve, three steps long, since the peak does not grow with their number.

    Returns
    -------
    dict
        ``solve``: the peak during a solve above what is resident just before it. ``process``: the same peak above what is
        resident once everything is imported and the case is loaded; compiled programs and what the compiler leaves behind
        count here. On a GPU both are torch's allocations.
    """
    import torch

    from bench.cases import Settings, contenders, load

    case = load(Settings(*settings)._replace(iterations=3), kind)
    run_of = contenders(case.device)[name].prepare
    if case.device.type == "cuda":
        loaded = torch.cuda.memory_allocated()
        run = run_of(case)
        run()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        peak = torch.cuda.max_memory_allocated()
        return {"solve": peak - before, "process": peak - loaded}
    _trim()
    loaded = _status("VmRSS")
    run = run_of(case)
    run()
    _trim()
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    run()
    peak = _status("VmHWM")
    return {"solve": peak - before, "process": peak - loaded}


def start(name: str, settings: Sequence[Any], kind: str | None) -> dict[str, Any]:
    """Seconds until this process has imported everything, of the first solve and of the second, two steps long."""
    from bench.cases import Settings, contenders, load

    case = load(Settings(*settings)._replace(iterations=2), kind)
    run = contenders(case.device)[name].prepare(case)
    result = {"imported": time.perf_counter() - START}
    for which in ("first", "second"):
        before = time.perf_counter()
        run()
        result[which] = time.perf_counter() - before
    result["compiling"] = result["first"] - result["second"]
    from torch._dynamo.utils import counters

    result["cache_hits"] = counters["inductor"]["fxgraph_cache_hit"] + counters["aot_autograd"]["autograd_cache_hit"]
    return result


MEASURES = {"memory": memory, "start": start}


def ask(
    measure: str, name: str, settings: Sequence[Any], threads: int, kind: str, **environment: str
) -> dict[str, Any]:
    """Measure in a fresh process.

    Raises
    ------
    RuntimeError
        If that process fails; says how.
    """
    height, width, _, device = settings
    command = [sys.executable, "-m", "bench.fresh", measure, name, "--size", str(height), str(width)]
    command += ["--threads", str(threads), "--device", device, "--critic", kind]
    inherited = dict(os.environ)
    if measure == "start":  # torch puts the directory it uses into the environment
        inherited.pop("TORCHINDUCTOR_CACHE_DIR", None)
    done = subprocess.run(
        command, env=inherited | environment, cwd=Path(__file__).parents[1], capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} failed: {done.stderr.strip().splitlines()[-1:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def cold_and_warm(name: str, settings: Sequence[Any], threads: int, kind: str) -> dict[str, Any]:
    """First calls with an empty cache, and then with the cache that those left."""
    with tempfile.TemporaryDirectory() as folder:
        return {which: ask("start", name, settings, threads, kind, XDG_CACHE_HOME=folder) for which in ("cold", "warm")}


def main(arguments: Sequence[str]) -> None:
    """Measure in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measure", choices=MEASURES)
    parser.add_argument("name")
    parser.add_argument("--size", type=int, nargs=2, default=[321, 481])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--critic", choices=["released", "random"])
    options = parser.parse_args(arguments)
    import torch

    from fastreg.compiled.cache import use_persistent_cache

    torch.set_num_threads(options.threads)
    use_persistent_cache()
    settings = (*options.size, 0, options.device)
    print(json.dumps(MEASURES[options.measure](options.name, settings, options.critic)))


if __name__ == "__main__":
    main(sys.argv[1:])
