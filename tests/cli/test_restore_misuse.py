"""`fastreg restore` with options, masks and files that it cannot take."""

import numpy as np
import pytest

from fastreg.io import images
from tests.cli.words import last

QUICK = ("--iterations", 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--task", "deblur", "--sigma", 0.1), "needs --psf"),
        (("--task", "super-resolve", "--factor", 2, "--boundary", "valid"), "boundary"),
        (("--task", "mri", "--mask", "m.npy"), "needs --sigma"),
        (("--task", "denoise", "--sigma", 0.1, "--factor", 2), "takes no --factor"),
        (("--task", "inpaint", "--sigma", "auto", "--mask", "m.png"), "cannot be estimated"),
        (("--task", "denoise", "--sigma", 25), "25/255 is 0.098"),
        (("--task", "denoise", "--sigma", "much"), "such as 0.1 or 25/255"),
        (("--task", "denoise", "--sigma", "-0.1"), "positive"),
        (("--task", "denoise", "--sigma", "1/0"), "positive"),
        (("--task", "denoise", "--sigma", "nan"), "positive"),
        (("--task", "denoise", "--sigma", 0.1, "--psf", "gaussian:3:1"), "takes no --psf"),
        (("--task", "deblur", "--sigma", 0.1, "--psf", "gaussian:3"), "gaussian:SIZE:STD"),
        (("--task", "deblur", "--sigma", 0.1, "--psf", "gaussian:0:1"), "gaussian:SIZE:STD"),
        (("--task", "deblur", "--sigma", 0.1, "--psf", "gauss:7:3"), "gaussian:SIZE:STD"),
        (("--task", "deblur", "--sigma", 0.1, "--psf", "missing.npy"), "missing.npy"),
        (("--task", "deblur", "--sigma", 0.1, "--psf", "missing.png"), "missing.png"),
        (("--task", "denoise", "--sigma", 0.1, "--prior", "nonesuch"), "nonesuch"),
        (("--task", "denoise", "--sigma", 0.1, "--weight", -1), "weight"),
        (("--task", "denoise", "--sigma", 0.1, "--iterations", 0), "iterations"),
        (("--task", "sharpen", "--sigma", 0.1), "sharpen"),
        (("--sigma", 0.1), "--task"),
        (("--task", "denoise", "--sigma", 0.1, "--shiny"), "--shiny"),
    ],
)
def test_misuse(run, photos, prior, tmp_path, arguments, words):
    given = () if "--prior" in arguments else ("--prior", prior)
    code, out, err = run("restore", photos, "-o", tmp_path / "out", *arguments, *given)
    assert (code, out) == (2, "")
    assert err.startswith("fastreg: error: ")
    assert err.count("\n") == 1
    assert words in err
    assert not (tmp_path / "out").exists()


def test_masks_and_psfs_that_are_none(run, photos, prior, tmp_path):
    images.write(images.Image(np.zeros((1, 24, 32), np.float32)), tmp_path / "black.png")
    small = np.arange(81).reshape(1, 9, 9) > 50
    images.write(images.Image(small.astype(np.float32)), tmp_path / "small.png")
    np.save(tmp_path / "negative.npy", -np.ones((3, 3)))
    inpaint = ("restore", photos, "-o", tmp_path / "out", "--task", "inpaint", "--prior", prior, *QUICK, "--mask")
    assert "zero everywhere" in run(*inpaint, tmp_path / "black.png")[2]
    code, _, err = run(*inpaint, tmp_path / "small.png")
    assert code == 1
    assert "9 x 9" in err
    assert "63% of the pixels are missing" in err and "--mask-means missing" in err
    assert "--mask-means" not in run(*inpaint, tmp_path / "small.png", "--mask-means", "missing")[2]
    deblur = ("restore", photos, "-o", tmp_path / "out", "--task", "deblur", "--sigma", 0.1, "--prior", prior, "--psf")
    assert "without negative values" in run(*deblur, tmp_path / "negative.npy")[2]
    np.save(tmp_path / "huge.npy", np.ones((99, 99)))
    assert run(*deblur, tmp_path / "huge.npy")[0] == 1


def test_no_input(run, prior, tmp_path):
    common = ("-o", tmp_path / "out", "--task", "denoise", "--sigma", 0.1, "--prior", prior)
    assert "no file or folder" in run("restore", tmp_path / "missing", *common)[2]
    (tmp_path / "empty").mkdir()
    code, _, err = run("restore", tmp_path / "empty", *common)
    assert code == 2
    assert "no images" in err


def test_one_corrupt_file_among_good_ones(run, photos, prior, tmp_path):
    (photos / "a.png").write_bytes((photos / "a.png").read_bytes()[:100])
    (photos / "bad.tif").write_bytes(b"")
    arguments = ("restore", photos, "-o", tmp_path / "out", "--task", "denoise", "--sigma", 0.1, "--prior", prior)
    code, out, err = run(*arguments, *QUICK)
    assert (code, last(out)) == (1, "2 restored, 2 failed")
    assert [line.split(":")[1] for line in err.splitlines()] == [" failed", " failed"]
    assert "a.png" in err
    assert "bad.tif: it is empty" in err
    assert last(run(*arguments, *QUICK)[1]) == "0 restored, 2 skipped (done before), 2 failed"


def test_large_images_are_refused(run, photos, prior, tmp_path):
    common = ("--task", "denoise", "--sigma", 0.1, "--prior", prior, "--weight", 0.1, *QUICK)
    code, _, err = run("restore", photos, "-o", tmp_path / "out", *common, "--max-pixels", 700)
    assert (code, err.count("32 x 24 pixels, more than 700")) == (1, 3)
