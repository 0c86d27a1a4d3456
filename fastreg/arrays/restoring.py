"""Restoring an array by the name of its task."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
import torch

from fastreg import tasks
from fastreg.arrays import restorers
from fastreg.arrays.restorers import Settings
from fastreg.io.images import DTYPES, FLOAT_STEP, noise_explains


class OptionsAndSettings(tasks.Options, Settings, total=False):
    """What the degradation depends on, and how it is undone."""


def restore(
    image: np.ndarray,
    task: str,
    sigma: float | str | None = None,
    *,
    channel_axis: int | None = None,
    **settings: Unpack[OptionsAndSettings],
) -> np.ndarray:
    """Restore an image: the task by its name.

    Parameters
    ----------
    image
        The degraded image ``[H, W]``, or with an axis of one or three channels. As in scikit-image, integers (uint8, uint16) are
        scaled by their range, and floating-point numbers are in [0, 1] but for their noise.
    task
        ``denoise``, ``deblur``, ``inpaint``, ``super-resolve``, ``demosaick`` or ``mri``.
    sigma
        Standard deviation of the noise in units of [0, 1], whatever the dtype: 25/255 for 25 grey levels of 8 bits. ``"auto"``
        estimates it. If not given, it is estimated for denoise and deblur, and 0.01 for the others but mri, which needs one.
    channel_axis
        The axis of the channels; None for a grey image.
    settings
        What the degradation depends on (``psf``, ``mask``, ``factor``, …), see `fastreg.tasks.Options`; and how it is restored
        (``prior``, ``fidelity``, ``strength``, ``device``, …), see `fastreg.arrays.Settings`.

    Returns
    -------
    np.ndarray
        The restored image, of the dtype and with the axes of `image`.

    Raises
    ------
    TypeError
        If the image is not an array of one of these dtypes.
    ValueError
        If its shape or its values do not fit, or a setting is missing, unknown or out of range.

    Notes
    -----
    The restorers of the last calls are kept, so that a loop over images loads a model once. Use `fastreg.restorer_for` for
    batches of tensors, and `fastreg.compile` for many images of one size.

    Examples
    --------
    >>> import numpy as np, fastreg
    >>> photograph = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    >>> fastreg.restore(photograph, "denoise", 25 / 255, channel_axis=-1).shape
    (24, 32, 3)
    """
    options, how = tasks.split(settings, tasks.Options, Settings)
    pixels, dtype = _pixels(image, channel_axis, is_complex=task == "mri")
    if isinstance(options.get("mask"), np.ndarray):
        options["mask"] = _mask(options["mask"], channel_axis)
    operator = tasks.make_operator(task, **options)
    level = tasks.noise_level(task, sigma, how.get("fidelity", "l2"))
    precision, size = how.pop("precision", "auto"), pixels[0].size * operator.measurement().scale ** 2
    restorer = restorers.restorer(operator, options, how, precision, size)
    step = 1 / np.iinfo(dtype).max if dtype.kind == "u" else FLOAT_STEP
    found = tasks.estimate(restorer, pixels, step) if level is None else level
    x = tasks.visible_part(restorer, tasks.solve(restorer, torch.from_numpy(pixels)[None], found))[0].numpy()
    samples = (x * np.float32(np.iinfo(dtype).max)).round() if dtype.kind == "u" else x
    result = samples.astype(np.float64 if dtype == np.complex128 else np.float32 if dtype.kind == "c" else dtype)
    return result[0] if channel_axis is None else np.ascontiguousarray(np.moveaxis(result, 0, channel_axis))


def _pixels(image: np.ndarray, channel_axis: int | None, is_complex: bool) -> tuple[np.ndarray, np.dtype[Any]]:
    """The image as float32 or complex64 ``[C, H, W]``, and its dtype."""
    if isinstance(image, np.ma.MaskedArray) or not hasattr(image, "__array__") or isinstance(image, torch.Tensor):
        raise TypeError(f"expected a NumPy array without a mask, got {type(image).__name__}")
    array = np.asarray(image)
    if array.dtype.name not in (("complex64", "complex128") if is_complex else DTYPES):
        wanted = "complex numbers" if is_complex else ", ".join(DTYPES)
        raise TypeError(f"expected an array of {wanted}, got {array.dtype}")
    if channel_axis is not None and not -array.ndim <= channel_axis < array.ndim:
        raise ValueError(f"channel_axis must be an axis of the image of shape {list(array.shape)}, got {channel_axis}")
    planes = array[None] if channel_axis is None else np.moveaxis(array, channel_axis, 0)
    if planes.ndim != 3 or planes.shape[0] not in (1, 3):
        axis = "no channel_axis" if channel_axis is None else f"channel_axis={channel_axis}"
        raise ValueError(
            "expected an image [H, W], or with channel_axis one of 1 or 3 channels (without alpha), got the shape "
            f"{list(array.shape)} with {axis}"
        )
    if is_complex:
        return np.ascontiguousarray(planes, np.complex64), array.dtype
    if array.dtype.kind == "u":
        return np.ascontiguousarray(planes / np.float32(np.iinfo(array.dtype).max), np.float32), array.dtype
    pixels = np.ascontiguousarray(planes, np.float32)
    if pixels.size and np.isfinite(pixels).all() and not noise_explains(pixels):  # the restorer says what else is wrong
        raise ValueError(
            f"floating-point images are in [0, 1] but for their noise, got values from {pixels.min():g} to {pixels.max():g}: "
            "scale the image first"
        )
    return pixels, array.dtype


def _mask(mask: np.ndarray, channel_axis: int | None) -> np.ndarray:
    """A mask as ``bool [H, W]`` or ``[C, H, W]``."""
    known = mask != 0
    return np.moveaxis(known, channel_axis, 0) if channel_axis is not None and known.ndim == 3 else known
