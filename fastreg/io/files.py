"""Files to restore: images and stacks of images."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np

from fastreg.io import decoders, encoders, images, raw, tiff_stacks
from fastreg.io.atomic import replacing
from fastreg.io.decoders import MAX_PIXELS
from fastreg.io.images import Image, Limits
from fastreg.io.stacks import EXAMPLES, Pages, Stack, check_axes

#: White of a camera of 12 bits. Files hold its samples in 16 bits, and hardly ever so dark a picture of 16 bits.
_DARK = 4095

#: Endings of files that hold several images.
_STACKED = (".npy", ".tif", ".tiff")
#: What a file holds.
Picture = Image | Stack | Pages


def read(
    path: str | os.PathLike[str],
    complex_numbers: bool = False,
    max_pixels: int = MAX_PIXELS,
    limits: Limits | None = None,
    axes: str | None = None,
) -> Picture:
    """Read an image as `fastreg.io.images.read`, a stack of images, or the mosaic in a RAW file, see `fastreg.io.raw`.

    Parameters
    ----------
    path, complex_numbers, max_pixels, limits
        As in `fastreg.io.images.read`; the planes of a stack have `max_pixels` together, and the same `limits`.
    axes
        What the dimensions of a TIFF or ``.npy`` file are, see `Stack`; if not given, what a TIFF file says itself.

    Raises
    ------
    ValueError
        As `fastreg.io.images.read`; if `axes` do not fit, or it is not clear what the dimensions are.
    """
    path = Path(path)
    if path.suffix.lower() in raw.SUFFIXES:
        if complex_numbers or limits is not None or axes is not None:
            raise ValueError(f"{path} is a RAW file of a camera, which takes no --range, --axes, and not for mri")
        return raw.read(path, max_pixels)
    try:
        found: Stack | Pages | None = None
        if path.suffix.lower() == ".npy":
            found = _from_npy(path, max_pixels, axes)
        elif path.is_file():
            with open(path, "rb") as file:
                if file.read(4) in decoders.TIFF:
                    found = tiff_stacks.read(path, max_pixels, axes)
        if found is None:
            image = images.read(path, complex_numbers, max_pixels, limits)
            if image.dtype == "uint16" and limits is None:
                _check_white(round(float(image.pixels.max()) * 65535))
            return image
        if isinstance(found, Pages):
            return Pages(tuple(_in_units(part, complex_numbers, limits) for part in found.parts))
        return _in_units(found, complex_numbers, limits)
    except Exception as error:  # decoders raise exceptions of many kinds for damaged files
        text = images.explain(error)
        raise ValueError(text if str(path) in text else f"cannot read {path}: {text}") from error


def count_pixels(path: Path) -> int:
    """How many pixels the header of a file says that it has; 0 where it does not say."""
    return raw.count_pixels(path) if path.suffix.lower() in raw.SUFFIXES else decoders.count_pixels(path)


def write(image: Picture, path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Write an image as `fastreg.io.images.write`, or a stack as TIFF or ``.npy``; returns the names of lost metadata."""
    if isinstance(image, Image):
        return images.write(image, path)
    path = Path(path)
    check(image, path)
    suffix = path.suffix.lower()
    if suffix not in _STACKED:
        return images.write(next(image.images()), path)
    try:
        with replacing(path) as temporary:
            if isinstance(image, Pages) or suffix != ".npy":
                return tiff_stacks.write(image, temporary)
            np.save(temporary, image.samples)
            described = ("description of the stack",) if image.layout.kind in ("imagej", "ome") else ()
            return (*encoders.lost_in_npy(image.metadata), *described)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot write {path}: {images.explain(error)}") from error


def check(picture: Picture, path: Path) -> None:
    """Raise `ValueError` if the format of a file's ending cannot hold an image or stack like this one."""
    suffix = path.suffix.lower()
    try:
        if isinstance(picture, Image):
            encoders.check(picture, suffix)
        elif len(picture) == 1 and suffix not in _STACKED:
            encoders.check(next(picture.images()), suffix)
        elif suffix not in _STACKED or (suffix == ".npy" and isinstance(picture, Pages)):
            raise ValueError(
                f"it holds {len(picture)} images: expected an ending of .tif, .tiff or, if they are of one size, .npy"
            )
    except ValueError as error:
        raise ValueError(f"cannot write {path}: {error}") from error


def _in_units(stack: Stack, complex_numbers: bool, limits: Limits | None) -> Stack:
    """A stack whose samples have the given range; raises `ValueError` if they are of another kind."""
    if stack.is_complex != complex_numbers:
        wanted = "complex" if complex_numbers else "real"
        raise ValueError(f"its samples are {stack.samples.dtype}, expected {wanted} numbers")
    if stack.samples.dtype == np.uint16 and limits is None:
        _check_white(int(stack.samples.max()))
    return dataclasses.replace(stack, limits=images.span(stack.colours()) if limits == "auto" else limits)


def _check_white(largest: int) -> None:
    """Raise `ValueError` if the largest sample of 16 bits looks like that of a camera with 12 bits or fewer."""
    if 0 < largest <= _DARK:
        bits = max(10, largest.bit_length())
        raise ValueError(
            f"no sample is above {largest}, of 65535: say which one is white, --white {2**bits - 1} if it has {bits} bits, "
            "or --white 65535 if it is so dark"
        )


def _from_npy(path: Path, max_pixels: int, axes: str | None) -> Stack | None:
    try:
        samples = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception:  # `images.read` says what is wrong
        return None
    if not isinstance(samples, np.ndarray) or samples.dtype == bool:
        return None
    shape = samples.shape
    if axes is None:
        if len(shape) < 3 or (len(shape) == 3 and shape[2] <= 4):
            return None
        raise ValueError(f"its shape is {list(shape)}: say what the dimensions are with --axes, {EXAMPLES}")
    axes = check_axes(axes, shape, max_pixels)
    return Stack(samples.astype(samples.dtype.newbyteorder("=")), axes)
