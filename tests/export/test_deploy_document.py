"""docs/deploy.md does what it says, as far as it can without a server; tests/cpp compiles and runs its C++."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from fastreg.compiled.gates import GATES
from fastreg.export import FORMATS, Exported, load
from fastreg.export.metadata import weight_rule
from fastreg.export.triton_server import configuration
from tests.export.test_triton_server import parse

PAGE = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [
    shlex.split(line[2:])[1:]
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ fastreg ")
]


def test_the_python_service(made, tmp_path, monkeypatch):
    shutil.copy(made("deblur", "aoti").path, tmp_path / "deblur.pt2")
    shutil.copy(made("denoise", "onnx").path, tmp_path / "denoise.onnx")
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in BLOCKS:
        code = compile(block, "docs/deploy.md", "exec")
        if "tritonclient" not in block:
            exec(code, names)
    pixels = np.random.default_rng(0).integers(0, 256, (30, 41, 3), np.uint8)
    status, x = names["handle"](pixels, np.ones((3, 3)))
    assert (status, x.shape, x.dtype) == (200, (30, 41, 3), np.uint8)
    status, words = names["handle"](pixels, np.ones((99, 99)))
    assert status == 400
    assert "at most" in words
    rule = weight_rule(load("denoise.onnx").metadata)
    for sigma in (0.01, 0.07, 0.5):
        assert names["weight"](sigma) == pytest.approx(float(rule(torch.tensor(sigma))), rel=1e-5)
    y = torch.rand(2, 3, 30, 41, generator=torch.Generator().manual_seed(0))
    expected = load("denoise.onnx")(y, 0.07)
    torch.testing.assert_close(torch.from_numpy(names["denoise"](y.numpy(), 0.07)), expected, rtol=0, atol=1e-4)


def test_the_tables_are_complete():
    assert all(f"| `{name}` |" in PAGE for name in FORMATS)
    for precision, (rms, psnr) in GATES.items():
        row = next(line for line in PAGE.splitlines() if line.startswith("| ") and f"`{precision}`" in line)
        assert f"{psnr} dB" in row
        assert f"{rms:.0e}".replace("e-0", "e-") in row


def test_the_commands(run, model, made, restorers, tmp_path, monkeypatch):
    """Every `fastreg` command of the page runs, with artefacts that are there already in place of compiling."""
    asked = []

    def at_hand(restorer, path, name, options, cases):
        row = FORMATS[name]
        row.check("cpu", options)
        assert Path(path).suffix == row.suffix
        assert len(cases) >= 5
        asked.append((restorer.operator.task, name, options.psf_side))
        source = made("deblur", "aoti") if name == "aoti" else made("denoise", "onnx")
        if row.suffix == source.path.suffix:
            shutil.copy(source.path, path)
        return Exported(Path(path), name, 1, 0.0, source.report)

    import fastreg.export

    monkeypatch.setattr(fastreg.export, "export", at_hand)
    monkeypatch.chdir(tmp_path)
    verbs = []
    for words in COMMANDS:
        verbs.append(words[0])
        arguments = [*words, "--prior", str(model)]
        if words[0] == "export":
            arguments += ["--rounds", "0", "--iterations", "2"]
        code, _, err = run(*arguments)
        assert (code, err) == (0, ""), (words, err)
    assert verbs.count("export") >= 5
    assert verbs.count("verify") == 1
    assert {("denoise", "aoti", None), ("deblur", "aoti", 25), ("denoise", "triton-server", None)} <= set(asked)
    assert ("super-resolve", "onnx", None) in asked
    assert {name for task, name, _ in asked if task == "inpaint"} == set(FORMATS)


class Server:
    """Does with a request what Triton Inference Server does, by the configuration of the model: checks it, and runs it."""

    def __init__(self, name, text, artefact):
        self.name, self.artefact = name, artefact
        self.fields = parse(text)

    def infer(self, name, inputs):
        assert name == self.name
        batch = inputs[0].value.shape[0]
        assert 1 <= batch <= self.fields["max_batch_size"]
        assert [given.name for given in inputs] == [spec["name"] for spec in self.fields["input"]]
        values = []
        for given, spec in zip(inputs, self.fields["input"], strict=True):
            assert (given.datatype, given.value.dtype) == ("FP32", np.float32)
            assert tuple(given.shape) == given.value.shape
            assert given.value.shape[0] == batch
            assert all(d in (-1, n) for d, n in zip(spec["dims"], given.value.shape[1:], strict=True))
            reshaped = spec.get("reshape", {}).get("shape", given.value.shape[1:])
            values.append(torch.from_numpy(given.value.reshape(batch, *reshaped)))
        x = self.artefact._run(values).numpy()
        return types.SimpleNamespace(as_numpy=lambda output: {"x": x}[output])


class Given:
    def __init__(self, name, shape, datatype):
        self.name, self.shape, self.datatype = name, shape, datatype

    def set_data_from_numpy(self, value):
        assert value.flags.c_contiguous
        self.value = value


def test_the_client_of_the_server(made, restorers, monkeypatch):
    path = made("denoise", "onnx").path
    artefact = load(path)
    server = Server("fastreg_denoise", configuration("fastreg_denoise", artefact.metadata, 1), artefact)
    client = types.ModuleType("tritonclient.http")
    client.InferenceServerClient, client.InferInput = lambda address: server, Given
    package = types.ModuleType("tritonclient")
    package.http = client
    monkeypatch.setitem(sys.modules, "tritonclient", package)
    monkeypatch.setitem(sys.modules, "tritonclient.http", client)
    (block,) = [block for block in BLOCKS if "tritonclient" in block]
    names = {}
    exec(compile(block, "docs/deploy.md", "exec"), names)
    y = torch.rand(2, 3, 30, 41, generator=torch.Generator().manual_seed(0))
    x = names["restore"](y.numpy().transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2), 0.1, 0.2)
    with torch.no_grad():
        expected = restorers["denoise"](y, 0.1, 0.2)
    assert float((torch.from_numpy(x) - expected).square().mean().sqrt()) < 5e-4
