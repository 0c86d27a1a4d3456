"""Restoring the images of a file: alpha, and the metadata that are written with the result."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from fastreg.io.images import Image
from fastreg.io.stacks import Pages, Stack
from fastreg.operators import Mosaic
from fastreg.parts import digest
from fastreg.restorer import Restorer
from fastreg.tasks import estimate, solve, visible_part

#: Pixels that are restored at once at most, unless one image has more. A CPU gains by batches of tiny images only.
_AT_ONCE = {"cpu": 1 << 16, "cuda": 1 << 20}


def for_sensor(restorer: Restorer, image: Image, pattern: str | None) -> Restorer:
    """The restorer of a mosaic for the pattern of the sensor of an image; `pattern` is what was said, None if nothing.

    Raises
    ------
    ValueError
        If neither says the pattern, or they differ.
    """
    if image.sensor is None:
        if pattern is None:
            raise ValueError("it does not say where its colours are: give --pattern")
        return restorer
    if pattern not in (None, image.sensor.pattern):
        raise ValueError(
            f"its sensor has the pattern {image.sensor.pattern} where it is upright, got --pattern {pattern}"
        )
    return restorer.with_operator(Mosaic(image.sensor.pattern))


def restore_image(restorer: Restorer, image: Image, sigma: float, centered: bool = False) -> Image:
    """Restore an image or measurement that was read from a file; bit depth and metadata are kept.

    Parameters
    ----------
    restorer
        A restorer with the operator that made the measurement.
    image
        The measurement. The result has the size of the restored image, but with the boundary rule `valid` it is cropped to the
        size of the input. Alpha is enlarged with the image. A complex measurement becomes a float32 image.
    sigma
        Standard deviation of the noise in units of [0, 1].
    centered
        Whether the first pixel of the measurement, and of the result, is in the middle.

    Raises
    ------
    ValueError
        If the image does not fit the operator or the prior.
    """
    return _restore(restorer, [image], [sigma], centered)[0]


def restore_stack(
    restorer: Restorer, stack: Stack | Pages, sigmas: Sequence[float], centered: bool = False
) -> Stack | Pages:
    """Restore every image of a stack by itself, several in one solve; `sigmas` has a number for each.

    Raises
    ------
    ValueError
        As `restore_image`.
    """
    at_once = _AT_ONCE[restorer.device.type]
    batches = _batches(zip(stack.images(), sigmas, strict=True), at_once)
    return stack.replaced(
        image
        for batch in batches
        for image in _restore(restorer, [y for y, _ in batch], [sigma for _, sigma in batch], centered)
    )


def _batches(pairs: Iterable[tuple[Image, float]], pixels: int) -> Iterator[list[tuple[Image, float]]]:
    """Images and noise levels in groups of one size, with so many pixels at most, or of one image."""
    group: list[tuple[Image, float]] = []
    for image, sigma in pairs:
        shape = image.pixels.shape
        full = (len(group) + 1) * shape[1] * shape[2] > pixels
        if group and (full or group[0][0].pixels.shape != shape):
            yield group
            group = []
        group.append((image, sigma))
    if group:
        yield group


def count_solves(restorer: Restorer, stack: Stack | Pages) -> int:
    """How many solves `restore_stack` takes."""
    return sum(1 for _ in _batches(((image, 0.0) for image in stack.images()), _AT_ONCE[restorer.device.type]))


def noise_levels(restorer: Restorer, images: Iterable[Image]) -> list[float]:
    """The noise level of each image, estimated; where there is too little noise, the smallest one of the others.

    Raises
    ------
    ValueError
        If there is too little noise in every image.
    """
    found: list[float | None] = []
    for image in images:
        try:
            found.append(estimate(restorer, image.pixels, image.grey_step))
        except ValueError as error:
            found.append(None)
            reason = error
    known = [sigma for sigma in found if sigma is not None]
    if not known:
        raise reason
    return [min(known) if sigma is None else sigma for sigma in found]


def _restore(restorer: Restorer, images: Sequence[Image], sigmas: Sequence[float], centered: bool) -> list[Image]:
    """Restore images of one size in one solve."""
    y = np.stack([image.pixels for image in images])
    if centered:
        y = np.fft.ifftshift(y, (2, 3))
    x = visible_part(restorer, solve(restorer, torch.from_numpy(y), sigmas)).contiguous().numpy()
    if centered:
        x = np.fft.fftshift(x, (2, 3))
    return [
        _like(image, pixels, restorer.operator.measurement().scale) for image, pixels in zip(images, x, strict=True)
    ]


def _like(image: Image, pixels: np.ndarray, scale: int) -> Image:
    """A restored image with what is kept of the measurement."""
    own = image.metadata.enlarged(scale)
    return dataclasses.replace(
        image,
        pixels=pixels,
        dtype="float32" if image.is_complex else image.dtype,
        alpha=image.alpha if image.alpha is None else _enlarged(image.alpha, pixels.shape[1:]),
        metadata=own
        if len(pixels) == len(image.pixels)
        else own.without_profile(),  # a profile is for grey or for colours
    )


def settings(restorer: Restorer, sigma: float | None) -> dict[str, Any]:
    """Everything except the measurement that a result depends on, as plain JSON values; `sigma` is None if estimated."""
    card, rule = restorer.prior.card, restorer.weight_rule
    tuned = card.tasks.get(restorer.operator.task) if card is not None else None
    parts = (restorer.operator, restorer.fidelity, restorer.prior, restorer.solver)
    return {
        "parts": digest(*parts),
        "weight": None if rule is None else [digest(rule), rule.exponent],
        "grey": None if tuned is None else tuned.grey,
        "sigma": sigma,
    }


def _enlarged(alpha: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    if alpha.shape == size:
        return alpha
    from skimage.transform import resize

    larger: np.ndarray = resize(alpha, size, order=1, preserve_range=True)  # type: ignore[no-untyped-call]
    return larger.round().astype(alpha.dtype) if alpha.dtype.kind == "u" else larger.astype(alpha.dtype)
