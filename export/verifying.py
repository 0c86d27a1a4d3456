"""Repeating the comparison with the eager solve, with a restorer that is built from the metadata and the model."""

from __future__ import annotations

import os

import torch

from fastreg import models
from fastreg.compiled.gates import Report
from fastreg.export import cases
from fastreg.export.formats import Metadata
from fastreg.export.loading import Artefact, load
from fastreg.export.metadata import weight_rule
from fastreg.fidelities import FIDELITIES
from fastreg.operators import OPERATORS, LinearOperator
from fastreg.parts import build
from fastreg.restorer import Restorer
from fastreg.solvers import SOLVERS


def verify(
    path: str | os.PathLike[str], prior: str | os.PathLike[str] | None = None, device: str | None = None
) -> Report:
    """Compare an artefact with the eager float32 solve, as `export` did when it made it.

    Parameters
    ----------
    path
        The artefact.
    prior
        File of the model, or its name; the name in the metadata if not given. Its weights must have the recorded hash.
    device
        As for `fastreg.export.load`.

    Returns
    -------
    Report
        Its `status` is ``passed`` or ``failed``.

    Raises
    ------
    ValueError
        If the artefact cannot be loaded, or the model is missing or has other weights.
    """
    artefact = load(path, device)
    restorer = rebuild(artefact, prior)
    return artefact.judge(cases.make(restorer, artefact.metadata), restorer)


def rebuild(artefact: Artefact, prior: str | os.PathLike[str] | None = None) -> Restorer:
    """The eager float32 restorer that an artefact was exported from."""
    about = artefact.metadata
    name = prior if prior is not None else about["prior"].get("name")
    if name is None:
        raise ValueError(f"{artefact.path} does not name its model: give the file of the model as prior")
    model = models.load(name)
    if models.fingerprint(model) != about["prior"].get("weights_sha256"):
        raise ValueError(f"the model {name} is not the one in {artefact.path}: its weights have another hash")
    try:
        solver = build(SOLVERS, about["solver"])
        solver.schedule.copy_(torch.tensor(about["schedule"], dtype=torch.float32))
        restorer = Restorer(_operator(about), build(FIDELITIES, about["fidelity"]), model, solver)
    except (ValueError, TypeError, RuntimeError) as error:
        words = str(error).splitlines()[0]
        raise ValueError(f"the metadata of {artefact.path} describe no restorer: {words}") from error
    restorer.weight_rule = weight_rule(about)
    return restorer.to(about["device"]).eval().requires_grad_(False)


def _operator(about: Metadata) -> LinearOperator:
    """The operator; tensors that are inputs of the artefact are filled with ones."""
    fixed = {
        name: torch.tensor(values, dtype=torch.float32) for name, values in about["operator"].get("tensors", {}).items()
    }
    for spec in about["inputs"][3:]:
        fixed[spec["name"]] = torch.ones(
            [size if isinstance(size, int) else 1 for size in spec["shape"]], dtype=torch.float32
        )
    return build(OPERATORS, about["operator"], **fixed)
