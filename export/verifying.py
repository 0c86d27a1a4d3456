"""Repeating the comparison anywhere: the restorer is built again from the metadata and the model."""

from __future__ import annotations

import os

import torch

from fastreg import fidelities, models, solvers
from fastreg.export import cases, parity
from fastreg.export.formats import Metadata
from fastreg.export.loading import Artefact, load
from fastreg.export.metadata import weight_rule
from fastreg.export.parity import Report
from fastreg.operators import Blur, Identity, LinearOperator, Mask, gaussian_psf
from fastreg.restorer import Restorer


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
        If the artefact cannot be loaded, or the model is not known or another one.
    """
    artefact = load(path, device)
    restorer = rebuild(artefact, prior)
    return parity.judge(artefact, cases.make(restorer, artefact.metadata), restorer)


def rebuild(artefact: Artefact, prior: str | os.PathLike[str] | None = None) -> Restorer:
    """The restorer that an artefact was made of, in eager float32."""
    about = artefact.metadata
    name = prior if prior is not None else about.get("prior")
    if name is None:
        raise ValueError(f"{artefact.path} does not name its model: give its file")
    model = models.load(name)
    if models.fingerprint(model) != about.get("weights_sha256"):
        raise ValueError(f"the model {name} is not the one in {artefact.path}: its weights have another hash")
    try:
        restorer = Restorer(_operator(about), _fidelity(about), model, _solver(about))
        restorer.weight_rule = weight_rule(about)
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        words = str(error).splitlines()[0]
        raise ValueError(
            f"the metadata of {artefact.path} describe no restorer: {type(error).__name__} {words}"
        ) from error
    return restorer.to(about["device"]).eval().requires_grad_(False)


def _operator(about: Metadata) -> LinearOperator:
    kind = about["operator"]
    if kind == "Identity":
        return Identity()
    if kind == "Mask":
        return Mask(torch.ones(1, 1))
    if kind == "Blur":
        psf = about["psf"] if about["psf"] is not None else gaussian_psf(about["inputs"][3]["shape"][0], 3.0)
        return Blur(psf, about["boundary"], normalize=False)
    raise ValueError(f"this version cannot build the operator {kind} again")


def _fidelity(about: Metadata) -> fidelities.Fidelity:
    if about["fidelity"] == "L2":
        return fidelities.L2()
    if about["fidelity"] == "PatchWeightedL2":
        return fidelities.PatchWeightedL2(about["patch"])
    raise ValueError(f"this version cannot build the fidelity {about['fidelity']} again")


def _solver(about: Metadata) -> solvers.Solver:
    settings = about["solver"]
    result: solvers.Solver
    if settings["name"] == "Adam":
        result = solvers.Adam(about["iterations"], betas=tuple(settings["betas"]), epsilon=settings["epsilon"])
    elif settings["name"] == "GradientDescent":
        result = solvers.GradientDescent(about["iterations"])
    else:
        raise ValueError(f"this version cannot build the solver {settings['name']} again")
    result.schedule.copy_(torch.tensor(about["schedule"]))
    return result
