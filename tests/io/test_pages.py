"""TIFF files with pages of several sizes, types and compressions."""

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from fastreg.io import files
from tests.io.samples import samples, through


def test_pages_of_several_sizes_and_types(tmp_path):
    pages = [
        samples((16, 20), "uint8"),
        samples((17, 20), "uint8"),
        samples((17, 20), "uint16"),
        samples((9, 8, 3), "uint8"),
    ]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in pages:
            file.write(
                page, metadata=None, resolution=(300, 300), photometric="rgb" if page.ndim == 3 else "minisblack"
            )
    document = files.read(tmp_path / "a.tif")
    assert [image.pixels.shape for image in document.images()] == [(1, 16, 20), (1, 17, 20), (1, 17, 20), (3, 9, 8)]
    assert files.write(document.replaced(document.images()), tmp_path / "b.tif") == ()
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        for before, after in zip(pages, file.pages, strict=True):
            np.testing.assert_array_equal(after.asarray(), before)
            assert after.tags["XResolution"].value == (300, 1)
    with pytest.raises(ValueError, match=r"4 images: .* of one size, .npy"):
        files.write(document, tmp_path / "b.npy")
    with pytest.raises(ValueError, match="--max-pixels"):
        files.read(tmp_path / "a.tif", max_pixels=900)


@pytest.mark.parametrize(("mode", "compression"), [("P", None), ("1", "group4"), ("RGB", "jpeg"), ("L", "jpeg")])
def test_pages_that_are_converted(tmp_path, mode, compression):
    smooth = np.add.outer(np.arange(16), np.arange(20)) * 6
    pages = [
        Pillow.fromarray(np.stack([smooth, smooth + k, smooth], -1).astype(np.uint8)).convert(mode) for k in range(3)
    ]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], compression=compression)
    stack = files.read(tmp_path / "a.tif")
    assert len(stack) == 3
    for page, image in zip(pages, stack.images(), strict=True):
        expected = np.asarray(page.convert("RGB" if mode == "P" else "L" if mode == "1" else mode)).reshape(16, 20, -1)
        np.testing.assert_allclose(
            image.pixels.transpose(1, 2, 0) * 255, expected, atol=6 if compression == "jpeg" else 1e-4
        )
    files.write(through(stack), tmp_path / "b.tif")
    np.testing.assert_array_equal(files.read(tmp_path / "b.tif").samples, stack.samples)


def test_compressions_that_need_pillow(tmp_path):
    before = samples((3, 16, 20))
    pages = [Pillow.fromarray(page) for page in before]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    np.testing.assert_array_equal(files.read(tmp_path / "a.tif").samples, before)
