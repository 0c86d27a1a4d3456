"""The linear degradations A that fastreg undoes."""

from __future__ import annotations

from fastreg.operators.base import Input, LinearOperator, Measurement
from fastreg.operators.blur import Blur
from fastreg.operators.downsample import Downsample
from fastreg.operators.fourier import FourierSampling
from fastreg.operators.identity import Identity
from fastreg.operators.mask import Mask
from fastreg.operators.mosaic import Mosaic
from fastreg.operators.psfs import box_psf, disk_psf, gaussian_psf, motion_psf

#: Every operator by its kind.
OPERATORS: dict[str, type[LinearOperator]] = {
    cls.kind: cls for cls in (Identity, Mask, Blur, Downsample, Mosaic, FourierSampling)
}

__all__ = [
    "OPERATORS",
    "Blur",
    "Downsample",
    "FourierSampling",
    "Identity",
    "Input",
    "LinearOperator",
    "Mask",
    "Measurement",
    "Mosaic",
    "box_psf",
    "disk_psf",
    "gaussian_psf",
    "motion_psf",
]
