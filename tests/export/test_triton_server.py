"""The model repository: its configuration is what the server's ModelConfig message takes."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re

import pytest

from fastreg.export import Options, metadata
from fastreg.export.triton_server import configuration
from tests.export.conftest import SIDE

#: Fields of the messages in use, with the type of each: a message, ``[message]``, or how a value is written.
MESSAGES = {
    "ModelConfig": {
        "name": "string",
        "backend": "string",
        "max_batch_size": "integer",
        "input": "[ModelInput]",
        "output": "[ModelInput]",
        "dynamic_batching": "Batching",
        "instance_group": "[Group]",
        "parameters": "Parameter",
    },
    "ModelInput": {"name": "string", "data_type": "name", "dims": "[integer]", "reshape": "Reshape"},
    "Reshape": {"shape": "[integer]"},
    "Batching": {},
    "Group": {"count": "integer", "kind": "name"},
    "Parameter": {"key": "string", "value": "Value"},
    "Value": {"string_value": "string"},
}
SCALARS = {"string": r'"[^"]*"', "integer": r"-?\d+", "name": r"[A-Z_0-9]+"}


def parse(text):
    """A strict parser of the part of the protobuf text format that the configuration uses."""
    tokens = re.findall(r'"[^"]*"|[\[\]{}:,]|[^\s\[\]{}:,]+', text)

    def take(expected=None):
        token = tokens.pop(0)
        assert expected is None or token == expected, f"expected {expected}, got {token}"
        return token

    def value(kind):
        if kind.startswith("["):
            take("[")
            items = []
            while tokens[0] != "]":
                if items:
                    take(",")
                items.append(value(kind[1:-1]))
            take("]")
            return items
        if kind in SCALARS:
            token = take()
            assert re.fullmatch(SCALARS[kind], token), token
            return int(token) if kind == "integer" else token.strip('"')
        take("{")
        fields = message(kind)
        take("}")
        return fields

    def message(kind):
        fields = {}
        while tokens and tokens[0] != "}":
            name = take()
            assert name in MESSAGES[kind], f"{kind} has no field {name}"
            assert name not in fields, f"{name} is given twice"
            field = MESSAGES[kind][name]
            if tokens[0] == ":" or field.strip("[]") in SCALARS:
                take(":")
            fields[name] = value(field)
        return fields

    result = message("ModelConfig")
    assert not tokens
    return result


def texts(restorers):
    for task in ("denoise", "deblur", "inpaint"):
        options = Options(psf_side=SIDE if task == "deblur" else None, max_batch=4)
        description = metadata.build(restorers[task], "triton-server", options)
        yield task, description, configuration(f"fastreg_{task}", description, 2)


def test_configuration(restorers):
    for task, description, text in texts(restorers):
        fields = parse(text)
        assert (fields["name"], fields["backend"]) == (f"fastreg_{task}", "onnxruntime")
        assert fields["instance_group"] == [{"count": 2, "kind": "KIND_CPU"}]
        assert [spec["name"] for spec in fields["input"]] == [spec["name"] for spec in description["inputs"]]
        assert [spec["name"] for spec in fields["output"]] == ["x"]
        assert {spec["data_type"] for spec in fields["input"] + fields["output"]} == {"TYPE_FP32"}
        assert ("dynamic_batching" in fields) == (fields["max_batch_size"] > 0) == (task != "deblur")
        if task == "deblur":
            assert [spec["dims"] for spec in fields["input"]] == [[-1, 3, -1, -1], [-1], [-1], [SIDE, SIDE]]
        else:
            assert fields["max_batch_size"] == 4
            assert fields["input"][0]["dims"] == [3, -1, -1]
            assert fields["input"][1]["dims"] == [1]
            assert fields["input"][1]["reshape"] == {"shape": []}


def test_configuration_with_the_definitions_of_the_server(restorers):
    """``tritonclient`` carries them; its module is loaded by itself, since its package also wants grpc."""
    text_format = pytest.importorskip("google.protobuf.text_format")
    try:
        files = importlib.metadata.files("tritonclient") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("needs tritonclient")
    source = next(str(file.locate()) for file in files if file.name == "model_config_pb2.py")
    spec = importlib.util.spec_from_file_location("model_config_pb2", source)
    definitions = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(definitions)
    for task, _, text in texts(restorers):
        parsed = text_format.Parse(text, definitions.ModelConfig())
        assert parsed.name == f"fastreg_{task}"
        assert [list(value.dims) for value in parsed.output] == (
            [[-1, 3, -1, -1]] if task == "deblur" else [[3, -1, -1]]
        )
        assert all(value.data_type == definitions.TYPE_FP32 for value in parsed.input)


def test_the_repository_has_the_servers_layout(made):
    path = made("inpaint", "triton-server").path
    files = {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}
    assert files == {"fastreg_inpaint/config.pbtxt", "fastreg_inpaint/1/model.onnx"}
    assert parse((path / "fastreg_inpaint" / "config.pbtxt").read_text())["name"] == "fastreg_inpaint"
