"""Every part of fastreg is in the registry of the tests."""

from __future__ import annotations

import torch

from fastreg import fidelities, operators, priors, solvers
from fastreg.priors import potentials
from tests.registry import DENOISERS, FIDELITIES, OPERATORS, REGULARIZERS, SOLVERS


def test_no_part_goes_untested() -> None:
    double = torch.float64
    assert {make(double)[0].kind for make in OPERATORS.values()} == set(operators.OPERATORS)
    assert {make().kind for make in FIDELITIES.values()} == set(fidelities.FIDELITIES)
    assert {make().kind for make in SOLVERS.values()} == set(solvers.SOLVERS)
    tested = {make(double)[0].kind for make in REGULARIZERS.values()} | {
        make(double).kind for make in DENOISERS.values()
    }
    # see tests/priors/test_potentials.py and tests/priors/test_residual.py
    tested |= {*potentials.POTENTIALS, priors.GradientStep.kind, priors.Residual.kind}
    assert tested == set(priors.PRIORS)
