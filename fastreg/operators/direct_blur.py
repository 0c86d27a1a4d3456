"""A blur for runtimes without Fourier transforms."""

from __future__ import annotations

from torch import Tensor

from fastreg.kernels.blur_gradient import phases
from fastreg.operators.base import LinearOperator
from fastreg.operators.blur import Blur
from fastreg.operators.conjugate_gradients import Map
from fastreg.operators.downsample import Downsample


class DirectBlur(Blur):
    """`Blur` as convolutions under every boundary rule, made by `Blur.without_fourier`.

    ONNX Runtime's DFT takes part of what ONNX specifies, and only on the CPU.
    """

    fast_transforms = False

    def forward(self, x: Tensor) -> Tensor:
        """Degrade: convolve with the PSF."""
        self._require(x.shape[-2], x.shape[-1])
        return phases.blur(x, self.psf.to(x.dtype), self.boundary)

    def adjoint(self, y: Tensor) -> Tensor:
        """Transpose: correlate with the PSF, then fold the margins back."""
        return phases.adjoint(y, self.psf.to(y.dtype), self.boundary)

    def gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Gradient of half the squared residual, A*(A x - y)."""
        return self.adjoint(self(x) - y)

    def maps(self, x: Tensor, y: Tensor) -> tuple[Map, Map]:
        """A and A*."""
        return lambda x: DirectBlur.forward(self, x), lambda y: DirectBlur.adjoint(self, y)

    def proximal(self, z: Tensor, y: Tensor, step: Tensor | float) -> Tensor:
        """Proximal map of the data term; in closed form for `circular`, by conjugate gradients for the others."""
        if self.boundary != "circular":
            return LinearOperator.proximal(self, z, y, step)
        return z - self.adjoint(self.preconditioner(y, step)(step * (self(z) - y)))


class DirectDownsample(Downsample, DirectBlur):
    """`Downsample` with the convolutions of `DirectBlur`, made by `Downsample.without_fourier`."""
