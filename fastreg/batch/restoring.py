"""Restoring one image file: grey images, alpha, and the metadata that are written with the result."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastreg.io.images import Image
from fastreg.parts import digest
from fastreg.restorer import Restorer


def solve(restorer: Restorer, y: Tensor, sigma: float) -> Tensor:
    """Restore a grey or colour measurement ``[1, c, h, w]`` with a prior for grey or for colour images.

    If the operator works on each channel separately, a grey measurement is repeated in the channels of a prior for colour images,
    restored with `effective_weight`, and the results are averaged; a colour measurement is restored channel by channel with a
    prior for grey images.

    Returns
    -------
    Tensor
        ``[1, C, H, W]`` on the CPU, clipped to [0, 1].
    """
    channels, wanted = y.shape[1], restorer.prior.channels
    separate = restorer.operator.measurement().channels is None
    repeated, split = separate and channels == 1 < wanted, separate and channels > 1 == wanted
    if repeated:
        y = y.expand(-1, wanted, -1, -1)
    elif split:
        y = y.transpose(0, 1)
    weight = effective_weight(restorer, channels, sigma) if repeated else None  # else the restorer's own rule
    with torch.no_grad():
        x = restorer(y.to(restorer.device).contiguous(), sigma, weight)
    if repeated:
        x = x.mean(1, keepdim=True)
    elif split:
        x = x.transpose(0, 1)
    result: Tensor = x.clamp(0, 1).cpu()
    return result


def effective_weight(restorer: Restorer, channels: int, sigma: float) -> float | None:
    """Lambda for a measurement with this number of channels; None if the restorer has no weight.

    Weights are tuned on noise that is independent in the channels. The noise of a grey image, repeated, is not, and the prior
    has to outweigh it: the model card has a factor for it.
    """
    if restorer.weight_rule is None:
        return None
    weight = float(restorer.weight_rule(torch.tensor([sigma], dtype=torch.float64, device=restorer.device)))
    separate = restorer.operator.measurement().channels is None
    if not (separate and channels == 1 < restorer.prior.channels) or restorer.prior.card is None:
        return weight
    tuned = restorer.prior.card.tasks.get(restorer.operator.task)
    return weight if tuned is None else weight * tuned.grey


def shown(restorer: Restorer, x: Tensor) -> Tensor:
    """The part of an image that measurements show: all of it, except for a blur with the boundary rule `valid`."""
    rows, columns = restorer.operator.measurement().margin
    top, left = rows // 2, columns // 2
    return x[..., top : x.shape[-2] - (rows - top), left : x.shape[-1] - (columns - left)]


def restore_image(restorer: Restorer, image: Image, sigma: float) -> Image:
    """Restore an image or measurement that was read from a file; bit depth, colour profile and EXIF are kept.

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
    return dataclasses.replace(
        image,
        pixels=pixels,
        dtype="float32" if image.is_complex else image.dtype,
        alpha=image.alpha if image.alpha is None else _enlarged(image.alpha, pixels.shape[1:]),
        icc=image.icc if len(pixels) == len(image.pixels) else None,  # a profile is for grey or for colours
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
