"""Blurred and deconvolved photographs, which a critic for deblurring learns to distinguish from clean ones."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from fastreg.operators import Blur, gaussian_psf

#: Ranges, in pixels and in units of the image range, of the standard deviations of the blur and of the noise.
WIDTHS, NOISES = (1.0, 3.0), (0.01, 0.05)
#: Side of the Gaussian PSF, and the weight of the distance from the mean colour relative to the variance of the noise.
SIDE, DAMPING = 7, 0.03


@torch.no_grad()
def deconvolved(photographs: Iterable[np.ndarray], seed: int = 0) -> list[np.ndarray]:
    """Blur photographs, add noise, and undo the blur by Tikhonov's regularization, weak enough to amplify the noise.

    Parameters
    ----------
    photographs
        ``uint8 [H, W, 3]`` of any sizes.
    seed
        Random generator for the blurs, the noise levels and the noise.

    Returns
    -------
    list of array
        Photographs of the same shapes, ``uint8``.

    Notes
    -----
    Lunz, Öktem, Schönlieb, "Adversarial regularizers in inverse problems", 2018, train a critic on the pseudo-inverses of the
    observations.
    """
    generator = torch.Generator().manual_seed(seed)
    result = []
    for photograph in photographs:
        x = torch.from_numpy(photograph.copy()).permute(2, 0, 1)[None].float() / 255
        width, noise = (low + (high - low) * _uniform(generator) for low, high in (WIDTHS, NOISES))
        blur = Blur(gaussian_psf(SIDE, width))
        y = blur(x) + noise * torch.randn(x.shape, generator=generator)
        mean = y.mean((2, 3), keepdim=True).expand_as(x).contiguous()
        restored = blur.proximal(mean, y, DAMPING / noise**2).clamp(0, 1)
        result.append((255 * restored + 0.5).byte()[0].permute(1, 2, 0).contiguous().numpy())
    return result


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))
