"""Folders in, folders out: names, what is skipped, and what one bad file costs."""

import dataclasses
import json
import os

import numpy as np
import pytest

from fastreg.batch import folder
from fastreg.batch.sources import expand
from fastreg.io import images


def put(path, value=0.25, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    images.write(images.Image(np.full((3, 24, 32), value, np.float32), **options), path)
    return path


def brighten(image):
    return dataclasses.replace(image, pixels=image.pixels + np.float32(0.25)), {"sigma": 0.1}


def outcomes(jobs, settings=None, overwrite=False, work=brighten):
    """Of all jobs, in their order."""
    left, known = folder.survey(jobs, settings or {}, overwrite)
    return sorted(
        [*known, *folder.run(left, images.read, work, settings or {})], key=lambda outcome: jobs.index(outcome.job)
    )


def statuses(jobs, settings=None, overwrite=False):
    return [outcome.status for outcome in outcomes(jobs, settings, overwrite)]


@pytest.fixture
def photos(tmp_path):
    for name in ("b.png", "a.jpg", "sub/c.tif", "sub/deep/d.npy"):
        put(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    put(tmp_path / "in" / ".hidden.png")
    put(tmp_path / "in" / ".cache" / "e.png")
    return tmp_path / "in"


def names(sources):
    return [source.relative.as_posix() for source in sources]


def test_expand(photos, monkeypatch):
    assert names(expand([photos])) == ["a.jpg", "b.png", "sub/c.tif", "sub/deep/d.npy"]
    assert names(expand([photos / "b.png", photos / "sub"])) == ["b.png", "c.tif", "deep/d.npy"]
    assert names(expand([str(photos / "*.png")])) == ["b.png"]
    assert names(expand([str(photos / "**" / "*.*")])) == ["a.jpg", "b.png", "sub/c.tif", "sub/deep/d.npy"]
    assert names(expand([photos, photos / "b.png"])) == ["a.jpg", "b.png", "sub/c.tif", "sub/deep/d.npy"]
    monkeypatch.chdir(photos)
    assert names(expand(["*.jpg"])) == ["a.jpg"]
    odd = put(photos / "odd[1].png")
    assert names(expand([odd])) == ["odd[1].png"]


def test_expand_refuses(photos, tmp_path):
    (tmp_path / "empty").mkdir()
    for inputs, words in (
        (["missing.png"], "no file or folder missing.png"),
        ([photos / "*.webp"], "no images match"),
        ([photos / "notes.txt"], "not an image"),
        ([tmp_path / "empty"], "no images in"),
        ([], "no images"),
    ):
        with pytest.raises(ValueError, match=words):
            expand(inputs)


def test_plan(photos, tmp_path):
    out = tmp_path / "out"
    targets = [job.target for job in folder.plan([photos], out)]
    assert targets == [out / "a.jpg", out / "b.png", out / "sub/c.tif", out / "sub/deep/d.npy"]
    assert folder.plan([photos / "b.png"], out / "x.tif")[0].target == out / "x.tif"
    assert folder.plan([photos / "b.png"], out)[0].target == out / "b.png"


def test_plan_leaves_out_the_output(photos):
    jobs = folder.plan([photos], photos / "out")
    assert statuses(jobs) == ["done"] * 4
    assert folder.plan([photos], photos / "out") == jobs


def test_plan_refuses(photos, tmp_path):
    put(photos / "sub" / "b.png")
    (tmp_path / "file").write_text("")
    for inputs, output, words in (
        ([photos], tmp_path / "x.png", "give a folder"),
        ([photos / "b.png", photos / "a.jpg"], tmp_path / "x.png", "give a folder"),
        ([photos], photos, "also an input"),
        ([photos / "b.png"], photos / "b.png", "also an input"),
        ([photos / "b.png"], photos / "sub" / ".." / "b.png", "also an input"),
        ([photos / "b.png", photos / "sub" / "b.png"], tmp_path / "out", "would both become"),
        ([photos], tmp_path / "file", "neither a folder nor an image"),
        ([photos / "b.png"], tmp_path / "x.bmp", "cannot write"),
        ([photos], tmp_path / "x.JP2", "cannot write"),
    ):
        with pytest.raises(ValueError, match=words):
            folder.plan(inputs, output)


def test_what_is_done_is_skipped(photos, tmp_path):
    jobs = folder.plan([photos], tmp_path / "out")
    assert statuses(jobs) == ["done"] * 4
    np.testing.assert_allclose(images.read(tmp_path / "out" / "b.png").pixels, 0.5, atol=2 / 255)
    before = (tmp_path / "out" / "b.png").stat().st_mtime_ns
    assert statuses(jobs) == ["skipped"] * 4
    assert (tmp_path / "out" / "b.png").stat().st_mtime_ns == before
    assert statuses(jobs, {"sigma": 0.1}) == ["done"] * 4  # other settings
    assert statuses(jobs, {"sigma": 0.1}, overwrite=True) == ["done"] * 4
    put(photos / "b.png", 0.5)  # another input
    os.utime(photos / "b.png", ns=(1, 1))
    assert statuses(jobs, {"sigma": 0.1}) == ["skipped", "done", "skipped", "skipped"]
    (tmp_path / "out" / "a.jpg").unlink()  # a missing output
    assert statuses(jobs, {"sigma": 0.1}) == ["done", "skipped", "skipped", "skipped"]


def test_files_of_others_are_not_replaced(photos, tmp_path):
    other = put(tmp_path / "out" / "b.png", 0.75)
    content = other.read_bytes()
    jobs = folder.plan([photos / "b.png"], tmp_path / "out")
    (outcome,) = outcomes(jobs)
    assert outcome.status == "failed"
    assert "--overwrite" in outcome.reason
    assert other.read_bytes() == content
    assert statuses(jobs, overwrite=True) == ["done"]
    assert statuses(jobs) == ["skipped"]
    other.write_bytes(content + b"longer")  # somebody changed what we wrote
    assert statuses(jobs) == ["failed"]


@pytest.mark.parametrize("link", [False, True])
def test_the_output_of_another_input_is_not_replaced(photos, tmp_path, link):
    put(tmp_path / "day2" / "b.png", 0.5)
    if link:
        (tmp_path / "day1").symlink_to("in")
    first = folder.plan([tmp_path / ("day1" if link else "in") / "b.png"], tmp_path / "out")
    second = folder.plan([tmp_path / "day2"], tmp_path / "out")
    assert statuses(first) == ["done"]
    content = first[0].target.read_bytes()
    (outcome,) = outcomes(second)
    assert outcome.status == "failed"
    assert f"was made from {photos / 'b.png'}" in outcome.reason
    assert first[0].target.read_bytes() == content
    assert statuses(second, overwrite=True) == ["done"]
    assert statuses(first) == ["failed"]


def test_a_folder_may_be_moved_with_its_output(photos, tmp_path):
    assert statuses(folder.plan([photos], photos / "out")) == ["done"] * 4
    moved = photos.rename(tmp_path / "elsewhere")
    assert statuses(folder.plan([moved], moved / "out")) == ["skipped"] * 4


def test_what_is_wrong_with_an_output_is_said_before_computing(photos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    long = put(tmp_path / "long" / f"{'x' * 240}.png")
    assert statuses(folder.plan([long], out)) == ["failed"]
    long = long.rename(long.with_name(f"{'y' * 237}.png"))  # its note has the longest name there is
    assert statuses(folder.plan([long], out)) == ["done"]
    (out / "b.png").mkdir()
    jobs = folder.plan([photos], out)
    assert [outcome.status for outcome in outcomes(jobs, work=None)][1] == "failed"
    (out / "sub").write_text("a file")
    with pytest.raises(ValueError, match=r"cannot make the folder .*sub"):
        folder.survey(jobs, {})
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ValueError, match=r"cannot write to the folder .*out"):
        folder.survey(folder.plan([photos / "a.jpg"], out / "new"), {})


def test_an_output_that_is_a_file_and_a_folder_is_refused(photos, tmp_path):
    put(tmp_path / "other" / "b.png" / "x.png")
    with pytest.raises(ValueError, match="would both become"):
        folder.plan([photos, tmp_path / "other"], tmp_path / "out")


def test_folders_that_were_not_searched_fail(photos, tmp_path):
    (photos / "up").symlink_to("..")
    results = outcomes(folder.plan([photos], tmp_path / "out"))
    assert [outcome.status for outcome in results] == ["done"] * 4 + ["failed"]
    assert "up was not searched" in results[-1].reason


def test_an_interrupted_run_is_taken_up(photos, tmp_path):
    jobs = folder.plan([photos / "b.png"], tmp_path / "out")
    assert statuses(jobs) == ["done"]
    note = tmp_path / "out" / ".b.png.fastreg.json"
    facts = json.loads(note.read_text())
    del facts["output_size"]  # as it is between the output and the final note
    note.write_text(json.dumps(facts))
    assert statuses(jobs) == ["done"]
    assert statuses(jobs) == ["skipped"]


def test_one_bad_file_among_good_ones(photos, tmp_path):
    bad = photos / "b.png"
    bad.write_bytes(bad.read_bytes()[:60])
    results = outcomes(folder.plan([photos], tmp_path / "out"))
    assert [outcome.status for outcome in results] == ["done", "failed", "done", "done"]
    assert str(bad) in results[1].reason
    assert not (tmp_path / "out" / "b.png").exists()
    assert not [name for name in os.listdir(tmp_path / "out") if "b.png" in name]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("out of memory\nand more"), "out of memory"),
        (ValueError("too small"), "too small"),
        (TypeError("not a tensor"), "TypeError: not a tensor"),
        (KeyError("x"), "KeyError: 'x'"),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_an_exception_of_any_type_costs_one_file(photos, tmp_path, error, words):
    def work(image):
        if image.pixels.shape[1] == 25:
            raise error
        return brighten(image)

    images.write(images.Image(np.full((3, 25, 32), 0.25, np.float32)), photos / "b.png")
    results = outcomes(folder.plan([photos], tmp_path / "out"), work=work)
    assert [outcome.status for outcome in results] == ["done", "failed", "done", "done"]
    assert results[1].reason == f"{photos / 'b.png'}: {words}"
    assert results[0].facts["sigma"] == 0.1


def test_links_that_lead_back_to_themselves_are_refused(photos, tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for inputs, output in (([photos], tmp_path / "loop"), ([tmp_path / "loop"], tmp_path / "out")):
        with pytest.raises(ValueError, match="leads nowhere"):
            folder.plan(inputs, output)


def test_what_cannot_be_written_leaves_nothing(photos, tmp_path):
    put(photos / "clear.png", alpha=np.zeros((24, 32), np.uint8))
    (outcome,) = outcomes(folder.plan([photos / "clear.png"], tmp_path / "out" / "x.jpg"), work=None)
    assert "alpha" in outcome.reason  # before anything is computed
    assert not (tmp_path / "out").exists()
