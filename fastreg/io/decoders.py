"""From the bytes of a file to samples, one function for each format."""

from __future__ import annotations

import dataclasses
import io
import lzma
import math
import mmap
import warnings
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from fastreg.io import directories, metadata, png
from fastreg.io.metadata import Metadata

#: Pixels of the largest image that is decoded, if nothing else is said.
MAX_PIXELS = 1 << 28
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
#: Compressions of TIFF without a bound on what comes out.
_INFLATERS: dict[int, Callable[[], Any]] = {
    8: zlib.decompressobj,
    32946: zlib.decompressobj,
    34925: lzma.LZMADecompressor,
}
#: Tags of TIFF that say how samples are stored.
_STORAGE = {
    254,
    255,
    256,
    257,
    258,
    259,
    262,
    266,
    273,
    277,
    278,
    279,
    284,
    292,
    293,
    317,
    320,
    *range(322, 326),
    338,
    339,
}
_STORAGE |= {347, *range(512, 522), 529, 530, 531, 532}
#: Compressions of TIFF that change samples: JPEG of all kinds, JPEG 2000, WebP, JPEG XR, JPEG XL.
_LOSSY = {6, 7, 22610, 34892, 33003, 33004, 33005, 34712, 50001, 34927, 50002, 52546}


class Decoded(NamedTuple):
    """Samples ``[H, W, 1 to 4]`` as a file has them, an even number with alpha; whether compression has changed them."""

    samples: np.ndarray
    metadata: Metadata = Metadata()
    premultiplied: bool = False
    lossy: bool = False


def count_pixels(path: Path) -> int:
    """How many pixels the headers of a file say that it has, in all its images; 0 where they do not say."""
    import tifffile

    try:
        if path.suffix.lower() == ".npy":
            shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
            return math.prod(shape[:-1] if len(shape) > 2 and shape[-1] <= 4 else shape)
        with open(path, "rb") as file:
            if file.read(4) in TIFF:
                with tifffile.TiffFile(path) as tiff:
                    page = tiff.pages.first
                    return int(len(tiff.pages) * page.imagewidth * page.imagelength)
            file.seek(0)
            with warnings.catch_warnings(), open_pillow(file) as image:
                warnings.simplefilter("ignore")
                return int(image.width * image.height)
    except Exception:  # whoever reads the file will say what is wrong with it
        return 0


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Decode a PNG, JPEG, WebP or TIFF file; damaged files raise exceptions of many kinds."""
    if data.startswith(png.SIGNATURE):
        parts = png.split(data)
        check_size(parts.width, parts.height, max_pixels)
        samples = png.decode_deep(parts) if parts.bits == 16 else decode_pillow(parts.pixels(), max_pixels).samples
        return Decoded(samples, parts.metadata())
    return decode_tiff(data, max_pixels) if data[:4] in TIFF else decode_pillow(data, max_pixels)


def decode_npy(data: bytes, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Decode an array ``[H, W]`` or ``[H, W, C]``."""
    stream = io.BytesIO(data)
    if data.startswith(b"\x93NUMPY"):
        old = np.lib.format.read_magic(stream) == (1, 0)
        read_header = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(stream)
        check_size(math.prod(shape[1:2]), math.prod(shape[:1]), max_pixels)
        if math.prod(shape) * dtype.itemsize > len(data):
            raise ValueError("it is truncated")
        stream.seek(0)
    samples = np.load(stream, allow_pickle=False)
    if not isinstance(samples, np.ndarray):
        raise ValueError("it is an archive of arrays, not one array")
    if samples.dtype == bool:
        samples = samples * np.uint8(255)
    if samples.ndim == 2:
        samples = samples[..., None]
    return Decoded(samples)


def decode_pillow(data: bytes, max_pixels: int = MAX_PIXELS) -> Decoded:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged files that are read all the same
        with open_pillow(io.BytesIO(data)) as image:
            check_size(image.width, image.height, max_pixels)
            frames = getattr(image, "n_frames", 1)
            if frames > 1:
                raise ValueError(f"it holds {frames} images, expected one")
            image.load()
            info = image.info
            if image.mode in ("P", "PA", "1") or "transparency" in info:
                transparent = "transparency" in info or image.mode == "PA"
                mode = {"1": "L", "L": "LA"}.get(image.mode, "RGBA" if transparent else "RGB")
                converted = image.convert(mode)
            elif image.mode in ("L", "LA", "RGB", "RGBA", "I;16", "I;16B", "I;16L"):
                converted = image
            else:
                raise ValueError(f"its colours are {image.mode}, expected grey or RGB")
            samples = np.asarray(converted)
            lossy = image.format == "JPEG" or (image.format == "WEBP" and b"VP8 " in data[12:])
    if samples.dtype.kind == "u" and samples.itemsize == 2:
        samples = samples.astype(np.uint16)
    return Decoded(samples.reshape(*samples.shape[:2], -1), _pillow_metadata(info), lossy=lossy)


def decode_tiff(data: bytes, max_pixels: int = MAX_PIXELS) -> Decoded:
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        pages = [page for page in file.pages if not getattr(page, "is_reduced", False)]
        if len(pages) != 1:
            raise ValueError(f"it holds {len(pages)} images, expected one")
        page: Any = pages[0]
        check_size(page.imagewidth, page.imagelength, max_pixels)
        check_size(page.tilewidth, page.tilelength, max_pixels)
        tags = directories.parse_at(data, page.offset, file.byteorder, file.is_bigtiff)
        described = metadata.from_directory(tags)
        lossy = int(page.compression) in _LOSSY
        if is_converted(page):
            return Decoded(by_libtiff(data, max_pixels, tags), described, lossy=lossy)
        if page.axes not in ("YX", "YXS", "SYX"):
            raise ValueError(f"its axes are {page.axes}, expected rows, columns and channels")
        samples = decode_pages(page, [page], data, max_pixels)
        check_channels(page, page.samplesperpixel)
        samples = np.moveaxis(samples, 0, -1) if page.axes == "SYX" else samples.reshape(*samples.shape[:2], -1)
        premultiplied = 1 in [int(kind) for kind in page.extrasamples]
        return Decoded(samples, described, premultiplied, lossy)


def is_converted(page: Any) -> bool:
    """Whether a page of a TIFF file becomes RGB or grey: palettes, JPEG inside TIFF, black and white."""
    return page.photometric in (3, 6) or page.bitspersample == 1


def decode_pages(series: Any, pages: Sequence[Any], data: bytes | mmap.mmap, max_pixels: int) -> np.ndarray:
    """The samples of a series of grey or RGB pages, or of one page, with the dimensions that tifffile gives them."""
    page, file = series.keyframe, series.keyframe.parent
    if page.photometric not in (0, 1, 2):
        raise ValueError(f"its colours are {page.photometric.name}, expected grey or RGB")
    if page.bitspersample not in (8, 16, 32, 64):
        raise ValueError(f"its samples have {page.bitspersample} bits, expected 8 or 16, or floating point")
    for part in pages:
        check_segments(data, part)
    try:
        samples: np.ndarray = series.asarray()
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        if (file.is_bigtiff and len(pages) > 1) or (page.bitspersample != 8 and page.samplesperpixel > 1):
            raise ValueError(
                f"it is compressed with {page.compression.name}, which needs `pip install imagecodecs`"
            ) from error
        whole = data[:]
        tags = (directories.parse_at(whole, part.offset, file.byteorder, file.is_bigtiff) for part in pages)
        frames = [by_libtiff(whole, max_pixels, each) for each in tags]  # has made white the largest number
        return np.stack([np.moveaxis(x, -1, 0) if page.axes == "SYX" else x for x in frames]).reshape(series.shape)
    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    if page.photometric == 0:  # white is zero
        samples = np.invert(samples) if samples.dtype.kind == "u" else 1 - samples
    return samples


def check_size(width: int, height: int, limit: int) -> None:
    """Raise `ValueError` if an image has more pixels than are to be decoded."""
    if width * height > limit:
        raise ValueError(f"it has {width} x {height} pixels, more than {limit}: raise the limit with --max-pixels")


def check_channels(page: Any, count: int) -> None:
    """Raise `ValueError` if the samples of a pixel in a TIFF file are not its colours and alpha, of which files say 1 or 2."""
    colours = 3 if page.photometric in (2, 3, 6) else 1
    extra = [int(kind) for kind in page.extrasamples]
    in_pages = page.samplesperpixel == 1 and count in (1, 3)
    if not in_pages and (count - colours != len(extra) or extra not in ([], [1], [2])):
        raise ValueError(
            f"it has {count} channels and does not say that those after the first {colours} are alpha: restore each channel "
            "for itself with --axes, where it is C, such as YXC"
        )


def open_pillow(file: BinaryIO) -> Any:
    """A file that Pillow decodes, without the limit on sizes that it has for the whole process."""
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile
    from PIL.TiffImagePlugin import TiffImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    head = file.read(12)
    file.seek(0)
    if head.startswith(png.SIGNATURE):
        return PngImageFile(file)
    if head.startswith(b"\xff\xd8\xff"):
        return JpegImageFile(file)  # a phone's file may carry a depth map behind the photograph
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        return WebPImageFile(file)
    if head[:4] in TIFF:
        return TiffImageFile(file)
    raise ValueError("it is not a PNG, JPEG, WebP or TIFF image")


def _pillow_metadata(info: dict[str, Any]) -> Metadata:
    """Metadata of a JPEG or WebP file."""
    found = metadata.from_exif(info.get("exif"))
    x, y = info["dpi"] if info.get("jfif_unit") in (1, 2) else (0, 0)
    names = {"photoshop": "Photoshop resources", "comment": "comment", "mp": "further pictures"}
    return dataclasses.replace(
        found,
        icc=info.get("icc_profile") or found.icc,
        xmp=info.get("xmp") or found.xmp,
        density=metadata.make_density(x, y, "inch") or found.density,
        lost=(*found.lost, *(name for key, name in names.items() if key in info)),
    )


def by_libtiff(data: bytes, max_pixels: int, tags: directories.Directory) -> np.ndarray:
    """Decode a TIFF file with Pillow, which sees no tags but those of storage: neither does it turn the image."""
    if data[2:4] in (b"*\0", b"\0*"):
        stored = dataclasses.replace(tags.only(lambda tag: tag in _STORAGE), children={})
        data = directories.with_first(data, stored)
    return decode_pillow(data, max_pixels).samples


def check_segments(data: bytes | mmap.mmap, page: Any) -> None:
    """Raise `ValueError` if a compressed part of a TIFF file is larger than the samples that it is to hold."""
    make = _INFLATERS.get(int(page.compression))
    if make is None:
        return
    limit = math.prod(page.chunks) * page.dtype.itemsize
    for offset, size in zip(page.dataoffsets, page.databytecounts, strict=False):
        if len(make().decompress(data[offset : offset + size], limit + 1)) > limit:
            raise ValueError("its compressed samples are larger than the image")


def upright(samples: np.ndarray, orientation: int) -> np.ndarray:
    """Turn samples as EXIF says; values 5 to 8 are transposed, and then like 1 to 4 mirrored."""
    if orientation in (5, 6, 7, 8):
        samples = samples.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    return samples
