"""docs/formats.md says what each format keeps: it is made here, by writing and reading.

After a change, make it again: REWRITE=1 python -m pytest tests/io/test_formats_page.py
"""

import os
import struct
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image as Pillow

from fastreg.io import images
from fastreg.io.directories import EXIF, Directory, Entry
from fastreg.io.metadata import Density, Metadata

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
FORMATS = {"PNG": ".png", "TIFF": ".tif", "JPEG": ".jpg", "WebP": ".webp", "NumPy": ".npy"}
RAMP = np.add.outer(np.arange(24), np.arange(32)) / 64
GREY = (RAMP * 255).astype(np.uint8)
RGB = np.dstack([GREY, GREY[::-1], 255 - GREY])
DEEP = (RAMP * 65535).astype(np.uint16)
HEAD = """# Formats

What `fastreg restore` reads and writes. Made by `tests/io/test_formats_page.py`, which writes and reads all of it; do not edit.

Whatever is lost is named: in a warning of the command line, and in the return value of `fastreg.io.images.write`.
`--strip-metadata` writes nothing but the colour profile, gamma and primaries.
"""


def pillow(mode, **options):
    """A function that saves a picture of a mode with Pillow."""
    picture = Pillow.fromarray(RGB)
    picture = picture.quantize(16) if mode == "P" else picture.convert(mode)
    return lambda path: picture.save(path, **options)


def array(samples, **options):
    """A function that saves samples, as far as the format has a writer for them."""

    def save(path):
        if path.suffix == ".npy":
            np.save(path, samples)
        elif path.suffix == ".tif":
            colours = samples.ndim == 3 and samples.shape[2] > 2
            tifffile.imwrite(path, samples, photometric="rgb" if colours else "minisblack", **options)
        elif samples.dtype == np.uint16 and path.suffix == ".png":
            pixels = np.atleast_3d(samples).transpose(2, 0, 1) / np.float32(65535)
            colours = len(pixels) - (len(pixels) + 1) % 2
            alpha = samples[..., -1] if colours != len(pixels) else None
            images.write(images.Image(pixels[:colours], alpha, "uint16"), path)
        else:
            raise ValueError("no such files")

    return save


def alpha(samples):
    return np.dstack([samples, samples if samples.ndim == 2 else samples[..., 0]])


#: Pictures by name, and how they are saved; a format for which all fail has no such files.
KINDS = {
    "black and white": (pillow("1"), array(GREY > 99)),
    "8 bits, grey": (pillow("L"), array(GREY)),
    "8 bits, RGB": (pillow("RGB", lossless=True), array(RGB)),
    "8 bits, alpha": (pillow("RGBA", lossless=True), array(alpha(RGB))),
    "palette": (pillow("P"),),
    "16 bits, grey": (array(DEEP),),
    "16 bits, RGB": (array(np.dstack([DEEP] * 3)),),
    "16 bits, alpha": (array(alpha(np.dstack([DEEP] * 3)), extrasamples=["unassalpha"]),),
    "float16": (array(RAMP.astype(np.float16)),),
    "float32": (array(RAMP.astype(np.float32)),),
    "float64": (array(RAMP),),
    "CMYK": (pillow("CMYK"),),
    "32-bit integers": (array(DEEP.astype(np.int32)),),
}
#: Formats that change the mode of a picture when Pillow saves it: they have no such files.
NONE = {("JPEG", "black and white"), ("WebP", "black and white"), ("WebP", "8 bits, grey"), ("WebP", "palette")}
NONE |= {("JPEG", "palette"), ("JPEG", "8 bits, alpha"), ("PNG", "CMYK"), ("WebP", "CMYK"), ("NumPy", "palette")}


def saved(path, writers):
    for writer in writers:
        try:
            writer(path)
        except Exception:
            continue
        return True
    return False


def read_back(name, kind, folder):
    """What becomes of a picture that is read and written in its own format."""
    path = folder / f"a{FORMATS[name]}"
    if (name, kind) in NONE or not saved(path, KINDS[kind]):
        return ""
    try:
        image = images.read(path)
    except ValueError:
        return "refused"
    images.write(image, folder / f"b{path.suffix}")
    again = images.read(folder / f"b{path.suffix}")
    error = np.abs(again.pixels - image.pixels).max()
    assert again.dtype == image.dtype
    assert error < (0.02 if name == "JPEG" else 1e-6)
    if kind in ("black and white", "palette"):
        return f"becomes {'grey' if len(image.pixels) == 1 else 'RGB'} of 8 bits"
    return "lossy" if error > 1e-6 else "kept"


def written(name, dtype, with_alpha, folder):
    """What becomes of samples of a type that are written in a format."""
    path = folder / f"c{FORMATS[name]}"
    plane = RAMP.astype(dtype) if dtype.startswith("float") else (RAMP * np.iinfo(dtype).max).astype(dtype)
    image = images.Image(np.stack([RAMP] * 3).astype(np.float32), plane if with_alpha else None, dtype)
    try:
        lost = images.write(image, path)
    except ValueError:
        return "refused"
    back = images.read(path)
    assert np.abs(back.pixels - image.pixels).max() < 0.02
    assert (back.alpha is not None) == with_alpha
    names = {"uint8": "8 bits", "uint16": "16 bits"}
    assert lost == ("depth",) * (np.dtype(back.dtype).itemsize < np.dtype(dtype).itemsize)
    return "kept" if back.dtype == dtype else f"becomes {names[back.dtype]}"


def everything():
    """Metadata by name: what is put into an image, and whether it is still there."""
    camera = Directory("<", {33434: Entry(5, struct.pack("<II", 1, 250))})
    tags = {"EXIF": Directory("<", {271: Entry(2, b"maker\0")}, {EXIF: camera})}
    tags["geo tags"] = Directory("<", {33550: Entry(12, struct.pack("<3d", 1, 1, 0))})
    tags["IPTC"] = Directory("<", {33723: Entry(7, b"iptc data")})
    return {
        "colour profile (ICC)": (Metadata(icc=bytes(36) + b"acsp" + bytes(99)), lambda own: own.icc),
        "EXIF": (Metadata(tags=tags["EXIF"]), lambda own: own.tags and own.tags.children),
        "XMP": (Metadata(xmp=b"<x:xmpmeta/>"), lambda own: own.xmp),
        "resolution, pixel size": (Metadata(density=Density(300, 300, "inch")), lambda own: own.density),
        "gamma, primaries": (Metadata(chunks=((b"gAMA", bytes(4)),)), lambda own: own.chunks),
        "texts of PNG": (Metadata(chunks=((b"tEXt", b"Title\0text"),)), lambda own: own.chunks),
        "geo tags": (Metadata(tags=tags["geo tags"]), lambda own: own.tags and own.tags.entries),
        "IPTC of TIFF": (Metadata(tags=tags["IPTC"]), lambda own: own.tags and own.tags.entries),
    }


def metadata_kept(name, kind, folder):
    path = folder / f"d{FORMATS[name]}"
    own, find = everything()[kind]
    lost = images.write(images.Image(np.stack([RAMP] * 3).astype(np.float32), metadata=own), path)
    kept = bool(find(images.read(path).metadata))
    assert kept != bool(lost)
    return "kept" if kept else "lost"


def table(heading, rows, cell):
    lines = [f"| {heading} | {' | '.join(FORMATS)} |", "|" + " --- |" * (len(FORMATS) + 1)]
    lines += [f"| {row} | {' | '.join(cell(name, row) for name in FORMATS)} |" for row in rows]
    return "\n".join(lines) + "\n"


def page(folder):
    types = [f"{dtype}{', alpha' * with_alpha}" for dtype in images.DTYPES for with_alpha in (False, True)]
    return "\n".join(
        [
            HEAD,
            "## Read and written again in the same format\n",
            "Lossy: JPEG is written with a quality of 95. Empty: there are no such files. Integers of 32 bits are read with "
            "`--range`; files of several images are described in [stacks.md](stacks.md), and refused in PNG and WebP. All other "
            "kinds are refused.\n",
            table("picture", KINDS, lambda name, row: read_back(name, row, folder)),
            "## Written in another format\n",
            table("samples", types, lambda name, row: written(name, row.split(",")[0], "alpha" in row, folder)),
            "## Metadata\n",
            "The orientation is applied, and no longer written. Thumbnails, and descriptions of how the samples were stored, "
            "are left out.\n",
            table("metadata", everything(), lambda name, row: metadata_kept(name, row, folder)),
        ]
    )


def test_the_page_says_what_is_so(tmp_path):
    text = page(tmp_path)
    if os.environ.get("REWRITE"):
        PAGE.write_text(text)
    assert PAGE.read_text() == text, "docs/formats.md is stale: make it again with REWRITE=1"
