"""`fastreg evaluate` from the outside."""

import json

import numpy as np
import pytest
import torch

from fastreg.io import images


def test_command(run, clean, prior, tmp_path):
    common = ("evaluate", "--data", clean, "--task", "denoise", "--prior", prior, "--baseline")
    files = ("--json", tmp_path / "r.json", "--sheet", tmp_path / "sheet.png")
    code, out, err = run(*common, "--sigma", "0.1,50/255", *files)
    assert (code, err) == (0, "")
    assert out.count("mean") == 2
    document = json.loads((tmp_path / "r.json").read_text())
    assert document["images"] == 3
    assert [entry["sigma"] for entry in document["means"]] == [0.1, 50 / 255]
    assert len(document["model"]) == 64
    assert document["versions"]["torch"] == torch.__version__
    sheet = images.read(tmp_path / "sheet.png").pixels
    assert sheet.shape[2] > 4 * 300
    assert len(np.unique(sheet)) > 50
    again = run(*common, "--sigma", "0.1,50/255", "--json", tmp_path / "r.json")
    assert again[0] == 0
    assert json.loads((tmp_path / "r.json").read_text())["rows"] == document["rows"]  # times too: nothing was run
    for part in (1, 2):
        run(*common, "--sigma", 0.1, "--json", tmp_path / f"{part}.json", "--only", f"{part}/2")
    reused = ("--reuse", tmp_path / "1.json", "--reuse", tmp_path / "2.json", "--json", tmp_path / "both.json")
    assert run(*common, "--sigma", 0.1, *reused)[0] == 0
    assert len(json.loads((tmp_path / "both.json").read_text())["rows"]) == 3
    code, _, err = run(*common, "--sigma", 0.1, "--weight", 0.5, "--reuse", tmp_path / "1.json")
    assert code == 0
    assert "not reused" in err


def test_rows_are_never_lost(run, clean, prior, tmp_path, monkeypatch):
    from fastreg.evaluation.evaluator import Evaluator

    file = tmp_path / "r.json"
    common = ("evaluate", "--data", clean, "--task", "denoise", "--prior", prior, "--json", file)

    def rows():
        return {(row["name"], row["sigma"]) for row in json.loads(file.read_text())["rows"]}

    assert run(*common, "--sigma", 0.1)[0] == 0
    whole = rows()
    assert len(whole) == 3
    assert run(*common, "--sigma", 0.1, "--limit", 1)[0] == 0
    assert rows() == whole
    before = file.read_bytes()
    code, _, err = run(*common, "--sigma", 0.1, "--weight", 0.5)
    assert code == 2
    assert "other settings" in err
    assert file.read_bytes() == before
    measure = Evaluator.measure

    def interrupted(self, name, sigma):
        if name == "b.png":
            raise KeyboardInterrupt
        return measure(self, name, sigma)

    monkeypatch.setattr(Evaluator, "measure", interrupted)
    code, _, err = run(*common, "--sigma", "0.1,0.2")
    assert (code, err) == (130, "fastreg: error: interrupted\n")
    assert rows() == {*whole, ("a.png", 0.2)}


def test_a_perfect_restoration_is_plain_json(run, clean, prior, tmp_path, monkeypatch):
    from fastreg.evaluation import evaluator

    monkeypatch.setattr(evaluator, "solve", lambda restorer, y, sigma: perfect)
    perfect = torch.from_numpy(images.read(clean / "a.png").pixels)[None]
    file = tmp_path / "r.json"
    arguments = ("--task", "denoise", "--sigma", 0.1, "--limit", 1, "--prior", prior, "--json", file)
    assert run("evaluate", "--data", clean, *arguments)[0] == 0

    def refuse(text):
        raise AssertionError(text)

    document = json.loads(file.read_text(), parse_constant=refuse)
    assert document["rows"][0]["restored"] == {"psnr": None, "ssim": 1.0}
    assert evaluator.Evaluation.load(file).rows[0].restored.psnr == np.inf


def test_one_corrupt_image_among_good_ones(run, clean, prior, tmp_path):
    (clean / "b.png").write_bytes((clean / "b.png").read_bytes()[:50])
    common = ("evaluate", "--data", clean, "--task", "denoise", "--prior", prior, "--sigma", 0.1)
    code, out, err = run(*common, "--json", tmp_path / "r.json", "--sheet", tmp_path / "s.png")
    assert code == 1
    assert "mean" in out
    assert err.startswith("fastreg: failed: b.png")
    assert err.count("\n") == 1
    assert json.loads((tmp_path / "r.json").read_text())["images"] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--task", "denoise"), "--sigma"),
        (("--task", "denoise", "--sigma", "0.1,"), "such as"),
        (("--task", "deblur", "--sigma", 0.1), "--psf"),
        (("--task", "inpaint", "--sigma", 0.1, "--missing", 1), "missing"),
        (("--task", "denoise", "--sigma", 0.1, "--only", "3/2"), "3/2"),
        (("--task", "denoise", "--sigma", 0.1, "--only", "two"), "I/N"),
        (("--task", "denoise", "--sigma", 0.1, "--sheet", "a.txt"), "a.txt"),
        (("--task", "denoise", "--sigma", 0.1, "--json", "no/where.json"), "no folder"),
        (("--task", "denoise", "--sigma", 0.1, "--data", "no/where"), "no file or folder"),
    ],
)
def test_misuse(run, clean, prior, arguments, words):
    code, out, err = run("evaluate", "--data", clean, "--prior", prior, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("fastreg: error: ")
    assert err.count("\n") == 1
    assert words in err
