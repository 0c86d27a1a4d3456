"""`fastreg restore` from the outside: every task, and what is kept of a file."""

import numpy as np
import pytest
import torch

import fastreg
from fastreg.io import images
from fastreg.io.metadata import Metadata
from tests.cli.words import last

QUICK = ("--iterations", 2)


def test_a_folder(run, photos, prior, tmp_path):
    arguments = ("restore", photos, "-o", tmp_path / "out", "--task", "denoise", "--sigma", "25/255", "--prior", prior)
    code, out, err = run(*arguments, *QUICK)
    assert (code, last(out), err) == (0, "3 restored", "")
    for name, channels, dtype in (("a.png", 3, "uint8"), ("b.tif", 1, "uint16"), ("sub/c.npy", 3, "float32")):
        before, after = images.read(photos / name), images.read(tmp_path / "out" / name)
        assert (after.pixels.shape, after.dtype) == ((channels, 24, 32), dtype)
        assert 0 < np.abs(after.pixels - before.pixels).max() < 0.3
    assert last(run(*arguments, *QUICK)[1]) == "0 restored, 3 skipped (done before)"
    assert last(run(*arguments, *QUICK, "--overwrite")[1]) == "3 restored"
    assert last(run(*arguments, "--iterations", 3)[1]) == "3 restored"


def test_a_file_with_alpha(run, photos, prior, tmp_path):
    alpha = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32)
    image = images.Image(images.read(photos / "a.png").pixels, alpha, "uint16")
    images.write(image, tmp_path / "clear.png")
    target = tmp_path / "x.png"
    code, _, err = run(
        "restore",
        tmp_path / "clear.png",
        "-o",
        target,
        "--task",
        "denoise",
        "--sigma",
        "auto",
        "--prior",
        prior,
        *QUICK,
    )
    assert (code, err) == (0, "")
    np.testing.assert_array_equal(images.read(target).alpha, alpha)
    assert images.read(target).dtype == "uint16"


@pytest.mark.parametrize("boundary", ["circular", "valid"])
def test_deblur(run, photos, prior, tmp_path, boundary):
    common = ("--task", "deblur", "--sigma", 0.03, "--prior", prior, "--boundary", boundary, *QUICK)
    code, _, err = run("restore", photos, "-o", tmp_path / "gauss", "--psf", "gaussian:3:1.0", *common)
    assert (code, err) == (0, "")
    psf = np.array([[0.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    np.save(tmp_path / "psf.npy", psf)
    images.write(images.Image(psf[None].astype(np.float32)), tmp_path / "psf.png")
    results = []
    for name in ("psf.npy", "psf.png"):
        code, _, err = run("restore", photos / "a.png", "-o", tmp_path / name[4:], "--psf", tmp_path / name, *common)
        assert (code, err) == (0, "")
        results.append(images.read(tmp_path / name[4:] / "a.png").pixels)
    np.testing.assert_array_equal(*results)
    assert results[0].shape == (3, 24, 32)


def test_inpaint(run, photos, prior, tmp_path):
    mask = np.random.default_rng(0).random((24, 32)) > 0.5
    np.save(tmp_path / "mask.npy", mask)
    images.write(images.Image(mask[None].astype(np.float32)), tmp_path / "mask.png")
    results = []
    for name in ("mask.npy", "mask.png"):
        arguments = ("--task", "inpaint", "--mask", tmp_path / name, "--prior", prior, "--weight", 0.1, *QUICK)
        code, out, err = run("restore", photos, "-o", tmp_path / name[5:], *arguments)
        assert (code, last(out), err) == (0, "3 restored", "")
        results.append(images.read(tmp_path / name[5:] / "a.png").pixels)
    np.testing.assert_array_equal(*results)


def test_super_resolution_demosaicking_and_mri(run, prior, tmp_path):
    random = np.random.default_rng(0)
    alpha = np.full((12, 16), 40000, np.uint16)
    colours = images.Image(random.random((3, 12, 16), np.float32), alpha, "uint16")
    grey = images.Image(random.random((1, 24, 32), np.float32), dtype="uint16", metadata=Metadata(b"grey"))
    images.write(colours, tmp_path / "small.png")
    images.write(grey, tmp_path / "raw.tif")
    np.save(tmp_path / "k.npy", np.fft.fft2(random.random((24, 32)), norm="ortho"))
    np.save(tmp_path / "mask.npy", random.random((24, 32)) > 0.3)
    for name, target, arguments, shape, dtype in (
        ("small.png", "large.png", ("super-resolve", "--factor", 3), (3, 36, 48), "uint16"),
        ("small.png", "other.png", ("super-resolve", "--factor", 2, "--psf", "gaussian:5:1"), (3, 24, 32), "uint16"),
        ("raw.tif", "colours.tif", ("demosaick", "--pattern", "gbrg"), (3, 24, 32), "uint16"),
        ("k.npy", "x.npy", ("mri", "--mask", tmp_path / "mask.npy", "--sigma", 0.02), (1, 24, 32), "float32"),
        ("k.npy", "x.tif", ("mri", "--mask", tmp_path / "mask.npy", "--sigma", 0.02), (1, 24, 32), "float32"),
    ):
        code, out, err = run(
            "restore", tmp_path / name, "-o", tmp_path / target, "--prior", prior, "--task", *arguments
        )
        assert (code, last(out)) == (0, "1 restored")
        lost = "fastreg: warning: not kept in the outputs: colour profile (1 image)\n"
        assert err == (lost if name == "raw.tif" else "")  # the profile is for grey images
        result = images.read(tmp_path / target)
        assert (result.pixels.shape, result.dtype) == (shape, dtype)
        assert (result.alpha is not None) == (name == "small.png")
        assert result.alpha is None or (result.alpha == 40000).all()
        assert result.metadata.icc is None
    mri = ("--task", "mri", "--mask", tmp_path / "mask.npy", "--sigma", 0.02, "--prior", prior)
    code, _, err = run("restore", tmp_path / "raw.tif", "-o", tmp_path / "y.tif", *mri)
    assert code == 1
    assert "expected complex numbers" in err
    code, _, err = run(
        "restore",
        tmp_path / "small.png",
        "-o",
        tmp_path / "y.png",
        "--task",
        "demosaick",
        "--pattern",
        "rggb",
        "--prior",
        prior,
    )
    assert code == 1
    assert "1 channel" in err


def test_the_command_and_the_python_call_give_the_same_numbers(run, photos, tmp_path):
    options = ("--task", "deblur", "--psf", "gaussian:7:3", "--sigma", 0.03, "--device", "cpu", "--iterations", 3)
    assert run("restore", photos / "sub" / "c.npy", "-o", tmp_path / "x.npy", *options)[0] == 0
    restorer = fastreg.restorer_for("deblur", psf="gaussian:7:3", iterations=3)
    y = torch.from_numpy(np.load(photos / "sub" / "c.npy")).permute(2, 0, 1)[None].contiguous()
    with torch.no_grad():
        x = restorer(y, sigma=0.03).clamp(0, 1)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), x[0].permute(1, 2, 0).numpy())


def test_metadata_are_kept_or_stripped(run, prior, tmp_path):
    own = Metadata(b"profile", b"<x:xmpmeta/>")
    images.write(images.Image(np.full((3, 24, 32), 0.5, np.float32), metadata=own), tmp_path / "a.png")
    common = ("--task", "denoise", "--sigma", 0.1, "--prior", prior, "--weight", 0.1, *QUICK)
    assert run("restore", tmp_path / "a.png", "-o", tmp_path / "b.jpg", *common)[0] == 0
    assert images.read(tmp_path / "b.jpg").metadata == own
    # other settings make another output
    assert "1 restored" in run("restore", tmp_path / "a.png", "-o", tmp_path / "b.jpg", *common, "--strip-metadata")[1]
    assert images.read(tmp_path / "b.jpg").metadata == Metadata(b"profile")
