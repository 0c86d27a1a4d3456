"""The linear degradations A that fastreg undoes."""

from fastreg.operators.base import LinearOperator
from fastreg.operators.blur import Blur, gaussian_psf
from fastreg.operators.identity import Identity
from fastreg.operators.mask import Mask

__all__ = ["Blur", "Identity", "LinearOperator", "Mask", "gaussian_psf"]
