"""Padding against numpy, its adjoint by the definition, and bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastreg.kernels.boundary import BOUNDARIES, Margins, pad, pad_adjoint
from tests.registry import random

MODES = {"circular": "wrap", "reflect": "reflect", "replicate": "edge", "zero": "constant"}


@settings(max_examples=40, deadline=None)
@given(
    boundary=st.sampled_from(BOUNDARIES),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    margins=st.tuples(*[st.integers(0, 8)] * 4),
)
def test_pad_and_its_adjoint(boundary: str, size: tuple[int, int], margins: Margins) -> None:
    height, width = size
    if boundary in ("circular", "reflect"):  # as wide as the rule can fill, and no wider
        less = 1 if boundary == "reflect" else 0
        margins = (
            min(margins[0], width - less),
            min(margins[1], width - less),
            min(margins[2], height - less),
            min(margins[3], height - less),
        )
    left, right, top, bottom = margins
    x = random((2, 2, height, width))
    padded = pad(x, margins, boundary)
    expected = np.pad(x.numpy(), ((0, 0), (0, 0), (top, bottom), (left, right)), mode=MODES[boundary])  # type: ignore[call-overload]
    np.testing.assert_array_equal(padded.numpy(), expected)
    u = random(tuple(padded.shape), seed=1)
    folded = pad_adjoint(u, margins, boundary)
    assert folded.shape == x.shape
    torch.testing.assert_close((padded * u).sum(), (x * folded).sum(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_adjoint_equals_autograd(boundary: str) -> None:
    x = random((1, 2, 5, 6)).requires_grad_()
    padded = pad(x, (4, 3, 2, 4), boundary)
    u = random(tuple(padded.shape), seed=1)
    (automatic,) = torch.autograd.grad((padded * u).sum(), x)
    torch.testing.assert_close(pad_adjoint(u, (4, 3, 2, 4), boundary), automatic, rtol=0, atol=1e-12)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dtype_is_kept(boundary: str, dtype: torch.dtype) -> None:
    padded = pad(torch.ones(1, 1, 4, 4, dtype=dtype), (1, 2, 3, 0), boundary)
    assert padded.dtype == pad_adjoint(padded, (1, 2, 3, 0), boundary).dtype == dtype


@pytest.mark.parametrize(
    ("margins", "boundary", "message"),
    [
        ((1, 1, 1, 1), "constant", "must be one of circular, reflect, replicate, zero, got 'constant'"),
        ((1, -1, 0, 0), "zero", "must not be negative, got 1 and -1"),
        ((5, 0, 0, 0), "circular", "circular margins of 5 pixels need an image side of at least 5, got 4"),
        ((0, 0, 0, 3), "reflect", "reflect margins of 3 pixels need an image side of at least 4, got 3"),
    ],
)
def test_bad_margins(margins: Margins, boundary: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pad(torch.ones(1, 1, 3, 4), margins, boundary)
    left, right, top, bottom = margins
    with pytest.raises(ValueError, match=message):
        pad_adjoint(torch.ones(1, 1, 3 + top + bottom, 4 + left + right), margins, boundary)


def test_nothing_left_to_fold_onto() -> None:
    with pytest.raises(ValueError, match="at least one pixel a side, got 0"):
        pad_adjoint(torch.ones(1, 1, 4, 4), (2, 2, 0, 0), "replicate")
