"""Solvers, fidelities, boundary rules and priors that the other tests do not export: one small artefact each."""

from __future__ import annotations

import pytest
import torch

from fastreg import Restorer
from fastreg.export import FORMATS, export, load
from fastreg.export.formats import Options
from fastreg.fidelities import L2, Huber
from fastreg.kernels.precision import cpu_has_bf16
from fastreg.operators import Blur, Downsample, FourierSampling, Identity, Mosaic
from fastreg.priors import DnCNN, LeastSquares, PatchCritic, UNet
from fastreg.solvers import (
    ADMM,
    PDHG1,
    Adam,
    ForwardBackward,
    HalfQuadraticSplitting,
    LearnedSplitting,
    MonotoneForwardBackward,
)

PSF = torch.tensor([[0.1, 0.2, 0.1, 0.0], [0.2, 0.1, 0.1, 0.0], [0.0, 0.1, 0.0, 0.1]])


def critic():
    return PatchCritic([(3, 4, 3), (4, 1, 3)], "silu")


def unet():
    return UNet(widths=(4, 8), blocks=1)


def small():
    return LeastSquares(DnCNN(3, 4, 3, "silu", noise_map=True))


def potential():
    return LeastSquares(UNet(widths=(4, 8), blocks=1, activation="silu"))


LEARNED = LearnedSplitting([[1.1, 0.0, 0.9, 0.23], [0.7, 0.3, 1.2, 0.017]])
SMALL = [
    pytest.param(Blur(PSF, "circular"), L2(), small, LEARNED, "onnx", None, id="circular-learned"),
    pytest.param(Blur(PSF, "replicate"), Huber(), critic, Adam(1), "onnx", None, id="replicate-huber"),
    pytest.param(Blur(PSF, "zero"), L2(), critic, Adam(1), "onnx", 5, id="zero-with-the-call"),
    pytest.param(Blur(PSF, "valid"), L2(), critic, Adam(1), "onnx-step", None, id="valid"),
    pytest.param(Blur(PSF, "circular"), L2(), unet, HalfQuadraticSplitting(2), "onnx", 5, id="circular-denoiser"),
]
LARGE = [
    (Downsample(factor=3), HalfQuadraticSplitting(2), "onnx", "ieee"),
    (Downsample(factor=2), HalfQuadraticSplitting(2), "aoti", "ieee"),
    (Blur(PSF, "reflect"), HalfQuadraticSplitting(2), "aoti", "bf16"),
    (Blur(PSF, "circular"), HalfQuadraticSplitting(2), "aoti", "ieee"),
    (FourierSampling([[1.0]]), HalfQuadraticSplitting(2), "aoti", "ieee"),
    (FourierSampling([[1.0]]), HalfQuadraticSplitting(2), "onnx-step", "ieee"),
    (Mosaic(), ADMM(2), "onnx-step", "ieee"),
    (Mosaic(), MonotoneForwardBackward(3), "onnx-step", "ieee"),
    (Blur(PSF, "circular"), MonotoneForwardBackward(3), "onnx", "ieee"),
    (Downsample(factor=2), MonotoneForwardBackward(3), "aoti", "ieee"),
    (Blur(PSF, "circular"), ForwardBackward(3, accelerated=True), "onnx-unrolled", "ieee"),
    (Mosaic(), LEARNED, "aoti", "ieee"),
    *((Identity(), MonotoneForwardBackward(3), name, "ieee") for name in ("onnx-unrolled", "triton-server")),
    *((Identity(), LEARNED, name, "ieee") for name in ("onnx", "onnx-step", "onnx-unrolled", "triton-server")),
    (Mosaic(), PDHG1(2), "onnx-step", "ieee"),
]


def proven(restorer, path, name, **options):
    """The artefact of a restorer, which passes the gate."""
    made = export(restorer, path / f"x{FORMATS[name].suffix}", name, Options(max_batch=4, max_size=256, **options))
    assert made.report.status == "passed"
    return load(made.path)


@pytest.mark.parametrize(("operator", "fidelity", "prior", "solver", "name", "side"), SMALL)
def test_parts_in_onnx(operator, fidelity, prior, solver, name, side, tmp_path):
    torch.manual_seed(0)
    restorer = Restorer(operator, fidelity, prior(), solver, weight=0.3).eval().requires_grad_(False)
    artefact = proven(restorer, tmp_path, name, psf_side=side)
    about = artefact.metadata
    assert about["operator"]["kind"] == operator.kind
    assert about["schedule"] == solver.schedule.tolist() and about["solver"]["settings"] == solver.settings
    assert ("psf" in about["operator"]["tensors"]) == (operator.inputs.keys() == {"psf"} and side is None)
    if side is None and "psf" in operator.inputs:
        torch.testing.assert_close(torch.tensor(about["operator"]["tensors"]["psf"]), operator.psf, rtol=0, atol=0)
        y = torch.rand(1, 3, 20, 21, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(artefact(y, 0.1), restorer(y, 0.1), rtol=0, atol=1e-4)  # with this PSF
        with pytest.raises(ValueError, match="takes no psf="):
            artefact(y, 0.1, psf=torch.ones(3, 3))
    if isinstance(operator, Blur) and operator.boundary == "valid":
        assert about["outputs"][0]["shape"] == ["B", 3, "H+2", "W+3"]


def test_backtracking_is_part_of_the_program(tmp_path):
    """Each image of a batch has its own step: some are halved, others not."""
    torch.manual_seed(0)
    solver = MonotoneForwardBackward(4, 2.0)
    restorer = Restorer(Identity(), L2(), small(), solver, weight=1.0).eval().requires_grad_(False)
    sigma, weight = torch.tensor([0.05, 0.2]), torch.tensor([0.1, 200.0])
    y = torch.rand(2, 3, 20, 21, generator=torch.Generator().manual_seed(0))
    problem = restorer.problem(sigma, weight)
    state = solver.start(problem, y)
    for row in solver.schedule:
        state = solver.step(problem, y, state, row)
    assert state.scale[0] == 1 and state.scale[1] < 1
    made = export(restorer, tmp_path / "x.onnx", "onnx", Options(max_batch=4, max_size=256))
    torch.testing.assert_close(load(made.path)(y, sigma, weight), state.x, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("operator", "solver", "name", "precision"),
    LARGE,
    ids=[f"{row[0].kind}-{row[1].kind}-{row[2]}-{row[3]}" for row in LARGE],
)
def test_solvers(operator, solver, name, precision, tmp_path):
    if precision == "bf16" and not cpu_has_bf16():
        pytest.skip("this CPU has no bf16 instructions")
    torch.manual_seed(0)
    prior = unet() if "prior.denoise" in solver.needs else potential()
    restorer = Restorer(operator, L2(), prior, solver, weight=0.3).eval().requires_grad_(False)
    proven(restorer, tmp_path, name, precision=precision)
