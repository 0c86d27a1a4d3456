"""Small artefacts for the C++ tests: a tiny critic and three iterations, for each task.

``python artefacts.py FOLDER`` compiles them, so that it can be done while C++ is built.
"""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import fastreg
from fastreg.operators import Blur, Identity, LinearOperator, Mask, gaussian_psf
from fastreg.regularizers import PatchCritic
from fastreg.restorer import Restorer
from fastreg.solvers import Adam
from fastreg.zoo import WeightRule

TASKS = ("denoise", "deblur", "inpaint")
#: Input of an artefact besides y, sigma and weight.
EXTRAS = {"deblur": "psf", "inpaint": "mask"}
PSF_SIDE = 5
SMALLEST, LARGEST, LARGEST_BATCH = 8, 2048, 16
PAIRS = [[0.05, 6.0], [0.1, 2.5], [0.2, 1.5]]


def make_restorer(operator: LinearOperator) -> Restorer:
    """The restorer of all artefacts, with random weights."""
    torch.manual_seed(0)
    prior = PatchCritic([(3, 4, 3), (4, 1, 3)]).requires_grad_(False)
    return Restorer(operator, prior=prior, solver=Adam(iterations=3), weight=WeightRule(PAIRS)).eval()


class _Solve(nn.Module):
    def __init__(self, restorer: Restorer) -> None:
        super().__init__()
        self.restorer = restorer

    def forward(self, y: Tensor, sigma: Tensor, weight: Tensor) -> Tensor:
        return self.restorer.solve(y, sigma, weight)


class _SolveWith(nn.Module):
    """The solve with a buffer of the operator as its last input."""

    def __init__(self, restorer: Restorer, name: str) -> None:
        super().__init__()
        self.solve = _Solve(restorer)
        self.name = f"restorer.operator.{name}"

    def forward(self, y: Tensor, sigma: Tensor, weight: Tensor, extra: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(self.solve, {self.name: extra}, (y, sigma, weight))
        return result


def compile_artefact(task: str, path: Path) -> None:
    """Export, compile and package the solve of a task."""
    shape = (3, 3, 17, 19)
    batch = torch.export.Dim("B", min=1, max=LARGEST_BATCH)
    height, width = (torch.export.Dim(name, min=SMALLEST, max=LARGEST) for name in "HW")
    arguments = [torch.rand(shape), torch.full((3,), 0.1), torch.full((3,), 0.3)]
    dynamic: list[Any] = [{0: batch, 2: height, 3: width}, {0: batch}, {0: batch}]
    operator: LinearOperator = Identity()
    if task == "deblur":
        operator = Blur(gaussian_psf(PSF_SIDE, 1.0))
        arguments.append(gaussian_psf(PSF_SIDE, 1.0))
        dynamic.append(None)
    elif task == "inpaint":
        operator = Mask(torch.ones(1, 1, *shape[2:]))
        arguments.append(torch.ones(3, 1, *shape[2:]))
        dynamic.append({0: batch, 2: height, 3: width})
    restorer = make_restorer(operator)
    module: nn.Module = _SolveWith(restorer, EXTRAS[task]) if task in EXTRAS else _Solve(restorer)
    program = torch.export.export(module, tuple(arguments), dynamic_shapes=tuple(dynamic))
    settings = {"aot_inductor.metadata": {"fastreg": json.dumps(metadata(task, restorer))}, "compile_threads": 1}
    torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=settings)


def export_onnx(path: Path) -> None:
    """Export denoising for ONNX Runtime, with its iterations unrolled."""
    import onnx

    restorer = make_restorer(Identity())
    batch = torch.export.Dim("B", min=1, max=LARGEST_BATCH)
    height, width = (torch.export.Dim(name, min=SMALLEST, max=LARGEST) for name in "HW")
    program = torch.onnx.export(
        _Solve(restorer),
        (torch.rand(3, 3, 17, 19), torch.full((3,), 0.1), torch.full((3,), 0.3)),
        input_names=["y", "sigma", "weight"],
        output_names=["x"],
        dynamic_shapes=({0: batch, 2: height, 3: width}, {0: batch}, {0: batch}),
        optimize=False,  # the optimiser takes small constants for zero
        verbose=False,
    )
    assert program is not None
    program.save(str(path))
    model = onnx.load(str(path))
    text = json.dumps({**metadata("denoise", restorer), "format": "onnx-unrolled"})
    onnx.helper.set_model_props(model, {"fastreg": text})
    onnx.save(model, str(path))


def metadata(task: str, restorer: Restorer) -> dict[str, Any]:
    """What the exporter writes of an artefact."""
    image: dict[str, Any] = {
        "dtype": "float32",
        "shape": ["B", 3, "H", "W"],
        "min": [1, 3, SMALLEST, SMALLEST],
        "max": [LARGEST_BATCH, 3, LARGEST, LARGEST],
    }
    entry = {"dtype": "float32", "shape": ["B"], "min": [1], "max": [LARGEST_BATCH]}
    extras: dict[str, dict[str, Any]] = {
        "psf": {"dtype": "float32", "shape": [PSF_SIDE] * 2, "min": [PSF_SIDE] * 2, "max": [PSF_SIDE] * 2},
        "mask": {
            "dtype": "float32",
            "shape": ["B", 1, "H", "W"],
            "min": [1, 1, SMALLEST, SMALLEST],
            "max": [LARGEST_BATCH, 1, LARGEST, LARGEST],
        },
    }
    inputs = [{"name": "y", **image}, {"name": "sigma", **entry}, {"name": "weight", **entry}]
    if task in EXTRAS:
        inputs.append({"name": EXTRAS[task], **extras[EXTRAS[task]]})
    return {
        "schema": 1,
        "format": "aoti",
        "device": "cpu",
        "fastreg": fastreg.__version__,
        "torch": torch.__version__,
        "task": task,
        "operator": type(restorer.operator).__name__,
        "boundary": getattr(restorer.operator, "boundary", None),
        "prior": 'tiny "µ"',
        "weights_sha256": fastreg.zoo.fingerprint(restorer.prior),
        "precision": "ieee",
        "layout": "contiguous",
        "iterations": 3,
        "schedule": restorer.solver.schedule.tolist(),
        "inputs": inputs,
        "output": {"name": "x", **image},
        "weight_rule": {"exponent": 1.0, "pairs": PAIRS},
        "parity": {"rms": 1e-8},
    }


def edit(source: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
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
        compile_artefact(_task, Path(sys.argv[1]) / f"{_task}.pt2")
