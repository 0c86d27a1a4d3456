"""Images survive a round trip through every format."""

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from fastreg.io import images, png
from tests.io.samples import LOSSLESS, make


def assert_same(a, b):
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a.pixels, b.pixels)
    assert (a.alpha is None) == (b.alpha is None)
    if a.alpha is not None:
        assert a.alpha.dtype == b.alpha.dtype
        np.testing.assert_array_equal(a.alpha, b.alpha)


@pytest.mark.parametrize(("suffix", "dtype"), LOSSLESS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("with_alpha", [False, True])
def test_lossless_round_trip(tmp_path, suffix, dtype, channels, with_alpha):
    if suffix == ".webp" and channels == 1:
        pytest.skip("WebP has no grey images")
    image = make(channels, dtype, with_alpha)
    images.write(image, tmp_path / f"a{suffix}")
    back = images.read(tmp_path / f"a{suffix}")
    assert_same(back, image)
    images.write(back, tmp_path / f"b{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_close(tmp_path, channels):
    ramp = np.add.outer(np.linspace(0, 0.6, 24), np.linspace(0, 0.4, 32)).astype(np.float32)
    images.write(images.Image(np.stack([ramp] * channels)), tmp_path / "a.jpg")
    back = images.read(tmp_path / "a.jpg")
    assert back.pixels.shape == (channels, 24, 32)
    assert np.abs(back.pixels - ramp).max() < 0.02


def test_depth_follows_the_format(tmp_path):
    deep = make(3, "uint16")
    images.write(deep, tmp_path / "a.webp")
    shallow = images.read(tmp_path / "a.webp")
    assert shallow.dtype == "uint8"
    assert np.abs(shallow.pixels - deep.pixels).max() <= 0.5 / 255 + 1e-6
    images.write(make(3, "float32", with_alpha=True), tmp_path / "a.png")
    assert images.read(tmp_path / "a.png").dtype == "uint16"


def test_integers_are_clipped_and_floats_are_not(tmp_path):
    pixels = np.array([-0.25, 0.0, 1.0, 1.25], np.float32).reshape(1, 1, 4)
    images.write(images.Image(pixels, dtype="uint8"), tmp_path / "a.png")
    np.testing.assert_array_equal(images.read(tmp_path / "a.png").pixels, pixels.clip(0, 1))
    images.write(images.Image(pixels, dtype="float32"), tmp_path / "a.npy")
    np.testing.assert_array_equal(images.read(tmp_path / "a.npy").pixels, pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", "16.png"])
def test_orientation_is_applied(tmp_path, orientation, suffix):
    from PIL import ImageOps

    path = tmp_path / f"a{suffix}"
    samples = np.zeros((8, 24, 3), np.uint8)
    samples[:4, :12] = 255  # one corner is white, and the image is not square
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "maker"
    picture = Pillow.fromarray(samples)
    tagged = picture.copy()
    tagged.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(tagged)).transpose(2, 0, 1) / np.float32(255)
    if suffix == ".tif":
        tifffile.imwrite(path, samples, photometric="rgb", extratags=[(0x0112, "H", 1, orientation, True)])
    elif suffix == "16.png":
        data = png.encode_deep(samples.astype(np.uint16) * 257)
        path.write_bytes(data[:33] + png.chunk(b"eXIf", exif.tobytes()[6:]) + data[33:])
    else:
        picture.save(path, exif=exif, **({"lossless": True} if suffix == ".webp" else {}))
    image = images.read(path)
    assert image.pixels.shape == expected.shape
    assert np.abs(image.pixels - expected).max() < 0.1
    images.write(image, path)
    np.testing.assert_allclose(images.read(path).pixels, image.pixels, atol=0.1)
    if suffix != ".tif":
        with Pillow.open(path) as back:
            tags = back.getexif()
            assert tags.get(0x010F) == "maker"
            assert tags.get(0x0112, 1) == 1


def test_palettes_and_black_and_white(tmp_path):
    palette = Pillow.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4), "P")
    palette.putpalette([v for k in range(12) for v in (k * 20, 255 - k * 20, 7)])
    palette.save(tmp_path / "p.png")
    expected = np.asarray(palette.convert("RGB")).transpose(2, 0, 1) / np.float32(255)
    np.testing.assert_array_equal(images.read(tmp_path / "p.png").pixels, expected)
    palette.save(tmp_path / "t.png", transparency=2)
    assert (images.read(tmp_path / "t.png").alpha == 0).sum() == 1
    Pillow.fromarray(np.eye(8, dtype=bool)).save(tmp_path / "b.png")
    np.testing.assert_array_equal(images.read(tmp_path / "b.png").pixels[0], np.eye(8))
    np.save(tmp_path / "b.npy", np.eye(8, dtype=bool))
    np.testing.assert_array_equal(images.read(tmp_path / "b.npy").pixels[0], np.eye(8))


def test_tiff_variants(tmp_path):
    samples = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)
    expected = samples.transpose(2, 0, 1) / np.float32(255)
    tifffile.imwrite(tmp_path / "planar.tif", samples.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(images.read(tmp_path / "planar.tif").pixels, expected)
    tifffile.imwrite(tmp_path / "big.tif", samples, photometric="rgb", byteorder=">", bigtiff=True)
    np.testing.assert_array_equal(images.read(tmp_path / "big.tif").pixels, expected)
    tifffile.imwrite(tmp_path / "inverted.tif", 255 - samples[..., 0], photometric="miniswhite")
    np.testing.assert_array_equal(images.read(tmp_path / "inverted.tif").pixels, expected[:1])
    for compression in ("tiff_lzw", "packbits"):
        Pillow.fromarray(samples).save(tmp_path / "a.tif", compression=compression, tiffinfo={274: 6})
        turned = images.read(tmp_path / "a.tif")
        np.testing.assert_array_equal(turned.pixels, np.rot90(expected, -1, (1, 2)))
        assert turned.metadata.orientation == 1
    image = make(3, "uint8", with_alpha=True)
    images.write(images.Image(image.pixels, image.alpha, premultiplied=True), tmp_path / "premultiplied.tif")
    assert images.read(tmp_path / "premultiplied.tif").premultiplied


def test_colours_multiplied_by_alpha_are_divided_for_formats_that_hold_none(tmp_path):
    colours, opacity = np.full((3, 24, 32), 0.5, np.float32), np.full((24, 32), 100, np.uint8)
    opacity[:4] = 0
    image = images.Image(colours * (opacity / np.float32(255)), opacity, premultiplied=True)
    for name in ("a.png", "a.webp", "a.npy", "a.tif"):
        images.write(image, tmp_path / name)
        back = images.read(tmp_path / name)
        assert back.premultiplied == (name == "a.tif")
        np.testing.assert_array_equal(back.alpha, opacity)
        expected = image.pixels if back.premultiplied else colours * (opacity > 0)
        np.testing.assert_allclose(back.pixels, expected, atol=2 / 255)


def test_read_rgb8(tmp_path):
    image = make(1, "uint8", with_alpha=True)
    images.write(image, tmp_path / "a.png")
    array = images.read_rgb8(tmp_path / "a.png")
    assert array.dtype == np.uint8
    assert array.shape == (24, 32, 3)
    np.testing.assert_array_equal(array, (image.pixels[0] * 255).round().astype(np.uint8)[..., None].repeat(3, 2))


def test_complex_numbers_are_read_where_they_are_asked_for(tmp_path):
    k = np.fft.fft2(np.random.default_rng(0).random((8, 9)))
    np.save(tmp_path / "k.npy", k)
    measured = images.read(tmp_path / "k.npy", complex_numbers=True)
    assert measured.is_complex
    np.testing.assert_array_equal(measured.pixels, k[None].astype(np.complex64))
    with pytest.raises(ValueError, match="complex128"):
        images.read(tmp_path / "k.npy")
    with pytest.raises(ValueError, match="not an image"):
        images.write(measured, tmp_path / "k.png")
    np.save(tmp_path / "real.npy", k.real)
    with pytest.raises(ValueError, match="expected complex numbers"):
        images.read(tmp_path / "real.npy", complex_numbers=True)
