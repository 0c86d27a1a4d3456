"""How a blur is computed, by rules on the number of non-zero taps of its PSF.

On a CPU: in 69 measurements (PSFs of 3x3 to 25x25 taps, dense, separable and sparse; images of 24 to 1024 pixels a side; two
cores of an AMD EPYC) shifted images were the fastest 21 times, Fourier transforms 48 times, and convolutions never. The rule
"at most 17 taps: shifted images" takes 1.039 times as long as the fastest method (geometric mean). ``python -m bench.kernels``
repeats the measurement on other machines.

On a GPU: microseconds for 3x512x512 pixels on an H100, launches included (``bench/tables/kernels.md``):

=================  ======  =====================  ============
PSF                fused   residual and adjoint   best of torch
=================  ======  =====================  ============
dense 3x3          181     250                    344
13 taps in 7x7     275     389                    545
29 taps in 15x15   401     345                    1014
dense 7x7          531     417                    593
dense 9x9          660     490                    638
dense 15x15        1652    968                    1052
dense 25x25                2248                   666
=================  ======  =====================  ============
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from torch import Tensor

from fastreg.kernels._triton import available, usable
from fastreg.kernels.blur_gradient import fourier, shifts, tables
from fastreg.kernels.blur_gradient.geometry import geometry
from fastreg.kernels.blur_gradient.shifts import Positions
from fastreg.kernels.blur_gradient.tables import TapTable

#: Most taps that are applied as shifted images.
MOST_SHIFTS = 17
#: Limits of the single Triton kernel for residual and adjoint: taps, and distance in pixels from the centre of the PSF.
MOST_FUSED, FUSED_REACH = 13, 3
#: Most taps for the pair of Triton kernels, one for the residual and one for the adjoint.
MOST_TRITON = 200


class Method(NamedTuple):
    """How A x, A* r and A*(A x - y) are computed for a PSF.

    By sums of shifted images for the taps at `positions`, or by Fourier transforms if `positions` is None. The gradient of
    float32 images on a GPU is computed by Triton kernels if there is a `table`.
    """

    boundary: str
    positions: Positions | None
    table: TapTable | None
    fused: bool

    def blur(self, x: Tensor, psf: Tensor) -> Tensor:
        """A x."""
        if self.positions is None:
            return fourier.blur(x, psf, geometry(psf, self.boundary))
        return shifts.blur(x, psf, geometry(psf, self.boundary), self.positions)

    def adjoint(self, r: Tensor, psf: Tensor) -> Tensor:
        """A* r."""
        if self.positions is None:
            return fourier.adjoint(r, psf, geometry(psf, self.boundary))
        return shifts.adjoint(r, psf, geometry(psf, self.boundary), self.positions)

    def forward_map(self, psf: Tensor, height: int, width: int) -> fourier.Map:
        """`blur` for images of one size, to be applied more than once."""
        if self.positions is None:
            return fourier.forward_map(psf, geometry(psf, self.boundary), height, width)
        return lambda x: self.blur(x, psf)

    def adjoint_map(self, psf: Tensor, height: int, width: int) -> fourier.Map:
        """`adjoint` for measurements of one size, to be applied more than once."""
        if self.positions is None:
            return fourier.adjoint_map(psf, geometry(psf, self.boundary), height, width)
        return lambda r: self.adjoint(r, psf)

    def gradient(self, x: Tensor, y: Tensor, psf: Tensor) -> Tensor:
        """A*(A x - y)."""
        if self.table is not None and usable([x, y], list(self.table[:3])):
            from fastreg.kernels.blur_gradient import triton_blur  # imports Triton

            return triton_blur.gradient(x, y, self.table, self.fused)
        if self.positions is None:
            return fourier.gradient(x, y, psf, geometry(psf, self.boundary))
        return self.adjoint(self.blur(x, psf) - y, psf)


def by_values(psf: Tensor, boundary: str) -> Method:
    """The method for a PSF ``[h, w]``, by its non-zero taps; copies the values from a GPU."""
    shape = geometry(psf, boundary)
    at = psf.detach().nonzero().tolist()
    positions = tuple((row, column) for row, column in at) if len(at) <= MOST_SHIFTS else None
    table = tables.sparse(psf, shape) if psf.is_cuda and available() and len(at) <= MOST_TRITON else None
    if table is not None:  # not later: compilers cannot trace the import
        from fastreg.kernels.blur_gradient import triton_blur  # noqa: F401
    return _method(boundary, positions, table)


def by_size(psf: Tensor, boundary: str) -> Method:
    """The method for a PSF whose values are unknown, such as an input of a program: as if no tap were zero."""
    shape = geometry(psf, boundary)
    taps = shape.height * shape.width
    positions = shifts.everywhere(shape) if taps <= MOST_SHIFTS else None
    table = tables.dense(psf, shape) if psf.is_cuda and available() and taps <= MOST_TRITON else None
    return _method(boundary, positions, table)


def _method(boundary: str, positions: Positions | None, table: TapTable | None) -> Method:
    return Method(boundary, positions, table, table is not None and _fused(table.taps, table.reach))


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the gradient of a blur is computed for images of one shape and dtype, and by which rule."""

    choice: str
    rule: str
    size: tuple[int, int]
    taps: int
    boundary: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def explain(self) -> str:
        """PSF, images, method and rule as text."""
        return (
            f"PSF {self.size[0]}x{self.size[1]}, {self.taps} non-zero taps, boundary {self.boundary}\n"
            f"images {list(self.shape)}, {str(self.dtype).removeprefix('torch.')}, {self.device}\n"
            f"{self.choice}: {self.rule}"
        )


def plan(psf: Tensor, boundary: str, shape: tuple[int, ...], dtype: torch.dtype) -> Plan:
    """The plan for a PSF ``[h, w]`` and images of `shape` ``(B, C, H, W)`` on the device of the PSF."""
    table = tables.sparse(psf, geometry(psf, boundary))
    on_gpu = psf.is_cuda and available() and dtype == torch.float32
    choice, rule = choose(table.taps, table.reach, on_gpu)
    size = (int(psf.shape[0]), int(psf.shape[1]))
    return Plan(choice, rule, size, table.taps, boundary, tuple(shape), dtype, psf.device)


def choose(taps: int, reach: tuple[int, int], triton: bool) -> tuple[str, str]:
    """The method for the gradient and its rule, by the number of taps; `triton` if Triton kernels can be used."""
    if triton and _fused(taps, reach):
        return "triton_fused", f"one Triton kernel up to {MOST_FUSED} taps within {FUSED_REACH} pixels"
    if triton and taps <= MOST_TRITON:
        return "triton_taps", f"two Triton kernels, residual and adjoint, up to {MOST_TRITON} taps"
    if taps <= MOST_SHIFTS:
        return "taps", f"a sum of shifted images up to {MOST_SHIFTS} taps"
    return "fft", f"Fourier transforms for more than {MOST_TRITON if triton else MOST_SHIFTS} taps"


def _fused(taps: int, reach: tuple[int, int]) -> bool:
    return taps <= MOST_FUSED and max(reach) <= FUSED_REACH
