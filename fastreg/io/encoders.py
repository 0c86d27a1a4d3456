"""From an image to the bytes of a file, one function for each format."""

from __future__ import annotations

import dataclasses
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg.io import directories, png

if TYPE_CHECKING:
    from fastreg.io.images import Image
    from fastreg.io.metadata import Metadata

#: What fits into a segment of a JPEG.
_SEGMENT = 65533
_LARGEST_SIDE = {".jpg": 65535, ".jpeg": 65535, ".webp": 16383}
_LARGEST_ICC = 255 * (_SEGMENT - 14)


def encode(image: Image, suffix: str) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of a file, and the names of what it does not hold: the depth of the samples, or metadata.

    Raises
    ------
    ValueError
        If the ending is unknown, or the format cannot hold the image.
    """
    check(image, suffix)
    if image.is_complex:
        raise ValueError("it is a measurement of complex numbers, not an image")
    if image.premultiplied and image.alpha is not None and suffix not in (".tif", ".tiff"):
        image = _straight(image, image.alpha)
    data, lost = ENCODERS[suffix](image)
    if np.dtype(image.dtype).itemsize > {".png": 2, ".jpg": 1, ".jpeg": 1, ".webp": 1}.get(suffix, 8):
        lost = ("depth", *lost)
    return data, tuple(dict.fromkeys((*image.metadata.lost, *lost)))


def check(image: Image, suffix: str) -> None:
    """Raise `ValueError` if the ending is unknown, or its format has no alpha channel or no room for such an image."""
    if suffix not in ENCODERS:
        raise ValueError(f"its ending is {suffix or 'missing'}, expected one of {', '.join(ENCODERS)}")
    if suffix in (".jpg", ".jpeg") and image.alpha is not None:
        raise ValueError("a JPEG has no alpha channel, but the image does: choose PNG, TIFF or WebP")
    _, height, width = image.pixels.shape
    if max(height, width) > _LARGEST_SIDE.get(suffix, max(height, width)):
        raise ValueError(f"it has {width} x {height} pixels, and a {suffix} at most {_LARGEST_SIDE[suffix]} on a side")


def _straight(image: Image, alpha: np.ndarray) -> Image:
    """An image whose colours are no longer multiplied by alpha."""
    opacity = alpha / np.float32(np.iinfo(alpha.dtype).max if alpha.dtype.kind == "u" else 1)
    pixels = np.divide(image.pixels, opacity, out=np.zeros_like(image.pixels), where=opacity > 0)
    return dataclasses.replace(image, pixels=pixels.clip(0, 1), premultiplied=False)


def _npy(image: Image) -> tuple[bytes, tuple[str, ...]]:
    stream = io.BytesIO()
    np.save(stream, _squeezed(to_samples(image, image.dtype)))
    return stream.getvalue(), lost_in_npy(image.metadata)


def lost_in_npy(own: Metadata) -> tuple[str, ...]:
    """Names of metadata, all of which an array lacks."""
    exif = dataclasses.replace(own, density=None).exif(1, 1)
    given = {"colour profile": own.icc, "EXIF": exif, "XMP": own.xmp, "resolution": own.density}
    names = [name for name, value in given.items() if value is not None]
    return (*names, *own.tiff_only(), *own.png_only())


def _png(image: Image) -> tuple[bytes, tuple[str, ...]]:
    if image.dtype != "uint8":
        return png.with_metadata(png.encode_deep(to_samples(image, "uint16")), image.metadata)
    return png.with_metadata(_by_pillow(to_samples(image, "uint8"), format="PNG"), image.metadata)


def _jpeg(image: Image) -> tuple[bytes, tuple[str, ...]]:
    options, lost = _options(image)
    density = image.metadata.density and image.metadata.density.per("inch")
    if density and max(density) < 65535.5:
        options["dpi"] = density
    for name, key, largest in (
        ("colour profile", "icc_profile", _LARGEST_ICC),
        ("EXIF", "exif", _SEGMENT),
        ("XMP", "xmp", _SEGMENT - 29),
    ):
        if len(options.get(key, b"")) > largest:
            del options[key]
            lost = (*lost, name)
    if image.metadata.density and not {"dpi", "exif"} & set(options):
        lost = (*lost, "resolution")
    return _by_pillow(to_samples(image, "uint8"), format="JPEG", quality=95, subsampling=0, **options), lost


def _webp(image: Image) -> tuple[bytes, tuple[str, ...]]:
    options, lost = _options(image)
    return _by_pillow(to_samples(image, "uint8"), format="WEBP", lossless=True, exact=True, **options), lost


def _options(image: Image) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Metadata for Pillow, and names of those that neither JPEG nor WebP can hold."""
    own = image.metadata
    exif = own.exif(image.pixels.shape[2], image.pixels.shape[1])
    block = b"Exif\0\0" + directories.block(exif) if exif else None
    options = {"icc_profile": own.icc, "exif": block, "xmp": own.xmp}
    lost = ("resolution",) if own.density and not exif else ()
    return {key: value for key, value in options.items() if value}, (*lost, *own.tiff_only(), *own.png_only())


def _by_pillow(samples: np.ndarray, **options: Any) -> bytes:
    from PIL import Image as Pillow

    stream = io.BytesIO()
    Pillow.fromarray(_squeezed(samples)).save(stream, **options)
    return stream.getvalue()


def _tiff(image: Image) -> tuple[bytes, tuple[str, ...]]:
    import tifffile

    own, stream = image.metadata, io.BytesIO()
    samples = _squeezed(to_samples(image, image.dtype))
    tags = own.tiff()
    tifffile.imwrite(
        stream,
        samples,
        byteorder=">" if tags.order == ">" else "<",
        photometric="rgb" if len(image.pixels) == 3 else "minisblack",
        planarconfig=None if samples.ndim == 2 else "contig",
        extrasamples=None if image.alpha is None else ["assocalpha" if image.premultiplied else "unassalpha"],
        compression="zlib",
        iccprofile=own.icc,
        extratags=[(700, 1, len(own.xmp), own.xmp, True)] if own.xmp else None,
        software=False,
        metadata=None,
    )
    data = stream.getvalue()
    if len(data) >= 1 << 32:  # BigTIFF, whose directories differ
        return data, ("EXIF", "resolution", *own.tiff_only(), *own.png_only())
    return directories.append(data, tags), own.png_only()


def _squeezed(samples: np.ndarray) -> np.ndarray:
    return samples[..., 0] if samples.shape[2] == 1 else samples


def to_samples(image: Image, dtype: str) -> np.ndarray:
    """Samples ``[H, W, C]`` of the given kind, alpha last."""
    limits = image.limits if dtype == image.dtype else None
    planes = [_convert(plane, dtype, limits) for plane in image.pixels]
    if image.alpha is not None:
        alpha = image.alpha
        if alpha.dtype != dtype:
            top = np.iinfo(alpha.dtype).max if alpha.dtype.kind == "u" else 1
            alpha = _convert(alpha / np.float32(top), dtype, None)
        planes.append(alpha)
    return np.stack(planes, -1)


def _convert(plane: np.ndarray, dtype: str, limits: tuple[float, float] | None) -> np.ndarray:
    kind = np.dtype(dtype)
    if limits is None:
        return integers(plane, np.iinfo(kind).max, kind) if kind.kind == "u" else plane.astype(kind)
    low, high = limits
    whole = kind.kind in "iu"
    values = (plane.clip(0, 1) if whole else plane) * np.float64(high - low) + low
    return (values.round() if whole else values).astype(kind)


def integers(values: np.ndarray, top: int, dtype: Any) -> np.ndarray:
    """Numbers in [0, 1] as whole numbers from zero to `top`."""
    result: np.ndarray = (values.clip(0, 1) * np.float32(top)).round().astype(dtype)
    return result


#: Functions that encode an image, by the ending of the file.
ENCODERS = {
    ".png": _png,
    ".tif": _tiff,
    ".tiff": _tiff,
    ".jpg": _jpeg,
    ".jpeg": _jpeg,
    ".webp": _webp,
    ".npy": _npy,
}
