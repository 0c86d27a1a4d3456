"""From the bytes of a file to samples, one function for each format."""

from __future__ import annotations

import io
import math
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastreg.io import png16

#: Tag of the orientation in EXIF and TIFF.
_ORIENTATION = 0x0112


class Decoded(NamedTuple):
    """Samples ``[H, W, 1 to 4]`` as a file has them, an even number with alpha."""

    samples: np.ndarray
    icc: bytes | None = None
    exif: bytes | None = None
    orientation: int = 1
    premultiplied: bool = False


def count_pixels(path: Path) -> int:
    """How many pixels the header of a file says that it has; 0 where it does not say."""
    from PIL import Image

    try:
        if path.suffix.lower() == ".npy":
            return math.prod(np.load(path, mmap_mode="r", allow_pickle=False).shape[:2])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images
            with Image.open(path, formats=("PNG", "JPEG", "WEBP", "TIFF")) as image:
                return image.width * image.height
    except Exception:  # whoever reads the file will say what is wrong with it
        return 0


def decode(data: bytes) -> Decoded:
    """Decode a PNG, JPEG, WebP or TIFF file; damaged files raise exceptions of many kinds."""
    if png16.is_deep(data):
        samples, icc, exif = png16.decode(data)
        return Decoded(samples, icc, *_orientation(exif))
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return decode_tiff(data)
    return decode_pillow(data)


def decode_npy(data: bytes) -> Decoded:
    """Decode an array ``[H, W]`` or ``[H, W, C]``."""
    samples = np.load(io.BytesIO(data), allow_pickle=False)
    if not isinstance(samples, np.ndarray):
        raise ValueError("it is an archive of arrays, not one array")
    if samples.dtype == bool:
        samples = samples * np.uint8(255)
    if samples.ndim == 2:
        samples = samples[..., None]
    return Decoded(samples)


def decode_pillow(data: bytes) -> Decoded:
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large images, and damaged ones that are read all the same
        Image.init()  # or formats that Pillow loads late are unknown
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP", "TIFF")) as image:
            frames = getattr(image, "n_frames", 1)
            if frames > 1 and image.format != "MPO":  # a phone's JPEG may carry a depth map behind the photograph
                raise ValueError(f"it holds {frames} images, expected one")
            image.load()
            icc, transparent = image.info.get("icc_profile"), "transparency" in image.info
            exif = image.getexif()
            orientation = exif.pop(_ORIENTATION, 1)
            block = exif.tobytes() if len(exif) else None
            if image.mode in ("P", "PA", "1") or transparent:
                mode = {"1": "L", "L": "LA"}.get(image.mode, "RGBA" if transparent or image.mode == "PA" else "RGB")
                converted = image.convert(mode)
            elif image.mode in ("L", "LA", "RGB", "RGBA", "I;16", "I;16B", "I;16L"):
                converted = image
            else:
                raise ValueError(f"its colours are {image.mode}, expected grey or RGB")
            samples = np.asarray(converted)
    if samples.dtype.kind == "u" and samples.itemsize == 2:
        samples = samples.astype(np.uint16)
    return Decoded(samples.reshape(*samples.shape[:2], -1), icc, block, orientation)


def decode_tiff(data: bytes) -> Decoded:
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        pages = [page for page in file.pages if not getattr(page, "is_reduced", False)]
        if len(pages) != 1:
            raise ValueError(f"it holds {len(pages)} images, expected one")
        page: Any = pages[0]
        if page.photometric not in (0, 1, 2, 3, 6):
            raise ValueError(f"its colours are {page.photometric.name}, expected grey or RGB")
        icc = page.tags.valueof(34675)
        if page.photometric in (3, 6) or page.bitspersample == 1:  # palettes, JPEG inside TIFF, black and white
            return decode_pillow(data)._replace(icc=icc)
        if page.bitspersample not in (8, 16, 32, 64):
            raise ValueError(f"its samples have {page.bitspersample} bits, expected 8 or 16, or floating point")
        try:
            samples = page.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            if page.bitspersample != 8 and page.samplesperpixel > 1:
                raise ValueError(
                    f"it is compressed with {page.compression.name}, which needs `pip install imagecodecs`"
                ) from error
            return decode_pillow(data)._replace(icc=icc)
        if page.axes not in ("YX", "YXS", "SYX"):
            raise ValueError(f"its axes are {page.axes}, expected rows, columns and channels")
        samples = np.moveaxis(samples, 0, -1) if page.axes == "SYX" else samples.reshape(*samples.shape[:2], -1)
        if page.photometric == 0:
            samples = np.invert(samples) if samples.dtype.kind == "u" else 1 - samples
        premultiplied = 1 in [int(kind) for kind in page.extrasamples]
        return Decoded(samples, icc, None, int(page.tags.valueof(_ORIENTATION) or 1), premultiplied)


def _orientation(exif: bytes | None) -> tuple[bytes | None, int]:
    """EXIF block without the orientation, and the orientation."""
    from PIL import Image

    if not exif:
        return None, 1
    tags = Image.Exif()
    tags.load(b"Exif\0\0" + exif)
    orientation = tags.pop(_ORIENTATION, 1)
    return (tags.tobytes() if len(tags) else None), orientation


def upright(samples: np.ndarray, orientation: int) -> np.ndarray:
    """Turn samples as EXIF says; values 5 to 8 are transposed, and then like 1 to 4 mirrored."""
    if orientation in (5, 6, 7, 8):
        samples = samples.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    return samples
