"""Learned priors: explicit regularizers and implicit denoisers."""

from __future__ import annotations

from fastreg.priors.base import Denoiser, GradientPrior, Prior, Regularizer
from fastreg.priors.dncnn import DnCNN, FFDNet
from fastreg.priors.network import NetworkDenoiser
from fastreg.priors.patch_critic import ALR, ALR_RELEASED, Layer, PatchCritic, alr_layers
from fastreg.priors.potentials import RED, GradientStep, LeastSquares, Potential, Sum
from fastreg.priors.residual import Residual
from fastreg.priors.unet import UNet

#: Every prior by its kind.
PRIORS: dict[str, type[Prior]] = {
    cls.kind: cls for cls in (PatchCritic, UNet, DnCNN, FFDNet, LeastSquares, RED, Sum, GradientStep, Residual)
}

__all__ = [
    "ALR",
    "ALR_RELEASED",
    "PRIORS",
    "RED",
    "Denoiser",
    "DnCNN",
    "FFDNet",
    "GradientPrior",
    "GradientStep",
    "Layer",
    "LeastSquares",
    "NetworkDenoiser",
    "PatchCritic",
    "Potential",
    "Prior",
    "Regularizer",
    "Residual",
    "Sum",
    "UNet",
    "alr_layers",
]
