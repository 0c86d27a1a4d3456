"""RAW files of cameras: the mosaic that the sensor measured, ready to be demosaicked. Needs the optional package rawpy."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np

from fastreg.io.decoders import MAX_PIXELS
from fastreg.io.images import Image, Sensor, explain
from fastreg.operators.mosaic import PATTERNS

#: Endings of the files.
SUFFIXES = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mos", ".mrw", ".nef", ".nrw"),
    *(".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
)
#: XYZ of the primaries of sRGB, for a white of D65.
_XYZ_OF_SRGB = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))


def read(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> Image:
    """Read the visible area of a sensor with a Bayer pattern as a mosaic of 16 bits, upright.

    Black is subtracted, white becomes one, and the white balance of the camera is applied: red and blue are multiplied so that a
    white object has equal values, and what then exceeds one is clipped, so that overexposed parts are white. Values are
    proportional to light.

    Raises
    ------
    ValueError
        If rawpy is not installed, the file cannot be read or has more than `max_pixels`, or the sensor has no Bayer pattern.
    """
    try:
        import rawpy
    except ImportError as error:
        raise ValueError(
            f"cannot read {path}: RAW files need the package rawpy, `pip install 'fastreg[raw]'`"
        ) from error
    try:
        with rawpy.imread(os.fspath(path)) as file:
            if file.sizes.width * file.sizes.height > max_pixels:
                raise ValueError(
                    f"it has {file.sizes.width} x {file.sizes.height} pixels, more than {max_pixels}: use --max-pixels"
                )
            if file.raw_type != rawpy.RawType.Flat:
                raise ValueError(
                    "it has all colours of every pixel, as a Foveon sensor measures them, and is no mosaic"
                )
            return _image(file)
    except (rawpy.LibRawError, OSError, ValueError) as error:
        text = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else explain(error)
        raise ValueError(f"cannot read {path}: {text}") from error


def count_pixels(path: str | os.PathLike[str]) -> int:
    """How many pixels the visible area has; 0 where the file does not say."""
    try:
        import rawpy

        with rawpy.imread(os.fspath(path)) as file:
            return int(file.sizes.width * file.sizes.height)
    except Exception:  # whoever reads the file will say what is wrong with it
        return 0


def _image(file: Any) -> Image:
    pattern = file.raw_pattern
    if pattern is None or pattern.shape != (2, 2):
        size = (
            "no pattern of colours"
            if pattern is None
            else f"a pattern of {pattern.shape[0]} x {pattern.shape[1]} pixels"
        )
        raise ValueError(
            f"its sensor has {size}, as X-Trans and monochrome sensors do, expected a Bayer pattern of 2 x 2"
        )
    turns = {0: 0, 3: 2, 5: 1, 6: 3}.get(file.sizes.flip, 0)  # counter-clockwise
    colours = np.rot90(file.raw_colors_visible, turns)
    samples = np.rot90(file.raw_image_visible, turns)
    letters = file.color_desc.decode().lower()
    name = "".join(letters[k] for k in colours[:2, :2].flat)
    if name not in PATTERNS:
        raise ValueError(f"its sensor has the pattern {name}, expected one of {', '.join(PATTERNS)}")
    black = np.asarray(file.black_level_per_channel, np.float32)
    white = np.asarray(file.camera_white_level_per_channel or [file.white_level] * 4, np.float32)
    white = np.where(white > black, white, np.float32(file.white_level))
    if not (white > black).all():
        raise ValueError(f"its black level {black.max():g} is not below its white level {white.min():g}")
    gains = _balance(file.camera_whitebalance) or _balance(file.daylight_whitebalance) or [1.0] * 4
    scale = np.asarray(gains, np.float32) / min(gains) / (white - black)
    pixels = ((samples - black[colours]) * scale[colours]).clip(max=1)
    return Image(
        pixels=np.ascontiguousarray(pixels, np.float32)[None],
        dtype="uint16",
        sensor=Sensor(name, _to_srgb(file)),
    )


def _balance(gains: Any) -> list[float] | None:
    """Gains for red, green, blue and the second green; None if the file has none."""
    red, green, blue, other = (float(gain) for gain in gains)
    return [red, green, blue, other or green] if min(red, green, blue) > 0 else None


def _to_srgb(file: Any) -> np.ndarray | None:
    """Matrix from balanced colours of the camera to linear sRGB; white stays white. None if the file has none."""
    camera_of_srgb = np.asarray(file.rgb_xyz_matrix, np.float64)[:3] @ np.asarray(_XYZ_OF_SRGB)
    if camera_of_srgb.any():
        matrix = np.linalg.inv(camera_of_srgb / camera_of_srgb.sum(1, keepdims=True))
    else:
        matrix = np.asarray(file.color_matrix, np.float64)[:, :3]
    sums = matrix.sum(1, keepdims=True)
    return matrix / sums if (sums > 0).all() else None


def to_srgb(image: Image) -> Image:
    """An image that is proportional to light, encoded for screens: in the primaries of sRGB if it is from a RAW file."""
    matrix = None if image.sensor is None else image.sensor.to_srgb
    linear = image.pixels if matrix is None else np.einsum("ij,jhw->ihw", matrix, image.pixels)
    linear = linear.clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return dataclasses.replace(image, pixels=np.ascontiguousarray(encoded, np.float32))
