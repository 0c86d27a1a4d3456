"""Explicit priors: an energy of an image, and its analytic gradient."""

from fastreg.regularizers.base import Regularizer
from fastreg.regularizers.patch_critic import ALR, ALR_RELEASED, Layer, PatchCritic, alr_layers

__all__ = ["ALR", "ALR_RELEASED", "Layer", "PatchCritic", "Regularizer", "alr_layers"]
