"""Forward-backward splitting with an explicit prior."""

from __future__ import annotations

import pytest
import torch

from fastreg import Restorer
from fastreg.fidelities import L2, Fidelity, Huber
from fastreg.operators import Blur, LinearOperator, Mask
from fastreg.solvers import ForwardBackward
from tests.registry import random
from tests.solvers.parts import Smooth

PSF = random((3, 3), seed=1) + 0.1


@pytest.mark.parametrize(
    ("operator", "fidelity"),
    [
        (Blur(PSF, "circular", dtype=torch.float64), L2()),
        (Blur(PSF, "zero", dtype=torch.float64), L2()),
        (Mask(random((8, 7), seed=2) > 0.4), Huber()),
    ],
    ids=["circular", "zero", "huber"],
)
def test_the_energy_falls_to_its_minimum(operator: LinearOperator, fidelity: Fidelity) -> None:
    """For a convex prior whose gradient has the Lipschitz constant L, and steps below 1 / (sigma^2 lambda |Omega| L)."""
    sigma, weight = 0.1, 20.0
    step = 0.95 / (sigma**2 * weight * 8)
    run = Restorer(operator, fidelity, Smooth(), ForwardBackward(150, step), weight).double()
    y = operator(random((2, 3, 8, 7), seed=3)) + 0.1
    energies = torch.stack([energy for _, energy in run.trace(y, sigma)])
    assert (energies[1:11] < energies[:10]).all()
    assert (energies[1:] <= energies[:-1] * (1 + 1e-12)).all()
    one = torch.ones(2, dtype=torch.float64)
    assert float(run.problem(sigma * one, weight * one).gradient(run(y, sigma), y).abs().max()) < 1e-5
