"""RAW files of cameras and k-space on the command line."""

import numpy as np
import pytest
import torch

import fastreg
from fastreg.io import images, raw
from tests.io.dng import write_dng

ROWS, COLUMNS = torch.meshgrid(torch.linspace(0, 1, 40), torch.linspace(0, 1, 52), indexing="ij")
SCENE = torch.stack([0.2 + 0.6 * ROWS, 0.3 + 0.5 * COLUMNS, 0.8 - 0.5 * ROWS * COLUMNS])[None]


def test_a_raw_file_becomes_linear_colours(run, prior, tmp_path):
    pytest.importorskip("rawpy")
    (tmp_path / "in").mkdir()
    write_dng(tmp_path / "in" / "a.dng", "grbg", 8, SCENE)
    write_dng(tmp_path / "in" / "b.DNG", "bggr", 1, SCENE)
    common = ("restore", tmp_path / "in", "--task", "demosaick", "--prior", prior)
    for folder, extra in (("linear", ()), ("shown", ("--srgb",)), ("float", ("--float", "--pattern", "auto"))):
        code, _, err = run(*common, "-o", tmp_path / folder, *extra)
        assert (code, err) == (0, "")
    for name, source in (("a.tif", "a.dng"), ("b.tif", "b.DNG")):
        mosaic = raw.read(tmp_path / "in" / source)
        x = fastreg.demosaick(mosaic.pixels[0], mosaic.sensor.pattern, channel_axis=0, prior=prior)
        linear, exact = (images.read(tmp_path / folder / name) for folder in ("linear", "float"))
        np.testing.assert_array_equal(exact.pixels, x)
        np.testing.assert_allclose(linear.pixels, x, atol=1 / 65535)
        assert (linear.dtype, exact.dtype) == ("uint16", "float32")
        shown = raw.to_srgb(images.Image(x, sensor=mosaic.sensor)).pixels
        np.testing.assert_allclose(images.read(tmp_path / "shown" / name).pixels, shown, atol=1 / 65535)
    code, _, err = run(*common, "-o", tmp_path / "wrong", "--pattern", "bggr")
    assert code == 1 and "a.dng" in err and "--pattern bggr" in err and err.count("\n") == 1  # b.DNG is right


def test_what_is_no_mosaic_is_said(run, prior, tmp_path):
    pytest.importorskip("rawpy")
    write_dng(tmp_path / "a.dng", "rggb")
    images.write(images.Image(SCENE[0, :1].numpy()), tmp_path / "plain.png")
    for arguments, words in (
        (("a.dng", "--task", "denoise", "--sigma", 0.1), "only demosaick takes"),
        (("plain.png", "--task", "demosaick"), "needs --pattern"),
        (
            ("plain.png", "--task", "demosaick", "--pattern", "auto"),
            "does not say where its colours are: give --pattern",
        ),
        (("a.dng", "--task", "demosaick", "--white", 4095), "RAW"),
        (("plain.png", "--task", "denoise", "--sigma", 0.1, "--srgb"), "--srgb is for demosaick"),
        (("plain.png", "--task", "denoise", "--sigma", 0.1, "--centered"), "--centered is for mri"),
    ):
        code, _, err = run(
            "restore", tmp_path / arguments[0], "-o", tmp_path / "x.tif", "--prior", prior, *arguments[1:]
        )
        assert code in (1, 2) and words in err and err.count("\n") == 1, err
    assert not (tmp_path / "x.tif").exists()


def test_centred_frequencies_of_a_file(run, prior, tmp_path):
    known = np.random.default_rng(0).random((23, 32)) > 0.3
    x = SCENE[0, 0, :23, :32].numpy()
    kspace = (np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(x), norm="ortho")) * known).astype(np.complex64)
    np.save(tmp_path / "k.npy", kspace)
    np.save(tmp_path / "stack.npy", np.stack([kspace, 0.5 * kspace]))
    np.save(tmp_path / "mask.npy", known)
    common = ("--task", "mri", "--mask", tmp_path / "mask.npy", "--sigma", 0.01, "--prior", prior, "--centered")
    assert run("restore", tmp_path / "k.npy", "-o", tmp_path / "x.npy", *common)[0] == 0
    expected = fastreg.mri(kspace, known, 0.01, centered=True, prior=prior)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), expected)
    assert np.abs(expected - x).mean() < 0.1
    assert run("restore", tmp_path / "stack.npy", "-o", tmp_path / "y.npy", "--axes", "ZYX", *common)[0] == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy")[0], expected)
    code, _, err = run("restore", tmp_path / "k.npy", "-o", tmp_path / "z.npy", "--task", "denoise", "--sigma", 0.1)
    assert code == 1 and "complex numbers are for mri" in err
