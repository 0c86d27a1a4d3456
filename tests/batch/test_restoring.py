"""Grey images, alpha, frames and settings around a solve."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from skimage import data

import fastreg
from fastreg import metrics, models, tasks
from fastreg.batch.restoring import restore_image, settings
from fastreg.evaluation.baselines import BASELINES
from fastreg.io.images import Image
from fastreg.io.metadata import Metadata
from fastreg.solvers import Adam
from fastreg.tasks import effective_weight, shown, solve


def make_restorer(channels=3, operator=None, grey=None, **adam):
    torch.manual_seed(0)
    prior = fastreg.priors.PatchCritic([(channels, 4, 3), (4, 1, 3)])
    if grey is not None:
        tuned = {"denoise": models.TaskSettings([[0.1, 0.1]], grey=grey)}
        prior.card = models.ModelCard("tiny", "patch_critic", prior.settings, tasks=tuned)
    return fastreg.Restorer(operator=operator, prior=prior, solver=Adam(**{"iterations": 2, **adam}), weight=0.1)


def noisy(channels, size=(24, 32)):
    pixels = np.random.default_rng(0).random((channels, *size), np.float32) * np.float32(0.5) + np.float32(0.25)
    return Image(pixels)


def test_the_factor_for_grey_images_is_of_the_model_card():
    weighted, plain = make_restorer(grey=1.5), make_restorer()
    assert effective_weight(weighted, 1, 0.1) == pytest.approx(0.15)
    assert effective_weight(weighted, 3, 0.1) == pytest.approx(0.1)
    assert effective_weight(make_restorer(channels=1, grey=1.5), 1, 0.1) == pytest.approx(0.1)  # nothing is repeated
    image = noisy(1)
    heavier = fastreg.Restorer(prior=plain.prior, solver=plain.solver, weight=0.15)
    restored = restore_image(weighted, image, 0.1).pixels
    np.testing.assert_allclose(restored, restore_image(heavier, image, 0.1).pixels, atol=1e-6)
    assert np.abs(restored - restore_image(plain, image, 0.1).pixels).max() > 1e-6


def test_colour_image_and_grey_prior():
    restorer, image = make_restorer(channels=1), noisy(3)
    restored = restore_image(restorer, image, 0.1)
    for k in range(3):
        alone = restore_image(restorer, Image(image.pixels[k : k + 1]), 0.1)
        np.testing.assert_allclose(restored.pixels[k : k + 1], alone.pixels, atol=1e-6)


def test_everything_but_the_pixels_is_kept():
    alpha = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32)
    image = dataclasses.replace(noisy(3), alpha=alpha, dtype="uint16", metadata=Metadata(b"profile"))
    restored = restore_image(make_restorer(), image, 0.1)
    assert restored.alpha is alpha
    assert (restored.dtype, restored.metadata.icc) == ("uint16", b"profile")
    assert restored.pixels.min() >= 0
    assert restored.pixels.max() <= 1
    assert np.abs(restored.pixels - image.pixels).max() > 0


@pytest.mark.parametrize("size", [(3, 5), (4, 2)])
def test_valid_blur_is_cut_to_the_frame_of_the_input(size):
    operator = fastreg.operators.Blur(fastreg.operators.gaussian_psf(size, 1.0), boundary="valid")
    x = torch.rand(1, 3, 24, 32)
    y = operator(x)
    restorer = make_restorer(operator=operator)
    # a PSF that is one pixel shifts nothing: what it measures is the frame
    delta = torch.zeros(size)
    delta[size[0] // 2, size[1] // 2] = 1
    torch.testing.assert_close(shown(restorer, x), fastreg.operators.Blur(delta, boundary="valid")(x))
    assert solve(restorer, y, 0.1).shape == x.shape
    assert restore_image(restorer, Image(y[0].numpy()), 0.1).pixels.shape == tuple(y.shape[1:])


def test_too_small_images_are_refused():
    with pytest.raises(ValueError, match="5x5"):
        restore_image(make_restorer(), noisy(3, (4, 32)), 0.1)


def test_settings_tell_everything_that_changes_a_result():
    mask = torch.ones(4, 4)
    variants = [
        make_restorer(),
        make_restorer(iterations=3),
        make_restorer(betas=(0.8, 0.99)),
        make_restorer(epsilon=1e-6),
        make_restorer(rate=(0.1, 0.02)),
        make_restorer(grey=1.5),
        make_restorer(channels=1),
        make_restorer(operator=fastreg.operators.Mask(mask)),
        make_restorer(operator=fastreg.operators.Mask(mask.tril())),
        make_restorer(operator=fastreg.operators.Blur(mask)),
        make_restorer(operator=fastreg.operators.Blur(mask, boundary="zero")),
    ]
    plain = make_restorer()
    for fidelity in (fastreg.fidelities.Huber(3), fastreg.fidelities.Huber(5)):
        variants.append(fastreg.Restorer(fidelity=fidelity, prior=plain.prior, solver=plain.solver, weight=0.1))
    variants.append(fastreg.Restorer(prior=plain.prior, solver=plain.solver, weight=0.2))
    rule = models.WeightRule([[1.0, 0.1]], exponent=0.5)
    variants.append(fastreg.Restorer(prior=plain.prior, solver=plain.solver, weight=rule))
    documents = [json.dumps(settings(restorer, 0.1), sort_keys=True) for restorer in variants]
    documents.append(json.dumps(settings(plain, 0.2), sort_keys=True))
    assert len(set(documents)) == len(documents)
    assert settings(make_restorer(), 0.1) == settings(make_restorer(), 0.1)


@pytest.mark.parametrize("name", ["camera", "coins", "page", "moon"])
def test_grey_photographs_are_restored_better_than_by_total_variation(name):
    photograph = getattr(data, name)()
    top, left = (photograph.shape[0] - 128) // 2, (photograph.shape[1] - 128) // 2
    clean = torch.from_numpy(photograph[None, None, top : top + 128, left : left + 128] / np.float32(255))
    restorer = tasks.restorer_for("denoise")
    for sigma in (0.05, 0.1, 0.2):
        y = restorer.operator.observe(clean, sigma, torch.Generator().manual_seed(0))
        classical = torch.from_numpy(BASELINES["total-variation"](restorer.operator, y, sigma))
        assert metrics.psnr(solve(restorer, y, sigma), clean)[0] > metrics.psnr(classical, clean)[0]
