"""Grey images, alpha and frames around a solve."""

import dataclasses

import numpy as np
import pytest
import torch

import fastreg
from fastreg.batch.restoring import frame, restore_image, solve
from fastreg.io.images import Image


def make_restorer(channels=3, operator=None):
    torch.manual_seed(0)
    prior = fastreg.priors.PatchCritic([(channels, 4, 3), (4, 1, 3)])
    return fastreg.Restorer(operator=operator, prior=prior, solver=fastreg.solvers.Adam(iterations=2), weight=0.1)


def noisy(channels, size=(24, 32)):
    pixels = np.random.default_rng(0).random((channels, *size), np.float32) * np.float32(0.5) + np.float32(0.25)
    return Image(pixels)


def test_grey_image_and_prior_for_colours():
    restorer, image = make_restorer(), noisy(1)
    repeated = torch.from_numpy(image.pixels)[None].expand(-1, 3, -1, -1)
    expected = restorer(repeated, 0.1).detach().mean(1).clamp(0, 1)
    restored = restore_image(restorer, image, 0.1)
    np.testing.assert_allclose(restored.pixels, expected, atol=1e-6)


def test_colour_image_and_grey_prior():
    restorer, image = make_restorer(channels=1), noisy(3)
    restored = restore_image(restorer, image, 0.1)
    for k in range(3):
        alone = restore_image(restorer, Image(image.pixels[k : k + 1]), 0.1)
        np.testing.assert_allclose(restored.pixels[k : k + 1], alone.pixels, atol=1e-6)


def test_everything_but_the_pixels_is_kept():
    alpha = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32)
    image = dataclasses.replace(noisy(3), alpha=alpha, dtype="uint16", icc=b"profile")
    restored = restore_image(make_restorer(), image, 0.1)
    assert restored.alpha is alpha
    assert (restored.dtype, restored.icc) == ("uint16", b"profile")
    assert restored.pixels.min() >= 0
    assert restored.pixels.max() <= 1
    assert np.abs(restored.pixels - image.pixels).max() > 0


def test_estimated_noise():
    image = noisy(3, (64, 64))
    restored = restore_image(make_restorer(), image, None)
    from fastreg.io.noise import estimate_sigma

    np.testing.assert_array_equal(
        restored.pixels, restore_image(make_restorer(), image, estimate_sigma(image.pixels)).pixels
    )


@pytest.mark.parametrize("size", [(3, 5), (4, 2)])
def test_valid_blur_is_cut_to_the_frame_of_the_input(size):
    operator = fastreg.operators.Blur(fastreg.operators.gaussian_psf(size, 1.0), boundary="valid")
    x = torch.rand(1, 3, 24, 32)
    y = operator(x)
    # a PSF that is one pixel shifts nothing: what it measures is the frame
    delta = torch.zeros(size)
    delta[size[0] // 2, size[1] // 2] = 1
    torch.testing.assert_close(frame(x, y), fastreg.operators.Blur(delta, boundary="valid")(x))
    restorer = make_restorer(operator=operator)
    assert solve(restorer, y, 0.1).shape == x.shape
    assert restore_image(restorer, Image(y[0].numpy()), 0.1).pixels.shape == tuple(y.shape[1:])


def test_too_small_images_are_refused():
    with pytest.raises(ValueError, match="5x5"):
        restore_image(make_restorer(), noisy(3, (4, 32)), 0.1)
