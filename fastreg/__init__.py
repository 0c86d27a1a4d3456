"""Image restoration with learned priors, as one compiled program.

A restoration minimises ``F(x) = D(A x, y; sigma) / |Omega| + lambda R(x)``: A is a known degradation (`fastreg.operators`), D a
data fidelity (`fastreg.fidelities`), R a learned prior (`fastreg.load`), and the minimisation a fixed number of steps
(`fastreg.solvers`). `Restorer` composes the four, and `restorer_for` makes the one that ships for a task.
`restore` and a function for each task (`denoise`, `deblur`, …) restore NumPy arrays with it.
"""

from fastreg import fidelities, operators, priors, solvers
from fastreg._version import __version__
from fastreg.arrays import deblur, demosaick, denoise, inpaint, mri, restore, super_resolve
from fastreg.compiled import compile
from fastreg.models import ModelCard, load
from fastreg.restorer import Restorer
from fastreg.tasks import restorer_for

__all__ = [
    "ModelCard",
    "Restorer",
    "__version__",
    "compile",
    "deblur",
    "demosaick",
    "denoise",
    "fidelities",
    "inpaint",
    "load",
    "mri",
    "operators",
    "priors",
    "restore",
    "restorer_for",
    "solvers",
    "super_resolve",
]
