"""Stacks in TIFF files: pages, ImageJ hyperstacks, OME-TIFF, BigTIFF; tifffile reads and writes them."""

from __future__ import annotations

import dataclasses
import mmap
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fastreg.io import decoders, directories, metadata, ome
from fastreg.io.stacks import Layout, Pages, Stack, check_axes, planes_first

#: Kinds of TIFF that are written as they are read; ``plain`` has no description of its dimensions.
_KINDS = {"uniform": "plain", "generic": "plain", "shaped": "shaped", "imagej": "imagej", "ome": "ome"}
#: Tags of texts that may differ from page to page: description, name of the page, time.
_TEXTS = (270, 285, 306)
#: Samples in bytes that leave room for tags in the offsets of 32 bits of a TIFF file.
_BIG = (1 << 32) - (1 << 25)
#: Tags of the density, which tifffile writes by name.
_DENSITY = (282, 283, 296)


def read(path: Path, max_pixels: int, axes: str | None) -> Stack | Pages | None:
    """The images in a TIFF file, of which `axes` name the dimensions, or the file itself; None if it is a single image."""
    import tifffile

    # files of Micro-Manager and ScanImage are ordinary ones with further descriptions
    with tifffile.TiffFile(path, _multifile=False, is_mmstack=False, is_scanimage=False) as file:
        found = [series for series in file.series if not getattr(series.keyframe, "is_reduced", False)]
        single = len(found) == 1 and found[0].axes in ("YX", "YXS", "SYX") and found[0].kind != "ome"
        if not found or (single and axes is None):
            return None
        kinds = sorted({_KINDS.get(series.kind, series.kind) for series in found})
        if not set(kinds) <= set(_KINDS.values()) or (len(found) > 1 and kinds != ["plain"]):
            raise ValueError(
                f"it holds {len(found)} series of images in a TIFF of the kind {kinds[0]}, expected one OME-TIFF"
            )
        if any(None in series.pages for series in found):
            raise ValueError("its images are in several files: join them in one")
        parts: list[Stack] = []
        with open(path, "rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for series in found:
                parts.append(_read_series(file, series, data, max_pixels, axes))
                max_pixels -= parts[-1].pixels
    return parts[0] if len(parts) == 1 else Pages(tuple(parts))


def _read_series(file: Any, series: Any, data: mmap.mmap, max_pixels: int, axes: str | None) -> Stack:
    """Images of one size and type."""
    page, kind = series.keyframe, _KINDS[series.kind]
    used = check_axes(axes or _distinct(series.axes), series.shape, max_pixels)
    tags, *others = (
        directories.parse_at(data, part.offset, file.byteorder, file.is_bigtiff)
        for part in ([page, *series.pages[1:]] if kind == "plain" else [page])
    )
    options = {
        "photometric": "rgb" if page.photometric == 2 else "minisblack",
        "planarconfig": {"YXS": "contig", "SYX": "separate"}.get(page.axes),
        "extrasamples": [int(extra) for extra in page.extrasamples] or None,
        "compression": None if page.compression == 1 else "zlib",
    }
    if decoders.is_converted(page):
        if kind != "plain" or axes is not None:
            raise ValueError(f"its colours are {page.photometric.name}, expected grey or RGB in a stack with axes")
        whole = data[:]
        samples = np.stack([decoders.by_libtiff(whole, max_pixels, directory) for directory in (tags, *others)])
        used, count = "IYXS", samples.shape[-1]
        options |= {
            "photometric": "rgb" if count > 2 else "minisblack",
            "planarconfig": "contig",
            "compression": "zlib",
        }
        options["extrasamples"] = [2] if count in (2, 4) else None
        if count == 1:
            samples, used, options["planarconfig"] = samples[..., 0], "IYX", None
    else:
        samples = decoders.decode_pages(series, list(series.pages), data, max_pixels)
        if "S" in used:
            decoders.check_channels(page, series.shape[used.index("S")])
    described = metadata.from_directory(tags)
    facts: dict[str, Any] = {}
    if any(other.entries.get(text) != tags.entries.get(text) for other in others for text in _TEXTS):
        described = dataclasses.replace(described, lost=(*described.lost, "texts of later pages"))
    if kind == "ome":
        facts, lost = ome.parse(file.ome_metadata or "")
        described = dataclasses.replace(described, lost=(*(n for n in described.lost if n != "OME-XML"), *lost))
    premultiplied = 1 in [int(extra) for extra in page.extrasamples]
    return Stack(samples, used, None, premultiplied, described, Layout(kind, file.is_bigtiff, options, facts))


def write(picture: Stack | Pages, path: Path) -> tuple[str, ...]:
    """Write a TIFF file of the kind that was read; returns the names of the metadata that are lost."""
    import tifffile

    parts = picture.parts if isinstance(picture, Pages) else (picture,)
    if any(part.is_complex for part in parts):
        raise ValueError("it is a measurement of complex numbers, not an image")
    layout = parts[0].layout
    big = layout.big or sum(part.samples.nbytes for part in parts) > _BIG
    order: Literal["<", ">"] = ">" if parts[0].metadata.tiff().order == ">" else "<"
    try:
        with tifffile.TiffWriter(path, bigtiff=big, byteorder=order, ome=layout.kind == "ome") as file:
            lost = [
                name for part in parts for name in _write_series(file, part if part.layout.options else _arranged(part))
            ]
    except tifffile.OmeXmlError as error:
        raise ValueError(f"OME-TIFF cannot hold it: {error}") from error
    return tuple(dict.fromkeys(lost))


def _write_series(file: Any, stack: Stack) -> tuple[str, ...]:
    own, layout = stack.metadata, stack.layout
    tags = own.tiff()
    named = {} if "Q" in stack.axes else {"axes": stack.axes}  # a Q has no name in the file
    kept = {tag: entry for tag, entry in tags.entries.items() if tag not in _DENSITY}
    extra: list[tuple[int, int, int, Any, bool]] = [
        (tag, entry.kind, len(entry.data) // directories.SIZES[entry.kind], entry.data, True)
        for tag, entry in kept.items()
    ]
    if own.xmp:
        extra.append((700, 1, len(own.xmp), own.xmp, True))
    if own.orientation != 1:
        extra.append((274, 3, 1, own.orientation, False))
    density = own.density and (own.density.per("cm") if own.density.unit == "m" else own.density[:2])
    file.write(
        stack.samples,
        **layout.options,
        contiguous=False,
        metadata={"ome": {**named, **layout.facts}, "shaped": named}.get(layout.kind),
        resolution=density,
        resolutionunit={"inch": 2, "": 1}.get(own.density.unit, 3) if own.density else None,
        extratags=extra,
        iccprofile=own.icc,
        software=False,
    )
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
