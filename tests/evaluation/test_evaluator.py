"""Degrading, restoring and measuring: rows, reuse, and every task against its baseline."""

import dataclasses

import numpy as np
import pytest
import torch

from fastreg import metrics
from fastreg.evaluation.evaluator import Evaluation, Evaluator, Settings
from fastreg.evaluation.noise import read_noise
from fastreg.io import images


@pytest.fixture
def settings(clean, prior):
    return Settings(str(clean), "denoise", (0.1, 0.2), prior=prior)


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


def test_json_round_trip_of_parts(settings, tmp_path):
    parts = []
    for part in (1, 2):
        evaluator = Evaluator(settings, (part, 2))
        evaluator.empty.with_rows(evaluator.run()).save(tmp_path / f"{part}.json")
        parts.append(Evaluation.load(tmp_path / f"{part}.json"))
    whole = parts[0].with_rows([*parts[0].rows, *parts[1].rows])
    assert [(row.sigma, row.name) for row in whole.rows] == [
        (sigma, name) for sigma in (0.1, 0.2) for name in ("a.png", "b.png", "sub/c.png")
    ]
    mean = np.mean([row.restored.psnr for row in whole.rows[:3]])
    assert whole.means()[0.1]["restored"].psnr == pytest.approx(mean)
    assert "baseline" not in whole.means()[0.1]


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


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("super-resolve", {"factor": 2}),
        ("super-resolve", {"factor": 3, "psf": "gaussian:5:1.5"}),
        ("demosaick", {"pattern": "grbg"}),
        ("mri", {"missing": 0.6}),
    ],
)
def test_measurements_that_are_no_images_are_scored_as_whole_images(settings, clean, task, options):
    photograph = torch.from_numpy(images.read(clean / "a.png").pixels)
    chosen = dataclasses.replace(settings, task=task, baseline=True, **options)
    row, pictures = Evaluator(chosen).measure("a.png", 0.01)
    size = (24, 30) if options.get("factor") == 3 else (24, 32)
    assert {tuple(picture.shape) for picture in pictures} == {(3, *size)}
    assert (row.height, row.width) == size
    left = (32 - size[1]) // 2
    torch.testing.assert_close(pictures.clean, photograph[:, :, left : left + size[1]])
    assert row.baseline.psnr > 22  # nothing is shifted or cut: the image is a ramp
    assert row.degraded.psnr == pytest.approx(row.baseline.psnr, abs=0.1)


def test_masks_are_drawn_from_the_name_of_the_image(settings):
    for task in ("inpaint", "mri"):
        chosen = dataclasses.replace(settings, task=task)
        evaluator = Evaluator(chosen)
        masks = []
        for name in ("a.png", "b.png", "a.png"):
            evaluator.measure(name, 0.01)
            masks.append(evaluator.restorer.operator.mask)
        assert torch.equal(masks[0], masks[2])
        assert not torch.equal(masks[0], masks[1])
        assert float(masks[0].mean()) == pytest.approx(0.5, abs=0.15)
        whole = Evaluator(dataclasses.replace(chosen, sigmas=(0.01,)), (2, 2))
        assert [row.name for row in whole.run()] == ["b.png"]
        assert torch.equal(whole.restorer.operator.mask, masks[1])


def test_a_mask_of_a_file_is_taken_as_it_is(settings, tmp_path):
    known = np.random.default_rng(0).random((24, 32)) > 0.5
    np.save(tmp_path / "mask.npy", known)
    for means, expected in (("known", known), ("missing", ~known)):
        inpaint = dataclasses.replace(settings, task="inpaint", mask=str(tmp_path / "mask.npy"), mask_means=means)
        pictures = Evaluator(inpaint).measure("a.png", 0.01)[1]
        np.testing.assert_array_equal((pictures.degraded != 0).all(0).numpy(), expected)


def test_crop_is_central(settings):
    pictures = Evaluator(dataclasses.replace(settings, crop=16)).measure("a.png", 0.1)[1]
    whole = Evaluator(settings).measure("a.png", 0.1)[1]
    torch.testing.assert_close(pictures.clean, whole.clean[:, 4:20, 8:24])


@pytest.mark.parametrize("changes", [{"sigmas": ()}, {"sigmas": (1.5,)}, {"missing": 1.0}, {"limit": 0}, {"crop": 0}])
def test_settings_out_of_range(settings, changes):
    with pytest.raises(ValueError, match="got"):
        dataclasses.replace(settings, **changes)


def test_photons_and_outliers():
    clean = torch.full((1, 1, 200, 300), 0.3)
    generator = torch.Generator().manual_seed(0)
    counts = 20 * read_noise("poisson:20")(clean, clean, generator)
    torch.testing.assert_close(counts, counts.round())
    assert float(counts.mean()) == pytest.approx(6, rel=0.01) and float(counts.var()) == pytest.approx(6, rel=0.03)
    y = read_noise("salt-pepper:0.2")(clean, clean, generator)
    for value, share in ((0, 0.1), (1, 0.1), (0.3, 0.8)):
        assert float((y == torch.tensor(value)).float().mean()) == pytest.approx(share, abs=0.01)


def test_noise_and_fidelity_are_settings(settings):
    chosen = dataclasses.replace(settings, fidelity="l1", noise="salt-pepper:0.3", strength=2.0)
    row, pictures = Evaluator(chosen).measure("a.png", 0.01)
    assert float((pictures.degraded == 1).float().mean()) == pytest.approx(0.15, abs=0.03)
    plain = Evaluator(settings).measure("a.png", 0.01)[0]
    assert row.weight == pytest.approx(2 * plain.weight)
    assert chosen.identity() != settings.identity()
    with pytest.raises(ValueError, match="mri has Gaussian noise only"):
        Evaluator(dataclasses.replace(settings, task="mri", noise="poisson:5"))
    with pytest.raises(ValueError, match="the noise is none"):
        Evaluator(dataclasses.replace(settings, noise="pink"))
