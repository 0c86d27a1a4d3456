"""What a reduced precision does to a critic and to a whole solve: flipped masks, gradients, and the gates.

A ReLU whose input lies near zero may flip when the operands are rounded, and a flip is an error of its own: the rate of flips,
how far from zero they reach, and the error of the gradient with the masks of float64 forced are told apart.

python -m bench.precision masks --output masks.json
python -m bench.precision gates --output gates.json
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import fastreg
from fastreg.compiled import gates
from fastreg.compiled.restorer import PRECISIONS
from fastreg.compiled.samples import photograph
from fastreg.kernels.critic_gradient import reference
from fastreg.kernels.precision import tensor_float
from fastreg.priors import PatchCritic

#: Standard deviation of the noise of the image that masks are looked at on.
SIGMA = 0.1


def offered(device: torch.device) -> list[str]:
    """The reduced precisions of a device; a CPU computes bf16 exactly as rounded operands, if slowly."""
    return ["tf32", "bf16", "fp16"] if device.type == "cuda" else ["bf16"]


def forced_gradient(x: Tensor, critic: PatchCritic, masks: Sequence[Tensor]) -> Tensor:
    """Gradient of a ReLU critic whose masks are given, with convolutions in the dtype of its weights."""
    sizes = [x.shape[-2:], *(mask.shape[-2:] for mask in masks)]
    last = len(critic.weights) - 1
    layer = critic.layers[last]
    shape = [(size - layer.kernel) // layer.stride + 1 for size in sizes[last]]
    cotangent = torch.ones(x.shape[0], layer.outputs, *shape, device=x.device).to(critic.weights[0].dtype)
    for k in range(last, -1, -1):
        cotangent = reference.transposed(cotangent, critic.weights[k], critic.strides[k], sizes[k][0], sizes[k][1])
        if k > 0:
            cotangent = torch.where(masks[k - 1], cotangent, 0.0)
    return cotangent.to(x.dtype) / (layer.outputs * shape[0] * shape[1])


def relative(result: Tensor, exact: Tensor) -> float:
    """Root mean square error relative to the root mean square."""
    return float((result.double() - exact).norm() / exact.norm())


@torch.no_grad()
def flips(critic: PatchCritic, x: Tensor, precision: str) -> dict[str, Any]:
    """Flipped masks of every layer, and the errors of the gradient with them and with the masks of float64.

    For each layer: the share of masks that flipped, and the largest preactivation among those, in units of the layer's root
    mean square; both preactivations are those of whole chains, so that flips further up count.
    """
    exact, rounded = copy.deepcopy(critic).double(), copy.deepcopy(critic).to(PRECISIONS[precision])
    with tensor_float(precision == "tf32"):
        masks, layers = [], []
        for truth, z in zip(exact.preactivations(x.double()), rounded.preactivations(x), strict=True):
            mask = truth > 0
            flipped = mask != (z > 0)
            farthest = float(torch.where(flipped, truth.abs(), 0.0).max() / truth.square().mean().sqrt())
            layers.append({"flipped": float(flipped.double().mean()), "farthest": farthest})
            masks.append(mask)
        truth = exact.gradient(x.double())
        return {
            "layers": layers,
            "gradient": relative(rounded.gradient(x), truth),
            "gradient_with_masks_forced": relative(forced_gradient(x, rounded, masks), truth),
        }


def measure_masks(prior: str, size: int, device: torch.device) -> Iterator[dict[str, Any]]:
    """Rows for a noisy photograph, in float32 and every reduced precision of the device."""
    critic = fastreg.load(prior).requires_grad_(False).to(device)
    clean = photograph("coffee", (1, critic.channels, size, size))
    x = (clean + SIGMA * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))).to(device)
    for precision in ("ieee", *offered(device)):
        yield {"precision": precision, "size": size, "prior": prior, **flips(critic, x, precision)}


def measure_gates(prior: str, device: torch.device) -> Iterator[dict[str, Any]]:
    """Rows for the whole solve of every reduced precision; on a GPU also with the Triton kernels of the critic."""
    restorer = fastreg.Restorer(prior=fastreg.load(prior).requires_grad_(False)).to(device)
    for path in ("reference", "triton", "fused") if device.type == "cuda" else ("reference",):
        for precision in offered(device):
            low = copy.deepcopy(restorer.prior).to(PRECISIONS[precision])
            fast = _Switched(restorer, low, precision, path)
            yield {
                "precision": precision,
                "path": path,
                "prior": prior,
                **gates.judge(fast, restorer, precision).as_dict(),
            }


class _Switched(fastreg.Restorer):
    """An eager restorer with the critic's kernels and the switch for tf32 set."""

    def __init__(self, restorer: fastreg.Restorer, prior: Any, precision: str, path: str) -> None:
        super().__init__(restorer.operator, restorer.fidelity, prior, restorer.solver)
        self.weight_rule, self.precision, self.path_of_critic = restorer.weight_rule, precision, path

    def solve(self, y: Tensor, sigma: Tensor, weight: Tensor) -> Tensor:
        """Restore without looking at the values."""
        if self.path_of_critic == "reference":
            with tensor_float(self.precision == "tf32"):
                return super().solve(y, sigma, weight)
        from fastreg.kernels.critic_gradient import triton_chain

        before = triton_chain.measured_choice
        triton_chain.measured_choice = lambda device, precision="ieee": self.path_of_critic
        try:
            with tensor_float(self.precision == "tf32"):
                return super().solve(y, sigma, weight)
        finally:
            triton_chain.measured_choice = before


def main(arguments: list[str]) -> int:
    """Measure on the GPU if there is one, else on the CPU; returns 1 where a gate fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["masks", "gates"])
    parser.add_argument("--prior", default="alr", help="a model that ships with fastreg, or a file")
    parser.add_argument("--size", type=int, default=256, help="side of the image for masks")
    parser.add_argument("--output", type=Path, help="JSON file for the rows")
    options = parser.parse_args(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = []
    found = (
        measure_masks(options.prior, options.size, device)
        if options.what == "masks"
        else measure_gates(options.prior, device)
    )
    for row in found:
        print(json.dumps(row), flush=True)
        rows.append(row)
    if options.output:
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        machine = {"device": name, "torch": torch.__version__}
        options.output.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    return int(any(row.get("status") == "failed" for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
