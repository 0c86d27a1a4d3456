"""A function for each task."""

from __future__ import annotations

import warnings
from typing import Literal, Unpack

import numpy as np

from fastreg.arrays.restorers import Settings
from fastreg.arrays.restoring import restore


def denoise(
    image: np.ndarray, sigma: float | str, *, channel_axis: int | None = None, **settings: Unpack[Settings]
) -> np.ndarray:
    """Remove white noise of standard deviation `sigma` (or ``"auto"``) from an image; arguments as for `restore`.

    Examples
    --------
    >>> import numpy as np, fastreg
    >>> noisy = 0.5 + 0.1 * np.random.default_rng(0).standard_normal((24, 32))
    >>> bool(fastreg.denoise(noisy, 0.1).std() < 0.05)
    True
    """
    return restore(image, "denoise", sigma, channel_axis=channel_axis, **settings)


def deblur(
    image: np.ndarray,
    psf: np.ndarray | str,
    sigma: float | str,
    *,
    boundary: str | None = None,
    channel_axis: int | None = None,
    **settings: Unpack[Settings],
) -> np.ndarray:
    """Undo a blur with a known point spread function; arguments as for `restore`.

    `psf` is ``[height, width]``, or a word such as ``"gaussian:7:1.5"``, ``"motion:13:30"``, ``"disk:3"``, ``"box:5"``, in pixels
    and degrees. The border is mirrored unless `boundary` is another, see `fastreg.operators.Blur`.
    """
    return restore(image, "deblur", sigma, channel_axis=channel_axis, psf=psf, boundary=boundary, **settings)


def inpaint(
    image: np.ndarray,
    mask: np.ndarray,
    sigma: float | None = None,
    *,
    mask_means: Literal["known", "missing"] | None = None,
    channel_axis: int | None = None,
    **settings: Unpack[Settings],
) -> np.ndarray:
    """Fill in missing pixels; arguments as for `restore`.

    `mask`, ``[H, W]`` or of the shape of the image, is not zero where a pixel is known; with ``mask_means="missing"`` where it
    is missing, as in scikit-image. If `mask_means` is not given and most pixels are missing, a warning says so.
    """
    if mask_means not in (None, "known", "missing"):
        raise ValueError(f"mask_means must be 'known' or 'missing', got {mask_means!r}")
    known = np.asarray(mask) != 0 if mask_means != "missing" else np.asarray(mask) == 0
    if mask_means is None and known.mean() < 0.5:
        warnings.warn(
            f"{1 - known.mean():.0%} of the pixels are missing; say mask_means='known' if that is so, or 'missing' if the mask "
            "is meant the other way round, as in scikit-image",
            stacklevel=2,
        )
    return restore(image, "inpaint", sigma, channel_axis=channel_axis, mask=known, **settings)


def super_resolve(
    image: np.ndarray,
    factor: int,
    sigma: float | str | None = None,
    *,
    psf: np.ndarray | str | None = None,
    boundary: str | None = None,
    channel_axis: int | None = None,
    **settings: Unpack[Settings],
) -> np.ndarray:
    """Enlarge each side of an image that was blurred and down-sampled by `factor`; arguments as for `restore`.

    The blur is a Gaussian against aliasing unless `psf` is another one, as for `deblur`. Pixel i of the image lies on pixel
    ``factor * i`` of the result.
    """
    return restore(
        image, "super-resolve", sigma, channel_axis=channel_axis, factor=factor, psf=psf, boundary=boundary, **settings
    )


def demosaick(
    mosaic: np.ndarray,
    pattern: str,
    sigma: float | None = None,
    *,
    channel_axis: int = -1,
    **settings: Unpack[Settings],
) -> np.ndarray:
    """Compute the colours of a Bayer mosaic ``[H, W]``: an image with three channels at `channel_axis`.

    `pattern` has the colours of the upper-left 2 x 2 pixels, row by row: ``rggb``, ``bggr``, ``grbg`` or ``gbrg``. The other
    arguments are as for `restore`.
    """
    colours = restore(np.asarray(mosaic)[None], "demosaick", sigma, channel_axis=0, pattern=pattern, **settings)
    return np.ascontiguousarray(np.moveaxis(colours, 0, channel_axis))


def mri(
    kspace: np.ndarray,
    mask: np.ndarray,
    sigma: float,
    *,
    centered: bool = False,
    channel_axis: int | None = None,
    **settings: Unpack[Settings],
) -> np.ndarray:
    """Reconstruct an image in [0, 1] from samples of its orthonormal Fourier transform, complex ``[H, W]``.

    Parameters
    ----------
    kspace
        The samples, with zero frequency at ``[0, 0]``, as ``numpy.fft.fft2(x, norm="ortho")`` gives them; or with `centered`, as
        ``fftshift(fft2(ifftshift(x), norm="ortho"))`` does. Zero where nothing was measured.
    mask
        Not zero where a frequency was measured, in the same order, ``[H, W]``.
    sigma
        Standard deviation of the noise, of the real and of the imaginary part each.
    centered
        Whether zero frequency and the origin of the image are in the middle.
    channel_axis, settings
        As for `restore`.

    Returns
    -------
    np.ndarray
        The image: float32 for complex64, float64 for complex128.
    """
    samples, known = np.asarray(kspace), np.asarray(mask) != 0
    axes = [axis for axis in range(samples.ndim) if channel_axis is None or axis != channel_axis % samples.ndim]
    if centered:
        samples, known = np.fft.ifftshift(samples, axes), np.fft.ifftshift(known)
    x = restore(samples, "mri", sigma, channel_axis=channel_axis, mask=known, **settings)
    return np.fft.fftshift(x, axes) if centered else x
