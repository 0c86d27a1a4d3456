"""Images survive a round trip through every format, and damaged files are refused in words."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from fastreg.io import decoders, images, png
from fastreg.io.metadata import Metadata

LOSSLESS = [
    (suffix, dtype)
    for suffix, dtypes in {
        ".png": ("uint8", "uint16"),
        ".tif": ("uint8", "uint16", "float16", "float32", "float64"),
        ".tiff": ("uint8",),
        ".webp": ("uint8",),
        ".npy": ("uint8", "uint16", "float16", "float32", "float64"),
    }.items()
    for dtype in dtypes
]


def make(channels=3, dtype="uint8", with_alpha=False, size=(24, 32), seed=0):
    random = np.random.default_rng(seed)
    if dtype.startswith("u"):
        top = np.iinfo(dtype).max
        samples = random.integers(0, top + 1, (channels + 1, *size)).astype(dtype)
        pixels = samples[:-1].astype(np.float32) / np.float32(top)
    else:
        samples = random.random((channels + 1, *size)).astype(np.float16).astype(dtype)
        pixels = samples[:-1].astype(np.float32)
    return images.Image(pixels, samples[-1] if with_alpha else None, dtype)


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


@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    channels=st.sampled_from([1, 3]),
    with_alpha=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_16_bit_png_of_any_size(height, width, channels, with_alpha, seed):
    samples = np.random.default_rng(seed).integers(0, 65536, (height, width, channels + with_alpha)).astype(np.uint16)
    data = png.encode_deep(samples)
    np.testing.assert_array_equal(png.decode_deep(png.split(data)), samples)
    # Pillow, which keeps the high bytes, agrees; of grey images it keeps everything
    seen = np.asarray(Pillow.open(io.BytesIO(data)))
    if channels == 1 and not with_alpha:
        np.testing.assert_array_equal(seen, samples[..., 0])
    elif channels == 3:
        np.testing.assert_array_equal(seen, samples >> 8)


def test_16_bit_png_with_all_filters():
    """Rows filtered by each of the five rules of the PNG specification, section 9.2, decode to the same samples."""
    import struct
    import zlib

    random = np.random.default_rng(3)
    samples = random.integers(0, 65536, (10, 6, 3)).astype(np.uint16)
    rows = samples.astype(">u2").view(np.uint8).reshape(10, -1).astype(int)
    stream = bytearray()
    for k, row in enumerate(rows):
        left = np.concatenate([np.zeros(6, int), row[:-6]])
        above = rows[k - 1] if k else np.zeros_like(row)
        corner = np.concatenate([np.zeros(6, int), above[:-6]])
        guess = left + above - corner
        distances = np.abs(guess - np.stack([left, above, corner]))
        paeth = np.stack([left, above, corner])[distances.argmin(0), np.arange(len(row))]
        predictor = [np.zeros_like(row), left, above, (left + above) // 2, paeth][k % 5]
        stream += bytes([k % 5]) + ((row - predictor) % 256).astype(np.uint8).tobytes()

    header = struct.pack(">IIBBBBB", 6, 10, 16, 2, 0, 0, 0)
    packed = zlib.compress(bytes(stream))
    chunks = ((b"IHDR", header), (b"IDAT", packed[:50]), (b"IDAT", packed[50:]), (b"IEND", b""))
    parts = [png.chunk(kind, body) for kind, body in chunks]
    np.testing.assert_array_equal(png.decode_deep(png.split(png.SIGNATURE + b"".join(parts))), samples)


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


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "deep.png"])
def test_colour_profile_is_kept(tmp_path, name):
    image = make(3, "uint16" if name == "deep.png" else "uint8")
    profile = b"\0" * 36 + b"acsp" + b"\0" * 100
    images.write(images.Image(image.pixels, None, image.dtype, metadata=Metadata(profile)), tmp_path / name)
    assert images.read(tmp_path / name).metadata.icc == profile


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


def test_replacing_is_whole_or_nothing(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")

    def fail():
        with images.replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        fail()
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["a.txt"]
    with images.replacing(path) as temporary:
        assert temporary.parent == tmp_path
        temporary.write_text("after")
    assert path.read_text() == "after"
    assert os.listdir(tmp_path) == ["a.txt"]


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
