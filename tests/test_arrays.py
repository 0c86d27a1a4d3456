"""Arrays in, arrays out: the same numbers as from files."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
import torch

import fastreg
from fastreg import models, tasks
from fastreg.arrays import restorers
from fastreg.priors import PatchCritic

RANDOM = np.random.default_rng(0)
PHOTO = (0.5 + 0.2 * np.sin(np.arange(24 * 32 * 3).reshape(24, 32, 3) / 40)).astype(np.float32)
NOISY = (PHOTO + 0.05 * RANDOM.standard_normal(PHOTO.shape)).clip(0, 1).astype(np.float32)
KNOWN = RANDOM.random((24, 32)) > 0.3
KSPACE = np.fft.fft2(PHOTO[..., 0], norm="ortho").astype(np.complex64) * KNOWN
RAMP = np.linspace(-1, 1, 400).reshape(20, 20)

CALLS = {
    "denoise": lambda **how: fastreg.denoise(NOISY, 0.05, channel_axis=-1, **how),
    "deblur": lambda **how: fastreg.deblur(NOISY, "disk:1.5", 0.05, boundary="zero", channel_axis=-1, **how),
    "inpaint": lambda **how: fastreg.inpaint(NOISY, KNOWN, channel_axis=-1, **how),
    "super-resolve": lambda **how: fastreg.super_resolve(NOISY, 2, channel_axis=-1, **how),
    "demosaick": lambda **how: fastreg.demosaick(NOISY[..., 0], "gbrg", **how),
    "mri": lambda **how: fastreg.mri(KSPACE, KNOWN, 0.05, **how),
}
OPTIONS = {
    "denoise": ("--sigma", 0.05),
    "deblur": ("--sigma", 0.05, "--psf", "disk:1.5", "--boundary", "zero"),
    "inpaint": ("--mask", "mask.npy"),
    "super-resolve": ("--factor", 2),
    "demosaick": ("--pattern", "gbrg"),
    "mri": ("--sigma", 0.05, "--mask", "mask.npy"),
}


@pytest.mark.parametrize("task", tasks.TASKS)
def test_a_call_gives_what_the_command_line_gives(run, prior, tmp_path, monkeypatch, task):
    monkeypatch.chdir(tmp_path)
    np.save("mask.npy", KNOWN)
    np.save("y.npy", {"mri": KSPACE, "demosaick": NOISY[..., 0]}.get(task, NOISY))
    assert run("restore", "y.npy", "-o", "x.npy", "--task", task, "--prior", prior, *OPTIONS[task])[0] == 0
    x = CALLS[task](prior=prior)
    np.testing.assert_array_equal(x, np.load("x.npy"))
    assert x.dtype == np.float32


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64"])
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_dtype_and_axes_are_kept(prior, dtype, axis):
    top = np.iinfo(dtype).max if dtype.startswith("u") else 1
    planes = (NOISY * top).round().astype(dtype) if top > 1 else NOISY.astype(dtype)
    image = planes[..., 0] if axis is None else np.asfortranarray(np.moveaxis(planes, -1, axis))
    before = image.copy()
    x = fastreg.denoise(image, 0.05, channel_axis=axis, prior=prior)
    assert (x.dtype, x.shape) == (image.dtype, image.shape)
    np.testing.assert_array_equal(image, before)
    colours = x if axis is None else np.moveaxis(x, axis, -1)
    reference = NOISY[..., 0] if axis is None else NOISY
    expected = fastreg.denoise(reference, 0.05, channel_axis=None if axis is None else -1, prior=prior)
    np.testing.assert_allclose(colours.astype(np.float64) / top, expected, atol=0.004)
    assert np.abs(expected - reference).max() > 0.01


def test_the_noise_is_estimated_if_asked(prior):
    assert np.abs(fastreg.denoise(NOISY, "auto", channel_axis=-1, prior=prior) - NOISY).max() > 0.01
    counts = (255 * NOISY).round().astype(np.uint8)
    assert fastreg.restore(counts, "denoise", "auto", channel_axis=-1, prior=prior).dtype == np.uint8


def test_centred_frequencies(prior):
    """The image has its origin in the middle as well, also for odd sides."""
    known = KNOWN[:23, :31]
    x = PHOTO[:23, :31, 0]
    plain = fastreg.mri(np.fft.fft2(x, norm="ortho") * known, known, 0.05, prior=prior)
    shifted = np.fft.fftshift(np.fft.fft2(x, norm="ortho") * known)
    centred = fastreg.mri(shifted, np.fft.fftshift(known), 0.05, centered=True, prior=prior)
    np.testing.assert_array_equal(centred, np.fft.fftshift(plain))
    assert centred.dtype == np.float32
    wide = fastreg.mri(np.fft.fft2(x.astype(np.float64), norm="ortho") * known, known, 0.05, prior=prior)
    assert wide.dtype == np.float64


def test_what_a_mask_means(prior):
    inpaint = CALLS["inpaint"](prior=prior)
    np.testing.assert_array_equal(
        fastreg.inpaint(NOISY, 255 * ~KNOWN, mask_means="missing", channel_axis=-1, prior=prior), inpaint
    )
    colours = np.repeat(KNOWN[..., None], 3, -1)
    np.testing.assert_array_equal(fastreg.inpaint(NOISY, colours, channel_axis=-1, prior=prior), inpaint)
    with pytest.warns(UserWarning, match=r"71% of the pixels .* as in scikit-image"):
        fastreg.inpaint(NOISY, ~KNOWN, channel_axis=-1, prior=prior)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fastreg.inpaint(NOISY, ~KNOWN, mask_means="known", channel_axis=-1, prior=prior)
    with pytest.raises(ValueError, match="'known' or 'missing'"):
        fastreg.inpaint(NOISY, KNOWN, mask_means="white", channel_axis=-1, prior=prior)


def test_restorers_are_kept_but_not_many(prior, monkeypatch):
    restorers._kept.cache_clear()
    restorers._model.cache_clear()
    loaded = []
    load = models.load
    monkeypatch.setattr(models, "load", lambda name: loaded.append(name) or load(name))
    for _ in range(2):
        for task in ("denoise", "inpaint", "mri"):
            CALLS[task](prior=prior)
    fastreg.inpaint(NOISY, np.roll(KNOWN, 1), channel_axis=-1, prior=prior)  # another mask, the same restorer
    assert loaded == [prior]
    assert restorers._kept.cache_info()[:2] == (4, 3)  # hits and misses
    for size in range(1, 20):
        fastreg.deblur(NOISY, np.ones((1, size)), 0.05, channel_axis=-1, prior=prior)
    assert restorers._kept.cache_info().currsize == restorers._kept.cache_info().maxsize == 8


def test_a_prior_of_the_caller_may_change():
    torch.manual_seed(0)
    prior = PatchCritic([(3, 4, 3), (4, 1, 3)])
    solver = {"kind": "adam", "settings": {"iterations": 2}}
    prior.card = models.ModelCard(
        "own", "critic", {}, tasks={"denoise": models.TaskSettings([[0.1, 0.2]], 1.0, solver)}
    )
    before = CALLS["denoise"](prior=prior)
    with torch.no_grad():
        prior.weights[0].mul_(3)
    assert np.abs(CALLS["denoise"](prior=prior) - before).max() > 1e-4


def test_more_strength_changes_more(prior):
    changes = [np.abs(CALLS["denoise"](prior=prior, strength=s) - NOISY).mean() for s in (0.5, 1, 2)]
    assert changes == sorted(changes) and changes[0] < 0.9 * changes[2]


@pytest.mark.parametrize(
    ("error", "words", "call"),
    [
        (TypeError, "NumPy array without a mask, got Tensor", lambda: fastreg.denoise(torch.zeros(9, 9), 0.1)),
        (TypeError, "got MaskedArray", lambda: fastreg.denoise(np.ma.masked_equal(PHOTO[..., 0], 1), 0.1)),
        (TypeError, "got list", lambda: fastreg.denoise([[0.1] * 9] * 9, 0.1)),
        (TypeError, "uint8, uint16, .* got int64", lambda: fastreg.denoise(np.zeros((9, 9), int), 0.1)),
        (TypeError, "got complex64", lambda: fastreg.denoise(KSPACE, 0.1)),
        (TypeError, "complex numbers, got float32", lambda: fastreg.mri(NOISY[..., 0], KNOWN, 0.1)),
        (TypeError, "no setting colour, expected .*strength", lambda: fastreg.denoise(NOISY, 0.1, colour=3)),
        (ValueError, "with no channel_axis", lambda: fastreg.denoise(NOISY, 0.1)),
        (ValueError, "without alpha", lambda: fastreg.denoise(np.zeros((9, 9, 4)), 0.1, channel_axis=2)),
        (ValueError, "axis of the image", lambda: fastreg.denoise(NOISY, 0.1, channel_axis=3)),
        (
            ValueError,
            "values from -1 to 1: scale",
            lambda: fastreg.denoise(RAMP, 0.1),
        ),
        (
            ValueError,
            "scale the image first",  # however noisy it is
            lambda: fastreg.denoise(2 * PHOTO - 1 + 0.4 * RANDOM.standard_normal(PHOTO.shape), 0.2, channel_axis=-1),
        ),
        (ValueError, "finite", lambda: fastreg.denoise(np.full((9, 9), np.nan), 0.1)),
        (ValueError, "at least one pixel", lambda: fastreg.denoise(np.zeros((0, 9)), 0.1)),
        (ValueError, "25/255 is 0.098", lambda: fastreg.denoise(NOISY, 25, channel_axis=-1)),
        (ValueError, "sigma must be", lambda: fastreg.denoise(NOISY, "much", channel_axis=-1)),
        (ValueError, "takes no --factor", lambda: fastreg.denoise(NOISY, 0.1, channel_axis=-1, factor=2)),
        (ValueError, "got images of 24 x 32", lambda: fastreg.inpaint(NOISY, KNOWN[1:], channel_axis=-1)),
        (ValueError, "denoise, deblur", lambda: fastreg.restore(NOISY, "sharpen", 0.1, channel_axis=-1)),
        (ValueError, "no model 'nonesuch'", lambda: fastreg.denoise(NOISY, 0.1, channel_axis=-1, prior="nonesuch")),
    ],
)
def test_what_is_wrong_is_said(error, words, call):
    with pytest.raises(error, match=words):
        call()


def test_every_task_has_a_function():
    functions = {name.replace("-", "_") for name in tasks.TASKS}
    assert functions <= set(fastreg.__all__)
    for name in functions:
        assert re.search("`restore`", getattr(fastreg, name).__doc__)
