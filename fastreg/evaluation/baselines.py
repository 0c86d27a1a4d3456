"""Classical restorations from scikit-image, to compare with."""

from __future__ import annotations

import numpy as np

from fastreg.operators import Blur, LinearOperator, Mask

#: The regularisation of the Wiener filter is this times sigma^2.
WIENER_BALANCE = 200.0
#: The weight of the total variation is this times sigma.
TV_WEIGHT = 0.9


def restore(operator: LinearOperator, y: np.ndarray, sigma: float) -> np.ndarray:
    """The classical restoration for an operator: Wiener filter, biharmonic inpainting, or total variation.

    Parameters
    ----------
    operator
        A `Blur`, a `Mask` of ones and zeros, or the identity.
    y
        Observation ``[C, h, w]``.
    sigma
        Standard deviation of its noise.

    Returns
    -------
    numpy.ndarray
        ``float32 [C, h, w]``, clipped to [0, 1].
    """
    if isinstance(operator, Blur):
        x = wiener(y, operator.psf.cpu().numpy(), operator.boundary, sigma)
    elif isinstance(operator, Mask):
        x = biharmonic(y, operator.mask[0, 0].cpu().numpy() == 0)
    else:
        x = total_variation(y, sigma)
    return np.ascontiguousarray(x.clip(0, 1), np.float32)


def wiener(y: np.ndarray, psf: np.ndarray, boundary: str, sigma: float) -> np.ndarray:
    """``skimage.restoration.wiener`` with the true PSF, channel by channel.

    The filter takes images to be periodic: any other boundary rule gets a mirrored margin of three PSFs, which is cut
    off again.
    """
    from skimage import restoration

    height, width = (
        (0, 0) if boundary == "circular" else (min(3 * k, n - 1) for k, n in zip(psf.shape, y.shape[1:], strict=True))
    )
    padded = np.pad(y.astype(np.float64), ((0, 0), (height, height), (width, width)), mode="reflect")
    balance = WIENER_BALANCE * sigma**2
    filtered = [
        restoration.wiener(channel, psf, balance, clip=False)  # type: ignore[no-untyped-call]
        for channel in padded
    ]
    x = np.stack(filtered)
    return x[:, height : height + y.shape[1], width : width + y.shape[2]]


def biharmonic(y: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """``skimage.restoration.inpaint_biharmonic``; what is known stays as it is."""
    from skimage import restoration

    x: np.ndarray = restoration.inpaint_biharmonic(y.transpose(1, 2, 0), missing, channel_axis=-1).transpose(2, 0, 1)
    return x


def total_variation(y: np.ndarray, sigma: float) -> np.ndarray:
    """``skimage.restoration.denoise_tv_chambolle`` on all channels together."""
    from skimage import restoration

    weight = TV_WEIGHT * sigma
    x: np.ndarray = restoration.denoise_tv_chambolle(  # type: ignore[no-untyped-call]
        y, weight=weight, channel_axis=0
    )
    return x
