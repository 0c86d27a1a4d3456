"""Distances between a restored image and the clean one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

#: Side of the Gaussian window of `ssim`, in pixels.
WINDOW = 11


def psnr(x: np.ndarray | Tensor, reference: np.ndarray | Tensor, crop: int = 0) -> np.ndarray:
    """Peak signal-to-noise ratio in decibels, of images clipped to [0, 1].

    .. math:: -10 \\log_{10} \\frac{1}{C H W} \\|\\mathrm{clip}(x) - \\mathrm{clip}(x_0)\\|^2

    Parameters
    ----------
    x, reference
        Images ``[B, C, H, W]`` or ``[C, H, W]``: floating point in [0, 1], or uint8 or uint16, which are divided by 255 or 65535.
    crop
        Width in pixels of the border to leave out.

    Returns
    -------
    numpy.ndarray
        float64 ``[B]``, or of no dimension for one image; infinite where the images are equal.

    Raises
    ------
    ValueError
        If the shapes differ, there is nothing left to compare, a value is not finite, or samples are of another type.
    """
    a, b = _pair(x, reference, crop)
    error = np.square(a - b).mean((-3, -2, -1))
    with np.errstate(divide="ignore"):
        return np.asarray(-10 * np.log10(error))


def ssim(x: np.ndarray | Tensor, reference: np.ndarray | Tensor, crop: int = 0) -> np.ndarray:
    """Structural similarity of images clipped to [0, 1], averaged over the channels.

    Parameters
    ----------
    x, reference, crop
        As in `psnr`.

    Returns
    -------
    numpy.ndarray
        float64 ``[B]``, or of no dimension for one image.

    Raises
    ------
    ValueError
        As `psnr`, or if the images are smaller than the window of 11 x 11 pixels.

    Notes
    -----
    Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004, section III: a
    Gaussian window of 11 x 11 pixels and standard deviation 1.5, K1 = 0.01, K2 = 0.03. Computed by scikit-image, each
    channel for itself.
    """
    from skimage.metrics import structural_similarity

    a, b = _pair(x, reference, crop)
    if min(a.shape[-2:]) < WINDOW:
        raise ValueError(f"SSIM needs images of at least {WINDOW}x{WINDOW} pixels, got {a.shape[-2]}x{a.shape[-1]}")
    batch = a.shape[:-3]
    values = [
        structural_similarity(  # type: ignore[no-untyped-call]
            p, q, data_range=1.0, channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for p, q in zip(a.reshape(-1, *a.shape[-3:]), b.reshape(-1, *b.shape[-3:]), strict=True)
    ]
    return np.asarray(values, np.float64).reshape(batch)


def _pair(x: Any, reference: Any, crop: int) -> tuple[np.ndarray, np.ndarray]:
    a, b = _numbers(x), _numbers(reference)
    if a.shape != b.shape:
        raise ValueError(f"images to compare must have the same shape, got {list(a.shape)} and {list(b.shape)}")
    if a.ndim not in (3, 4):
        raise ValueError(f"images must be [B, C, H, W] or [C, H, W], got {list(a.shape)}")
    if crop < 0 or min(a.shape[-2:]) <= 2 * crop or not a.size:
        raise ValueError(f"nothing is left of images {list(a.shape)} after a crop of {crop} pixels on each side")
    inside = (..., slice(crop, a.shape[-2] - crop), slice(crop, a.shape[-1] - crop))
    a, b = a[inside], b[inside]
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("images to compare must be finite, got NaN or infinity")
    return a.clip(0, 1), b.clip(0, 1)


def _numbers(x: Any) -> np.ndarray:
    if hasattr(x, "detach"):  # a tensor, perhaps on a device or in bfloat16
        x = x.detach().cpu()
        x = x.double().numpy() if x.is_floating_point() else x.numpy()
    samples: np.ndarray = np.asarray(x)
    if samples.dtype.kind == "f":
        return samples.astype(np.float64)
    if samples.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"images must be floating point in [0, 1], uint8 or uint16, got {samples.dtype}")
    return samples / float(np.iinfo(samples.dtype).max)
