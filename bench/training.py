"""One training step of a least-squares potential, with its gradient written out and by autograd: interleaved.

    python -m bench.training                       # two U-Nets, float32 and bf16, two threads

The step: the gradient-step denoiser x - ∇h(x) of a batch of noisy crops, the mean absolute error, its gradient in the weights,
and Adam. By autograd, ∇h is `torch.autograd.grad(..., create_graph=True)`; training then differentiates twice. The network
alone, trained as a denoiser, shows what the potential costs. The losses of the first two must agree. The JSON goes into
bench/results/; `python -m bench.report` makes the table of it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import machine, timing
from bench.solve import RESULTS, file_name
from fastreg.priors import GradientStep, LeastSquares, UNet

WIDTHS = ((16, 32, 64, 128), (32, 64, 128, 256))


class Step:
    """Training steps with the same weights, crops and noise for every contender.

    Parameters
    ----------
    widths
        Channels of the scales of the U-Net.
    bf16
        Whether convolutions are in bfloat16.
    batch, crop
        Number and side of the crops.
    device
        Where to compute.
    """

    def __init__(self, widths: Sequence[int], bf16: bool, batch: int, crop: int, device: torch.device) -> None:
        torch.manual_seed(0)
        self.prior = LeastSquares(UNet(3, widths, 2, "silu", scale=10.0)).to(device).train()
        self.denoiser = GradientStep(self.prior)
        self.prior.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.Adam(self.prior.parameters(), lr=1e-5)
        self.clean = torch.rand(batch, 3, crop, crop).to(device)
        self.sigma = torch.linspace(0.02, 0.2, batch).to(device)
        self.noisy = self.clean + self.sigma.view(-1, 1, 1, 1) * torch.randn_like(self.clean)
        self.bf16, self.device = bf16, device

    def runs(self, compiled: bool) -> dict[str, Callable[[], float]]:
        """The contenders: each makes one step and returns the loss before it."""
        forms: dict[str, Callable[[Tensor], Tensor]] = {
            "create_graph": self._by_autograd,
            "written": lambda x: self.denoiser(x, self.sigma),
            "network": lambda x: self.prior.network(x, self.sigma),
        }
        if compiled:
            forms["compiled"] = torch.compile(forms["written"])
        return {name: lambda form=form: self._step(form) for name, form in forms.items()}  # type: ignore[misc]

    def _by_autograd(self, x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        h = 0.5 * (x - self.prior.network(x, self.sigma)).square().sum()
        return x - torch.autograd.grad(h, x, create_graph=True)[0]

    def _step(self, form: Callable[[Tensor], Tensor]) -> float:
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            restored = form(self.noisy)
        loss = (restored.float() - self.clean).abs().mean()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())


def measure(step: Step, rounds: int, compiled: bool) -> list[dict[str, Any]]:
    """The loss of the first step and the times of every contender, as JSON values."""
    runs = step.runs(compiled)
    start = {name: value.clone() for name, value in step.prior.state_dict().items()}
    losses = {}
    for name, run in runs.items():
        step.prior.load_state_dict(start)
        losses[name] = run()  # also warms up
    if abs(losses["written"] / losses["create_graph"] - 1) > (1e-2 if step.bf16 else 1e-4):
        raise ValueError(f"the two gradients differ: losses {losses}")
    samples = timing.interleaved(runs, rounds, step.device)
    pixels = step.clean[:, 0].numel()
    return [
        {
            "name": name,
            "loss": losses[name],
            "kilopixels_per_second": pixels / 1e3 / timing.summary(values)["p50"],
            **timing.summary(values),
            "ratio": timing.ratio(samples["create_graph"], values),
        }
        for name, values in samples.items()
    ]


def main(arguments: Sequence[str]) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=lambda text: tuple(map(int, text.split(","))), nargs="+", default=WIDTHS)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="also the compiled step")
    parser.add_argument("--output", type=Path, help="the JSON file; by default one in bench/results/")
    options = parser.parse_args(arguments)
    device, about = machine.begin(options.threads, options.device)
    cases = []
    for widths in options.widths:
        for bf16 in (False, True):
            rows = measure(Step(widths, bf16, options.batch, options.crop, device), options.rounds, options.compile)
            cases.append({"widths": widths, "precision": "bf16" if bf16 else "ieee", "rows": rows})
            print(cases[-1], flush=True)
    output = options.output or RESULTS / file_name("training", about, (options.crop, options.crop))
    output.parent.mkdir(parents=True, exist_ok=True)
    document = {"bench": "training", "machine": about, "batch": options.batch, "crop": options.crop, "cases": cases}
    output.write_text(json.dumps(document, indent=1) + "\n")
    print(f"written: {output}")


if __name__ == "__main__":
    main(sys.argv[1:])
