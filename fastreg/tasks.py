"""The table of tasks: for each its operator, the model that ships for it, and how its noise level is found."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from fastreg.io.inputs import read_mask, read_psf
from fastreg.kernels.precision import PRECISIONS
from fastreg.models import load
from fastreg.operators import Blur, Identity, LinearOperator, Mask
from fastreg.parts import build
from fastreg.restorer import Restorer
from fastreg.solvers import SOLVERS

COMPILE_MODES = ("auto", "always", "never")


@dataclasses.dataclass(frozen=True)
class Task:
    """A row of the table.

    Parameters
    ----------
    name
        As on the command line, in model cards, and of the operators.
    operator
        Makes the operator of the options below.
    options
        Options that it needs: ``psf``, ``mask``; the operator takes further ones as keywords.
    prior
        Name of the model that ships for it.
    sigma
        Noise level that is assumed if none is given; None if one has to be given.
    """

    name: str
    operator: Callable[..., LinearOperator]
    options: tuple[str, ...]
    prior: str
    sigma: float | None = None


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("denoise", lambda: Identity(), (), "alr"),
        Task("deblur", lambda psf, boundary="reflect": Blur(psf, boundary=boundary), ("psf",), "alr-deblur"),
        # about the noise of an 8-bit photograph
        Task("inpaint", lambda mask: Mask(mask), ("mask",), "alr", sigma=0.01),
    )
}


def find(name: str) -> Task:
    """The row of a name; raises `ValueError` where there is none."""
    if name not in TASKS:
        raise ValueError(f"the task must be one of {', '.join(TASKS)}, got {name!r}")
    return TASKS[name]


def make_operator(task: str, psf: str | None, mask: str | None, boundary: str) -> LinearOperator:
    """The degradation that a task undoes, from what was typed.

    Raises
    ------
    ValueError
        If the task is unknown, or is given a PSF or a mask that it does not take, or none where it needs one.
    """
    row = find(task)
    for name, value in (("psf", psf), ("mask", mask)):
        if (value is not None) != (name in row.options):
            raise ValueError(f"{task} takes no --{name}" if value is not None else f"{task} needs --{name}")
    if psf is not None:
        return row.operator(read_psf(psf), boundary)
    return row.operator() if mask is None else row.operator(read_mask(mask))


def choose_device(name: str) -> torch.device:
    """The device of a name; ``auto`` is CUDA where there is one.

    Raises
    ------
    ValueError
        If it is CUDA and there is none.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    if name == "cuda" and not available:
        raise ValueError("there is no CUDA device that this installation of torch can use: take --device cpu")
    return torch.device(name)


def prepare(restorer: Restorer, precision: str, mode: str, accept_drift: bool = False) -> Restorer:
    """The restorer to run: compiled where that is asked for, or where the precision is not IEEE float32.

    Another precision than IEEE float32 is first compared with it, see `Restorer.compile`; outside the gates it is refused, unless
    `accept_drift` says otherwise.

    Raises
    ------
    ValueError
        If the precision or the mode is unknown, they contradict each other, or the precision is outside its gates.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"the precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if mode not in COMPILE_MODES:
        raise ValueError(f"compile must be one of {', '.join(COMPILE_MODES)}, got {mode!r}")
    if mode == "never" and precision != "ieee":
        raise ValueError(f"the precision {precision} needs the compiled solver: leave out --compile never")
    if precision != "ieee":
        return restorer.compile(precision=precision, check=True, accept_drift=accept_drift)
    return restorer.compile() if mode == "always" else restorer


def make_restorer(
    operator: LinearOperator,
    prior: str = "auto",
    iterations: int | None = None,
    weight: float | None = None,
    device: torch.device | str = "cpu",
) -> Restorer:
    """The restorer for an operator: prior, solver and weight as the table and the model card say.

    Raises
    ------
    ValueError
        If the model is unknown or was not tuned for the task, or an argument is out of its range.
    """
    model = load(find(operator.task).prior if prior == "auto" else prior)
    solver = None
    tuned = model.card.tasks.get(operator.task) if model.card is not None else None
    if iterations is not None and tuned is not None and tuned.solver is not None:
        settings: dict[str, Any] = {**tuned.solver["settings"], "iterations": iterations}
        solver = build(SOLVERS, {**tuned.solver, "settings": settings})
    return Restorer(operator, prior=model, solver=solver, weight=weight).to(device).eval()
