"""RAW files: written here as DNG and read by LibRaw, and what no DNG can be, by a stand-in for rawpy."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fastreg.io import images, raw
from fastreg.operators import Mosaic
from tests.io.dng import BLACK, COLOURS, WHITE, write_dng


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "grbg", "gbrg"])
def test_a_dng_is_balanced_and_upright(tmp_path, pattern, orientation, turns):
    pytest.importorskip("rawpy")
    write_dng(tmp_path / "a.dng", pattern, orientation)
    image = raw.read(tmp_path / "a.dng")
    upright = np.rot90(COLOURS.numpy(), turns, (2, 3)).copy()
    assert image.sensor is not None and image.dtype == "uint16"
    expected = Mosaic(image.sensor.pattern)(torch.from_numpy(upright))[0]
    np.testing.assert_allclose(image.pixels, expected, atol=2 / (WHITE - BLACK))
    np.testing.assert_allclose(image.sensor.to_srgb, np.eye(3), atol=2e-3)  # the camera sees in sRGB


def test_a_sentence_says_why_a_raw_file_cannot_be_read(tmp_path, monkeypatch):
    pytest.importorskip("rawpy")
    (tmp_path / "b.nef").write_bytes(bytes(4096))
    write_dng(tmp_path / "a.dng", "rggb")
    (tmp_path / "cut.dng").write_bytes((tmp_path / "a.dng").read_bytes()[:400])
    for name, limit, words in (
        ("b.nef", 10**9, "Unsupported file format"),
        ("cut.dng", 10**9, "cut.dng"),
        ("a.dng", 100, "52 x 40 pixels"),
        ("none.dng", 10**9, "none.dng"),
    ):
        with pytest.raises(ValueError, match=words):
            raw.read(tmp_path / name, limit)
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(ValueError, match="pip install"):
        raw.read(tmp_path / "a.dng")


def fake(**changes):
    """A stand-in for rawpy that opens a file with a margin, two greens, and white levels of its own for each colour."""
    colours = np.tile([[0, 1], [3, 2]], (12, 13))
    file = SimpleNamespace(
        sizes=SimpleNamespace(width=24, height=22, flip=0),
        raw_type="flat",
        raw_pattern=np.array([[0, 1], [3, 2]]),
        raw_colors_visible=colours[1:23, 1:25],
        raw_image_visible=np.full((22, 24), 600, np.uint16),
        color_desc=b"RGBG",
        black_level_per_channel=[100, 200, 300, 400],
        white_level=1100,
        camera_white_level_per_channel=[1100, 1200, 1300, 1400],
        camera_whitebalance=[512.0, 256.0, 384.0, 0.0],
        daylight_whitebalance=[2.0, 1.0, 1.5, 0.0],
        rgb_xyz_matrix=np.zeros((4, 3)),
        color_matrix=np.zeros((3, 4)),
    )
    vars(file).update(changes)

    class Opened:
        def __enter__(self):
            return file

        def __exit__(self, *error):
            return None

    types = SimpleNamespace(Flat="flat", Stack="stack")
    return SimpleNamespace(imread=lambda path: Opened(), RawType=types, LibRawError=RuntimeError)


def test_levels_and_the_pattern_are_those_of_the_visible_area(monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", fake())
    image = raw.read("a.nef")
    assert image.sensor is not None
    assert (image.sensor.pattern, image.sensor.to_srgb) == ("bggr", None)
    values = {"r": 0.5 * 2, "b": 0.3 * 1.5}
    np.testing.assert_allclose(image.pixels[0, 1::2, 1::2], values["r"], rtol=1e-6)
    np.testing.assert_allclose(image.pixels[0, ::2, ::2], values["b"], rtol=1e-6)
    np.testing.assert_allclose(image.pixels[0, ::2, 1::2], 0.2, rtol=1e-6)  # the second green
    np.testing.assert_allclose(image.pixels[0, 1::2, ::2], 0.4, rtol=1e-6)
    monkeypatch.setitem(sys.modules, "rawpy", fake(camera_whitebalance=[0.0] * 4, camera_white_level_per_channel=None))
    np.testing.assert_allclose(raw.read("a.nef").pixels[0, ::2, ::2], 300 / 800 * 1.5, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"raw_type": "stack"}, "Foveon"),
        ({"raw_pattern": np.zeros((6, 6), int)}, "6 x 6 pixels, as X-Trans"),
        ({"raw_pattern": None}, "monochrome"),
        ({"color_desc": b"GMCY"}, "pattern"),
        ({"black_level_per_channel": [5000] * 4}, "black level 5000"),
    ],
)
def test_other_sensors_are_refused_in_a_sentence(monkeypatch, changes, words):
    monkeypatch.setitem(sys.modules, "rawpy", fake(**changes))
    with pytest.raises(ValueError, match=rf"cannot read a\.x3f: .*{words}"):
        raw.read("a.x3f")


def test_the_curve_of_srgb():
    linear = np.float32([0, 0.001, 0.2140, 1, 1.2])
    shown = raw.to_srgb(images.Image(np.tile(linear, (3, 2, 1)))).pixels
    np.testing.assert_allclose(shown[0, 0], [0, 0.01292, 0.5, 1, 1], atol=1e-4)
    swapped = images.Sensor("rggb", np.eye(3)[::-1])
    image = images.Image(COLOURS[0].numpy(), sensor=swapped)
    plain = raw.to_srgb(images.Image(COLOURS[0].numpy())).pixels
    np.testing.assert_allclose(raw.to_srgb(image).pixels[0], plain[2], rtol=1e-6)
