"""When a job is worth compiling for."""

from __future__ import annotations

import pytest
import torch

from fastreg import Restorer
from fastreg.batch import choosing
from fastreg.batch.choosing import ThriftyRestorer
from fastreg.compilation import CompiledRestorer
from fastreg.solvers import Adam
from tests.registry import critic, random


def test_small_jobs_stay_eager_and_large_ones_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    prior, _ = critic("plain", "relu", "replicate", torch.float32)
    monkeypatch.setattr(type(prior), "apart", False)
    eager = Restorer(prior=prior, solver=Adam(3), weight=0.3)
    thrifty = ThriftyRestorer(eager, images=4)
    y = random((1, 3, 18, 20), torch.float32)
    monkeypatch.setattr(thrifty, "_ahead", lambda y: 30.0 * thrifty.images)
    assert 30.0 * 4 * choosing.SAVED > choosing.COMPILING > 30.0 * 3 * choosing.SAVED
    thrifty.images = 3
    torch.testing.assert_close(thrifty(y, 0.1), eager(y, 0.1), rtol=0, atol=0)
    assert thrifty.fast is None
    assert thrifty.images == 2
    thrifty.images = 4
    torch.testing.assert_close(thrifty(y, 0.1), eager(y, 0.1), rtol=0, atol=1e-4)
    assert isinstance(thrifty.fast, CompiledRestorer)


def test_nothing_is_compiled_for_a_gradient_that_runs_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    prior, _ = critic("plain", "relu", "replicate", torch.float32)
    thrifty = ThriftyRestorer(Restorer(prior=prior, solver=Adam(3), weight=0.3), images=4)
    monkeypatch.setattr(thrifty, "_ahead", lambda y: 1e6)
    thrifty(random((1, 3, 18, 20), torch.float32), 0.1)
    assert thrifty.fast is None


def test_the_work_ahead_grows_with_the_images() -> None:
    prior, _ = critic("plain", "relu", "replicate", torch.float32)
    restorer = Restorer(prior=prior, solver=Adam(3), weight=0.3)
    y = random((1, 3, 64, 64), torch.float32)
    one, many = ThriftyRestorer(restorer, images=1), ThriftyRestorer(restorer, images=10**6)
    assert 0 < one._ahead(y) < choosing.COMPILING < many._ahead(y)
