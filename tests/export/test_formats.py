"""Every format, made of tiny restorers: it agrees with eager, at sizes it has not seen, and says what it is."""

from __future__ import annotations

import json
import zipfile

import pytest
import torch

from fastreg import Restorer, models
from fastreg.export import FORMATS, load, verify
from fastreg.operators import OPERATORS
from fastreg.parts import describe
from tests.registry import random

TASKS = ("denoise", "deblur", "inpaint", "super-resolve", "demosaick", "mri")
#: Tracing takes long, so that not every format is made of every task unless sweeps are asked for.
MADE = [
    ("denoise", "onnx"),
    ("deblur", "onnx-step"),
    ("inpaint", "triton-server"),
    ("super-resolve", "onnx-unrolled"),
    ("demosaick", "onnx"),
    ("mri", "onnx"),
    ("deblur", "aoti"),
]
SWEEP = [
    pytest.param((task, name), marks=() if (task, name) in MADE else pytest.mark.slow, id=f"{task}-{name}")
    for task in TASKS
    for name in FORMATS
]


@pytest.fixture(params=SWEEP)
def case(request, made, restorers):
    pytest.importorskip("onnxruntime")
    task, name = request.param
    return task, name, made(task, name), restorers[task]


def observations(task, restorer, batch, height, width):
    """Arguments of a call, and the eager restorer that is to give the same."""
    given = {}
    if task == "deblur":
        psf = random((4, 5), torch.float32, seed=3) + 0.1  # an even side, and not normalised
        given = {"psf": psf}
    if task in ("inpaint", "mri"):
        given = {"mask": (random((batch, 1, height, width), torch.float32, seed=5) > 0.4).float()}
    # a PSF is normalised by the artefact
    own = {name: value / value.sum() if name == "psf" else value for name, value in given.items()}
    operator = restorer.operator.replaced(**own)
    form = operator.measurement()
    shape = form.image_shape((batch, form.channels or 3, height, width), 3)
    y = operator.observe(random(shape, torch.float32, seed=height), 0.05, torch.Generator().manual_seed(height))
    eager = Restorer(operator, restorer.fidelity, restorer.prior, restorer.solver, restorer.weight_rule)
    return y.contiguous(), given, eager


@pytest.mark.parametrize("size", [(1, 64, 47), (2, 33, 34), (4, 23, 95), (3, 14, 15)])
def test_the_call_of_the_restorer(case, size):
    task, _, exported, restorer = case
    y, given, eager = observations(task, restorer, *size)
    sigma = torch.linspace(0.03, 0.3, size[0])
    x = load(exported.path)(y, sigma, **given)
    expected = eager(y, sigma)
    assert x.shape == expected.shape
    assert float((x - expected).square().mean().sqrt()) < 5e-4
    assert float((x - expected)[..., -3:, :].abs().max()) < 1e-2  # rows that no strided patch covers
    assert float((expected - restorer.operator.replaced(**given).initial(y)).square().mean().sqrt()) > 1e-2


def test_a_weight_of_ones_own(case):
    task, _, exported, restorer = case
    y, given, eager = observations(task, restorer, 2, 31, 30)
    x = load(exported.path)(y, 0.1, weight=torch.tensor([0.1, 2.0]), **given)
    torch.testing.assert_close(x, eager(y, 0.1, torch.tensor([0.1, 2.0])), rtol=0, atol=1e-2)


def test_metadata(case, model):
    task, name, exported, restorer = case
    about = load(exported.path).metadata
    assert (about["schema"], about["task"], about["device"], about["precision"]) == (2, task, "cpu", "ieee")
    assert about["format"] == name
    for part in ("operator", "fidelity", "prior", "solver"):
        described = describe(getattr(restorer, part))
        assert {key: about[part][key] for key in described} == json.loads(json.dumps(described))
    assert about["prior"]["weights_sha256"] == models.fingerprint(restorer.prior)
    assert len(about["schedule"]) == 2
    assert all(len(row) == len(about["columns"]) for row in about["schedule"])
    extra = {"deblur": ["psf"], "inpaint": ["mask"], "mri": ["mask"]}.get(task, [])
    assert [spec["name"] for spec in about["inputs"]] == ["y", "sigma", "weight", *extra]
    assert [spec["content"] for spec in about["inputs"]] == ["measurement", "noise level", "weight", *extra]
    y, (x,) = about["inputs"][0], about["outputs"]
    assert y["dtype"] == ("complex64" if task == "mri" else "float32")
    assert y["shape"] == ["B", 1 if task == "demosaick" else 3, "H", "W"]
    assert x["shape"] == ["B", 3, *(["2H", "2W"] if task == "super-resolve" else ["H", "W"])]
    assert {tuple(spec["shape"]) for spec in about["state"]} == {tuple(x["shape"])}
    fixed = {name for name in restorer.operator.inputs if name not in extra}
    assert set(about["operator"]["tensors"]) == fixed
    assert about["parity"]["status"] == "passed" == exported.report.status
    assert about["parity"]["rms"] == exported.report.rms <= 5e-4
    torch.testing.assert_close(torch.tensor(about["weight_rule"]["pairs"]), torch.tensor([[0.05, 0.4], [0.2, 0.1]]))
    residues = {
        tuple(int(n) % 3 for n in row["name"].split("[")[1][:-1].split(",")[2:]) for row in about["parity"]["cases"]
    }
    assert {h for h, _ in residues} == {w for _, w in residues} == {0, 1, 2}
    batches = {row["name"].split("[")[1].split(",")[0] for row in about["parity"]["cases"]}
    assert batches == {"1", "3"}
    sigmas = {round(sigma, 4) for row in about["parity"]["cases"] for sigma in row["sigma"]}
    assert {0.05, 0.2} <= sigmas


def test_verify_repeats_the_comparison(case, model):
    _, _, exported, _ = case
    report = verify(exported.path, prior=model)
    assert report.status == "passed"
    assert report.rms <= 5e-4


def test_every_format_and_every_task_is_made():
    assert {name for _, name in MADE} == set(FORMATS)
    assert {task for task, _ in MADE} == set(TASKS) == {operator.task for operator in OPERATORS.values()}


def test_the_package_tells_a_cpp_loader(made):
    """AOTIModelPackageLoader::get_metadata() gives the text that Python reads from the zip file."""
    path = made("deblur", "aoti").path
    loader = torch._inductor.aoti_load_package(str(path)).loader
    assert json.loads(loader.get_metadata()["fastreg"]) == load(path).metadata
    assert zipfile.ZipFile(path).testzip() is None


def test_onnx_runtime_knows_the_weights(made):
    """It uses its fastest convolutions where weights and biases are constants of the same graph, here of the body of the loop."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(made("denoise", "onnx").path).graph
    (body,) = (attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g"))
    constants = {value.name for value in body.initializer}
    convolutions = [node for node in body.node if node.op_type in ("Conv", "ConvTranspose")]
    assert convolutions and all(constants.issuperset(node.input[1:]) for node in convolutions)
