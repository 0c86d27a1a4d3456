"""Reading and writing images: 8- and 16-bit PNG, TIFF, JPEG, WebP and ``.npy``."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from fastreg.io import decoders, encoders
from fastreg.io.atomic import replacing
from fastreg.io.decoders import MAX_PIXELS, Decoded
from fastreg.io.metadata import Metadata
from fastreg.io.noise import estimate_sigma

#: Endings of the files that can be read and written.
SUFFIXES = tuple(encoders.ENCODERS)
DTYPES = ("uint8", "uint16", "float16", "float32", "float64")
#: Integers without a white of their own.
_RANGED = ("int16", "int32", "uint32")
_COMPLEX = ("complex64", "complex128")
#: Floating point samples may exceed [0, 1] by this plus a number of standard deviations of their noise.
_OVERSHOOT, _DEVIATIONS = 0.1, 8.0
#: Standard deviation of the noise that is allowed in tiny images, where it cannot be estimated.
_TINY_SIGMA = 0.4
#: Step between grey levels that floating point numbers are taken to have: that of 16 bits.
FLOAT_STEP = 1 / 65535
#: Samples that mean black and white; ``auto``: the smallest and the largest one of the file.
Limits = tuple[float, float] | Literal["auto"]


class Sensor(NamedTuple):
    """How a camera measured a mosaic, see `fastreg.io.raw`.

    `pattern` has the colours of the upper-left 2 x 2 pixels; `to_srgb` leads from the colours of the camera to linear sRGB,
    ``[3, 3]``, or is None if that is not known.
    """

    pattern: str
    to_srgb: np.ndarray | None


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
        Samples of the file: ``uint8``, ``uint16``, ``float16``, ``float32``, ``float64``, ``complex64``, ``complex128``; with
        `limits` also ``int16``, ``int32``, ``uint32``.
    premultiplied
        Whether colours are multiplied by alpha (a TIFF may say so).
    limits
        Samples of the file that mean 0 and 1; if not given, 0 and the largest number of the type, or 1 in floating point.
    metadata
        What the file says of the picture; the orientation is already applied and no longer in it.
    sensor
        The sensor of a RAW file.

    Raises
    ------
    ValueError
        If pixels or alpha have another shape, are empty or not finite, or the dtype is unknown.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    dtype: str = "uint8"
    premultiplied: bool = False
    limits: tuple[float, float] | None = None
    metadata: Metadata = dataclasses.field(default_factory=Metadata)
    sensor: Sensor | None = None

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        wanted = "complex64" if self.is_complex else "float32"
        if self.pixels.dtype != wanted or self.pixels.ndim != 3 or shape[0] not in (1, 3):
            raise ValueError(f"pixels must be {wanted} [1 or 3, H, W], got {self.pixels.dtype} {list(shape)}")
        if not self.pixels.size:
            raise ValueError(f"an image needs at least one pixel, got {shape[1]} x {shape[2]}")
        if self.dtype not in (*DTYPES, *_RANGED, *_COMPLEX):
            raise ValueError(f"samples must be one of {', '.join(DTYPES)}, got {self.dtype}")
        if not np.isfinite(self.pixels).all():
            raise ValueError("pixels must be finite, got NaN or infinity")
        if self.alpha is not None and self.alpha.shape != shape[1:]:
            raise ValueError(f"alpha must have the size of the image, {list(shape[1:])}, got {list(self.alpha.shape)}")

    @property
    def is_complex(self) -> bool:
        """Whether this is a measurement of complex numbers."""
        return self.dtype in _COMPLEX

    def stripped(self) -> Image:
        """The image without metadata, but for what says how its samples are to be shown."""
        return dataclasses.replace(self, metadata=self.metadata.stripped())

    @property
    def grey_step(self) -> float:
        """Distance of two neighbouring grey levels in units of [0, 1]."""
        kind = np.dtype(self.dtype)
        if kind.kind not in "iu":
            return FLOAT_STEP
        low, high = self.limits or (0, np.iinfo(kind).max)
        return 1 / (high - low)


def read(
    path: str | os.PathLike[str],
    complex_numbers: bool = False,
    max_pixels: int = MAX_PIXELS,
    limits: Limits | None = None,
) -> Image:
    """Read an image, or a measurement of complex numbers.

    Grey, grey with alpha, RGB and RGBA; palettes become RGB, the EXIF orientation is applied.

    Parameters
    ----------
    path
        A file of one of the `SUFFIXES`. In ``.npy``: ``[H, W]`` or ``[H, W, 1 to 4]``, bool, uint8, uint16, or floating
        point in [0, 1].
    complex_numbers
        Read complex numbers ``[H, W]`` or ``[H, W, 3]`` from a ``.npy`` file, and nothing else.
    max_pixels
        Images with more pixels are refused before they are decoded.
    limits
        Samples that mean 0 and 1, see `Image`.

    Raises
    ------
    ValueError
        If the file is missing, damaged, empty or of an unknown kind, or has several images or samples of another type.
    """
    try:
        decoded = read_samples(path, max_pixels)
        return make_complex(decoded.samples) if complex_numbers else make_image(decoded, limits)
    except Exception as error:  # decoders raise exceptions of many kinds for damaged files
        raise ValueError(f"cannot read {path}: {explain(error)}") from error


def read_samples(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> Decoded:
    """The samples of a file as they are; raises exceptions of many kinds if they cannot be read."""
    path = Path(path)
    if not path.is_file():
        raise ValueError("it is a folder" if path.is_dir() else "there is no such file")
    data = path.read_bytes()
    if not data:
        raise ValueError("it is empty")
    return (decoders.decode_npy if path.suffix.lower() == ".npy" else decoders.decode)(data, max_pixels)


def write(image: Image, path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Write an image, whole or not at all, in the format of the file's ending.

    PNG holds 8 or 16 bits (16 for floating point images), TIFF and ``.npy`` any depth, JPEG (quality 95, no chroma
    subsampling) and WebP (lossless) 8 bits. Whole numbers are clipped to [0, 1] and rounded.

    Returns
    -------
    tuple of str
        Names of what is lost because the format cannot hold it: ``depth`` (bits of the samples), or metadata, also those that
        could not be read.

    Raises
    ------
    ValueError
        If the ending is unknown, the format cannot hold the image (alpha in a JPEG), or the file cannot be written.
    """
    path = Path(path)
    try:
        data, lost = encoders.encode(image, path.suffix.lower())
        with replacing(path) as temporary:
            temporary.write_bytes(data)
        return lost
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot write {path}: {explain(error)}") from error


def read_rgb8(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a photograph as ``uint8 [H, W, 3]``; grey ones are repeated in the three channels, alpha is dropped.

    Raises
    ------
    ValueError
        As `read`.
    """
    samples = encoders.integers(read(path).pixels, 255, np.uint8).transpose(1, 2, 0)
    return np.ascontiguousarray(np.broadcast_to(samples, (*samples.shape[:2], 3)))


def make_complex(samples: np.ndarray) -> Image:
    """The measurement in samples ``[H, W, C]``."""
    if samples.dtype.name not in _COMPLEX:
        raise ValueError(f"its samples are {samples.dtype}, expected complex numbers in a .npy file")
    if samples.ndim != 3 or samples.shape[2] not in (1, 3):
        raise ValueError(f"its shape is {list(samples.shape)}, expected [H, W] or [H, W, 3]")
    return Image(np.ascontiguousarray(samples.transpose(2, 0, 1), np.complex64), dtype=samples.dtype.name)


def make_image(decoded: Decoded, limits: Limits | None = None) -> Image:
    """The image in samples ``[H, W, C]``; raises `ValueError` if they are of another type, or out of range."""
    samples = decoders.upright(decoded.samples, decoded.metadata.orientation)
    if samples.ndim != 3 or samples.shape[2] not in (1, 2, 3, 4):
        raise ValueError(f"its shape is {list(samples.shape)}, expected [H, W] or [H, W, 1 to 4]")
    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    if samples.dtype.name not in (DTYPES if limits is None else (*DTYPES, *_RANGED)):
        others = f"; {', '.join(_RANGED)} need a --range" if limits is None else ""
        others = "; complex numbers are for mri" if samples.dtype.name in _COMPLEX else others
        raise ValueError(f"its samples are {samples.dtype}, expected one of {', '.join(DTYPES)}{others}")
    colours = samples.shape[2] - (samples.shape[2] + 1) % 2
    pixels = samples[..., :colours].transpose(2, 0, 1)
    if limits == "auto":
        limits = span(pixels)
    with np.errstate(over="ignore"):  # `Image` says that they must be finite
        if limits is not None:
            low, high = limits
            if pixels.dtype.kind in "iu" and high > np.iinfo(pixels.dtype).max:
                raise ValueError(f"its samples are {pixels.dtype} and never reach the white level {high:g}")
            pixels = ((pixels.astype(np.float64) - low) / (high - low)).astype(np.float32)
        elif pixels.dtype.kind == "u":
            pixels = pixels.astype(np.float32) / np.float32(np.iinfo(samples.dtype).max)
        _check_range(pixels, limits or (0, 1))
        pixels = np.ascontiguousarray(pixels, np.float32)
    return Image(
        pixels=pixels,
        alpha=np.ascontiguousarray(samples[..., -1]) if samples.shape[2] != colours else None,
        dtype=samples.dtype.name,
        premultiplied=decoded.premultiplied,
        limits=limits,
        metadata=decoded.metadata.upright(),
    )


def span(samples: np.ndarray) -> tuple[float, float]:
    """The smallest and the largest sample."""
    if not samples.size or not np.isfinite(samples).all():
        raise ValueError("its samples have no range: they must be finite, and at least one")
    low, high = float(samples.min()), float(samples.max())
    if low == high:
        raise ValueError(f"its samples have no range: all are {low:g}")
    return low, high


def noise_explains(pixels: np.ndarray) -> bool:
    """Whether finite numbers ``[C, H, W]`` exceed [0, 1] by no more than their noise explains.

    Noise of variance v around values in [0, 1] has at most a mean square of v / 2 beyond them. An image that was scaled to
    [-1, 1] has far more, however noisy it is.
    """
    low, high = float(pixels.min()), float(pixels.max())
    if low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT:
        return True
    try:
        sigma = estimate_sigma(pixels)
    except ValueError:  # too small, or no noise at all
        sigma = 0.0 if min(pixels.shape[1:]) >= 8 else _TINY_SIGMA
    slack = _OVERSHOOT + _DEVIATIONS * sigma
    beyond = float(np.square(pixels - pixels.clip(0, 1)).mean() ** 0.5)
    return -slack <= low and high <= 1 + slack and beyond <= _OVERSHOOT / 2 + sigma / 2**0.5


def _check_range(pixels: np.ndarray, limits: tuple[float, float]) -> None:
    """Raise `ValueError` if numbers exceed [0, 1] by more than their noise explains; `limits` are the samples of 0 and 1."""
    if not pixels.size or not np.isfinite(pixels).all():
        return  # `Image` says so
    if not noise_explains(pixels):
        black, white = limits
        low, high = (black + float(value) * (white - black) for value in (pixels.min(), pixels.max()))
        raise ValueError(
            f"its samples range from {low:g} to {high:g}, expected {black:g} to {white:g} and noise: say which ones are black "
            "and white with --range BLACK:WHITE, such as --range=-1:1, or --range auto for the smallest and the largest"
        )


def explain(error: Exception) -> str:
    """The first line of the message of an exception."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error).strip() or type(error).__name__
    return text.splitlines()[0]
