"""`fastreg restore` for stacks, and for images in other units."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import tifffile

from fastreg.io import images


@pytest.fixture
def restore(run, prior, tmp_path):
    """Restore files with a small critic."""

    def call(*arguments, sigma=0.1):
        return run("restore", *arguments, "--task", "denoise", "--sigma", sigma, "--prior", prior)

    return call


def test_a_folder_with_stacks_and_images(restore, tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    samples = {
        "stack.tif": random.integers(0, 65536, (3, 24, 32)).astype(np.uint16),
        "one.png": random.integers(0, 256, (24, 32, 3)).astype(np.uint8),
        "imagej.tif": random.random((2, 2, 24, 32), np.float32),
    }
    tifffile.imwrite(tmp_path / "in" / "stack.tif", samples["stack.tif"], photometric="minisblack")
    tifffile.imwrite(tmp_path / "in" / "imagej.tif", samples["imagej.tif"], imagej=True, metadata={"axes": "TZYX"})
    pixels = (samples["one.png"] / np.float32(255)).transpose(2, 0, 1)
    images.write(images.Image(pixels), tmp_path / "in" / "one.png")
    code, out, err = restore(tmp_path / "in", "-o", tmp_path / "out", sigma="auto")
    assert (code, out.splitlines()[-1].split(";")[0], err) == (0, "3 restored", "")
    assert "stack.tif: 3 images, sigma 0." in out
    for name in ("stack.tif", "imagej.tif"):
        after = tifffile.imread(tmp_path / "out" / name)
        assert (after.shape, after.dtype) == (samples[name].shape, samples[name].dtype)
        assert not np.array_equal(after, samples[name])
    assert (
        restore(tmp_path / "in", "-o", tmp_path / "out", sigma="auto")[1]
        .splitlines()[-1]
        .startswith("0 restored, 3 skip")
    )
    other = restore(tmp_path / "in", "-o", tmp_path / "out", "--white", 65535, sigma="auto")
    assert other[0] == 1  # no image of 8 bits
    assert "one.png" in other[2]


def test_the_same_numbers_in_every_unit(restore, tmp_path):
    """What is restored does not depend on how black and white are written."""
    pixels = (0.3 + 0.1 * np.random.default_rng(0).standard_normal((24, 32))).clip(0, 1)
    files = {
        "unit.npy": (pixels, ()),
        "signed.npy": (2 * pixels - 1, ("--range=-1:1",)),
        "celsius.npy": (pixels * 80 - 20, ("--range", "-20:60")),
        "twelve.tif": ((pixels * 4095).round().astype(np.uint16), ("--white", "4095")),
        "black.tif": ((pixels * 3000 + 64).round().astype(np.uint16), ("--range", "64:3064")),
        "hounsfield.tif": ((pixels * 3000 - 1000).round().astype(np.int16), ("--range=-1000:2000",)),
    }
    results = {}
    for name, (samples, options) in files.items():
        path = tmp_path / name
        np.save(path, samples) if name.endswith("npy") else tifffile.imwrite(path, samples, photometric="minisblack")
        target = tmp_path / f"out-{name}"
        code, _, err = restore(path, "-o", target, *options)
        assert (code, err) == (0, ""), err
        after = np.load(target) if name.endswith("npy") else tifffile.imread(target)
        assert after.dtype == samples.dtype
        results[name] = after
    unit = results["unit.npy"]
    np.testing.assert_allclose((results["signed.npy"] + 1) / 2, unit, atol=1e-5)
    np.testing.assert_allclose((results["celsius.npy"] + 20) / 80, unit, atol=1e-5)
    np.testing.assert_allclose(results["twelve.tif"] / 4095, unit, atol=1e-3)
    np.testing.assert_allclose((results["black.tif"] - 64.0) / 3000, unit, atol=1e-3)
    np.testing.assert_allclose((results["hounsfield.tif"] + 1000.0) / 3000, unit, atol=1e-3)


def test_what_is_refused_says_what_to_do(restore, tmp_path):
    ramp = np.linspace(0, 1, 24 * 32).reshape(24, 32)
    for name, samples, options, reason in (
        ("a.npy", 2 * ramp - 1, (), "--range"),
        ("a.npy", 255 * ramp, (), "--range"),
        ("a.npy", 255 * ramp, ("--range", "0:100"), "--range"),
        ("a.npy", (4000 * ramp).astype(np.uint16), (), "--white 4095"),
        ("a.npy", np.stack([ramp] * 5), (), "--axes"),
        ("a.npy", np.stack([ramp] * 5), ("--axes", "YX"), "names 2"),
        ("a.npy", ramp, ("--range", "1:0"), "the range must be BLACK:WHITE"),
        ("a.npy", ramp, ("--range", "1:2:3"), "the range must be BLACK:WHITE"),
    ):
        np.save(tmp_path / name, samples)
        code, _, err = restore(tmp_path / name, "-o", tmp_path / "x.npy", *options)
        assert code in (1, 2)
        assert reason in err
        assert len(err.splitlines()) == 1
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((5, 24, 32)))
    code, _, err = restore(tmp_path / "a.npy", "-o", tmp_path / "x.png", "--axes", "TYX")
    assert (code, "5 images" in err) == (1, True)


def test_the_commands_of_the_page(run, prior, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    smooth = 0.3 + 0.05 * np.random.default_rng(0).standard_normal((3, 24, 32))
    for name, samples in (
        ("twelve_bits.tif", (smooth[0] * 4095).astype(np.uint16)),
        ("camera.tif", (smooth[0] * 3031 + 64).astype(np.uint16)),
        ("temperature.tif", (smooth * 80 - 20).astype(np.float32)),
        ("bands.tif", (np.stack([smooth[0]] * 5, -1) * 65535).astype(np.uint16)),
        ("cells.ome.tif", (smooth * 65535).astype(np.uint16)),
        ("signed.npy", 2 * smooth[0] - 1),
        ("volume.npy", smooth),
    ):
        options = {"planarconfig": "contig"} if name == "bands.tif" else {}
        np.save(name, samples) if name.endswith("npy") else tifffile.imwrite(
            name, samples, photometric="minisblack", **options
        )
    page = (Path(__file__).parents[2] / "docs" / "stacks.md").read_text()
    commands = re.findall(r"^fastreg (.*)$", page, re.M)
    assert len(commands) == 7
    for command in commands:
        code, _, err = run(*shlex.split(command), "--prior", prior, "--overwrite")
        assert (code, err) == (0, ""), command
