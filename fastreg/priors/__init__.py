"""Learned priors: explicit regularizers and implicit denoisers."""

from __future__ import annotations

from fastreg.priors.base import Denoiser, Prior, Regularizer
from fastreg.priors.patch_critic import ALR, ALR_RELEASED, Layer, PatchCritic, alr_layers

#: Every prior by its kind.
PRIORS: dict[str, type[Prior]] = {cls.kind: cls for cls in (PatchCritic,)}

__all__ = ["ALR", "ALR_RELEASED", "PRIORS", "Denoiser", "Layer", "PatchCritic", "Prior", "Regularizer", "alr_layers"]
