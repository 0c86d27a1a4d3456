"""Stacks in TIFF files: pages, ImageJ hyperstacks, OME-TIFF, BigTIFF; tifffile reads and writes them."""

from __future__ import annotations

import dataclasses
import mmap
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fastreg.io import decoders, directories, metadata, ome
from fastreg.io.stacks import Layout, Stack, check_axes, planes_first

#: Kinds of TIFF that are written as they are read; ``plain`` has no description of its dimensions.
_KINDS = {"uniform": "plain", "generic": "plain", "shaped": "shaped", "imagej": "imagej", "ome": "ome"}
#: Tags of texts that may differ from page to page: description, name of the page, time.
_TEXTS = (270, 285, 306)
#: Tags of the density, which tifffile writes by name.
_DENSITY = (282, 283, 296)


def read(path: Path, max_pixels: int, axes: str | None) -> Stack | None:
    """The stack in a TIFF file, of which `axes` name the dimensions, or the file itself; None if it is a single image."""
    import tifffile

    # files of Micro-Manager and ScanImage are ordinary ones with further descriptions
    with tifffile.TiffFile(path, _multifile=False, is_mmstack=False, is_scanimage=False) as file:
        found = [series for series in file.series if not getattr(series.keyframe, "is_reduced", False)]
        if axes is None and len(found) == 1 and found[0].axes in ("YX", "YXS", "SYX") and found[0].kind != "ome":
            return None
        if len(found) != 1:
            sizes = " and ".join(str(list(series.shape)) for series in found[:3])
            raise ValueError(f"it holds {len(found)} series of images, {sizes}, expected one")
        (series,) = found
        page: Any = series.keyframe
        if series.kind not in _KINDS:
            raise ValueError(f"it is a TIFF of the kind {series.kind}: convert it to OME-TIFF")
        if page.photometric not in (0, 1, 2):
            raise ValueError(f"its colours are {page.photometric.name}, expected grey or RGB in a stack")
        if page.bitspersample not in (8, 16, 32, 64):
            raise ValueError(f"its samples have {page.bitspersample} bits, expected 8 or 16, or floating point")
        pages, kind = list(series.pages), _KINDS[series.kind]
        if any(part is None for part in pages):
            raise ValueError("its planes are in several files: join them in one")
        used = check_axes(axes or _distinct(series.axes), series.shape, max_pixels)
        if "S" in used:
            decoders.check_channels(page, series.shape[used.index("S")])
        with open(path, "rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for part in pages:
                decoders.check_segments(data, part)
            samples = _samples_of(series, raw)
            tags, *others = (
                directories.parse_at(data, part.offset, file.byteorder, file.is_bigtiff)
                for part in ([page, *pages[1:]] if kind == "plain" else [page])
            )
        described = metadata.from_directory(tags)
        if any(other.entries.get(text) != tags.entries.get(text) for other in others for text in _TEXTS):
            described = dataclasses.replace(described, lost=(*described.lost, "texts of later pages"))
        facts: dict[str, Any] = {}
        if kind == "ome":
            facts, lost = ome.parse(file.ome_metadata or "")
            described = dataclasses.replace(
                described, lost=(*(name for name in described.lost if name != "OME-XML"), *lost)
            )
        options = {
            "bigtiff": file.is_bigtiff,
            "photometric": "rgb" if page.photometric == 2 else "minisblack",
            "planarconfig": {"YXS": "contig", "SYX": "separate"}.get(page.axes),
            "extrasamples": [int(extra) for extra in page.extrasamples] or None,
            "compression": None if page.compression == 1 else "zlib",
        }
        premultiplied = 1 in [int(extra) for extra in page.extrasamples]
        return Stack(samples, used, None, premultiplied, described, Layout(kind, options, facts))


def _samples_of(series: Any, raw: BinaryIO) -> np.ndarray:
    """The samples of a TIFF file."""
    page = series.keyframe
    try:
        samples = series.asarray()
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        turned = page.tags.valueof(274) not in (None, 1)  # Pillow would turn the pages
        if turned or (page.bitspersample != 8 and page.samplesperpixel > 1):
            raise ValueError(
                f"it is compressed with {page.compression.name}, which needs `pip install imagecodecs`"
            ) from error
        raw.seek(0)
        with decoders.open_pillow(raw) as file:
            samples = np.stack([_frame(file, part.index) for part in series.pages]).reshape(series.shape)
    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    if page.photometric == 0:  # white is zero
        samples = np.invert(samples) if samples.dtype.kind == "u" else 1 - samples
    return np.asarray(samples)


def _frame(file: Any, number: int) -> np.ndarray:
    file.seek(number)
    return np.asarray(file)


def write(stack: Stack, path: Path) -> tuple[str, ...]:
    """Write a TIFF file of the kind that was read; returns the names of the metadata that are lost."""
    import tifffile

    if stack.is_complex:
        raise ValueError("it is a measurement of complex numbers, not an image")
    if "photometric" not in stack.layout.options:
        stack = _arranged(stack)
    own, layout = stack.metadata, stack.layout
    tags = own.tiff()
    named = {} if "Q" in stack.axes else {"axes": stack.axes}  # a Q has no name in the file
    described = {"ome": {**named, **layout.facts}, "shaped": named}.get(layout.kind)
    kept = {tag: entry for tag, entry in tags.entries.items() if tag not in _DENSITY}
    extra: list[tuple[int, int, int, Any, bool]] = [
        (tag, entry.kind, _count(entry), entry.data, True) for tag, entry in kept.items()
    ]
    if own.xmp:
        extra.append((700, 1, len(own.xmp), own.xmp, True))
    if own.orientation != 1:
        extra.append((274, 3, 1, own.orientation, False))
    density = own.density and (own.density.per("cm") if own.density.unit == "m" else own.density[:2])
    try:
        tifffile.imwrite(
            path,
            stack.samples,
            **layout.options,
            byteorder=">" if tags.order == ">" else "<",
            ome=layout.kind == "ome",
            metadata=described,
            resolution=density,
            resolutionunit={"inch": 2, "": 1}.get(own.density.unit, 3) if own.density else None,
            extratags=extra,
            iccprofile=own.icc,
            software=False,
        )
    except tifffile.OmeXmlError as error:
        raise ValueError(f"OME-TIFF cannot hold it: {error}") from error
    return (*own.lost, *(("EXIF",) if tags.children else ()), *own.png_only())


def _distinct(axes: str) -> str:
    """Axes of which tifffile calls several Q, with letters of their own for all but the last of them."""
    unused = (letter for letter in "PONMLKJIHGFEDCBA" if letter not in axes)
    return "".join(next(unused, "Q") if axis in axes[k + 1 :] else axis for k, axis in enumerate(axes))


def _arranged(stack: Stack) -> Stack:
    """A stack that was not read from TIFF, with planes first and colours last."""
    order = planes_first(stack.axes)
    samples = stack.samples.transpose([stack.axes.index(axis) for axis in order])
    count = samples.shape[-1] if "S" in order else 1
    if "S" in order and count == 1:
        samples, order = samples[..., 0], order[:-1]
    options = {
        "photometric": "rgb" if count > 2 else "minisblack",
        "planarconfig": "contig" if count > 1 else None,
        "extrasamples": ["unassalpha"] if count in (2, 4) else None,
        "compression": "zlib",
    }
    return dataclasses.replace(stack, samples=samples, axes=order, layout=Layout(options=options))


def _count(entry: directories.Entry) -> int:
    return len(entry.data) // directories.SIZES[entry.kind]
