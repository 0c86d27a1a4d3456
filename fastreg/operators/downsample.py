"""Blur followed by down-sampling."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fastreg.kernels.boundary import BOUNDARIES
from fastreg.operators import dft
from fastreg.operators.base import LinearOperator, Measurement
from fastreg.operators.blur import Blur
from fastreg.operators.checks import check_images
from fastreg.operators.conjugate_gradients import Map
from fastreg.operators.psfs import gaussian_psf
from fastreg.operators.sampling import interpolate


class Downsample(Blur):
    """Blurs, then keeps the upper-left pixel of every block of s x s pixels, for super-resolution.

    .. math:: (A x)(i) = (h * x)(s\\,i)

    Measurements are ``[B, C, h, w]``, images ``[B, C, s h, s w]``. Pixel i of a measurement lies on pixel s i of the image.

    Parameters
    ----------
    psf
        The PSF h in pixels of the image, as for `Blur`. By default a Gaussian of standard deviation 0.4 s and 2 s + 1 pixels,
        against aliasing.
    factor
        The factor s, at least 2.
    boundary
        What lies beyond the border of the image: ``circular``, ``reflect``, ``replicate`` or ``zero``.
    normalize, dtype
        As for `Blur`.

    Raises
    ------
    TypeError, ValueError
        As `Blur`; and if `factor` is not a whole number of at least 2, or the boundary rule is ``valid``.

    Notes
    -----
    The proximal map has a closed form for `circular`: Zhao et al., "Fast single image super-resolution using a new analytical
    solution for l2-l2 problems", IEEE Transactions on Image Processing, 2016.
    """

    kind = "downsample"
    task = "super-resolve"
    #: Neighbouring measurements share few pixels of the image, so that two steps suffice.
    proximal_iterations = 2

    def __init__(
        self,
        psf: Any = None,
        factor: int = 2,
        boundary: str = "reflect",
        normalize: bool = True,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if isinstance(factor, bool) or not isinstance(factor, int) or factor < 2:
            raise ValueError(f"the factor must be a whole number of at least 2, got {factor!r}")
        if boundary not in BOUNDARIES:
            raise ValueError(f"the boundary rule must be one of {', '.join(BOUNDARIES)}, got {boundary!r}")
        if psf is None:
            psf = gaussian_psf(2 * factor + 1, 0.4 * factor)
        super().__init__(psf, boundary, normalize, dtype)
        self.factor = factor

    def extra_repr(self) -> str:
        """Factor, size of the PSF and boundary rule."""
        return f"factor={self.factor}, {super().extra_repr()}"

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of the constructor but for the PSF, as plain JSON values; the PSF is kept as it stands."""
        return {"factor": self.factor, **super().settings}

    def measurement(self) -> Measurement:
        """Smaller by the factor."""
        return Measurement(scale=self.factor)

    def check(self, y: Tensor) -> None:
        """Raise `ValueError` where `y` is not ``[B, C, h, w]`` or its image is too small for the PSF."""
        check_images(y)
        self._require(self.factor * y.shape[-2], self.factor * y.shape[-1])

    def initial(self, y: Tensor) -> Tensor:
        """First image: bicubic interpolation on the grid of the image."""
        return interpolate(y, self.factor)

    def forward(self, x: Tensor) -> Tensor:
        """Degrade: blur, keep one pixel of each block."""
        height, width = x.shape[-2:]
        if height % self.factor or width % self.factor:
            raise ValueError(f"the sides of the image must be multiples of {self.factor}, got {height} x {width}")
        return super().forward(x)[..., :: self.factor, :: self.factor]

    def adjoint(self, y: Tensor) -> Tensor:
        """Transpose: put zeros between the pixels, correlate with the PSF."""
        return super().adjoint(self._spread(y))

    def gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Gradient of half the squared residual, A*(A x - y)."""
        return self.adjoint(self(x) - y)

    def maps(self, x: Tensor, y: Tensor) -> tuple[Map, Map]:
        """A and A* with the transform of the PSF computed once."""
        blur, transpose = super().maps(x, x)
        height, width = y.shape[-2:]

        def forward(x: Tensor) -> Tensor:
            # in a program with open sizes every other pixel of 2 w is a width of its own, here it is w
            blocks = blur(x).reshape(*x.shape[:2], height, self.factor, width, self.factor)
            return blocks[..., 0, :, 0]

        return forward, lambda y: transpose(self._spread(y))

    def proximal(self, z: Tensor, y: Tensor, step: Tensor | float) -> Tensor:
        """Proximal map of the data term; in closed form for `circular`, by conjugate gradients for the others.

        .. math:: x = z - A^* (1/s + A A^*)^{-1} (A z - y)

        with s the `step`. For `circular` A A* is a convolution: its gain is the mean of \\|h\\|^2 over the frequencies of the
        image that a measurement cannot tell from each other.
        """
        if self.boundary != "circular":
            return LinearOperator.proximal(self, z, y, step)
        return z - self.adjoint(self.preconditioner(y, step)(step * (self(z) - y)))

    def without_fourier(self) -> LinearOperator:
        """The same operator with convolutions."""
        from fastreg.operators.direct_blur import DirectDownsample

        direct = DirectDownsample(self.psf, self.factor, self.boundary, normalize=False, dtype=self.psf.dtype)
        return direct.to(self.psf.device)

    def power(self, height: int, width: int) -> Tensor:
        """Gain of A A* on measurements of that size, for the rule `circular`."""
        fine = dft.power(self.psf, self.factor * height, self.factor * width)
        return fine.reshape(self.factor, height, self.factor, width).mean((0, 2))

    def _spread(self, y: Tensor) -> Tensor:
        """Every pixel in the upper-left corner of a block of zeros."""
        last = self.factor - 1
        batch, channels, height, width = y.shape
        blocks = F.pad(y.reshape(batch, channels, height, 1, width, 1), (0, last, 0, 0, 0, last))
        return blocks.reshape(batch, channels, self.factor * height, self.factor * width)
