"""A solve as modules for torch.export: with a loop, unrolled, or as start, step and result."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from fastreg.export import forms
from fastreg.export.formats import Bundle
from fastreg.operators import LinearOperator
from fastreg.restorer import Restorer


class Loop(nn.Module):
    """The whole solve, with a loop over the schedule: the program contains one iteration."""

    def __init__(self, restorer: Restorer) -> None:
        super().__init__()
        self.restorer = restorer

    def forward(self, y: Tensor, sigma: Tensor, weight: Tensor) -> Tensor:
        """Restored images."""
        solver, problem = self.restorer.solver, self.restorer.problem(sigma, weight)
        iterations, schedule = solver.iterations, solver.schedule

        def unfinished(k: Tensor, *state: Tensor) -> Tensor:
            return k < iterations

        def body(k: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
            row = schedule.index_select(0, k.reshape(1)).squeeze(0)
            following = solver.step(problem, y, solver.state(*state), row)
            return (k + 1, *_copied(following, state))

        first = (t.clone() for t in solver.start(problem, y))  # outputs of a loop must not be its inputs
        k = torch.zeros((), dtype=torch.int64, device=y.device)
        last = torch.while_loop(  # type: ignore[no-untyped-call]
            unfinished, body, (k, *first)
        )
        return solver.result(solver.state(*last[1:]))


class Unrolled(nn.Module):
    """The whole solve, one iteration after the other."""

    def __init__(self, restorer: Restorer) -> None:
        super().__init__()
        self.restorer = restorer

    def forward(self, y: Tensor, sigma: Tensor, weight: Tensor) -> Tensor:
        """Restored images."""
        return self.restorer.solve(y, sigma, weight)


class Start(nn.Module):
    """The state before the first iteration."""

    def __init__(self, restorer: Restorer) -> None:
        super().__init__()
        self.restorer = restorer

    def forward(self, y: Tensor, sigma: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        """The tensors of the state."""
        first = self.restorer.solver.start(self.restorer.problem(sigma, weight), y)
        return tuple(t.clone() for t in first)


class Step(nn.Module):
    """One iteration."""

    def __init__(self, restorer: Restorer) -> None:
        super().__init__()
        self.restorer = restorer

    def forward(self, y: Tensor, sigma: Tensor, weight: Tensor, row: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """The tensors of the state; `row` is one of the schedule."""
        solver, problem = self.restorer.solver, self.restorer.problem(sigma, weight)
        return _copied(solver.step(problem, y, solver.state(*state), row), state)


class Result(nn.Module):
    """The restored image of a state."""

    def __init__(self, restorer: Restorer) -> None:
        super().__init__()
        self.restorer = restorer

    def forward(self, y: Tensor, sigma: Tensor, weight: Tensor, *state: Tensor) -> Tensor:
        """Restored images."""
        solver = self.restorer.solver
        return solver.result(solver.state(*state)).clone()


class WithInputs(nn.Module):
    """A program with tensors of the operator as inputs, after y, sigma and weight."""

    def __init__(self, program: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.program = program
        self.keys = [f"restorer.operator.{name}" for name in names]

    def forward(self, y: Tensor, sigma: Tensor, weight: Tensor, *rest: Tensor) -> Any:
        """The result of the program."""
        count = len(self.keys)
        given = dict(zip(self.keys, rest[:count], strict=True))
        return torch.func.functional_call(self.program, given, (y, sigma, weight, *rest[count:]))


def with_operator(restorer: Restorer, operator: LinearOperator) -> Restorer:
    """The restorer with another form of its operator, for programs."""
    result = Restorer(operator.to(restorer.device), restorer.fidelity, restorer.prior, restorer.solver)
    return result.eval().requires_grad_(False)


def without_fourier(restorer: Restorer) -> Restorer:
    """The restorer for runtimes without Fourier transforms, on the CPU.

    Programs that are traced on a GPU can contain Triton kernels, which only AOTInductor supports.
    """
    restorer = copy.deepcopy(restorer).cpu()
    return with_operator(restorer, restorer.operator.without_fourier())


def trace(bundle: Bundle, program: nn.Module, rest: tuple[str, ...] = ()) -> ExportedProgram:
    """Trace a program with symbolic batch and image sizes.

    Parameters
    ----------
    bundle
        Restorer and metadata.
    program
        One of the above.
    rest
        Further arguments after the inputs: ``row``, ``state``.
    """
    values, shapes = example(bundle, rest)
    values = [value.to(next(program.buffers()).device) for value in values]
    wrapped = WithInputs(program, [spec["name"] for spec in bundle.metadata["inputs"][3:]]).eval()
    # what follows y, sigma and weight is the starred argument, which is absent if empty
    dynamic: tuple[Any, ...] = (*shapes[:3], *([tuple(shapes[3:])] if shapes[3:] else []))
    with torch.no_grad():
        return torch.export.export(wrapped, tuple(values), dynamic_shapes=dynamic, strict=False)


def example(bundle: Bundle, rest: tuple[str, ...]) -> tuple[list[Tensor], list[dict[int, Any]]]:
    """Example inputs and their symbolic dimensions.

    The inputs are contiguous, since their strides become part of the program, and all sizes differ, since torch.export treats
    equal ones as the same symbol.
    """
    metadata, restorer = bundle.metadata, bundle.restorer
    spec = metadata["inputs"][0]
    dims = {
        "B": Dim("batch", min=1, max=spec["max"][0]),
        "H": Dim("height", min=spec["min"][2], max=spec["max"][2]),
        "W": Dim("width", min=spec["min"][3], max=spec["max"][3]),
    }
    sizes = {"B": 2, "H": max(29, spec["min"][2]) + 8, "W": max(29, spec["min"][3]) + 16}
    device = restorer.device
    generator = torch.Generator().manual_seed(0)
    values, shapes = [], []
    for item in metadata["inputs"] + (metadata["state"] if "state" in rest else []):
        shape = forms.resolve(item["shape"], sizes) + ([2] if forms.is_complex(item) else [])
        value = torch.rand(shape, generator=generator, dtype=torch.float32) * 0.8 + 0.1
        if item.get("content") == "psf":
            value = value / value.sum()
        values.append(value.to(device))
        shapes.append({k: d for k, d in enumerate(forms.resolve(item["shape"], dims)) if not isinstance(d, int)})
    if "row" in rest:
        place = len(metadata["inputs"])
        values.insert(place, restorer.solver.schedule[0].clone())
        shapes.insert(place, {})
    return values, shapes


def _copied(following: Any, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The state as new tensors: entries that a step passes on are copied, since a program must not return its inputs."""
    return tuple(t.clone() if any(t is s for s in state) else t for t in following)
