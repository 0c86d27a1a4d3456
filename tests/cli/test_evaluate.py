"""`fastreg evaluate`, and the engine behind it."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from fastreg import metrics
from fastreg.evaluation.evaluator import Evaluation, Evaluator, Settings, merge
from fastreg.io import images


@pytest.fixture
def clean(tmp_path):
    """Three smooth images, one of them grey and one upright."""
    rows, columns = np.mgrid[:24, :32] / np.float32(32)
    for name, channels, samples in (("a", 3, rows), ("b", 1, columns), ("sub/c", 3, (rows * columns).T)):
        path = tmp_path / "clean" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        images.write(images.Image(np.stack([0.25 + 0.5 * samples] * channels).astype(np.float32)), path)
    return tmp_path / "clean"


@pytest.fixture
def settings(clean, prior):
    return Settings(str(clean), "denoise", (0.1, 0.2), prior=prior, iterations=2)


def scores(rows):
    return {(row.name, row.sigma): (row.degraded, row.restored, row.baseline) for row in rows}


def test_rows_are_what_they_say(settings):
    evaluator = Evaluator(settings)
    row, pictures = evaluator.measure("a.png", 0.1)
    assert (row.height, row.width, row.weight) == (24, 32, pytest.approx(0.2))
    assert row.restored.psnr == pytest.approx(float(metrics.psnr(pictures.restored, pictures.clean)))
    assert row.degraded.ssim == pytest.approx(float(metrics.ssim(pictures.degraded, pictures.clean)))
    noise = pictures.degraded - pictures.clean
    assert float(noise.std()) == pytest.approx(0.1, rel=0.1)
    louder = evaluator.measure("a.png", 0.2)[1]
    torch.testing.assert_close(louder.degraded - louder.clean, 2 * noise)
    assert evaluator.measure("b.png", 0.1)[1].restored.shape == (1, 24, 32)


def test_noise_is_not_clipped(settings, clean):
    images.write(images.Image(np.zeros((3, 24, 32), np.float32)), clean / "black.png")
    assert float(Evaluator(settings).measure("black.png", 0.2)[1].degraded.min()) < -0.2


def test_subsets_give_the_same_numbers(settings):
    everything = scores(Evaluator(settings).run())
    assert len(everything) == 6
    parts = [Evaluator(settings, (part, 2)) for part in (1, 2)]
    shards = [scores(part.run()) for part in parts]
    assert {**shards[0], **shards[1]} == everything
    assert not set(shards[0]) & set(shards[1])
    few = scores(Evaluator(dataclasses.replace(settings, limit=1, sigmas=(0.2,))).run())
    assert few == {("a.png", 0.2): everything["a.png", 0.2]}
    other = scores(Evaluator(dataclasses.replace(settings, seed=1)).run())
    assert other["a.png", 0.2] != everything["a.png", 0.2]


def test_json_round_trip_and_merging(settings, tmp_path):
    parts = []
    for part in (1, 2):
        evaluator = Evaluator(settings, (part, 2))
        evaluator.empty.with_rows(evaluator.run()).save(tmp_path / f"{part}.json")
        parts.append(Evaluation.load(tmp_path / f"{part}.json"))
    whole = merge(parts)
    assert [(row.sigma, row.name) for row in whole.rows] == [
        (sigma, name) for sigma in (0.1, 0.2) for name in ("a.png", "b.png", "sub/c.png")
    ]
    mean = np.mean([row.restored.psnr for row in whole.rows[:3]])
    assert whole.means()[0.1]["restored"].psnr == pytest.approx(mean)
    assert "baseline" not in whole.means()[0.1]
    different = dataclasses.replace(parts[0], settings=dataclasses.replace(settings, seed=1))
    with pytest.raises(ValueError, match="different"):
        merge([parts[1], different])
    with pytest.raises(ValueError, match="none"):
        merge([])


def test_results_are_reused(settings, tmp_path):
    evaluator = Evaluator(settings)
    rows = list(evaluator.run())
    evaluator.empty.with_rows(rows[:4]).save(tmp_path / "r.json")
    known = evaluator.reusable(tmp_path / "r.json")
    assert len(known) == 4
    marked = [dataclasses.replace(row, seconds=-1.0) for row in known]
    again = list(evaluator.run(marked))
    assert sum(row.seconds == -1 for row in again) == 4
    assert scores(again) == scores(rows)
    assert Evaluator(dataclasses.replace(settings, weight=0.3)).reusable(tmp_path / "r.json") == ()
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(ValueError, match=r"bad\.json"):
        evaluator.reusable(tmp_path / "bad.json")


@pytest.mark.parametrize("boundary", ["circular", "reflect", "zero", "valid"])
def test_deblur_with_wiener(settings, boundary):
    chosen = dataclasses.replace(settings, task="deblur", psf="gaussian:5:2", boundary=boundary, baseline=True)
    row, pictures = Evaluator(chosen).measure("a.png", 0.01)
    assert {tuple(picture.shape) for picture in pictures} == {(3, 20, 28) if boundary == "valid" else (3, 24, 32)}
    assert row.baseline.psnr > 20


def test_inpaint_with_biharmonic(settings):
    chosen = dataclasses.replace(settings, task="inpaint", missing=0.8, baseline=True)
    evaluator = Evaluator(chosen)
    row, pictures = evaluator.measure("a.png", 0.01)
    unknown = (pictures.degraded == 0).all(0)
    assert float(unknown.float().mean()) == pytest.approx(0.8, abs=0.05)
    assert row.baseline.psnr > row.degraded.psnr + 10
    assert evaluator.measure("sub/c.png", 0.01)[0].height == 32  # every image has a mask of its own size
    torch.testing.assert_close(evaluator.measure("a.png", 0.01)[1].degraded, pictures.degraded)


def test_denoise_with_total_variation(settings):
    row = next(Evaluator(dataclasses.replace(settings, baseline=True)).run())
    assert row.baseline.psnr > row.degraded.psnr + 3


def test_crop_is_central(settings):
    pictures = Evaluator(dataclasses.replace(settings, crop=16)).measure("a.png", 0.1)[1]
    whole = Evaluator(settings).measure("a.png", 0.1)[1]
    torch.testing.assert_close(pictures.clean, whole.clean[:, 4:20, 8:24])


@pytest.mark.parametrize("changes", [{"sigmas": ()}, {"sigmas": (1.5,)}, {"missing": 1.0}, {"limit": 0}, {"crop": 0}])
def test_settings_out_of_range(settings, changes):
    with pytest.raises(ValueError, match="got"):
        dataclasses.replace(settings, **changes)


def test_command(run, clean, prior, tmp_path):
    common = ("evaluate", "--data", clean, "--task", "denoise", "--prior", prior, "--iterations", 2, "--baseline")
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
    code, _, err = run(*common, "--sigma", 0.1, "--weight", 0.5, "--json", tmp_path / "1.json")
    assert code == 0
    assert "not reused" in err


def test_one_corrupt_image_among_good_ones(run, clean, prior, tmp_path):
    (clean / "b.png").write_bytes((clean / "b.png").read_bytes()[:50])
    common = ("evaluate", "--data", clean, "--task", "denoise", "--prior", prior, "--iterations", 2, "--sigma", 0.1)
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
