"""Data fidelities: how far a degraded image A x is from the observation y."""

from __future__ import annotations

from fastreg.fidelities.base import Fidelity
from fastreg.fidelities.l2 import L2
from fastreg.fidelities.patch_weighted import PatchWeightedL2

#: Every fidelity by its kind.
FIDELITIES: dict[str, type[Fidelity]] = {cls.kind: cls for cls in (L2, PatchWeightedL2)}

__all__ = ["FIDELITIES", "L2", "Fidelity", "PatchWeightedL2"]
