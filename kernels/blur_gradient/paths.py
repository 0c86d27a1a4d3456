"""Four ways to apply a blur and its adjoint in plain torch; all agree to rounding.

A path is made once for a PSF. Calling it asks nothing of the host, so that it can be compiled and exported.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastreg.kernels.blur_gradient import reference
from fastreg.kernels.blur_gradient.convolution import convolve
from fastreg.kernels.blur_gradient.geometry import Geometry
from fastreg.kernels.blur_gradient.open_path import residual


class Path(Protocol):
    """A way to compute A x and A* r."""

    def blur(self, x: Tensor) -> Tensor:
        """A x."""

    def adjoint(self, r: Tensor) -> Tensor:
        """A* r."""


class Direct(nn.Module):
    """One convolution with all taps."""

    psf: Tensor

    def __init__(self, psf: Tensor, geometry: Geometry) -> None:
        super().__init__()
        self.register_buffer("psf", psf, persistent=False)
        self.geometry = geometry

    def blur(self, x: Tensor) -> Tensor:
        """A x."""
        return reference.blur(x, self.psf, self.geometry)

    def adjoint(self, r: Tensor) -> Tensor:
        """A* r."""
        return reference.blur_adjoint(r, self.psf, self.geometry)


class Separable(nn.Module):
    """A sum of convolutions along columns and rows, from the singular vectors of the PSF."""

    columns: Tensor
    rows: Tensor

    def __init__(self, columns: Tensor, rows: Tensor, geometry: Geometry) -> None:
        """`columns` is ``[rank, h]`` and `rows` ``[rank, w]``; their outer products add up to the PSF."""
        super().__init__()
        self.register_buffer("columns", columns, persistent=False)
        self.register_buffer("rows", rows, persistent=False)
        self.geometry = geometry

    def blur(self, x: Tensor) -> Tensor:
        """A x: rows first, one channel a rank; the columns then add the channels up."""
        extended = self.geometry.extend(x)
        parts = convolve(extended.reshape(-1, 1, *extended.shape[-2:]), self.rows.flip(1)[:, None, None, :])
        result = convolve(parts, self.columns.flip(1)[None, :, :, None])
        return result.reshape(*x.shape[:2], *result.shape[-2:])

    def adjoint(self, r: Tensor) -> Tensor:
        """A* r."""
        height, width = self.geometry.height, self.geometry.width
        parts = convolve(r.reshape(-1, 1, *r.shape[-2:]), self.columns[:, None, :, None], (height - 1, 0))
        result = convolve(parts, self.rows[None, :, None, :], (0, width - 1))
        return self.geometry.fold(result.reshape(*r.shape[:2], *result.shape[-2:]))


class Taps(nn.Module):
    """A sum of shifted images, one for each tap that is not zero."""

    values: Tensor

    def __init__(self, psf: Tensor, geometry: Geometry) -> None:
        super().__init__()
        self.geometry = geometry
        mirrored = psf.flip(0, 1)
        self.offsets: list[tuple[int, int]] = [(int(row), int(column)) for row, column in mirrored.nonzero()]
        values = torch.stack([mirrored[at] for at in self.offsets]) if self.offsets else psf.new_zeros(0)
        self.register_buffer("values", values, persistent=False)

    def blur(self, x: Tensor) -> Tensor:
        """A x."""
        extended = self.geometry.extend(x)
        size = (extended.shape[-2] - self.geometry.height + 1, extended.shape[-1] - self.geometry.width + 1)
        return self._sum(extended, size, self.offsets)

    def adjoint(self, r: Tensor) -> Tensor:
        """A* r."""
        rows, columns = self.geometry.height - 1, self.geometry.width - 1
        size = (r.shape[-2] + rows, r.shape[-1] + columns)
        mirrored = [(rows - row, columns - column) for row, column in self.offsets]
        return self.geometry.fold(self._sum(F.pad(r, (columns, columns, rows, rows)), size, mirrored))

    def _sum(self, source: Tensor, size: tuple[int, int], offsets: list[tuple[int, int]]) -> Tensor:
        result = source.new_zeros((*source.shape[:2], *size))
        for value, (row, column) in zip(self.values.unbind(0), offsets, strict=True):
            result = result + value * source[..., row : row + size[0], column : column + size[1]]
        return result


class Fourier(nn.Module):
    """A product of transforms: on the image itself for `circular`, on the extended image otherwise."""

    transform: Tensor

    def __init__(self, psf: Tensor, geometry: Geometry, height: int, width: int) -> None:
        super().__init__()
        self.geometry = geometry
        self.size = fourier_size(geometry, height, width)
        if geometry.boundary == "circular":
            embedded = psf.new_zeros(self.size)
            rows = (torch.arange(geometry.height, device=psf.device) - geometry.row) % height
            columns = (torch.arange(geometry.width, device=psf.device) - geometry.column) % width
            # a PSF as large as the image may wrap onto itself
            embedded.index_put_((rows[:, None], columns[None, :]), psf, accumulate=True)
        else:
            embedded = F.pad(psf, (0, self.size[1] - geometry.width, 0, self.size[0] - geometry.height))
        self.register_buffer("transform", torch.fft.rfft2(embedded), persistent=False)

    def blur(self, x: Tensor) -> Tensor:
        """A x."""
        if self.geometry.boundary == "circular":
            return self._multiply(x, self.transform)
        # the convolution is complete, and where the PSF lies wholly inside, what wraps around does not reach
        extended = self.geometry.extend(x)
        full = self._multiply(extended, self.transform)
        rows, columns = self.geometry.height - 1, self.geometry.width - 1
        return full[..., rows : extended.shape[-2], columns : extended.shape[-1]]

    def adjoint(self, r: Tensor) -> Tensor:
        """A* r."""
        if self.geometry.boundary == "circular":
            return self._multiply(r, self.transform.conj())
        rows, columns = self.geometry.height - 1, self.geometry.width - 1
        placed = F.pad(r, (columns, 0, rows, 0))
        full = self._multiply(placed, self.transform.conj())
        return self.geometry.fold(full[..., : placed.shape[-2], : placed.shape[-1]])

    def circular_gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """``A*(A x - y)`` for the rule `circular`, with three transforms: the residual is formed among the frequencies."""
        result: Tensor = torch.fft.irfft2(self.transform.conj() * residual(self.transform, x, y), s=self.size)
        return result

    def _multiply(self, x: Tensor, transform: Tensor) -> Tensor:
        result: Tensor = torch.fft.irfft2(transform * torch.fft.rfft2(x, s=self.size), s=self.size)
        return result


def fourier_size(geometry: Geometry, height: int, width: int) -> tuple[int, int]:
    """Size of the transforms for images of `height` x `width`; products of 2, 3, 5 and 7 unless the rule is circular."""
    if geometry.boundary == "circular":
        return height, width
    rows, columns = geometry.measurement(height, width)
    return _smooth(rows + geometry.height - 1), _smooth(columns + geometry.width - 1)


def _smooth(size: int) -> int:
    while True:
        rest = size
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 1


def factors(psf: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Columns ``[rank, h]`` and rows ``[rank, w]`` whose outer products add up to the PSF.

    Singular values below `tolerance` times the largest are dropped; the decomposition is made in float64.
    """
    left, values, right = torch.linalg.svd(psf.double(), full_matrices=False)
    rank = max(1, int((values > tolerance * values[0]).sum()))
    root = values[:rank].sqrt()
    return (left[:, :rank] * root).T.to(psf.dtype).contiguous(), (root[:, None] * right[:rank]).to(psf.dtype)
