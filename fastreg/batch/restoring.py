"""Restoring one image file: alpha, and the metadata that are written with the result."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from fastreg.io.images import Image
from fastreg.parts import digest
from fastreg.restorer import Restorer
from fastreg.tasks import shown, solve


def restore_image(restorer: Restorer, image: Image, sigma: float) -> Image:
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

    Raises
    ------
    ValueError
        If the image does not fit the operator or the prior.
    """
    x = shown(restorer, solve(restorer, torch.from_numpy(image.pixels)[None], sigma))[0]
    pixels = x.contiguous().numpy()
    own = image.metadata.enlarged(restorer.operator.measurement().scale)
    return dataclasses.replace(
        image,
        pixels=pixels,
        dtype="float32" if image.is_complex else image.dtype,
        alpha=image.alpha if image.alpha is None else _enlarged(image.alpha, pixels.shape[1:]),
        metadata=own if len(pixels) == len(image.pixels) else own.colourless(),  # a profile is for grey or for colours
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
