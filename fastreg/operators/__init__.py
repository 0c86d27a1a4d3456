"""The linear degradations A that fastreg undoes."""

from __future__ import annotations

from fastreg.operators.base import Input, LinearOperator, Measurement
from fastreg.operators.blur import Blur, gaussian_psf
from fastreg.operators.identity import Identity
from fastreg.operators.mask import Mask

#: Every operator by its kind.
OPERATORS: dict[str, type[LinearOperator]] = {cls.kind: cls for cls in (Identity, Mask, Blur)}

__all__ = ["OPERATORS", "Blur", "Identity", "Input", "LinearOperator", "Mask", "Measurement", "gaussian_psf"]
