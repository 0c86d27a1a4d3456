"""Data fidelities: distances of a degraded image A x from the observation y."""

from __future__ import annotations

from fastreg.fidelities.base import Fidelity
from fastreg.fidelities.l2 import L2
from fastreg.fidelities.robust import L1, Huber, Poisson
from fastreg.fidelities.weighted import WeightedL2

#: Every fidelity by its kind.
FIDELITIES: dict[str, type[Fidelity]] = {cls.kind: cls for cls in (L2, WeightedL2, L1, Huber, Poisson)}

__all__ = ["FIDELITIES", "L1", "L2", "Fidelity", "Huber", "Poisson", "WeightedL2"]
