"""Stacks of images survive a round trip through every kind of file, and what is not clear is refused."""

import dataclasses

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from fastreg.io import files, images
from tests.io.samples import samples, through

RANDOM = np.random.default_rng(0)


def inverted(image):
    return dataclasses.replace(image, pixels=1 - image.pixels)


#: Name, arguments of tifffile, axes that are read.
FILES = {
    "plain": ((5, 16, 20), "uint8", {"metadata": None, "photometric": "minisblack"}, "IYX"),
    "shaped": ((5, 16, 20), "uint16", {"photometric": "minisblack"}, "QYX"),
    "shaped without names": ((3, 2, 16, 20), "uint8", {"photometric": "minisblack"}, "PQYX"),
    "shaped with axes": (
        (3, 2, 16, 20),
        "float32",
        {"metadata": {"axes": "TZYX"}, "photometric": "minisblack"},
        "TZYX",
    ),
    "colours": ((4, 16, 20, 3), "uint8", {"metadata": None, "photometric": "rgb"}, "IYXS"),
    "alpha": (
        (4, 16, 20, 4),
        "uint16",
        {"metadata": None, "photometric": "rgb", "extrasamples": ["unassalpha"]},
        "IYXS",
    ),
    "colours first": (
        (4, 3, 16, 20),
        "uint8",
        {"metadata": None, "photometric": "rgb", "planarconfig": "separate"},
        "ISYX",
    ),
    "imagej": (
        (2, 3, 16, 20),
        "uint16",
        {"imagej": True, "metadata": {"axes": "TZYX", "unit": "um", "spacing": 2.0}},
        "TZYX",
    ),
    "imagej colours": ((4, 16, 20, 3), "uint8", {"imagej": True, "metadata": {"axes": "ZYXS"}}, "ZYXS"),
    "ome": (
        (2, 3, 16, 20),
        "float32",
        {"ome": True, "metadata": {"axes": "TCYX", "PhysicalSizeX": 0.5, "Channel": {"Name": ["DAPI", "<GFP>", "c"]}}},
        "TCYX",
    ),
    "ome of one plane": ((16, 20), "uint8", {"ome": True, "metadata": {"axes": "YX"}}, "YX"),
    "big": ((5, 16, 20), "uint16", {"metadata": None, "photometric": "minisblack", "bigtiff": True}, "IYX"),
    "big endian, compressed": (
        (5, 16, 20),
        "uint16",
        {"metadata": None, "photometric": "minisblack", "byteorder": ">", "compression": "zlib"},
        "IYX",
    ),
    "tiles": ((5, 32, 32), "uint8", {"metadata": None, "photometric": "minisblack", "tile": (16, 16)}, "IYX"),
}


def facts(path):
    """What a TIFF file says of its stack."""
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        description = (page.description if file.is_imagej else "").replace(" ", "")
        (series,) = file.series
        return (
            series.kind.replace("uniform", "generic"),
            series.axes,
            series.shape,
            series.dtype,
            file.is_bigtiff,
            len(file.pages),
            page.photometric,
            page.planarconfig,
            page.extrasamples,
            int(page.compression),
            description,
            page.tags.get("XResolution") and page.tags["XResolution"].value,
        )


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_stack_is_written_as_it_was_read(tmp_path, name):
    shape, dtype, options, axes = FILES[name]
    before = samples(shape, dtype)
    tifffile.imwrite(tmp_path / "a.tif", before, resolution=(300, 300), resolutionunit=2, **options)
    stack = files.read(tmp_path / "a.tif")
    assert stack.axes == axes
    files.write(through(stack), tmp_path / "b.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), before)
    assert facts(tmp_path / "b.tif") == facts(tmp_path / "a.tif")
    changed = stack.replaced([inverted(image) for image in stack.images()])
    assert not np.array_equal(changed.samples, before)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_order_of_the_dimensions(tmp_path_factory, data):
    axes = "".join(data.draw(st.permutations(data.draw(st.sampled_from(["TYX", "YXS", "TYXS", "TZYX", "TZCYXS"])))))
    sizes = {"T": 3, "Z": 1, "C": 2, "Y": 9, "X": 11, "S": data.draw(st.integers(1, 4))}
    dtype = data.draw(st.sampled_from(["uint8", "uint16", "int16", "float32", "float64"]))
    before = samples([sizes[axis] for axis in axes], dtype)
    limits = (-1000.0, 2000.0) if dtype == "int16" else data.draw(st.sampled_from([None, (-0.5, 2.0)]))
    if before.dtype.kind == "u" and limits is not None:
        limits = (0.0, 200.0)
        before = before % 201
    folder = tmp_path_factory.mktemp("stack")
    np.save(folder / "a.npy", before)
    stack = files.read(folder / "a.npy", axes=axes.lower(), limits=limits)
    planes = list(stack.images())
    assert len(planes) == len(stack) == np.prod([sizes[axis] for axis in axes if axis in "TZC"], dtype=int)
    order = [axis for axis in axes if axis not in "YXS"] + ["Y", "X"] + ["S"] * ("S" in axes)
    moved = before.transpose([axes.index(axis) for axis in order])
    low, high = limits or ((0, np.iinfo(dtype).max) if before.dtype.kind == "u" else (0, 1))
    first = moved.reshape(-1, 9, 11, sizes["S"] if "S" in axes else 1)[-1, ..., 0]
    np.testing.assert_allclose(planes[-1].pixels[0], (first.astype(np.float64) - low) / (high - low), atol=1e-6)
    files.write(through(stack), folder / "b.npy")
    np.testing.assert_allclose(np.load(folder / "b.npy"), before, rtol=1e-6, atol=2e-4 if dtype == "float64" else 1e-6)
    files.write(through(stack), folder / "b.tif")
    back = files.read(folder / "b.tif", limits=limits)
    for one, other in zip(planes, back.images() if isinstance(back, files.Stack) else [back], strict=True):
        np.testing.assert_allclose(one.pixels, other.pixels, atol=1e-6)
        np.testing.assert_array_equal(one.alpha, other.alpha)


REFUSED = {
    "two channels": ((16, 20, 2), {"photometric": "minisblack", "planarconfig": "contig"}, "channels .* --axes"),
    "five channels": ((5, 16, 20), {"photometric": "minisblack", "planarconfig": "separate"}, "channels .* --axes"),
    "colours and something": ((16, 20, 4), {"photometric": "rgb", "extrasamples": [0]}, "channels .* --axes"),
    "stack of two channels": (
        (3, 16, 20, 2),
        {"photometric": "minisblack", "planarconfig": "contig"},
        "channels .* --axes",
    ),
    "integers with a sign": ((3, 16, 20), {"photometric": "minisblack", "dtype": "int16"}, "--range"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_channels_that_are_not_said_to_be_alpha_are_restored_or_refused(tmp_path, name):
    shape, options, reason = REFUSED[name]
    dtype = options.pop("dtype", "uint8") if "dtype" in options else "uint8"
    before = RANDOM.integers(0, 200, shape).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", before, metadata=None, **options)
    with pytest.raises(ValueError, match=reason):
        list(files.read(tmp_path / "a.tif").images())
    axes = {3: "CYX" if shape[-1] == 20 else "YXC", 4: "TYXC"}[len(shape)]
    stack = files.read(tmp_path / "a.tif", axes=axes, limits=(0, 200) if dtype == "int16" else None)
    assert {image.pixels.shape for image in stack.images()} == {(1, 16, 20)}
    files.write(through(stack), tmp_path / "b.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), before)
    assert facts(tmp_path / "b.tif")[1:] == facts(tmp_path / "a.tif")[1:]


def test_what_is_not_clear_is_asked_for(tmp_path):
    for shape in ((5, 16, 20), (3, 16, 20), (5, 16, 20, 3)):
        np.save(tmp_path / "a.npy", samples(shape))
        with pytest.raises(ValueError, match="--axes, such as"):
            files.read(tmp_path / "a.npy")
    for axes, reason in (
        ("TYX", "names 3"),
        ("TYYX", "different letters"),
        ("TZCX", "Y and X"),
        ("T1YX", "letters"),
        ("SYXT", "5 channels"),
    ):
        with pytest.raises(ValueError, match=reason):
            files.read(tmp_path / "a.npy", axes=axes)
    tifffile.imwrite(tmp_path / "many.tif", samples((5, 16, 20)), photometric="minisblack")
    with pytest.raises(ValueError, match=r"5 images of 20 x 16 pixels, more than 1500 together.*--max-pixels"):
        files.read(tmp_path / "many.tif", max_pixels=1500)
    stack = files.read(tmp_path / "many.tif")
    with pytest.raises(ValueError, match="5 images: expected an ending of"):
        files.write(stack, tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()
    one = samples((1, 16, 20), "uint8")
    np.save(tmp_path / "one.npy", one)
    files.write(files.read(tmp_path / "one.npy", axes="ZYX"), tmp_path / "x.png")
    np.testing.assert_array_equal(np.asarray(Pillow.open(tmp_path / "x.png")), one[0])


def test_twelve_bits_in_sixteen(tmp_path):
    before = RANDOM.integers(0, 4096, (3, 16, 20)).astype(np.uint16)
    before[0, 0, 0] = 4095
    tifffile.imwrite(tmp_path / "stack.tif", before, photometric="minisblack")
    tifffile.imwrite(tmp_path / "one.tif", before[0], photometric="minisblack")
    for name in ("stack.tif", "one.tif"):
        with pytest.raises(ValueError, match=r"no sample is above 4095, of 65535: .* --white 4095 .* 12 bits"):
            files.read(tmp_path / name)
        assert files.read(tmp_path / name, limits=(0, 65535)) is not None
    with pytest.raises(ValueError, match="never reach"):
        files.read(tmp_path / "one.tif", limits=(0, 70000))
    image = files.read(tmp_path / "one.tif", limits=(0, 4095))
    assert image.pixels.max() == 1
    files.write(image, tmp_path / "x.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "x.tif"), before[0])
    files.write(image, tmp_path / "x.png")  # as deep, and with the same numbers
    assert images.read(tmp_path / "x.png").pixels.max() == pytest.approx(4095 / 65535)
    files.write(dataclasses.replace(image, dtype="float32", limits=None), tmp_path / "y.png")
    assert images.read(tmp_path / "y.png").pixels.max() == 1


def test_the_range_of_the_file(tmp_path):
    before = np.linspace(-1000, 2000, 3 * 16 * 20, dtype=np.float32).reshape(3, 16, 20)
    tifffile.imwrite(tmp_path / "a.tif", before, photometric="minisblack")
    with pytest.raises(ValueError, match="--range"):
        list(files.read(tmp_path / "a.tif").images())
    stack = files.read(tmp_path / "a.tif", limits="auto")
    assert stack.limits == (-1000, 2000)
    planes = list(stack.images())
    assert planes[0].pixels.max() < 0.4  # one range for all planes
    assert (planes[0].pixels.min(), planes[2].pixels.max()) == (0, 1)
    files.write(through(stack), tmp_path / "b.tif")
    np.testing.assert_allclose(tifffile.imread(tmp_path / "b.tif"), before, atol=3e-4)
    np.save(tmp_path / "flat.npy", np.full((16, 20), 7.0))
    with pytest.raises(ValueError, match="no range: all are 7"):
        files.read(tmp_path / "flat.npy", limits="auto")


def test_ome_says_what_it_said_and_nothing_that_no_longer_holds(tmp_path):
    about = {"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25, "PhysicalSizeZ": 2.0, "Name": "cells & more"}
    about |= {"Channel": {"Name": ["DAPI"]}, "Plane": {"DeltaT": [0.0, 0.5], "PositionX": [1.0, 2.0]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", samples((2, 16, 20)), ome=True, metadata=about)
    stack = files.read(tmp_path / "a.ome.tif")
    large = [dataclasses.replace(image, pixels=image.pixels.repeat(2, 1).repeat(2, 2)) for image in stack.images()]
    assert files.write(stack.replaced(large), tmp_path / "b.ome.tif") == ()
    with tifffile.TiffFile(tmp_path / "b.ome.tif") as file:
        said = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
    pixels = said["Pixels"]
    assert said["Name"] == "cells & more"
    assert [pixels[f"PhysicalSize{axis}"] for axis in "XYZ"] == [0.25, 0.125, 2.0]
    assert (pixels["SizeX"], pixels["SizeY"], pixels["SizeZ"], pixels["Channel"]["Name"]) == (40, 32, 2, "DAPI")
    assert [plane["DeltaT"] for plane in pixels["Plane"]] == [0.0, 0.5]
    description = tifffile.tiffcomment(tmp_path / "a.ome.tif").replace("</OME>", "<StructuredAnnotations/></OME>")
    tifffile.tiffcomment(tmp_path / "a.ome.tif", description)
    assert files.read(tmp_path / "a.ome.tif").metadata.lost == ("parts of the OME-XML",)


def test_texts_of_pages_and_the_orientation(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for k in range(3):
            file.write(samples((16, 20)), metadata=None, description=f"second {k}", extratags=[(274, 3, 1, 6, False)])
    stack = files.read(tmp_path / "a.tif")
    assert stack.metadata.lost == ("texts of later pages",)
    assert next(stack.images()).pixels.shape == (1, 16, 20)  # as it is stored
    files.write(through(stack), tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert [page.tags.valueof(274) for page in file.pages] == [6, 6, 6]
        assert file.pages.first.description == "second 0"
