"""Denoisers that ship, on a photograph they have not seen."""

from __future__ import annotations

import pytest
import torch
from skimage import data
from skimage.restoration import denoise_nl_means

import fastreg
from fastreg.metrics import psnr


@pytest.mark.parametrize("name", ["unet"])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("sigma", [15 / 255, 50 / 255])
def test_they_beat_nonlocal_means(name: str, grey: bool, sigma: float) -> None:
    clean = torch.from_numpy(data.chelsea()[60:157, 90:193].copy()).permute(2, 0, 1)[None] / 255
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    if grey:
        clean, noise = clean.mean(1, keepdim=True), noise[:, :1]
    noisy = clean + sigma * noise
    with torch.no_grad():
        result = fastreg.load(name)(noisy.expand(-1, 3, -1, -1), torch.tensor([sigma])).clamp(0, 1)
    if grey:
        result = result.mean(1, keepdim=True)
    pixels = noisy[0].permute(1, 2, 0).numpy()
    means = denoise_nl_means(pixels, h=0.8 * sigma, sigma=sigma, channel_axis=-1).reshape(pixels.shape)
    baseline = torch.from_numpy(means).permute(2, 0, 1)[None].float()
    assert psnr(result, clean)[0] > psnr(baseline, clean)[0] + 2
