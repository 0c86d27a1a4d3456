"""Time the implementations of the blur gradient and of the gradient of the critic `alr`.

    python -m bench.kernels --output bench/results/kernels-cpu.json
    python -m bench.kernels --device cuda --output bench/results/kernels-h200.json
    python -m bench.kernels --device cuda --check

Every implementation is compared with the float64 reference, and then timed interleaved with the others. The one that
`fastreg.kernels` chooses is marked.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import fastreg
from bench import machine, timing
from fastreg.kernels.blur_gradient import fourier, plan, reference, tables, triton_blur
from fastreg.kernels.blur_gradient.geometry import geometry
from fastreg.kernels.critic_gradient import reference as critic_reference
from fastreg.kernels.critic_gradient import strips, triton_chain
from fastreg.kernels.precision import PRECISIONS, tensor_float

Runs = dict[str, Callable[[], Tensor]]
Case = tuple[dict[str, Any], Tensor, Runs]
#: Largest relative rms error for each precision: rounding the operands to bf16 costs up to a few per cent.
TOLERANCE = {"ieee": 1e-5, "tf32": 2e-2, "bf16": 8e-2, "fp16": 2e-2}
SIDES = (3, 5, 7, 9, 15, 25)


def psfs() -> Iterator[tuple[str, Tensor]]:
    """Dense PSFs, and PSFs of a diagonal line that is two taps wide."""
    for side in SIDES:
        dense = torch.rand(side, side, generator=torch.Generator().manual_seed(side))
        line = torch.diag(torch.ones(side)) + torch.diag(torch.ones(side - 1), 1)
        yield from ((f"{name} {side}", psf / psf.sum()) for name, psf in (("dense", dense), ("line", line)))


def blurs(shape: tuple[int, ...], device: torch.device) -> Iterator[Case]:
    """Gradients of half the squared residual, for every PSF."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(shape, generator=generator).to(device) for _ in range(2))
    for name, cpu_psf in psfs():
        psf = cpu_psf.to(device)
        form, taps = geometry(psf, "reflect"), int((psf != 0).sum())
        runs: Runs = {
            "direct": partial(reference.gradient, x, y, psf, "reflect"),
            "fft": partial(fourier.gradient, x, y, psf, form),
        }
        if taps <= 2 * plan.MOST_SHIFTS:
            positions = tuple((row, column) for row, column in psf.nonzero().tolist())
            runs["taps"] = partial(plan.Method("reflect", positions, None, False).gradient, x, y, psf)
        if device.type == "cuda":
            table = tables.sparse(psf, form)
            runs["triton_taps"] = partial(triton_blur.gradient, x, y, table, False)
            if max(table.reach) <= 8:
                runs["triton_fused"] = partial(triton_blur.gradient, x, y, table, True)
        planned = plan.plan(psf, "reflect", shape, x.dtype).choice
        exact = reference.gradient(x.double(), y.double(), psf.double(), "reflect")
        yield (
            {"bench": "blur_gradient", "psf": name, "taps": taps, "precision": "ieee", "planned": planned},
            exact,
            {name: _with_tf32(call, False) for name, call in runs.items()},
        )


def critics(shape: tuple[int, ...], device: torch.device) -> Iterator[Case]:
    """Gradients of the energy of `alr`, in every precision of the device."""
    critic = fastreg.load("alr").requires_grad_(False).to(device)
    x = critic.extended(torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device))
    strides, activation, last = critic.strides, critic.activation, torch.channels_last
    double = [[t.double() for t in tensors] for tensors in (critic.weights, critic.biases)]
    exact = critic_reference.energy_and_gradient(x.double(), *double, strides, activation)[1]
    compiled = torch.compile(critic_reference.energy_and_gradient, dynamic=False, fullgraph=True)
    for precision in ("ieee", "bf16") if device.type == "cpu" else PRECISIONS:
        torch._dynamo.reset()  # the compiler gives up after a number of programs for one function
        dtype = PRECISIONS[precision]
        weights, biases = [w.to(dtype) for w in critic.weights], [b.to(dtype) for b in critic.biases]
        chain = (weights, biases, strides, activation)
        chain_last = ([w.contiguous(memory_format=last) for w in weights], biases, strides, activation)
        x_last = x.contiguous(memory_format=last)
        calls: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
            "reference": partial(critic_reference.energy_and_gradient, x, *chain),
            "reference, channels last": partial(critic_reference.energy_and_gradient, x_last, *chain_last),
            "compiled": partial(compiled, x, *chain),
            "compiled, channels last": partial(compiled, x_last, *chain_last),
        }
        if device.type == "cuda" and precision == "ieee":
            calls["triton"] = partial(triton_chain.energy_and_gradient, x, *chain)
        if device.type == "cpu":
            calls["strips"] = partial(strips.energy_and_gradient, x, *chain)
            calls["strips, channels last"] = partial(strips.energy_and_gradient, x, *chain_last)
        planned = "strips" if device.type == "cpu" else "triton" if precision == "ieee" else "compiled, channels last"
        about = {"bench": "critic_gradient", "critic": "alr", "precision": precision, "planned": planned}
        yield (
            about,
            exact,
            {
                name: _with_tf32(lambda call=call: call()[1], precision == "tf32")  # type: ignore[misc]
                for name, call in calls.items()
            },
        )


def _with_tf32(call: Callable[[], Tensor], allowed: bool) -> Callable[[], Tensor]:
    def run() -> Tensor:
        with tensor_float(allowed):
            return call()

    return run


@torch.no_grad()
def main(arguments: list[str]) -> int:
    """Compare, time, print and write; returns 1 if a result is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--only", default="", help="blur_gradient or critic_gradient; both if not given")
    parser.add_argument("--size", type=int, nargs=2, default=[321, 481], metavar=("H", "W"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--check", action="store_true", help="compare with float64 and time nothing")
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args(arguments)
    device, rows = torch.device(options.device), []
    for cases in (blurs, critics):
        for about, exact, runs in cases((1, 3, *options.size), device):
            if options.only not in about["bench"]:
                break
            errors = {name: float((run().double() - exact).norm() / exact.norm()) for name, run in runs.items()}
            wrong = [name for name, error in errors.items() if not error <= TOLERANCE[about["precision"]]]
            row = {**about, "size": options.size, "errors": errors, "wrong": wrong}
            if not options.check and not wrong:
                samples = timing.interleaved(runs, options.rounds, device)
                row["microseconds"] = {name: _microseconds(values) for name, values in samples.items()}
            print(json.dumps(row), flush=True)
            rows.append(row)
    if options.output:
        document = {"command": "python -m bench.kernels", "machine": machine.describe(device), "rows": rows}
        options.output.write_text(json.dumps(document, indent=1) + "\n")
    return int(any(row["wrong"] for row in rows))


def _microseconds(values: list[float]) -> dict[str, float]:
    found = timing.summary(values)
    low, high = found["quartiles"]
    return {"median": 1e6 * found["p50"], "lower_quartile": 1e6 * low, "upper_quartile": 1e6 * high}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
