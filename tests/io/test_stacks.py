"""Stacks of images survive a round trip through every kind of file, and what is not clear is refused."""

import dataclasses

import numpy as np
import pytest
import tifffile

from fastreg.io import stacks

RANDOM = np.random.default_rng(0)


def samples(shape, dtype="uint16"):
    """Noise that fills the range of its type."""
    kind = np.dtype(dtype)
    if kind.kind == "u":
        return RANDOM.integers(0, np.iinfo(kind).max + 1, shape).astype(kind)
    return RANDOM.random(shape).astype(kind)


def inverted(image):
    return dataclasses.replace(image, pixels=1 - image.pixels)


def through(stack):
    """A stack whose planes went through floating point and back."""
    return stack.replaced(list(stack.images()))


#: Name, arguments of tifffile, axes that are read.
FILES = {
    "plain": ((5, 16, 20), "uint8", {"metadata": None, "photometric": "minisblack"}, "IYX"),
    "shaped": ((5, 16, 20), "uint16", {"photometric": "minisblack"}, "QYX"),
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
    stack = stacks.read(tmp_path / "a.tif")
    assert stack.axes == axes
    stacks.write(through(stack), tmp_path / "b.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), before)
    assert facts(tmp_path / "b.tif") == facts(tmp_path / "a.tif")
    changed = stack.replaced([inverted(image) for image in stack.images()])
    assert not np.array_equal(changed.samples, before)
