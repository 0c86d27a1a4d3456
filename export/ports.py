"""Inputs, outputs and state of an artefact: names, shapes, limits and contents."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fastreg.export.formats import ExportError, Options
from fastreg.export.forms import Dimension, Form
from fastreg.operators import LinearOperator, Measurement
from fastreg.restorer import Restorer

Port = dict[str, Any]
_DTYPES = {torch.float32: "float32", torch.complex64: "complex64"}
#: Upper limit of the search for the smallest size of a measurement.
_LARGEST = 1024


def inputs(restorer: Restorer, options: Options) -> list[Port]:
    """The inputs, in the order of a call: y, sigma, weight, then those of the operator.

    Raises
    ------
    ExportError
        If the operator cannot be exported with these options.
    """
    form, batch, high = restorer.operator.measurement(), options.max_batch, options.max_size
    channels = measured_channels(restorer)
    low = _smallest(restorer, options)
    if high < max(low):
        raise ExportError(f"max_size={high} is below the {max(low)} pixels that prior and operator need")
    y: Port = {
        "name": "y",
        "dtype": form.dtype,
        "shape": ["B", channels, "H", "W"],
        "min": [1, channels, *low],
        "max": [batch, channels, high, high],
        "content": "measurement",
    }
    number = {"dtype": "float32", "shape": ["B"], "min": [1], "max": [batch]}
    result = [
        y,
        {"name": "sigma", **number, "content": "noise level"},
        {"name": "weight", **number, "content": "weight"},
    ]
    for name in open_inputs(restorer.operator, options):
        about = restorer.operator.inputs[name]
        port = {"name": name, "dtype": "float32", "content": about.content}
        if about.sized:
            size = getattr(restorer.operator, name).shape[1]
            result.append(
                {**port, "shape": ["B", size, "H", "W"], "min": [1, size, *low], "max": [batch, size, high, high]}
            )
        else:
            sides = [options.psf_side, options.psf_side]
            result.append({**port, "shape": sides, "min": sides, "max": sides})
    return result


def outputs(restorer: Restorer) -> list[Port]:
    """The restored image; its size follows from `LinearOperator.measurement`."""
    form: Measurement = restorer.operator.measurement()
    sides = [str(Form(form.scale, name, margin)) for name, margin in zip("HW", form.margin, strict=True)]
    return [{"name": "x", "dtype": "float32", "shape": ["B", restorer.prior.channels, *sides]}]


def state(restorer: Restorer, options: Options) -> list[Port]:
    """Names, dtypes and shapes of the tensors of the state, found by changing one size of the observation at a time."""
    names = getattr(restorer.solver.state, "_fields", ())
    base = {
        "B": 2,
        **dict(zip("HW", (n + k for n, k in zip(_smallest(restorer, options), (20, 31), strict=True)), strict=True)),
    }
    first = _start(restorer, base, options)
    changed = {symbol: _start(restorer, {**base, symbol: size + 1}, options) for symbol, size in base.items()}
    ports = []
    for k, name in enumerate(names):
        shape: list[Dimension] = []
        for axis, size in enumerate(first[k].shape):
            grows = {symbol: states[k].shape[axis] - size for symbol, states in changed.items()}
            shape.append(_dimension(name, size, {s: n for s, n in grows.items() if n}, base))
        ports.append({"name": f"state_{name}", "dtype": _DTYPES[first[k].dtype], "shape": shape})
    return ports


def measured_channels(restorer: Restorer) -> int:
    """Channels of a measurement."""
    own = restorer.operator.measurement().channels
    return restorer.prior.channels if own is None else own


def open_inputs(operator: LinearOperator, options: Options) -> list[str]:
    """Names of the operator's tensors that are inputs of the artefact.

    Raises
    ------
    ExportError
        If an input was asked for that the operator cannot have.
    """
    sized = [name for name, about in operator.inputs.items() if about.sized]
    if options.psf_side is None:
        return sized
    asked = [name for name, about in operator.inputs.items() if about.content == "psf" and not about.sized]
    if not asked:
        raise ExportError(f"psf_side was given, but the operator {operator.kind} takes no PSF")
    if operator.measurement().margin != (0, 0):
        raise ExportError("the PSF of this operator fixes the size of the image, so that it cannot be an input")
    return [name for name in operator.inputs if name in (*sized, *asked)]


def example_operator(restorer: Restorer, options: Options, height: int, width: int) -> LinearOperator:
    """The operator with placeholders for the tensors that are inputs, for measurements of the given size."""
    operator = restorer.operator
    given: dict[str, Tensor] = {}
    for name in open_inputs(operator, options):
        side = options.psf_side or 1
        shape = (1, getattr(operator, name).shape[1], height, width) if operator.inputs[name].sized else (side, side)
        given[name] = torch.full(shape, 1.0 if operator.inputs[name].sized else side**-2.0, dtype=torch.float32)
    return operator.replaced(**given).to(restorer.device) if given else operator


def _smallest(restorer: Restorer, options: Options) -> tuple[int, int]:
    """Smallest height and width of a measurement.

    torch.export treats sizes of one as constants, so all open sizes inside the program must be at least two. For an image of
    the minimum size a prior has sizes of one inside; hence twice the minimum.
    """
    prior, form = restorer.prior, restorer.operator.measurement()
    image = max(2, 2 * max(prior.minimum_size, prior.multiple))
    low = [max(2, -(-(image - margin) // form.scale)) for margin in form.margin]
    channels = measured_channels(restorer)
    for axis in (0, 1):
        while not _takes(restorer, options, channels, (low[0], _LARGEST) if axis == 0 else (_LARGEST, low[1])):
            low[axis] += 1
            if low[axis] > _LARGEST:
                raise ExportError(
                    f"the operator {restorer.operator.kind} takes no measurements of up to {_LARGEST} pixels a side"
                )
    return low[0], low[1]


def _takes(restorer: Restorer, options: Options, channels: int, size: tuple[int, int]) -> bool:
    """Whether the operator takes measurements of a size."""
    y = torch.zeros(1, channels, *size, dtype=_measured_dtype(restorer), device=restorer.device)
    try:
        example_operator(restorer, options, *size).check(y)
    except ValueError:
        return False
    return True


def _measured_dtype(restorer: Restorer) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, restorer.operator.measurement().dtype)
    return dtype


def _start(restorer: Restorer, sizes: dict[str, int], options: Options) -> tuple[Tensor, ...]:
    """The state of the solver for a measurement of ones."""
    shape = (sizes["B"], measured_channels(restorer), sizes["H"], sizes["W"])
    y = torch.ones(shape, dtype=_measured_dtype(restorer), device=restorer.device)
    one = torch.ones(sizes["B"], dtype=torch.float32, device=restorer.device)
    problem = restorer.problem(one, one)
    operator = example_operator(restorer, options, sizes["H"], sizes["W"])
    with torch.no_grad():
        result: tuple[Tensor, ...] = restorer.solver.start(problem._replace(operator=operator), y)
    return result


def _dimension(name: str, size: int, grows: dict[str, int], base: dict[str, int]) -> Dimension:
    """A dimension as a form, from its growth with each size of the observation."""
    if not grows:
        return size
    if len(grows) > 1 or min(grows.values()) < 0:
        raise ExportError(
            f"the state {name} of the solver has a dimension that is no form of one size of the observation"
        )
    ((symbol, scale),) = grows.items()
    return str(Form(scale, symbol, size - scale * base[symbol]))
