"""Metadata and files that no exporter wrote are refused."""

from __future__ import annotations

import json
import os
import zipfile

import pytest
import torch

from fastreg.export import load, metadata
from tests.export.conftest import SIDE


def test_a_small_psf_keeps_its_centre():
    for height in range(1, SIDE + 1):
        for width in range(1, SIDE + 1):
            psf = torch.zeros(height, width)
            psf[height // 2, width // 2] = 1
            padded = metadata.padded_psf(psf, SIDE)
            assert padded.shape == (SIDE, SIDE)
            assert padded[SIDE // 2, SIDE // 2] == 1


FALSE_METADATA = [
    ({"inputs": []}, "its inputs is"),
    ({"outputs": [{}]}, "its name of the output is 'None'"),
    ({"outputs": []}, "expected one image"),
    ({"operator": "Blur"}, "its operator is 'Blur', expected an object with a kind and settings"),
    ({"solver": {"kind": "adam"}}, "its solver"),
    ({"schedule": []}, "its schedule"),
    ({"schedule": [[1, 2], [1]]}, "rows of equal length"),
    ({"schedule": [["fast"]]}, "finite numbers"),
    ({"device": "quantum"}, "expected cpu or cuda"),
    ({"precision": "int4"}, "expected one of ieee"),
    ({"layout": "channels_last"}, "expected contiguous"),
    ({"task": None}, "its task is 'None', expected a string"),
    ({"weight_rule": {"exponent": 1, "pairs": [[0.1, -1]]}}, "ascending pairs of positive numbers"),
    ({"weight_rule": {"pairs": [[0.1, 1]]}}, "an exponent"),
    ({"state": [{"name": "state_x", "dtype": "float64", "shape": []}]}, "expected float32"),
    ({"state": [{"name": "state_x", "dtype": "float32", "shape": ["2Q"]}]}, "its shape of the state"),
    ({"schema": 1}, "has the schema 1, this version reads 2"),
]


@pytest.mark.parametrize(("entries", "message"), FALSE_METADATA, ids=[row[1][:24] for row in FALSE_METADATA])
def test_metadata_that_no_exporter_wrote_are_refused(made, entries, message):
    about = load(made("denoise", "onnx").path).metadata
    good = metadata.parse(metadata.dump(about), "x.onnx")
    assert good == about
    with pytest.raises(ValueError, match=message):
        metadata.parse(metadata.dump({**about, **entries}), "x.onnx")


@pytest.mark.parametrize(
    "port",
    [{"shape": ["B", 3, "H"]}, {"shape": ["B", 3, "2H", "W"]}, {"min": [1]}, {"max": [1, 1, 0, 1]}, {"dtype": "int8"}],
)
def test_inputs_that_no_exporter_wrote_are_refused(made, port):
    about = load(made("denoise", "onnx").path).metadata
    first, *rest = about["inputs"]
    with pytest.raises(ValueError, match=f"its {next(iter(port))} of the input y"):
        metadata.parse(metadata.dump({**about, "inputs": [{**first, **port}, *rest]}), "x.onnx")


def test_what_is_neither_file_nor_folder_is_refused(tmp_path):
    os.mkfifo(tmp_path / "x.pt2")  # opening it would wait for somebody who writes
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        load(tmp_path / "x.pt2")


def test_archives_with_other_contents_are_refused(tmp_path):
    deep = json.dumps({"fastreg": "[" * 100_000})
    table = {
        "{": "not JSON",
        '["fastreg"]': "no fastreg metadata",
        '{"fastreg": 3}': "no fastreg metadata",
        deep: "not JSON",
    }
    for k, (text, message) in enumerate(table.items()):
        with zipfile.ZipFile(tmp_path / f"{k}.pt2", "w") as file:
            file.writestr("model/x_metadata.json", text)
        with pytest.raises(ValueError, match=message):
            load(tmp_path / f"{k}.pt2")
    with zipfile.ZipFile(tmp_path / "packed.pt2", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a", "b" * 1000)
    with pytest.raises(ValueError, match="compressed entries"):
        load(tmp_path / "packed.pt2")
