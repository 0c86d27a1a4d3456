"""Estimating the noise level of an image."""

from __future__ import annotations

import numpy as np

#: Estimates below this many steps between grey levels are attributed to rounding (0.29 steps), not to noise.
_SMALLEST = 0.38
#: Median of the absolute value of a standard normal number.
_MEDIAN = 0.6744897501960817
#: High-pass filter of the wavelet with two vanishing moments (Daubechies, 1988); its square sums to one.
_DETAIL = np.array([1 - 3**0.5, -(3 - 3**0.5), 3 + 3**0.5, -(1 + 3**0.5)]) / (4 * 2**0.5)


def estimate_sigma(image: np.ndarray, step: float = 1 / 255) -> float:
    """Standard deviation of white Gaussian noise in an image, averaged over its channels.

    .. math:: \\hat\\sigma = \\mathrm{median} |d| / 0.6745

    where d are the diagonal details of the finest scale of a Daubechies wavelet transform, which contain little of a
    photograph. Fine texture makes the estimate too large, clipped highlights and shadows make it too small, and it is wrong for
    noise that is correlated between pixels (a JPEG, a resized image). In these cases give sigma as a number.

    Parameters
    ----------
    image
        ``[C, H, W]`` in [0, 1].
    step
        Distance of two neighbouring grey levels: 1/255 for 8 bits, 1/65535 for 16.

    Returns
    -------
    float
        In the units of the image.

    Raises
    ------
    ValueError
        If the image has fewer than 8 x 8 pixels, is not finite, or has no noise that can be measured.

    Notes
    -----
    Donoho and Johnstone, "Ideal spatial adaptation by wavelet shrinkage", 1994, section 4.2; the same estimate as
    ``skimage.restoration.estimate_sigma``, without its need of PyWavelets. Details that are exactly zero are left out.
    """
    if image.ndim != 3 or min(image.shape[1:]) < 8:
        raise ValueError(
            f"the noise can be estimated from images [C, H, W] of at least 8x8 pixels, got {list(image.shape)}"
        )
    if not np.isfinite(image).all():
        raise ValueError("the noise can be estimated from finite images only, got NaN or infinity")
    values = []
    for channel in np.asarray(image, np.float64):
        details = np.abs(_filter(_filter(channel).T))
        details = details[details > 1e-12]
        values.append(float(np.median(details)) / _MEDIAN if details.size else 0.0)
    sigma = float(np.mean(values))
    if sigma < _SMALLEST * step:
        raise ValueError(
            f"the image has too little noise to estimate (sigma {sigma:.5f} in units of [0, 1]): give sigma as a number"
        )
    return sigma


def _filter(rows: np.ndarray) -> np.ndarray:
    """Every second coefficient of the high-pass filter in each row, where the filter lies inside the image."""
    count = (rows.shape[1] - len(_DETAIL)) // 2 + 1
    parts = [tap * rows[:, k : k + 2 * count - 1 : 2] for k, tap in enumerate(_DETAIL)]
    result: np.ndarray = np.sum(parts, axis=0)
    return result
