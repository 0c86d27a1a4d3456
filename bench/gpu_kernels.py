"""The Triton kernels on a GPU: correctness against float64 first, then medians of interleaved runs against torch.

python -m bench.gpu_kernels --check
python -m bench.gpu_kernels blur_gradient --output blur.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from fastreg.kernels.blur_gradient.planner import Planner
from fastreg.kernels.solver_step import ops as step
from fastreg.kernels.solver_step import reference as step_reference
from fastreg.kernels.tuning.accuracy import TOLERANCE, limit, relative
from fastreg.kernels.tuning.problems import psfs
from torch import Tensor

from fastreg.kernels.blur_gradient import reference as blur_reference
from fastreg.kernels.critic_gradient import ops as critic
from fastreg.kernels.critic_gradient import reference as critic_reference
from fastreg.priors.patch_critic import ALR, ALR_RELEASED, PatchCritic

Runs = dict[str, Callable[[], Any]]
ROUNDS = 25


def solver_step(sizes: list[int], device: torch.device) -> Iterator[tuple[dict[str, Any], dict[str, float], Runs]]:
    """Adam's update: rows of settings, errors, and what to time."""
    for size in sizes:
        x, mean, data, prior = (torch.randn(1, 3, size, size, device=device) for _ in range(4))
        row = torch.tensor([0.1, 0.3, 0.002], device=device)
        arguments: tuple[Any, ...] = (
            x,
            mean,
            mean.square(),
            data,
            prior,
            torch.ones(1, device=device),
            row,
            0.9,
            0.999,
            1e-4,
        )
        double: Any = [a.double() if isinstance(a, Tensor) else a for a in arguments]
        exact = step_reference.adam_step(*double)
        errors = {
            "triton": relative(step.adam_step(*arguments)[0], exact[0]),
            "eager": relative(step_reference.adam_step(*arguments)[0], exact[0]),
        }
        runs: Runs = {
            "triton": partial(step.adam_step, *arguments),
            "eager": partial(step_reference.adam_step, *arguments),
            "compiled": partial(torch.compile(step_reference.adam_step), *arguments),
        }
        yield {"size": size, "bytes": 32 * x.numel()}, errors, runs


def blur_gradient(sizes: list[int], device: torch.device) -> Iterator[tuple[dict[str, Any], dict[str, float], Runs]]:
    """Every candidate of the planner that can be used."""
    for size in sizes:
        x, y = torch.rand(1, 3, size, size, device=device), torch.rand(1, 3, size, size, device=device)
        for name, psf in psfs():
            planner = Planner(psf, "reflect")
            best = planner.plan(tuple(x.shape), x.dtype, x.device)
            exact = blur_reference.gradient(x.double(), y.double(), psf.double().to(device), "reflect")
            errors: dict[str, float] = {}
            runs: Runs = {}
            for candidate in best.candidates:
                if candidate.refused:
                    continue
                plan = planner.plan(tuple(x.shape), x.dtype, x.device, candidate.name)
                errors[candidate.name] = relative(plan.gradient(x, y), exact)
                runs[candidate.name] = partial(plan.gradient, x, y)
            yield {"size": size, "psf": name, "planned": best.choice, "plan": best.explain()}, errors, runs


def critic_gradient(sizes: list[int], device: torch.device) -> Iterator[tuple[dict[str, Any], dict[str, float], Runs]]:
    """Both critics in every precision; the rival is torch.compile of the reference in channels last."""
    compiled = torch.compile(critic_reference.energy_and_gradient, dynamic=False, fullgraph=True)
    for size in sizes:
        for name, layers in (("alr", ALR), ("released", ALR_RELEASED)):
            torch.manual_seed(0)
            network = PatchCritic(layers).to(device).requires_grad_(False)
            weights, biases = list(network.weights), list(network.biases)
            chain = (weights, biases, network.strides, "relu")
            x = torch.rand(1, 3, size, size, device=device)
            small = x[..., :128, :128]
            double: Any = [[t.double() for t in tensors] for tensors in (weights, biases)]
            exact = critic_reference.energy_and_gradient(small.double(), double[0], double[1], network.strides, "relu")[
                1
            ]
            for precision in TOLERANCE:
                torch._dynamo.reset()  # after some programs of one function, the compiler would give up and run it as it is
                torch.backends.cudnn.allow_tf32 = precision == "tf32"
                dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
                theirs: Any = [
                    [t.to(dtype, memory_format=torch.channels_last) for t in weights],
                    [t.to(dtype) for t in biases],
                ]
                last = x.to(memory_format=torch.channels_last)
                paths = ("triton", "fused")
                triton = {
                    path: critic.energy_and_gradient(small, *chain, precision=precision, choice=path)[1]
                    for path in paths
                }
                eager = critic_reference.energy_and_gradient(small, theirs[0], theirs[1], network.strides, "relu")[1]
                errors = {path: relative(found, exact) for path, found in triton.items()}
                errors["eager"] = relative(eager, exact)
                runs: Runs = {
                    **{
                        path: partial(critic.energy_and_gradient, x, *chain, precision=precision, choice=path)
                        for path in paths
                    },
                    "compiled": partial(compiled, last, theirs[0], theirs[1], network.strides, "relu"),
                }
                yield {"size": size, "critic": name, "precision": precision}, errors, runs


BENCHES = {"solver_step": solver_step, "blur_gradient": blur_gradient, "critic_gradient": critic_gradient}


def interleaved(runs: Runs) -> dict[str, dict[str, float]]:
    """Median, quartiles and number of runs in microseconds, one run of each side in turn."""
    from triton.testing import do_bench

    samples: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():  # compile, and warm the caches
        run()
    for _ in range(ROUNDS):
        for name, run in runs.items():
            samples[name].append(1e3 * do_bench(run, warmup=5, rep=20, return_mode="median"))
    result = {}
    for name, values in samples.items():
        low, middle, high = statistics.quantiles(values, n=4)
        result[name] = {"median": middle, "lower_quartile": low, "upper_quartile": high, "samples": len(values)}
    return result


def wrong(errors: dict[str, float], precision: str) -> list[str]:
    """Sides that are less accurate than they may be: twice torch's own error, or what the precision allows."""
    theirs = errors.get("eager", errors.get("direct", 0.0))
    return [name for name, error in errors.items() if not error <= limit(theirs, precision)]


def main(arguments: list[str]) -> int:
    """Run the named benches, or check all; returns 1 if something is wrong and 2 if there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *BENCHES], help="what to time; everything if not given")
    parser.add_argument("--check", action="store_true", help="compare with float64 and time nothing")
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024, 2048, 4096])
    parser.add_argument("--output", type=Path, help="JSON file for the rows")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("needs a CUDA device, found none", file=sys.stderr)
        return 2
    device = torch.device("cuda")
    torch.backends.cudnn.allow_tf32 = False
    sizes = [257] if options.check else options.sizes
    rows, failed = [], False
    for name in options.names or BENCHES:
        for settings, errors, runs in BENCHES[name](sizes, device):
            bad = wrong(errors, settings.get("precision", "ieee"))
            failed |= bool(bad)
            row = {"bench": name, **settings, "errors": errors, "wrong": bad}
            if not options.check and not bad:
                row["microseconds"] = interleaved(runs)
            print(json.dumps({key: value for key, value in row.items() if key != "plan"}), flush=True)
            rows.append(row)
    if options.output:
        import triton

        machine = {
            "device": torch.cuda.get_device_name(device),
            "torch": torch.__version__,
            "triton": triton.__version__,
            "cuda": torch.version.cuda,
        }
        options.output.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
