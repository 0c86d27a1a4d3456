"""Grey images, alpha, frames and settings around a solve."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from skimage import data

import fastreg
from fastreg import metrics, models, tasks
from fastreg.batch import restoring
from fastreg.batch.restoring import restore_image, settings
from fastreg.evaluation.baselines import BASELINES
from fastreg.io.images import Image
from fastreg.io.metadata import Metadata
from fastreg.io.stacks import Stack
from fastreg.solvers import Adam
from fastreg.tasks import effective_weight, solve, visible_part


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
    torch.testing.assert_close(visible_part(restorer, x), fastreg.operators.Blur(delta, boundary="valid")(x))
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


@pytest.mark.parametrize(("grey", "channels"), [(True, 3), (False, 3), (False, 1), (True, 1)])
def test_planes_of_a_stack_are_restored_like_images(monkeypatch, grey, channels):
    monkeypatch.setitem(restoring._AT_ONCE, "cpu", 2 * 24 * 32)  # two planes at once, and one in the end
    samples = np.random.default_rng(0).integers(0, 65536, (5, 24, 32) if grey else (5, 24, 32, 3)).astype(np.uint16)
    stack = Stack(samples, "TYX" if grey else "TYXS")
    restorer = make_restorer(channels=channels, grey=1.5)
    sigmas = [0.05, 0.1, 0.15, 0.2, 0.3]
    assert restoring.count_solves(restorer, stack) == 3
    result = restoring.restore_stack(restorer, stack, sigmas)
    assert (result.samples.shape, result.samples.dtype) == (samples.shape, samples.dtype)
    for image, sigma, restored in zip(stack.images(), sigmas, result.images(), strict=True):
        alone = restore_image(restorer, image, sigma)
        np.testing.assert_allclose(restored.pixels, alone.pixels, atol=1e-4)
        assert np.abs(restored.pixels - image.pixels).max() > 1e-3


def test_a_stack_of_another_shape():
    raw = Stack(np.random.default_rng(0).random((4, 2, 16, 20), np.float32), "ZTYX")
    colours = restoring.restore_stack(make_restorer(operator=fastreg.operators.Mosaic("rggb")), raw, [0.1] * 8)
    assert (colours.axes, colours.samples.shape) == ("ZTYXS", (4, 2, 16, 20, 3))
    larger = restoring.restore_stack(make_restorer(operator=fastreg.operators.Downsample(factor=2)), raw, [0.1] * 8)
    assert (larger.axes, larger.samples.shape) == ("ZTYX", (4, 2, 32, 40))
    spectra = Stack(np.fft.fft2(raw.samples, norm="ortho"), "ZTYX")
    sampling = fastreg.operators.FourierSampling(torch.ones(16, 20))
    slices = restoring.restore_stack(make_restorer(operator=sampling), spectra, [0.02] * 8)
    assert (slices.axes, slices.samples.shape, slices.samples.dtype) == ("ZTYX", (4, 2, 16, 20), np.float32)


@pytest.mark.parametrize("white", [255, 1023, 4095, 65535])
@pytest.mark.parametrize("sigma", [0.002, 0.02, 0.1])
def test_the_noise_of_each_plane_at_every_depth(white, sigma):
    random = np.random.default_rng(0)
    clean = 0.5 + 0.2 * np.sin(np.arange(128) / 20)[:, None] * np.cos(np.arange(128) / 15)
    levels = [sigma, 1.5 * sigma]
    noisy = np.stack([clean + level * random.standard_normal(clean.shape) for level in levels]) * white
    stack = Stack(noisy.round().clip(0, white).astype(np.uint8 if white == 255 else np.uint16), "TYX", (0, white))
    rounding = 1 / white / 12**0.5  # is noise as well
    expected = [np.hypot(level, rounding) for level in levels]
    np.testing.assert_allclose(restoring.noise_levels(make_restorer(), stack.images()), expected, rtol=0.06)


def test_planes_without_noise_take_the_smallest_noise_of_the_others():
    samples = np.random.default_rng(0).integers(100, 150, (3, 24, 32)).astype(np.uint8)
    samples[1] = 7
    first, second, third = restoring.noise_levels(make_restorer(), Stack(samples, "ZYX").images())
    assert second == min(first, third)
    with pytest.raises(ValueError, match="too little noise"):
        restoring.noise_levels(make_restorer(), Stack(samples[1:2], "ZYX").images())
