"""One image through a restorer."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from fastreg.io.images import Image
from fastreg.io.noise import estimate_sigma
from fastreg.restorer import Restorer


def solve(restorer: Restorer, y: Tensor, sigma: float) -> Tensor:
    """Restore an observation ``[1, C, h, w]`` whatever the channels of the prior.

    A grey image meets a prior for colours repeated in three channels, and the three results are averaged. A colour
    image meets a prior for grey channel by channel.

    Returns
    -------
    Tensor
        ``[1, C, H, W]`` on the CPU, clipped to [0, 1].
    """
    channels = y.shape[1]
    if channels == 1:
        y = y.expand(-1, restorer.prior.channels, -1, -1)
    elif restorer.prior.channels == 1:
        y = y.transpose(0, 1)
    with torch.no_grad():
        x = restorer(y.to(restorer.device).contiguous(), sigma)
    if channels == 1:
        x = x.mean(1, keepdim=True)
    elif restorer.prior.channels == 1:
        x = x.transpose(0, 1)
    result: Tensor = x.clamp(0, 1).cpu()
    return result


def frame(x: Tensor, measurement: Tensor) -> Tensor:
    """The part of an image that a measurement of it shows; all of it but for a blur with the boundary rule `valid`."""
    height, width = measurement.shape[-2:]
    top, left = (x.shape[-2] - height) // 2, (x.shape[-1] - width) // 2
    return x[..., top : top + height, left : left + width]


def restore_image(restorer: Restorer, image: Image, sigma: float | None) -> Image:
    """Restore an image as it was read from a file; alpha, bit depth and colour profile stay what they are.

    Parameters
    ----------
    restorer
        Its operator is the one that degraded the image.
    image
        Grey or RGB. With the boundary rule `valid` the result is cut to the frame of the input.
    sigma
        Standard deviation of the noise in units of [0, 1]; None to estimate it by `fastreg.io.noise.estimate_sigma`.

    Raises
    ------
    ValueError
        If the image does not fit the operator or the prior, or no noise can be estimated.
    """
    y = torch.from_numpy(image.pixels)[None]
    x = solve(restorer, y, estimate_sigma(image.pixels) if sigma is None else sigma)
    return dataclasses.replace(image, pixels=frame(x, y)[0].contiguous().numpy())
