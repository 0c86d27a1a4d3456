"""A solve as modules that torch.export can trace: whole with a loop, whole unrolled, or start, step and result."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from fastreg.export.formats import Bundle
from fastreg.kernels.blur_gradient import reference
from fastreg.operators import Blur, Mask
from fastreg.restorer import Restorer


class Loop(nn.Module):
    """The whole solve; iterations as a loop over the schedule, so that the program is as long as one of them."""

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
            return (k + 1, *_apart(following, state))

        first = (t.clone() for t in solver.start(problem, y))  # a loop may not return what it was given
        k = torch.zeros((), dtype=torch.int64, device=y.device)
        last = torch.while_loop(  # type: ignore[no-untyped-call]
            unfinished, body, (k, *first)
        )
        return solver.result(problem, solver.state(*last[1:]))


class Unrolled(nn.Module):
    """The whole solve, one iteration after the other."""

    def __init__(self, restorer: Restorer) -> None:
        super().__init__()
        self.restorer = restorer

    def forward(self, y: Tensor, sigma: Tensor, weight: Tensor) -> Tensor:
        """Restored images."""
        return self.restorer.solve(y, sigma, weight)


class Start(nn.Module):
    """State before the first iteration."""

    def __init__(self, restorer: Restorer) -> None:
        super().__init__()
        self.restorer = restorer

    def forward(self, y: Tensor, sigma: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        """The tensors of the state."""
        first = self.restorer.solver.start(self.restorer.problem(sigma, weight), y)
        return tuple(t.clone() for t in first)


class Step(nn.Module):
    """State after one more iteration."""

    def __init__(self, restorer: Restorer) -> None:
        super().__init__()
        self.restorer = restorer

    def forward(self, y: Tensor, sigma: Tensor, weight: Tensor, row: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """The tensors of the state; `row` is one of the schedule."""
        solver, problem = self.restorer.solver, self.restorer.problem(sigma, weight)
        return _apart(solver.step(problem, y, solver.state(*state), row), state)


class Result(nn.Module):
    """The restored image of a state."""

    def __init__(self, restorer: Restorer) -> None:
        super().__init__()
        self.restorer = restorer

    def forward(self, y: Tensor, sigma: Tensor, weight: Tensor, *state: Tensor) -> Tensor:
        """Restored images."""
        solver, problem = self.restorer.solver, self.restorer.problem(sigma, weight)
        return solver.result(problem, solver.state(*state)).clone()


class WithInput(nn.Module):
    """A program of which a buffer of the operator, the PSF or the mask, is the fourth input."""

    def __init__(self, program: nn.Module, buffer: str) -> None:
        super().__init__()
        self.program = program
        self.key = f"restorer.operator.{buffer}"

    def forward(self, y: Tensor, sigma: Tensor, weight: Tensor, value: Tensor, *rest: Tensor) -> Any:
        """What the program returns."""
        return torch.func.functional_call(self.program, {self.key: value}, (y, sigma, weight, *rest))


class DirectBlur(Blur):
    """A blur without Fourier transforms, under every boundary rule, for runtimes that have none.

    ONNX Runtime's DFT takes part of what ONNX specifies, and only on the CPU.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Degrade: convolve with the PSF."""
        self._require(x.shape[-2], x.shape[-1])
        return reference.blur(x, self.psf, self.boundary)

    def adjoint(self, y: Tensor) -> Tensor:
        """Transpose: correlate with the PSF, and fold the margins back."""
        return reference.adjoint(y, self.psf, self.boundary)

    def gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Gradient of half the squared residual, A*(A x - y)."""
        return self.adjoint(self(x) - y)


def without_fourier(restorer: Restorer) -> Restorer:
    """The same restorer with a `DirectBlur` where it has a `Blur`."""
    operator = restorer.operator
    if type(operator) is not Blur:
        return restorer
    direct = DirectBlur(operator.psf, operator.boundary, normalize=False).to(operator.psf.device)
    result = Restorer(direct, restorer.fidelity, restorer.prior, restorer.solver)
    result.weight_rule = restorer.weight_rule
    return result.eval().requires_grad_(False)


def input_buffer(metadata: dict[str, Any]) -> str | None:
    """Name of the operator's buffer that is an input, or None."""
    names = [spec["name"] for spec in metadata["inputs"]]
    return names[3] if len(names) > 3 else None


def trace(bundle: Bundle, program: nn.Module, rest: tuple[str, ...] = ()) -> ExportedProgram:
    """Export a program with batch and image sizes left open.

    Parameters
    ----------
    bundle
        Restorer and metadata, whose inputs the program takes.
    program
        One of the above.
    rest
        What follows the inputs: ``row``, ``state``.
    """
    buffer = input_buffer(bundle.metadata)
    if buffer is not None:
        program = WithInput(program, buffer)
    values, shapes = example(bundle, rest)
    named = 3 + (buffer is not None or "row" in rest)  # the others go to a starred argument, absent where it is empty
    dynamic = (*shapes[:named], *([tuple(shapes[named:])] if shapes[named:] else []))
    with torch.no_grad():
        return torch.export.export(program.eval(), tuple(values), dynamic_shapes=dynamic, strict=False)


def example(bundle: Bundle, rest: tuple[str, ...]) -> tuple[list[Tensor], list[dict[int, Any]]]:
    """Contiguous inputs, all sizes different, with their open dimensions.

    Strides of the example end up in the program, and equal sizes are taken for the same.
    """
    metadata, restorer = bundle.metadata, bundle.restorer
    spec = metadata["inputs"][0]
    open_dims = {
        "B": Dim("batch", min=1, max=spec["max"][0]),
        "H": Dim("height", min=spec["min"][2], max=spec["max"][2]),
        "W": Dim("width", min=spec["min"][3], max=spec["max"][3]),
    }
    sizes = {"B": 2, "H": max(29, spec["min"][2]) + 8, "W": max(29, spec["min"][3]) + 16}
    device = restorer.device
    generator = torch.Generator().manual_seed(0)
    values, shapes = [], []
    for item in metadata["inputs"]:
        shape = [sizes[d] if isinstance(d, str) else d for d in item["shape"]]
        value = torch.rand(shape, generator=generator) * 0.8 + 0.1
        if item["name"] == "psf":
            value = value / value.sum()
        values.append(value.to(device))
        shapes.append({k: open_dims[d] for k, d in enumerate(item["shape"]) if isinstance(d, str)})
    if "row" in rest:
        values.append(restorer.solver.schedule[0].clone())
        shapes.append({})
    if "state" in rest:
        for item in metadata["state"]:
            shape = [_size(d, sizes) for d in item["shape"]]
            values.append(torch.rand(shape, generator=generator).to(device))
            shapes.append({k: _open(d, open_dims) for k, d in enumerate(item["shape"]) if isinstance(d, str)})
    return values, shapes


def _size(dimension: int | str, sizes: dict[str, int]) -> int:
    if isinstance(dimension, int):
        return dimension
    return sizes[dimension[0]] + int(dimension[1:] or 0)


def _open(dimension: str, dims: dict[str, Any]) -> Any:
    offset = int(dimension[1:] or 0)
    return dims[dimension[0]] + offset if offset else dims[dimension[0]]


def resolve(shape: list[int | str], y: Tensor) -> list[int]:
    """Sizes that a shape of the metadata, such as ``["B", 3, "H+6", "W"]``, has for observations `y`."""
    return [_size(d, {"B": y.shape[0], "H": y.shape[2], "W": y.shape[3]}) for d in shape]


def _apart(following: Any, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The state as new tensors: what a step passes on is copied, since a program may not return its inputs."""
    return tuple(t.clone() if any(t is s for s in state) else t for t in following)


def is_masked(restorer: Restorer) -> bool:
    """Whether the operator is a mask, which has the size of the image and is therefore always an input."""
    return isinstance(restorer.operator, Mask)
