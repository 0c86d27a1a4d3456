"""Small artefacts for the C++ tests: a tiny critic and two iterations, for each task.

``python -m tests.cpp.artefacts FOLDER [onnx]`` exports them, so that it can be done while C++ is built.
"""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastreg.export import Options, export
from fastreg.models import ModelCard, TaskSettings
from fastreg.operators import (
    OPERATORS,
    Blur,
    Downsample,
    FourierSampling,
    Identity,
    LinearOperator,
    Mask,
    Mosaic,
    gaussian_psf,
)
from fastreg.priors import PatchCritic
from fastreg.restorer import Restorer
from fastreg.solvers import Adam

#: What is exported: tasks, and a deblurring with a fixed PSF whose result is larger than the observation.
TASKS = ("denoise", "deblur", "inpaint", "super-resolve", "demosaick", "mri", "valid")
PSF_SIDE = 5
#: What the ONNX Runtime drivers are tested on: task, format, and name of the file or folder.
ONNX = (
    ("denoise", "onnx", "denoise.onnx"),
    ("denoise", "onnx-step", "denoise-step"),
    ("deblur", "onnx-step", "deblur-step"),
    ("inpaint", "onnx", "inpaint.onnx"),
    ("super-resolve", "onnx", "super-resolve.onnx"),
    ("mri", "onnx-step", "mri-step"),
)


def make_operator(task: str, psf: Tensor | None = None, mask: Tensor | None = None) -> LinearOperator:
    """The degradation of a task."""
    operators: dict[str, Callable[[], LinearOperator]] = {
        "denoise": Identity,
        "deblur": lambda: Blur(gaussian_psf(PSF_SIDE, 1.0) if psf is None else psf),
        "inpaint": lambda: Mask([[1.0]] if mask is None else mask),
        "super-resolve": lambda: Downsample(factor=2),
        "demosaick": lambda: Mosaic("gbrg"),
        "mri": lambda: FourierSampling([[1.0]] if mask is None else mask),
        "valid": lambda: Blur(gaussian_psf((4, 3), 1.0), "valid"),
    }
    return operators[task]()


def make_restorer(operator: LinearOperator) -> Restorer:
    """The restorer of all artefacts, with random weights and a name that has to be escaped."""
    torch.manual_seed(0)
    prior = PatchCritic([(3, 4, 3), (4, 1, 3)]).requires_grad_(False)
    tuned = TaskSettings([[0.05, 6.0], [0.1, 2.5], [0.2, 1.5]])
    tasks = {cls.task: tuned for cls in OPERATORS.values()}
    prior.card = ModelCard('tiny "\N{GREEK SMALL LETTER MU}"', "patch_critic", prior.settings, tasks=tasks)
    return Restorer(operator, prior=prior, solver=Adam(iterations=2)).eval()


def make_artefact(task: str, path: Path, name: str = "aoti") -> None:
    """Export the restorer of a task in a format."""
    options = Options(psf_side=PSF_SIDE if task == "deblur" else None, max_batch=16, max_size=2048)
    export(make_restorer(make_operator(task)), path, name, options)


def edit(source: Path, target: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of an artefact with other metadata: `change` is given those of torch, fastreg's among them as text."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for item in old.infolist():
            data = old.read(item)
            if item.filename.endswith("_metadata.json"):
                facts = json.loads(data)
                change(facts)
                data = json.dumps(facts).encode()
            new.writestr(item.filename, data)
    return target


if __name__ == "__main__":
    torch.set_num_threads(1)
    for _task in TASKS:
        make_artefact(_task, Path(sys.argv[1]) / f"{_task}.pt2")
    for _task, _format, _name in ONNX if "onnx" in sys.argv[2:] else ():
        make_artefact(_task, Path(sys.argv[1]) / _name, _format)
