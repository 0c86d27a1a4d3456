"""Ways to compute the gradient of the shipped critic on a CPU: median times of interleaved runs.

    OMP_NUM_THREADS=2 python -m bench.critic_paths --output bench/results/critic_paths.json

Every way is compared with the plain reference in float64 before it is timed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import fastreg
from fastreg.kernels.critic_gradient import reference, strips

HEIGHT, WIDTH = 321, 481


def main() -> None:
    """Compare, time, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    critic = fastreg.load("alr").requires_grad_(False)
    weights, biases = list(critic.weights), list(critic.biases)
    last = torch.channels_last
    weights_last = [weight.contiguous(memory_format=last) for weight in weights]
    strides, activation = critic.strides, critic.activation
    torch.manual_seed(0)
    x = critic.extended(torch.rand(1, 3, HEIGHT, WIDTH))
    x_last = x.contiguous(memory_format=last)
    keep = strips.keep_memory
    def bare() -> Tensor:
        strips.keep_memory = lambda: None
        return strips.gradient(x, weights, biases, strides, activation)
    def kept() -> Tensor:
        strips.keep_memory = keep
        return strips.gradient(x, weights, biases, strides, activation)
    ways: dict[str, Callable[[], Tensor]] = {
        "reference": lambda: reference.energy_and_gradient(x, weights, biases, strides, activation)[1],
        "reference, channels last": lambda: reference.energy_and_gradient(x_last, weights_last, biases, strides, activation)[1],
        "strips": bare,
    }
    import os
    if os.environ.get("KEEP"):
        ways["strips, keep"] = kept
    exact = reference.energy_and_gradient(
        x.double(), [w.double() for w in weights], [b.double() for b in biases], strides, activation
    )[1]
    errors = {name: float((way().double() - exact).norm() / exact.norm()) for name, way in ways.items()}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - start)
    base = statistics.median(times["reference"])
    rows = []
    for name, found in times.items():
        q1, median, q3 = statistics.quantiles(found, n=4)
        rows.append({"way": name, "ms": 1e3 * median, "quartiles_ms": [1e3 * q1, 1e3 * q3], "speedup": base / median, "error": errors[name]})
        print(f"{name:26} {1e3 * median:8.1f} ms ({1e3 * q1:.1f} to {1e3 * q3:.1f})  {base / median:.2f}x  error {errors[name]:.1e}")


if __name__ == "__main__":
    with torch.no_grad():
        main()
