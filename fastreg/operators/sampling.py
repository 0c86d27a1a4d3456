"""First images for operators that leave pixels out: interpolation of a coarser grid, and of a Bayer mosaic."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def interpolate(y: Tensor, factor: int) -> Tensor:
    """Bicubic interpolation of ``[B, C, h, w]`` to ``[B, C, s h, s w]``, with pixel i of `y` at pixel s i of the result.

    Beyond the border the outermost pixels are repeated. Most libraries put pixel i in the middle of its block instead: their
    result is this one shifted by (s - 1)/2 pixels.

    Notes
    -----
    R. Keys, "Cubic convolution interpolation for digital image processing", 1981, with a = -1/2.
    """
    distance = (
        torch.arange(factor, dtype=y.dtype, device=y.device)[:, None] / factor
    )  # from the pixel before, one row a phase
    distance = (distance - torch.arange(-1, 3, dtype=y.dtype, device=y.device)).abs()
    near = (1.5 * distance - 2.5) * distance.square() + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = torch.where(distance <= 1, near, far)  # [s, 4]
    taps = weights[:, None, :, None] * weights[None, :, None, :]
    planes = F.pad(y.reshape(-1, 1, *y.shape[-2:]), (1, 2, 1, 2), mode="replicate")
    phases = F.conv2d(planes, taps.reshape(factor * factor, 1, 4, 4))
    return F.pixel_shuffle(phases, factor).reshape(*y.shape[:2], factor * y.shape[-2], factor * y.shape[-1])


#: The filters of Malvar et al., in eighths: green where another colour was measured; a colour where green was measured, with its
#: neighbours in the row, and in the column; a colour where the opposite one was measured.
_MALVAR = (
    ((0, 0, -1, 0, 0), (0, 0, 2, 0, 0), (-1, 2, 4, 2, -1), (0, 0, 2, 0, 0), (0, 0, -1, 0, 0)),
    ((0, 0, 0.5, 0, 0), (0, -1, 0, -1, 0), (-1, 4, 5, 4, -1), (0, -1, 0, -1, 0), (0, 0, 0.5, 0, 0)),
    ((0, 0, -1, 0, 0), (0, -1, 4, -1, 0), (0.5, 0, 5, 0, 0.5), (0, -1, 4, -1, 0), (0, 0, -1, 0, 0)),
    ((0, 0, -1.5, 0, 0), (0, 2, 0, 2, 0), (-1.5, 0, 6, 0, -1.5), (0, 2, 0, 2, 0), (0, 0, -1.5, 0, 0)),
)


def malvar(y: Tensor, colours: Tensor) -> Tensor:
    """Demosaicked image ``[B, 3, H, W]`` of a Bayer mosaic ``[B, 1, H, W]``; sides of at least three pixels.

    The border is mirrored about the outermost pixel, which keeps the colours of the mosaic.

    Parameters
    ----------
    y
        The mosaic.
    colours
        Which colour was measured where, ones and zeros ``[3, H, W]`` for red, green, blue.

    Notes
    -----
    H. Malvar, L. He, R. Cutler, "High-quality linear interpolation for demosaicing of Bayer-patterned color images", ICASSP 2004.
    """
    taps = torch.tensor(_MALVAR, dtype=y.dtype, device=y.device)[:, None] / 8
    green, in_row, in_column, opposite = F.conv2d(F.pad(y, (2, 2, 2, 2), mode="reflect"), taps).unbind(1)
    red, known, blue = colours.to(y.dtype).unbind(0)
    y = y[:, 0]
    red_row = red.amax(-1, keepdim=True)  # one in the rows that hold red

    def colour(own: Tensor, other: Tensor, own_row: Tensor) -> Tensor:
        beside = own_row * in_row + (1 - own_row) * in_column
        return own * y + other * opposite + known * beside

    planes = [colour(red, blue, red_row), known * y + (1 - known) * green, colour(blue, red, 1 - red_row)]
    return torch.stack(planes, 1)
