"""Samples of the Fourier transform."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from fastreg.operators import dft
from fastreg.operators.base import Input, LinearOperator, Measurement
from fastreg.operators.checks import check_mask, fit_mask


class FourierSampling(LinearOperator):
    """Measures frequencies of real images, as a magnetic resonance scanner with one coil does.

    .. math:: A x = m \\odot F x

    with F the orthonormal Fourier transform, its zero frequency at ``[0, 0]``. Images are real ``[B, C, H, W]``, measurements
    complex of the same shape. A is linear over the real numbers; measurements have the inner product Re<., .>.

    Parameters
    ----------
    mask
        Weights m in [0, 1], one where a frequency was measured and zero where not: ``[H, W]``, ``[C, H, W]`` or ``[B, C, H, W]``.
        Kept as the buffer `mask`, float32 ``[B, C, H, W]``.

    Raises
    ------
    TypeError, ValueError
        As `fastreg.operators.Mask`.
    """

    kind = "fourier_sampling"
    task = "mri"
    inputs = MappingProxyType({"mask": Input("mask", sized=True)})
    mask: Tensor

    def __init__(self, mask: Any) -> None:
        super().__init__()
        self.register_buffer("mask", check_mask(mask))

    def extra_repr(self) -> str:
        """Shape of the mask."""
        return f"mask={list(self.mask.shape)}"

    def measurement(self) -> Measurement:
        """Complex, of the shape of the image."""
        return Measurement(dtype="complex64")

    def check(self, y: Tensor) -> None:
        """Raise where `y` is not complex ``[B, C, H, W]``, or the mask does not fit it."""
        super().check(y)
        fit_mask(self.mask, y)

    def forward(self, x: Tensor) -> Tensor:
        """Degrade: the measured frequencies of real images, zeros elsewhere."""
        return self._weigh(self._transform(x))

    def adjoint(self, y: Tensor) -> Tensor:
        """Transpose: the real part of the inverse transform of m y."""
        return self._inverse(self._weigh(y))

    def normal(self, x: Tensor) -> Tensor:
        """A*A x, one gain for each frequency."""
        return self._filter(x, self._gain(x))

    def proximal(self, z: Tensor, y: Tensor, step: Tensor | float) -> Tensor:
        """Proximal map of the data term in closed form.

        .. math:: x = z - F^{-1} \\frac{s}{1 + s\\,g} F\\, A^*(A z - y), \\quad g(k) = \\tfrac12 (m(k)^2 + m(-k)^2)

        with s the `step`. On real images A*A has the gain g: a mask that is not symmetric measures half of what it measures at k
        for -k as well.
        """
        return z - self._filter(self.gradient(z, y), step / (1 + step * self._gain(z)))

    @property
    def norm(self) -> Tensor:
        """Spectral norm, exactly: the root of the largest gain."""
        return self._gain(self.mask).max().sqrt()

    def initial(self, y: Tensor) -> Tensor:
        """First image: A* y, the image with zeros for the frequencies that were not measured."""
        return self.adjoint(y)

    def measured(self, y: Tensor) -> Tensor:
        """`y` with zeros where a frequency was not measured."""
        return torch.where(self.mask > 0, y, 0)

    def without_complex(self) -> LinearOperator:
        """The same operator with complex numbers as pairs of real ones: see `FourierPairs`."""
        return FourierPairs(self)

    def without_fourier(self) -> LinearOperator:
        """The same operator as matrix products, with complex numbers as real ones: see `FourierMatrices`."""
        return FourierMatrices(self)

    def _gain(self, like: Tensor) -> Tensor:
        """g, the gain of A*A on real images, ``[B, C, H, W]``."""
        power = self.mask.to(like.dtype).square()
        return (power + power.flip((-2, -1)).roll((1, 1), (-2, -1))) / 2

    def _filter(self, x: Tensor, gain: Tensor) -> Tensor:
        return dft.multiplier(gain)(x)

    def _transform(self, x: Tensor) -> Tensor:
        frequencies: Tensor = torch.fft.fft2(x, norm="ortho")
        return frequencies

    def _inverse(self, y: Tensor) -> Tensor:
        """Real part of the inverse transform."""
        image: Tensor = torch.fft.ifft2(y, norm="ortho").real
        return image

    def _weigh(self, y: Tensor) -> Tensor:
        return self.mask.to(y.real.dtype) * y


class FourierPairs(FourierSampling):
    """`FourierSampling` with real measurements ``[B, C, H, W, 2]``: the real and the imaginary part along a trailing axis.

    For programs with inputs and outputs of real numbers; made by `FourierSampling.without_complex`.
    """

    def __init__(self, operator: FourierSampling) -> None:
        LinearOperator.__init__(self)
        self.register_buffer("mask", operator.mask)

    def measured(self, y: Tensor) -> Tensor:
        """`y` with zeros where a frequency was not measured."""
        return torch.where(self.mask[..., None] > 0, y, 0)

    def _transform(self, x: Tensor) -> Tensor:
        return torch.view_as_real(super()._transform(x))

    def _inverse(self, y: Tensor) -> Tensor:
        return super()._inverse(torch.view_as_complex(y))

    def _weigh(self, y: Tensor) -> Tensor:
        return self.mask.to(y.dtype)[..., None] * y


class FourierMatrices(FourierPairs):
    """`FourierPairs` by products with matrices; made by `FourierSampling.without_fourier`."""

    def _filter(self, x: Tensor, gain: Tensor) -> Tensor:
        return dft.multiplier(gain, fast=False)(x)

    def _transform(self, x: Tensor) -> Tensor:
        return torch.stack(dft.transform(x), -1)

    def _inverse(self, y: Tensor) -> Tensor:
        return dft.inverse(y[..., 0], y[..., 1])
