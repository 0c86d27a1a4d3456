"""The residual of a denoiser as a field."""

from __future__ import annotations

import json

import pytest
import torch

from fastreg import Restorer
from fastreg.parts import build, describe
from fastreg.priors import PRIORS, DnCNN, Residual
from fastreg.solvers import ForwardBackward, MonotoneForwardBackward
from tests.registry import random


def test_it_is_what_the_denoiser_removes() -> None:
    torch.manual_seed(0)
    prior = Residual(DnCNN(3, 3, 4, "silu", noise_map=True)).double()
    x, sigma = random((2, 3, 6, 5)), torch.tensor([0.1, 0.3]).double()
    removed = (x - prior.network(x, sigma)) / (30 * sigma.square().reshape(-1, 1, 1, 1))
    torch.testing.assert_close(prior.gradient(x, sigma), removed)
    again = build(PRIORS, json.loads(json.dumps(describe(prior)))).double()
    again.load_state_dict(prior.state_dict())
    torch.testing.assert_close(again.gradient(x, sigma), removed)


def test_solvers_that_need_an_energy_refuse_it() -> None:
    prior = Residual(DnCNN(3, 3, 4, "silu", noise_map=True)).eval().requires_grad_(False)
    restored = Restorer(prior=prior, solver=ForwardBackward(2), weight=1.0)(torch.rand(1, 3, 6, 5), 0.1)
    assert restored.isfinite().all()
    with pytest.raises(ValueError, match=r"needs prior\.energy"):
        Restorer(prior=prior, solver=MonotoneForwardBackward(2), weight=1.0)
