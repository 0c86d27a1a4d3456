"""Image restoration with learned priors, as one compiled program.

A restoration minimises ``F(x) = D(A x, y; sigma) / |Omega| + lambda R(x)``: A is a known degradation (`fastreg.operators`), D a
data fidelity (`fastreg.fidelities`), R a learned prior (`fastreg.load`), and the minimisation a fixed number of steps
(`fastreg.solvers`). `Restorer` composes the four, and `restorer_for` makes the one that ships for a task.
"""

from fastreg import fidelities, operators, priors, solvers
from fastreg._version import __version__
from fastreg.compiled import compile
from fastreg.models import ModelCard, load
from fastreg.restorer import Restorer
from fastreg.tasks import restorer_for

__all__ = [
    "ModelCard",
    "Restorer",
    "__version__",
    "compile",
    "fidelities",
    "load",
    "operators",
    "priors",
    "restorer_for",
    "solvers",
]
