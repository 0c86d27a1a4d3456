"""`fastreg export` and `fastreg verify` from the outside."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from fastreg.export import load


def test_export_and_verify(run, model, tmp_path):
    path, table = tmp_path / "x.onnx", tmp_path / "table.json"
    common = ("--prior", model, "--iterations", 2, "--rounds", 1)
    code, out, err = run(
        "export",
        "--task",
        "deblur",
        "--psf",
        "input",
        "--psf-side",
        9,
        "--format",
        "onnx",
        "-o",
        path,
        "--json",
        table,
        *common,
    )
    assert (code, err) == (0, "")
    assert "passed" in out
    document = json.loads(table.read_text())
    (row,) = document["rows"]
    assert row["bytes"] == path.stat().st_size
    assert {"export_s", "load_s", "first_s", "p50_s", "eager_s", "psnr_real_db"} <= set(row)
    artefact = load(path)
    assert artefact.metadata["inputs"][3]["shape"] == [9, 9]
    assert artefact(torch.rand(1, 3, 40, 41), 0.1, psf=torch.ones(3, 2)).isfinite().all()
    code, out, _ = run("verify", path, "--prior", model, "--json", tmp_path / "report.json")
    assert code == 0
    assert "agrees with the eager solve" in out
    assert json.loads((tmp_path / "report.json").read_text())["status"] == "passed"


def test_all_formats_against_one_reference(run, model, made, tmp_path, monkeypatch):
    """The table has a row for each format; here one is refused, and the others stand in for themselves."""
    from fastreg.export import FORMATS, ExportError, aoti, onnx_step, onnx_whole

    good = made("denoise", "onnx").path

    def copied(bundle, path):
        shutil.copy(good, path)

    def impossible(bundle, path):
        raise ExportError("no compiler")

    monkeypatch.setattr(onnx_whole.LOOP, "write", copied)
    monkeypatch.setattr(onnx_whole.UNROLLED, "write", copied)
    monkeypatch.setattr(onnx_step, "write", impossible)
    monkeypatch.setattr(aoti, "write", impossible)
    code, out, err = run(
        "export", "--task", "denoise", "--format", "all", "-o", tmp_path / "all", "--prior", model, "--iterations", 2,
        "--rounds", 0, "--max-batch", 4, "--max-size", 256, "--json", tmp_path / "t.json",
    )  # fmt: skip
    assert code == 1
    rows = {row["format"]: row for row in json.loads((tmp_path / "t.json").read_text())["rows"]}
    assert list(rows) == list(FORMATS)
    passed = {name for name, row in rows.items() if row["status"] == "passed"}
    assert passed == {"onnx", "onnx-unrolled", "triton-server"}
    assert (rows["aoti"]["status"], rows["aoti"]["reason"]) == ("refused", "no compiler")
    assert "no compiler" in err
    assert all(word in out for word in (*FORMATS, "passed", "refused"))
    assert {path.name for path in (tmp_path / "all").iterdir()} == {
        "denoise-onnx.onnx", "denoise-onnx-unrolled.onnx", "denoise-triton-server"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--task", "deblur"), "deblur needs --psf"),
        (("--task", "inpaint", "--mask", "m.png"), "always an input"),
        (("--task", "super-resolve"), "needs --factor"),
        (("--task", "deblur", "--psf", "input", "--psf-side", "8"), "must be odd"),
        (("--task", "denoise", "--psf", "input"), "denoise takes no --psf"),
        (("--task", "denoise", "--format", "engine"), "format must be one of aoti"),
        (("--task", "denoise", "--format", "onnx"), "ends in .onnx"),
        (("--task", "denoise", "--precision", "fp16"), "must be ieee"),
        (("--task", "deblur", "--psf", "input", "--boundary", "valid"), "cannot be an input"),
    ],
)
def test_misuse(run, model, tmp_path, arguments, message):
    code, _, err = run("export", "-o", tmp_path / "x.pt2", "--prior", model, "--iterations", 2, *arguments)
    assert code == 2
    assert message in " ".join(err.split())
    assert list(tmp_path.iterdir()) == []


def test_verify_of_another_file(run, tmp_path):
    (tmp_path / "x.pt2").write_text("hello")
    code, _, err = run("verify", tmp_path / "x.pt2")
    assert code == 2
    assert "neither a .pt2 package nor an .onnx file" in err
    code, _, err = run("verify", tmp_path / "x.pt2", "--json", tmp_path / "none" / "report.json")
    assert code == 2
    assert "there is no folder" in err
