"""Masks are told by what a file contains; a file that is no mask is refused."""

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from fastreg.io.inputs import read_mask

KNOWN = np.ones((24, 32), bool)
KNOWN[5:11, 8:20] = False
GREY = KNOWN.astype(np.uint8) * 255
WHITE = np.full((24, 32, 3), 255, np.uint8)


def save(array, path, **options):
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        Pillow.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("array", "name"),
    [
        (GREY, "grey.png"),
        (KNOWN, "bits.png"),
        (np.dstack([GREY // 2 * 2, 0 * GREY, GREY]), "colour.tif"),
        (np.dstack([WHITE, GREY]), "transparent.png"),
        (np.dstack([WHITE[..., 0], GREY]), "grey and alpha.png"),
        (np.dstack([GREY, GREY, GREY]), "lossless.webp"),
        (KNOWN, "bool.npy"),
        (KNOWN.astype(np.int64) * 7, "integer.npy"),
        (KNOWN * 255.0, "float.npy"),
        (KNOWN[..., None].astype(np.float16), "channel.npy"),
    ],
)
def test_what_is_zero_or_transparent_is_missing(tmp_path, array, name):
    path = save(array, tmp_path / name, **({"lossless": True} if name.endswith(".webp") else {}))
    np.testing.assert_array_equal(read_mask(path), KNOWN)
    np.testing.assert_array_equal(read_mask(path, "missing"), ~KNOWN)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("named like a png.png", {"format": "JPEG"}),
        ("a.jpg", {"quality": 100}),
        ("a.webp", {"quality": 100}),
        ("a.tif", {"compression": "jpeg"}),
    ],
)
def test_lossy_compression_is_told_by_the_content(tmp_path, name, options):
    with pytest.raises(ValueError, match="compression"):
        read_mask(save(GREY, tmp_path / name, **options))


@pytest.mark.parametrize(
    ("array", "means", "words"),
    [
        (GREY * 0, "known", "zero everywhere: nothing is known"),
        (GREY * 0, "missing", "zero everywhere: nothing is missing"),
        (GREY * 0 + 255, "known", "zero nowhere: nothing is missing"),
        (GREY // 2 + 60, "missing", "zero nowhere: nothing is known"),
        (np.arange(24 * 32).reshape(24, 32) % 256, "known", "more than two values"),
        (np.where(KNOWN, np.nan, 0), "known", "more than two values"),
        (KNOWN * 1j, "known", "complex"),
        (np.zeros((3, 24, 32)), "known", r"\[3, 24, 32\]"),
    ],
)
def test_files_that_are_no_masks(tmp_path, array, means, words):
    with pytest.raises(ValueError, match=f"cannot use the mask .*{words}"):
        read_mask(save(array, tmp_path / "a.npy"), means)


def test_photographs_and_missing_files_are_no_masks(tmp_path):
    photograph = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", photograph, photometric="rgb")
    for name, words in (("a.tif", "photograph"), ("missing.png", "no such file")):
        with pytest.raises(ValueError, match=words):
            read_mask(tmp_path / name)
