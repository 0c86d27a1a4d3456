"""A blur whose way of computing is decided before a program is traced."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastreg.kernels._triton import usable
from fastreg.kernels.blur_gradient.open_path import Open
from fastreg.kernels.blur_gradient.paths import Fourier, Path
from fastreg.kernels.blur_gradient.planner import Plan, Planner
from fastreg.kernels.blur_gradient.tables import TapTable
from fastreg.operators.base import LinearOperator
from fastreg.operators.blur import Blur

#: Sides of the images that programs with open sizes are planned for.
NOMINAL = 512
#: More taps than this are not unrolled into a compiled program: each is read and added by a line of its own.
MOST_TAPS = 48
#: How many times longer transforms take inside a program, where their size is open and that of the PSF is made anew each time:
#: two to four on a CPU with PSFs of 5 to 25 pixels.
TRANSFORMS = 2.5


class SettledBlur(Blur):
    """A blur with one way of computing for images of any size; made by `Blur.traceable`.

    Convolutions, tap lists and Triton kernels are those of the plan. Transforms are of the size of the images, and are
    made inside the program.
    """

    def __init__(self, blur: Blur, plan: Plan) -> None:
        LinearOperator.__init__(self)
        self.boundary = blur.boundary
        self._memo = None
        self.register_buffer("psf", blur.psf)
        self.choice = plan.choice
        self.dtype = plan.work.dtype
        fourier = isinstance(plan.path, Fourier)
        self.path: Path | None = None if fourier else plan.path
        self.tables = nn.ModuleList(_Table(table) for table in plan.tables)
        if plan.tables:  # Triton is to be loaded before a compiler meets the import
            from fastreg.kernels.blur_gradient import ops  # noqa: F401

    def forward(self, x: Tensor) -> Tensor:
        """Degrade: convolve with the PSF."""
        if self.path is None or x.dtype != self.dtype:
            return super().forward(x)
        self._require(x.shape[-2], x.shape[-1])
        return self.path.blur(x)

    def adjoint(self, y: Tensor) -> Tensor:
        """Transpose."""
        if self.path is None or y.dtype != self.dtype:
            return super().adjoint(y)
        height, width = self.image_shape(tuple(y.shape))[-2:]
        self._require(height, width)
        return self.path.adjoint(y)

    def gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Gradient of half the squared residual, A*(A x - y)."""
        if self.path is None or x.dtype != self.dtype:
            return super().gradient(x, y)
        if len(self.tables) and usable(x, y):
            from fastreg.kernels.blur_gradient import ops  # imports Triton

            self._require(x.shape[-2], x.shape[-1])
            tables = [table() for table in self.tables]
            if self.choice == "triton_separable":
                return ops.separable_gradient(x, y, tables[0], tables[1], None, None)
            return ops.gradient(x, y, tables[0], None, None, fused=self.choice == "triton_fused")
        return self.adjoint(self(x) - y)

    def _way(self, like: Tensor, shape: tuple[int, ...]) -> Open:
        return self._open(like)

    def _open(self, like: Tensor) -> Open:
        return Open(self.psf.to(like.dtype), self.boundary, self.path is None or super()._open(like).fourier)


class _Table(nn.Module):
    """The tensors of a list of taps, as buffers."""

    offsets: Tensor
    values: Tensor
    ranges: Tensor

    def __init__(self, table: TapTable) -> None:
        super().__init__()
        for name in ("offsets", "values", "ranges"):
            self.register_buffer(name, getattr(table, name), persistent=False)
        self.taps, self.geometry = table.taps, table.geometry

    def forward(self) -> TapTable:
        """The list."""
        return TapTable(self.offsets, self.values, self.ranges, self.taps, self.geometry)


def settle(blur: Blur, planner: Planner, channels: int, dtype: torch.dtype) -> SettledBlur:
    """Decide for images of `NOMINAL` pixels a side, or four times the PSF."""
    side = max(NOMINAL, 4 * max(blur.psf.shape))
    shape, device = (1, channels, side, side), blur.psf.device
    plan = planner.plan(shape, dtype, device)
    allowed = [candidate for candidate in plan.candidates if not candidate.refused]
    seconds = {
        candidate.name: candidate.seconds * (TRANSFORMS if candidate.name == "fft" else 1)
        for candidate in allowed
        if candidate.name != "taps" or planner.taps <= MOST_TAPS
    }
    choice = min(seconds, key=lambda name: seconds[name])
    return SettledBlur(blur, planner.plan(shape, dtype, device, choice))
