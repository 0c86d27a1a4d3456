"""Reading and writing images: 8- and 16-bit PNG, TIFF, JPEG, WebP and ``.npy``."""

from __future__ import annotations

import dataclasses
import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from fastreg.io import decoders, png16
from fastreg.io.atomic import replacing
from fastreg.io.noise import estimate_sigma

#: Endings of the files that can be read and written.
SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".webp", ".npy")
_DTYPES = ("uint8", "uint16", "float16", "float32", "float64")
_COMPLEX = ("complex64", "complex128")
#: Floating point samples may exceed [0, 1] by this plus a number of standard deviations of their noise.
_OVERSHOOT, _DEVIATIONS = 0.1, 8.0
#: Allowed range of the samples of tiny images, whose noise cannot be estimated.
_TINY_RANGE = (-1.0, 2.0)


@dataclasses.dataclass(frozen=True, eq=False)
class Image:
    """An image, with what is needed to write it in the form in which it was read.

    Parameters
    ----------
    pixels
        ``float32 [C, H, W]``, C = 1 (grey) or 3 (RGB), in [0, 1]; floating point files may exceed that by their noise. Or
        ``complex64 [C, H, W]``, a measurement that is not an image.
    alpha
        The alpha channel ``[H, W]`` with the samples of the file, or None. Nothing changes it.
    dtype
        Samples of the file: ``uint8``, ``uint16``, ``float16``, ``float32`` or ``float64``; ``complex64``, ``complex128``.
    premultiplied
        Whether colours are multiplied by alpha (a TIFF may say so).
    icc, exif
        Colour profile and EXIF block; the orientation is already applied and no longer in it.

    Raises
    ------
    ValueError
        If pixels or alpha have another shape, are empty or not finite, or the dtype is unknown.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    dtype: str = "uint8"
    premultiplied: bool = False
    icc: bytes | None = None
    exif: bytes | None = None

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        wanted = "complex64" if self.is_complex else "float32"
        if self.pixels.dtype != wanted or self.pixels.ndim != 3 or shape[0] not in (1, 3):
            raise ValueError(f"pixels must be {wanted} [1 or 3, H, W], got {self.pixels.dtype} {list(shape)}")
        if not self.pixels.size:
            raise ValueError(f"an image needs at least one pixel, got {shape[1]} x {shape[2]}")
        if self.dtype not in (*_DTYPES, *_COMPLEX):
            raise ValueError(f"samples must be one of {', '.join(_DTYPES)}, got {self.dtype}")
        if not np.isfinite(self.pixels).all():
            raise ValueError("pixels must be finite, got NaN or infinity")
        if self.alpha is not None and self.alpha.shape != shape[1:]:
            raise ValueError(f"alpha must have the size of the image, {list(shape[1:])}, got {list(self.alpha.shape)}")

    @property
    def is_complex(self) -> bool:
        """Whether this is a measurement of complex numbers."""
        return self.dtype in _COMPLEX


def read(path: str | os.PathLike[str], complex_numbers: bool = False) -> Image:
    """Read an image, or a measurement of complex numbers.

    Grey, grey with alpha, RGB and RGBA; palettes become RGB, the EXIF orientation is applied.

    Parameters
    ----------
    path
        A file of one of the `SUFFIXES`. In ``.npy``: ``[H, W]`` or ``[H, W, 1 to 4]``, bool, uint8, uint16, or floating
        point in [0, 1].
    complex_numbers
        Read complex numbers ``[H, W]`` or ``[H, W, 3]`` from a ``.npy`` file, and nothing else.

    Raises
    ------
    ValueError
        If the file is missing, damaged, empty or of an unknown kind, or has several images or samples of another type.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise ValueError("it is a folder" if path.is_dir() else "there is no such file")
        data = path.read_bytes()
        if not data:
            raise ValueError("it is empty")
        decoded = decoders.decode_npy(data) if path.suffix.lower() == ".npy" else decoders.decode(data)
        return _complex(decoded.samples) if complex_numbers else _image(decoded)
    # decoders raise exceptions of many kinds for damaged files
    except Exception as error:
        raise ValueError(f"cannot read {path}: {_words(error)}") from error


def write(image: Image, path: str | os.PathLike[str]) -> None:
    """Write an image, whole or not at all, in the format of the file's ending.

    PNG holds 8 or 16 bits (16 for floating point images), TIFF and ``.npy`` any depth, JPEG (quality 95, no chroma
    subsampling) and WebP (lossless) 8 bits. Whole numbers are clipped to [0, 1] and rounded. ICC profiles are kept in
    all but ``.npy``, EXIF blocks in PNG, JPEG and WebP.

    Raises
    ------
    ValueError
        If the ending is unknown, the format cannot hold the image (alpha in a JPEG), or the file cannot be written.
    """
    path = Path(path)
    try:
        data = _encode(image, path.suffix.lower())
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot write {path}: {_words(error)}") from error


def read_rgb8(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a photograph as ``uint8 [H, W, 3]``; grey ones are repeated in the three channels, alpha is dropped.

    Raises
    ------
    ValueError
        As `read`.
    """
    samples = _integers(read(path).pixels, 255, np.uint8).transpose(1, 2, 0)
    return np.ascontiguousarray(np.broadcast_to(samples, (*samples.shape[:2], 3)))


def _complex(samples: np.ndarray) -> Image:
    if samples.dtype.name not in _COMPLEX:
        raise ValueError(f"its samples are {samples.dtype}, expected complex numbers in a .npy file")
    if samples.ndim != 3 or samples.shape[2] not in (1, 3):
        raise ValueError(f"its shape is {list(samples.shape)}, expected [H, W] or [H, W, 3]")
    return Image(np.ascontiguousarray(samples.transpose(2, 0, 1), np.complex64), dtype=samples.dtype.name)


def _image(decoded: decoders.Decoded) -> Image:
    samples = decoders.upright(decoded.samples, decoded.orientation)
    if samples.ndim != 3 or samples.shape[2] not in (1, 2, 3, 4):
        raise ValueError(f"its shape is {list(samples.shape)}, expected [H, W] or [H, W, 1 to 4]")
    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    if samples.dtype.name not in _DTYPES:
        raise ValueError(f"its samples are {samples.dtype}, expected one of {', '.join(_DTYPES)}")
    colours = samples.shape[2] - (samples.shape[2] + 1) % 2
    pixels = samples[..., :colours].transpose(2, 0, 1)
    if pixels.dtype.kind == "f":
        _check_range(pixels)
        pixels = pixels.astype(np.float32)
    else:
        pixels = pixels.astype(np.float32) / np.float32(np.iinfo(samples.dtype).max)
    return Image(
        pixels=np.ascontiguousarray(pixels),
        alpha=np.ascontiguousarray(samples[..., -1]) if samples.shape[2] != colours else None,
        dtype=samples.dtype.name,
        premultiplied=decoded.premultiplied,
        icc=decoded.icc,
        exif=decoded.exif,
    )


def _check_range(pixels: np.ndarray) -> None:
    """Raise `ValueError` if floating point samples exceed [0, 1] by more than their noise explains."""
    if not pixels.size or not np.isfinite(pixels).all():
        return  # `Image` says so
    low, high = float(pixels.min()), float(pixels.max())
    if low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT:
        return
    try:
        slack = _OVERSHOOT + _DEVIATIONS * estimate_sigma(pixels)
        bounds = -slack, 1 + slack
    except ValueError:  # too small, or no noise at all
        bounds = (-_OVERSHOOT, 1 + _OVERSHOOT) if min(pixels.shape[1:]) >= 8 else _TINY_RANGE
    if low < bounds[0] or high > bounds[1]:
        raise ValueError(
            f"its samples range from {low:g} to {high:g}, more than noise explains: expected floating point numbers in "
            "[0, 1]; scale them, for example as (x + 1) / 2 if they are in [-1, 1], or x / x.max()"
        )


def _encode(image: Image, suffix: str) -> bytes:
    if suffix not in SUFFIXES:
        raise ValueError(f"its ending is {suffix or 'missing'}, expected one of {', '.join(SUFFIXES)}")
    if image.is_complex:
        raise ValueError("it is a measurement of complex numbers, not an image")
    stream = io.BytesIO()
    if suffix == ".npy":
        samples = _samples(image, image.dtype)
        np.save(stream, samples[..., 0] if samples.shape[2] == 1 else samples)
    elif suffix in (".tif", ".tiff"):
        _save_tiff(image, stream)
    elif suffix == ".png" and image.dtype != "uint8":
        return png16.encode(_samples(image, "uint16"), image.icc, image.exif)
    else:
        _save_pillow(image, suffix, stream)
    return stream.getvalue()


def _save_pillow(image: Image, suffix: str, stream: io.BytesIO) -> None:
    from PIL import Image as Pillow

    samples = _samples(image, "uint8")
    if suffix in (".jpg", ".jpeg") and image.alpha is not None:
        raise ValueError("a JPEG has no alpha channel, but the image does: choose PNG, TIFF or WebP")
    formats: dict[str, dict[str, Any]] = {
        ".png": {"format": "PNG"},
        ".webp": {"format": "WEBP", "lossless": True, "exact": True},
    }
    options = dict(formats.get(suffix, {"format": "JPEG", "quality": 95, "subsampling": 0}))
    if image.icc:
        options["icc_profile"] = image.icc
    if image.exif:
        options["exif"] = image.exif
    Pillow.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples).save(stream, **options)


def _save_tiff(image: Image, stream: io.BytesIO) -> None:
    import tifffile

    samples = _samples(image, image.dtype)
    tifffile.imwrite(
        stream,
        samples[..., 0] if samples.shape[2] == 1 else samples,
        photometric="rgb" if len(image.pixels) == 3 else "minisblack",
        planarconfig=None if samples.shape[2] == 1 else "contig",
        extrasamples=None if image.alpha is None else ["assocalpha" if image.premultiplied else "unassalpha"],
        compression="zlib",
        iccprofile=image.icc,
        metadata=None,
    )


def _samples(image: Image, dtype: str) -> np.ndarray:
    """Samples ``[H, W, C]`` of the given kind, alpha last."""
    planes = [_convert(plane, dtype) for plane in image.pixels]
    if image.alpha is not None:
        alpha = image.alpha
        if alpha.dtype != dtype:
            top = np.iinfo(alpha.dtype).max if alpha.dtype.kind == "u" else 1
            alpha = _convert(alpha / np.float32(top), dtype)
        planes.append(alpha)
    return np.stack(planes, -1)


def _convert(plane: np.ndarray, dtype: str) -> np.ndarray:
    kind = np.dtype(dtype)
    return _integers(plane, np.iinfo(kind).max, kind) if kind.kind == "u" else plane.astype(kind)


def _integers(values: np.ndarray, top: int, dtype: Any) -> np.ndarray:
    result: np.ndarray = (values.clip(0, 1) * np.float32(top)).round().astype(dtype)
    return result


def _words(error: Exception) -> str:
    """The first line of the message of an exception, without the address of the buffer that was read."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "it is not a PNG, JPEG, WebP or TIFF image"
    text = (error.strerror if isinstance(error, OSError) else None) or str(error).strip() or type(error).__name__
    return text.splitlines()[0]
