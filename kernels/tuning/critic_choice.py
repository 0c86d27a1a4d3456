"""Whether a Triton path of a critic's gradient beats what torch.compile makes of the reference, and which one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastreg.kernels import settings
from fastreg.kernels.critic_gradient import reference
from fastreg.kernels.tuning import accuracy, problems
from fastreg.kernels.tuning.timing import Timer

#: A Triton path is taken only where it is so many times faster, for every chain and size that is tried.
MARGIN = 1.1
#: What the Triton paths are measured against.
RIVAL = "compiled"
#: Images on which Triton paths are compared with float64.
_CHECKED = 128


class Duel(NamedTuple):
    """Seconds of a Triton path and of the rival for a chain, a size of images and a precision.

    `refused` says why the path cannot be used.
    """

    chain: str
    size: int
    precision: str
    path: str
    triton: float
    compiled: float
    refused: str = ""

    @property
    def gain(self) -> float:
        """How many times faster Triton is; zero where it is refused."""
        return 0.0 if self.refused else self.compiled / self.triton


#: Energy and gradient of an image, from a chain and a precision.
Side = Callable[[Tensor, problems.Chain, str], tuple[Tensor, Tensor]]


def duels(
    device: torch.device,
    sizes: Iterable[int],
    precisions: Iterable[str],
    timer: Timer,
    budget: float,
    sides: Mapping[str, Side],
    report: Callable[[str], None] = lambda text: None,
) -> list[Duel]:
    """Time the Triton paths and the rival against each other; a path is refused where it is less exact than it may be."""
    found = []
    for precision in precisions:
        for name in problems.CHAINS:
            chain = problems.chain(name, device)
            refused = {path: _refusal(device, chain, precision, sides[path]) for path in sides if path != RIVAL}
            for size in sizes:
                report(f"critics: {name}, {precision}, {size} x {size} pixels")
                (x,) = problems.images(size, size, device)
                runs = {
                    path: partial(side, x, chain, precision)
                    for path, side in sides.items()
                    if not refused.get(path, "")
                }
                problem_of_all, times = "", dict.fromkeys(sides, 0.0)
                if len(runs) > 1:
                    try:
                        with torch.no_grad(), problems.tensor_float(precision == "tf32"):
                            times.update(timer(runs, budget))
                    except Exception as problem:  # compilers and drivers raise what they like
                        problem_of_all = accuracy.does_not_run(problem)
                for path, reason in refused.items():
                    found.append(Duel(name, size, precision, path, times[path], times[RIVAL], reason or problem_of_all))
    return found


def stored(found: Iterable[Duel]) -> dict[str, Any]:
    """The entry of a settings file: one choice for each precision that was tried, and why."""
    gains: dict[str, dict[str, list[float]]] = {}
    for duel in found:
        gains.setdefault(duel.precision, {}).setdefault(duel.path, []).append(duel.gain)
    choices, reasons = {}, []
    for precision, paths in gains.items():
        best = max(paths, key=lambda path: min(paths[path]))
        choices[precision] = best if min(paths[best]) >= MARGIN else "reference"
        reasons += [f"{precision} {path}: {min(g):.2f} to {max(g):.2f} times as fast" for path, g in paths.items()]
    return {"choice": "reference", "choices": choices, "reason": f"against torch.compile, {'; '.join(reasons)}"}


def sides(tried: dict[str, Any]) -> dict[str, Side]:
    """The kernels with some settings, each layer by itself and fused, and torch.compile of the reference in channels last."""
    from fastreg.kernels.critic_gradient import triton_chain, triton_fused  # imports Triton

    programs: dict[tuple[object, ...], Callable[[Tensor], tuple[Tensor, Tensor]]] = {}

    def triton(x: Tensor, chain: problems.Chain, precision: str) -> tuple[Tensor, Tensor]:
        with settings.using(tried):
            return triton_chain.energy_and_gradient(x, *chain, "relu", precision)

    def fused(x: Tensor, chain: problems.Chain, precision: str) -> tuple[Tensor, Tensor]:
        with settings.using(tried):
            return triton_fused.energy_and_gradient(x, *chain, "relu", precision)

    def compiled(x: Tensor, chain: problems.Chain, precision: str) -> tuple[Tensor, Tensor]:
        at = id(chain.weights), precision, x.shape
        if at not in programs:
            programs.clear()
            programs[at] = _program(chain, precision)
        return programs[at](x)

    return {"triton": triton, "fused": fused, RIVAL: compiled}


def _program(chain: problems.Chain, precision: str) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """The reference compiled for images of one size, with the weights converted once, as a compiled solver does it."""
    torch._dynamo.reset()  # after some programs of one function, the compiler would give up and run it as it is
    program = torch.compile(reference.energy_and_gradient, dynamic=False, fullgraph=True)
    dtype = reference.DTYPES[precision]
    weights = [tensor.to(dtype, memory_format=torch.channels_last) for tensor in chain.weights]
    biases = [tensor.to(dtype) for tensor in chain.biases]

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        result: tuple[Tensor, Tensor] = program(
            x.contiguous(memory_format=torch.channels_last), weights, biases, chain.strides, "relu"
        )
        return result

    return run


def _refusal(device: torch.device, chain: problems.Chain, precision: str, side: Side) -> str:
    """Why a side is not to be used, from its gradient; empty if it is right."""
    (x,) = problems.images(_CHECKED, _CHECKED, device)
    weights, biases = ([tensor.double() for tensor in tensors] for tensors in chain[:2])
    exact = reference.energy_and_gradient(x.double(), weights, biases, chain.strides, "relu")[1]
    dtype = reference.DTYPES[precision]
    weights, biases = ([tensor.to(dtype) for tensor in tensors] for tensors in chain[:2])
    with torch.no_grad(), problems.tensor_float(precision == "tf32"):
        theirs = reference.energy_and_gradient(x, weights, biases, chain.strides, "relu")[1]
        limit = accuracy.limit(accuracy.relative(theirs, exact), precision)
        try:
            error = accuracy.relative(side(x, chain, precision)[1], exact)
        except Exception as problem:  # compilers and drivers raise what they like
            return accuracy.does_not_run(problem)
    return "" if error <= limit else f"error {error:.1e}, at most {limit:.1e} passes"
