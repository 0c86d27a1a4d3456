"""Damaged, enormous and unsuitable files are refused in words."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from fastreg.io import decoders, images
from tests.io.samples import LOSSLESS, make


def _half(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(("suffix", "dtype"), [*LOSSLESS, (".jpg", "uint8")])
def test_truncated_files(tmp_path, suffix, dtype):
    path = tmp_path / f"a{suffix}"
    images.write(make(3, dtype), path)
    _half(path)
    with pytest.raises(ValueError, match=f"a{suffix}"):
        images.read(path)


def test_uncompressed_truncated_tiff(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((24, 32, 3), np.uint8), photometric="rgb")
    _half(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif"):
        images.read(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", images.SUFFIXES)
@pytest.mark.parametrize(
    "content", [b"", b"this is no image", b"\x89PNG\r\n\x1a\n", b"II*\0", b"\xff\xd8\xff\xe0", b"\x93NUMPY"]
)
def test_wrong_content(tmp_path, suffix, content):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read .*a\.") as caught:
        images.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((4, 4), np.nan), "NaN"),
        (np.full((4, 4), np.inf), "inf"),
        (np.zeros((4, 4, 5)), r"\[4, 4, 5\]"),
        (np.zeros((4,)), "shape"),
        (np.zeros((0, 4)), "one pixel"),
        (np.zeros((4, 4), np.int32), "int32"),
        (np.full((4, 4), 200.0), "200"),
        (np.array([{}], dtype=object), "Object|pickle"),
    ],
)
def test_arrays_that_are_no_images(tmp_path, array, words):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=words):
        images.read(tmp_path / "a.npy")


def test_images_that_are_not_supported(tmp_path):
    Pillow.new("CMYK", (8, 8)).save(tmp_path / "cmyk.jpg")
    with pytest.raises(ValueError, match="CMYK"):
        images.read(tmp_path / "cmyk.jpg")
    Pillow.new("CMYK", (8, 8)).save(tmp_path / "cmyk.tif")
    with pytest.raises(ValueError, match="SEPARATED"):
        images.read(tmp_path / "cmyk.tif")
    tifffile.imwrite(tmp_path / "pages.tif", np.zeros((3, 24, 32), np.uint8), photometric="minisblack")
    with pytest.raises(ValueError, match="3 images"):
        images.read(tmp_path / "pages.tif")
    frames = [Pillow.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="2 images"):
        images.read(tmp_path / "moving.webp")
    with pytest.raises(ValueError, match="no such file"):
        images.read(tmp_path / "missing.png")
    with pytest.raises(ValueError, match="folder"):
        images.read(tmp_path)


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="alpha"):
        images.write(make(3, with_alpha=True), tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"\.bmp"):
        images.write(make(3), tmp_path / "a.bmp")
    with pytest.raises(ValueError, match="cannot write"):
        images.write(make(3), tmp_path / "missing" / "a.png")
    assert not any(tmp_path.iterdir())


def test_image_checks_what_it_is_made_of():
    good = np.zeros((3, 4, 5), np.float32)
    for pixels, alpha, dtype in (
        (good[:2], None, "uint8"),
        (good.astype(np.float64), None, "uint8"),
        (good[:, :0], None, "uint8"),
        (good, None, "int8"),
        (good, good[0].T, "uint8"),
        (good * np.float32("nan"), None, "uint8"),
    ):
        with pytest.raises(ValueError, match="got"):
            images.Image(pixels, alpha, dtype)


@pytest.mark.parametrize("channels", [1, 3])
def test_floating_point_files_in_other_units_are_refused(tmp_path, channels):
    random = np.random.default_rng(0)
    ramp = np.add.outer(np.linspace(0.1, 0.5, 40), np.linspace(0, 0.5, 48))[None].repeat(channels, 0)
    for noise in (0, 0.02, 0.1, 0.3):
        x = ramp + noise * random.standard_normal(ramp.shape)
        np.save(tmp_path / "x.npy", x.transpose(1, 2, 0).astype(np.float32))
        np.testing.assert_allclose(images.read(tmp_path / "x.npy").pixels, x, atol=1e-6)  # noise may exceed the range
        if noise == 0.3:
            continue
        for other in (2 * x - 1, 2 * x, 255 * x):
            np.save(tmp_path / "y.npy", other.transpose(1, 2, 0).astype(np.float32))
            with pytest.raises(ValueError, match="--range"):
                images.read(tmp_path / "y.npy")


@pytest.mark.parametrize(("suffix", "dtype"), [*LOSSLESS, (".jpg", "uint8")])
def test_large_images_are_refused_by_their_headers(tmp_path, suffix, dtype):
    images.write(make(3, dtype, size=(24, 32)), tmp_path / f"a{suffix}")
    assert images.read(tmp_path / f"a{suffix}", max_pixels=24 * 32).pixels.shape == (3, 24, 32)
    with pytest.raises(ValueError, match="32 x 24 pixels, more than 767"):
        images.read(tmp_path / f"a{suffix}", max_pixels=24 * 32 - 1)
    assert decoders.count_pixels(tmp_path / f"a{suffix}") == 24 * 32


@pytest.mark.parametrize("compression", ["zlib", "lzma"])
def test_compressed_samples_are_not_larger_than_the_image(tmp_path, compression):
    """A strip that is decompressed to 32 MB, in an image of 32 rows."""
    import lzma
    import struct
    import tracemalloc
    import zlib

    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((32, 32), np.uint8), compression=compression, photometric="minisblack"
    )
    data = (tmp_path / "a.tif").read_bytes()
    bomb = zlib.compress(bytes(1 << 25), 9) if compression == "zlib" else lzma.compress(bytes(1 << 25))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        tags = file.pages[0].tags
        changed = bytearray(data + bomb)
        struct.pack_into("<I", changed, tags["StripOffsets"].offset + 8, len(data))
        struct.pack_into("<HII", changed, tags["StripByteCounts"].offset + 2, 4, 1, len(bomb))
    (tmp_path / "a.tif").write_bytes(changed)
    tracemalloc.start()
    with pytest.raises(ValueError, match="larger than the image"):
        images.read(tmp_path / "a.tif")
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()
