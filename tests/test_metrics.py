"""PSNR, SSIM and the estimate of noise against closed forms."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastreg.io.noise import estimate_sigma
from fastreg.metrics import psnr, ssim


@given(error=st.floats(0.01, 0.5))
def test_psnr_of_a_constant_error(error):
    x = np.full((3, 8, 9), 0.25)
    assert psnr(x + error, x) == pytest.approx(-20 * np.log10(error))


def test_psnr_clips_and_crops():
    x = torch.zeros(2, 3, 8, 8)
    y = x.clone()
    y[:, :, 0] = 1.0
    y[1, :, 4, 4] = 0.5
    values = psnr(y - 3 * (y == 0), x)  # what is below zero counts as zero
    assert values.shape == (2,)
    assert values[0] == pytest.approx(-10 * np.log10(1 / 8))
    cropped = psnr(y, x, crop=1)
    assert np.isinf(cropped[0])
    assert cropped[1] == pytest.approx(-10 * np.log10(0.25 / 36))


def test_entries_are_independent_and_tensors_are_arrays():
    torch.manual_seed(0)
    x, y = torch.rand(2, 3, 24, 32), torch.rand(2, 3, 24, 32)
    for metric in (psnr, ssim):
        together = metric(x, y)
        alone = [float(metric(a.numpy(), b)) for a, b in zip(x, y, strict=True)]
        np.testing.assert_allclose(together, alone)
        assert metric(x[0], y[0]).shape == ()


def test_ssim():
    torch.manual_seed(0)
    x = torch.rand(1, 3, 24, 32)
    assert ssim(x, x) == pytest.approx(1)
    # of constant images only the first factor is left
    a, b = np.full((1, 16, 16), 0.2), np.full((1, 16, 16), 0.6)
    assert ssim(a, b) == pytest.approx((2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4))


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_metrics_refuse(metric):
    x = np.zeros((3, 16, 16))
    for a, b, crop in ((x, x[:2], 0), (x[0], x[0], 0), (x, x, 8), (x, x, -1), (x * np.nan, x, 0)):
        with pytest.raises(ValueError, match=r"images|finite"):
            metric(a, b, crop)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_samples_of_files_are_scaled_and_others_refused(metric):
    random = np.random.default_rng(0)
    a, b = (random.integers(0, 256, (3, 24, 24)).astype(np.uint8) for _ in range(2))
    expected = metric(a / 255, b / 255)
    assert metric(a, b) == expected
    assert metric(torch.from_numpy(a), b) == expected
    assert metric(a.astype(np.uint16) * np.uint16(257), b) == pytest.approx(expected)
    for samples in (a.astype(np.int64), a > 3):
        with pytest.raises(ValueError, match="uint8 or uint16"):
            metric(samples, samples)


def test_ssim_refuses_small_images():
    with pytest.raises(ValueError, match="11x11"):
        ssim(np.zeros((3, 8, 20)), np.zeros((3, 8, 20)))


@pytest.mark.parametrize("sigma", [0.01, 0.1, 0.3])
def test_estimate_of_white_noise(sigma):
    random = np.random.default_rng(0)
    ramp = np.broadcast_to(np.linspace(0, 1, 160), (3, 120, 160))  # two vanishing moments: a ramp leaves no detail
    noisy = ramp + sigma * random.standard_normal(ramp.shape)
    assert estimate_sigma(noisy) == pytest.approx(sigma, rel=0.05)
    assert estimate_sigma(np.float32(noisy.transpose(0, 2, 1))) == pytest.approx(sigma, rel=0.05)


def test_estimate_refuses():
    for image, words in (
        (np.full((3, 24, 32), 0.5), "too little noise"),
        (np.round(np.broadcast_to(np.linspace(0, 1, 160), (1, 120, 160)) * 255) / 255, "too little noise"),
        (np.zeros((3, 7, 32)), "8x8"),
        (np.zeros((24, 32)), "8x8"),
        (np.full((3, 24, 32), np.nan), "finite"),
    ):
        with pytest.raises(ValueError, match=words):
            estimate_sigma(image)
