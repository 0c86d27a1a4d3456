"""Metadata are kept where a format can hold them, named where they are lost, and cost no picture where they are broken."""

import dataclasses
import struct
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags
from PIL import Image as Pillow

from fastreg.io import directories, images, metadata, png
from fastreg.io.directories import EXIF, GPS, Directory, Entry
from fastreg.io.metadata import Density, Metadata

PIXELS = np.full((3, 24, 32), 0.5, np.float32)
ICC = b"\0" * 36 + b"acsp" + b"\0" * 100
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>"


def exif_block(orientation=1, order="<"):
    """Maker and camera, time of exposure, place, and the tags of storage that other programs have left."""
    camera = Directory(order, {33434: Entry(5, struct.pack(order + "II", 1, 250)), 37500: Entry(7, b"maker\xff note")})
    camera = camera.with_numbers(4, {40962: (4000,), 40963: (3000,)})
    place = Directory(order, {1: Entry(2, b"N\0"), 2: Entry(5, struct.pack(order + "6I", 52, 1, 3, 1, 7, 2))})
    entries = {271: Entry(2, b"maker\0"), 305: Entry(2, b"program of the camera\0")}
    directory = Directory(order, entries, {EXIF: camera, GPS: place})
    return directories.block(directory.with_numbers(3, {274: (orientation,), 256: (9,)}).with_numbers(4, {273: (8,)}))


def full(**options):
    found = metadata.from_exif(exif_block())
    texts = ((b"gAMA", struct.pack(">I", 100000)), (b"tEXt", b"Title\0a text"))
    return dataclasses.replace(found, icc=ICC, xmp=XMP, density=Density(300, 200, "inch"), chunks=texts, **options)


def write(path, dtype="uint8", own=None):
    lost = images.write(images.Image(PIXELS, dtype=dtype, metadata=own or full()), path)
    return images.read(path).metadata, lost


@pytest.mark.parametrize(
    ("name", "dtype", "expected"),
    [
        ("a.png", "uint8", ()),
        ("a.png", "uint16", ()),
        ("a.jpg", "uint8", ("gamma", "texts")),
        ("a.webp", "uint8", ("gamma", "texts")),
        ("a.tif", "uint16", ("gamma", "texts")),
        ("a.tif", "float32", ("gamma", "texts")),
        ("a.npy", "uint8", ("colour profile", "EXIF", "XMP", "resolution", "gamma", "texts")),
    ],
)
def test_what_is_not_lost_by_name_is_kept(tmp_path, name, dtype, expected):
    own = full()
    back, lost = write(tmp_path / name, dtype)
    assert lost == expected
    if name == "a.npy":
        assert back == Metadata()
        return
    assert (back.icc, back.xmp) == (ICC, XMP)
    assert back.density.per("inch") == pytest.approx((300, 200), abs=0.02)
    assert back.tags.entries[271] == own.tags.entries[271]
    assert back.tags.children[GPS] == own.tags.children[GPS]
    camera = own.tags.children[EXIF].with_numbers(4, {40962: (32,), 40963: (24,)})
    assert back.tags.children[EXIF] == (own.tags.children[EXIF] if name == "a.tif" else camera)
    assert back.chunks == (own.chunks if name == "a.png" else ())


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.png", "a.tif"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_other_programs_read_the_exif_that_is_written(tmp_path, name, order):
    images.write(images.Image(PIXELS, metadata=metadata.from_exif(exif_block(order=order))), tmp_path / name)
    with Pillow.open(tmp_path / name) as image:
        exif = image.getexif()
        assert exif[ExifTags.Base.Make] == "maker"
        assert exif.get_ifd(EXIF)[ExifTags.Base.ExposureTime] == 1 / 250
        assert exif.get_ifd(GPS)[ExifTags.GPS.GPSLatitude] == (52, 3, 3.5)
        np.testing.assert_allclose(np.asarray(image), 128, atol=1)
    if name == "a.tif":
        with tifffile.TiffFile(tmp_path / name) as file:
            assert file.byteorder == order
            assert file.pages[0].tags[EXIF].value["ExposureTime"] == (1, 250)
            np.testing.assert_array_equal(file.asarray(), 128)


@pytest.mark.parametrize("compression", [None, "group4", "tiff_lzw"])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_tags_of_storage_stay_with_the_tiff(tmp_path, compression, name):
    source = Pillow.fromarray(np.eye(24, dtype=np.uint8) * 255)
    source = source.convert("1") if compression == "group4" else source
    source.save(tmp_path / "a.tif", compression=compression, tiffinfo={270: "a text", 278: 1}, dpi=(300, 300))
    images.write(images.read(tmp_path / "a.tif"), tmp_path / name)
    with Pillow.open(tmp_path / name) as image:
        assert set(image.getexif()) == {270, 282, 283, 296}


def test_tags_that_only_tiff_can_hold(tmp_path):
    tags = [
        (33550, 12, 3, (0.5, 0.5, 0.0), True),
        (34735, 3, 4, (1, 1, 0, 0), True),
        (33723, 7, 9, b"iptc data", True),
        (34377, 7, 9, b"8BIM data", True),
    ]
    for order in "<>":
        description = "ImageJ=1.54f\nunit=um\n"
        options = {"byteorder": order, "resolution": (10, 10), "resolutionunit": "NONE", "extratags": tags}
        tifffile.imwrite(
            tmp_path / "a.tif", np.zeros((24, 32), np.uint8), description=description, metadata=None, **options
        )
        image = images.read(tmp_path / "a.tif")
        assert images.write(image, tmp_path / "b.tif") == ("Photoshop resources",)
        with tifffile.TiffFile(tmp_path / "a.tif") as one, tifffile.TiffFile(tmp_path / "b.tif") as other:
            for tag in (270, 282, 283, 296, 33550, 34735, 33723):
                assert one.pages[0].tags[tag].value == other.pages[0].tags[tag].value
            assert 34377 not in other.pages[0].tags
        for name in ("b.png", "b.jpg", "b.webp"):
            assert set(images.write(image, tmp_path / name)) == {
                "Photoshop resources",
                "geo tags",
                "IPTC",
            }
            assert images.read(tmp_path / name).metadata.density == Density(10, 10, "")
    larger = image.metadata.enlarged(2)
    assert larger.density == Density(20, 20, "")
    assert 33550 not in larger.tags.entries and 33723 in larger.tags.entries
    assert "geo tags" in larger.lost


def test_stale_descriptions_are_not_copied(tmp_path):
    for options, lost in (({"ome": True}, ("OME-XML",)), ({}, ())):
        tifffile.imwrite(tmp_path / "a.tif", np.zeros((24, 32), np.uint8), photometric="minisblack", **options)
        assert images.write(images.read(tmp_path / "a.tif"), tmp_path / "b.tif") == lost
        with tifffile.TiffFile(tmp_path / "b.tif") as file:
            assert 270 not in file.pages[0].tags


def test_turning_an_image_turns_its_resolution(tmp_path):
    own = dataclasses.replace(full(orientation=6), tags=Directory("<", {33550: Entry(12, bytes(24))}))
    turned = own.upright()
    assert (turned.density, turned.orientation, turned.lost) == (Density(200, 300, "inch"), 1, ("geo tags",))


def test_stripped_metadata_keep_the_colours():
    left = full().stripped()
    assert left == Metadata(ICC, chunks=((b"gAMA", struct.pack(">I", 100000)),))


def test_what_does_not_fit_into_a_jpeg_is_named(tmp_path):
    big = Directory("<", {271: Entry(2, b"x" * 70000)})
    own = Metadata(tags=big, xmp=b"x" * 70000, density=Density(1e5, 1e5, "inch"))
    back, lost = write(tmp_path / "a.jpg", own=own)
    assert set(lost) == {"EXIF", "XMP", "resolution"}
    assert (back.tags, back.xmp) == (None, None)


@pytest.mark.parametrize("kind", [b"iCCP", b"eXIf", b"pHYs", b"iTXt", b"gAMA", b"zTXt"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_broken_chunks_cost_no_picture(tmp_path, kind, dtype):
    images.write(images.Image(PIXELS, dtype=dtype), tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    wrong = png.chunk(kind, b"XML:com.adobe.xmp" if kind == b"iTXt" else b"\xff\0\xff")
    checksum = wrong[:-1] + bytes([wrong[-1] ^ 1])
    for broken in (wrong, checksum):
        (tmp_path / "a.png").write_bytes(data[:33] + broken + data[33:])
        image = images.read(tmp_path / "a.png")
        np.testing.assert_allclose(image.pixels, 0.5, atol=2e-3)
        name = "EXIF" if kind == b"eXIf" else f"broken {kind.decode()} chunk"
        assert image.metadata == Metadata(lost=(name if broken is wrong else "broken chunks",))


def test_compressed_metadata_are_bounded():
    bomb = png.chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(metadata.LARGEST + 1)))
    data = png.encode_deep(np.zeros((4, 4, 1), np.uint16))
    assert png.split(data[:33] + bomb + data[33:]).metadata() == Metadata(lost=("broken iCCP chunk",))


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_broken_exif_is_no_error(data):
    block = bytearray(exif_block(order=data.draw(st.sampled_from("<>"))))
    for place in data.draw(st.lists(st.integers(0, len(block) - 1), min_size=1, max_size=8)):
        block[place] = data.draw(st.integers(0, 255))
    found = metadata.from_exif(bytes(block[: data.draw(st.integers(0, len(block)))]))
    assert found.orientation in range(1, 9)
    exif = found.exif(32, 24)
    if exif is not None:
        assert metadata.from_exif(directories.block(exif)).lost == ()


entries = st.dictionaries(
    st.integers(1, 30000),
    st.sampled_from([1, 2, 3, 4, 5, 12]).flatmap(
        lambda kind: st.binary(min_size=1, max_size=3).map(lambda data: Entry(kind, data * 8))
    ),
    max_size=5,
)


@given(own=entries, camera=entries, order=st.sampled_from("<>"))
def test_directories_survive_a_round_trip(own, camera, order):
    directory = Directory(order, own, {EXIF: Directory(order, camera)})
    assert directories.parse(directories.block(directory)) == directory


def test_a_directory_cannot_claim_more_than_the_file():
    """65535 tags that all point at the same 100 kB do not become 6 GB."""
    head = b"II*\0" + struct.pack("<IH", 8, 65535)
    block = head + b"".join(struct.pack("<HHII", k, 7, 100_000, 8) for k in range(65535))
    assert sum(len(entry.data) for entry in directories.parse(block).entries.values()) <= len(block)
