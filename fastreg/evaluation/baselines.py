"""Classical methods for comparison, mostly from scikit-image, with parameters that are best for a few photographs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from fastreg.operators import LinearOperator

#: The regularisation of the Wiener filter is this times sigma^2.
WIENER_BALANCE = 200.0
#: The weight of the total variation is this times sigma.
TV_WEIGHT = 0.9

#: A method: from an operator, a measurement ``[1, c, h, w]`` and the standard deviation of its noise to an image ``[1, C, H,
#: W]``.
Baseline = Callable[[LinearOperator, Tensor, float], np.ndarray]


def denoise(operator: LinearOperator, y: Tensor, sigma: float) -> np.ndarray:
    """Total variation."""
    return _clipped(total_variation(y[0].cpu().numpy(), sigma))


def deblur(operator: LinearOperator, y: Tensor, sigma: float) -> np.ndarray:
    """Wiener filter, for a blur."""
    psf, boundary = operator.get_buffer("psf").cpu().numpy(), operator.settings["boundary"]
    return _clipped(wiener(y[0].cpu().numpy(), psf, boundary, sigma))


def inpaint(operator: LinearOperator, y: Tensor, sigma: float) -> np.ndarray:
    """Biharmonic inpainting, for a mask of zeros and ones."""
    return _clipped(biharmonic(y[0].cpu().numpy(), operator.get_buffer("mask")[0, 0].cpu().numpy() == 0))


def interpolate(operator: LinearOperator, y: Tensor, sigma: float) -> np.ndarray:
    """The initial image of the solvers: bicubic interpolation, Malvar's demosaicking, or zeros for frequencies not measured."""
    return _clipped(operator.initial(y)[0].cpu().numpy())


#: Every method by its name in `fastreg.tasks.TASKS`.
BASELINES: dict[str, Baseline] = {
    "total-variation": denoise,
    "wiener": deblur,
    "biharmonic": inpaint,
    "bicubic": interpolate,
    "malvar": interpolate,
    "zero-filling": interpolate,
}


def _clipped(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.clip(0, 1), np.float32)[None]


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
    """``skimage.restoration.inpaint_biharmonic``; known pixels are not changed."""
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
