"""Decides once how the gradient of a blur is computed: bounding box, separable rank, tap list, direct, transforms."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from fastreg.kernels import settings
from fastreg.kernels._triton import usable
from fastreg.kernels.blur_gradient import costs, crossovers, reference
from fastreg.kernels.blur_gradient.costs import Candidate, Work
from fastreg.kernels.blur_gradient.geometry import Geometry, cropped
from fastreg.kernels.blur_gradient.paths import Direct, Fourier, Path, Separable, Taps, factors
from fastreg.kernels.blur_gradient.tables import TapTable, tabulate

#: How many plans a planner remembers: those with transforms are as large as the images they are for.
_MOST_PLANS = 4


@dataclasses.dataclass(frozen=True)
class Plan:
    """How to compute A x, A* r and A*(A x - y) for images of one shape, dtype and device.

    `choice` is the name of a candidate. `path` is the plain torch way, used for `blur` and `adjoint`, and for `gradient` unless
    the choice is a Triton kernel; `tables` are the taps of that kernel. `crossovers` says in words what was measured near.
    """

    choice: str
    work: Work
    whole: tuple[int, int]
    candidates: tuple[Candidate, ...]
    measured: bool
    path: Path
    tables: tuple[TapTable, ...] = ()
    crossovers: tuple[str, ...] = ()

    def blur(self, x: Tensor) -> Tensor:
        """A x."""
        return self.path.blur(x)

    def adjoint(self, r: Tensor) -> Tensor:
        """A* r."""
        return self.path.adjoint(r)

    def gradient(self, x: Tensor, y: Tensor, scale: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        """``A*(scale * weights * (A x - y))``; `scale` is ``[B]``, `weights` broadcasts against y."""
        if self.tables and usable(x, y, scale, weights):
            from fastreg.kernels.blur_gradient import ops  # imports Triton

            if self.choice == "triton_separable":
                columns, rows = self.tables
                return ops.separable_gradient(x, y, columns, rows, scale, weights)
            return ops.gradient(x, y, self.tables[0], scale, weights, fused=self.choice == "triton_fused")
        if isinstance(self.path, Fourier) and self.path.geometry.boundary == "circular" and weights is None:
            result = self.path.circular_gradient(x, y)
            return result if scale is None else scale.reshape(-1, 1, 1, 1) * result
        return self.adjoint(reference.residual(self.blur(x), y, scale, weights))

    def explain(self) -> str:
        """The PSF, every candidate with its costs, and why the chosen one was chosen."""
        work, geometry = self.work, self.work.geometry
        best = self.candidates[0]
        lines = [
            f"PSF {self.whole[0]}x{self.whole[1]}, without the zeros around it {geometry.height}x{geometry.width}: "
            f"{work.taps} taps, rank {work.rank}",
            f"images {list(work.shape)}, {str(work.dtype).removeprefix('torch.')}, {work.device}, "
            f"boundary {geometry.boundary}",
            "rates: measured on this device" if self.measured else "rates: assumed, not measured on this device",
            *self.crossovers,
            f"  {'candidate':16} {'Mop':>10} {'MB':>10} {'launches':>8} {'estimate':>11}",
        ]
        for candidate in self.candidates:
            mark = "*" if candidate.name == self.choice else " "
            estimate = f"{candidate.seconds * 1e6:.1f} us" if candidate.seconds != float("inf") else "-"
            if candidate.refused:
                reason = f"refused: {candidate.refused}"
            elif candidate is best:
                reason = "cheapest"
            else:
                reason = f"{candidate.seconds / best.seconds:.2f} x the cheapest"
            lines.append(
                f"{mark} {candidate.name:16} {candidate.operations / 1e6:10.3f} {candidate.bytes / 1e6:10.3f} "
                f"{candidate.launches:8d} {estimate:>11}  {reason}"
            )
        if self.choice != best.name:
            lines.append(f"{self.choice} was asked for")
        return "\n".join(lines)


class Planner:
    """Plans for one PSF ``[h, w]`` and boundary rule, remembered for each shape, dtype and device.

    Raises
    ------
    ValueError
        If the PSF is not a finite ``[h, w]``, or the boundary rule is unknown.

    Examples
    --------
    >>> planner = Planner(torch.full((9, 9), 1 / 81), "reflect")
    >>> plan = planner.plan((1, 3, 64, 64), torch.float32, torch.device("cpu"))
    >>> plan.choice
    'separable'
    >>> print(plan.explain())  # doctest: +ELLIPSIS
    PSF 9x9, without the zeros around it 9x9: 81 taps, rank 1
    ...
    """

    def __init__(self, psf: Tensor, boundary: str) -> None:
        exact = psf.detach().double()
        if not bool(torch.isfinite(exact).all()):
            raise ValueError("a PSF must be finite, got NaN or infinity")
        self.box, self.geometry = cropped(exact, boundary)
        self.whole = (int(psf.shape[0]), int(psf.shape[1]))
        self.taps = int((self.box != 0).sum())
        self._factors: dict[torch.dtype, tuple[Tensor, Tensor]] = {}
        self._plans: dict[tuple[object, ...], Plan] = {}

    def plan(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, choice: str | None = None) -> Plan:
        """Plan for images of `shape` ``(B, C, H, W)``; `choice` overrides the decision.

        Raises
        ------
        ValueError
            If the PSF reaches too far beyond such an image, or `choice` cannot be used.
        """
        key = (tuple(shape), dtype, device, choice)
        found = self._plans.get(key)
        if found is None:
            with torch.inference_mode(False), torch.no_grad():  # kept for calls that may differentiate
                found = self._make(shape, dtype, device, choice)
            if len(self._plans) >= _MOST_PLANS:  # the oldest goes: a folder may have an image of every size
                self._plans.pop(next(iter(self._plans)), None)
            self._plans[key] = found
        return found

    def _make(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, choice: str | None) -> Plan:
        batch, channels, height, width = shape
        self.geometry.check(height, width)
        if dtype not in self._factors:
            # dropping what lies below the rounding of the dtype keeps the error that of the arithmetic
            self._factors[dtype] = factors(self.box, 8 * torch.finfo(dtype).eps)
        columns, rows = self._factors[dtype]
        work = Work((batch, channels, height, width), self.geometry, len(rows), self.taps, dtype, device)
        found = costs.candidates(work)
        by_name = {candidate.name: candidate for candidate in found}
        if choice is not None and choice not in by_name:
            raise ValueError(f"the choice must be one of {sorted(by_name)}, got {choice!r}")
        if choice is not None and choice in costs.TRITON and by_name[choice].refused:
            raise ValueError(f"{choice} cannot be used: {by_name[choice].refused}")
        chosen = found[0].name if choice is None else choice
        psf, columns, rows = (t.to(dtype=dtype, device=device) for t in (self.box, columns, rows))
        tables: tuple[TapTable, ...] = ()
        path: Path
        if chosen in ("separable", "triton_separable"):
            path = Separable(columns, rows, self.geometry)
        elif chosen == "taps":
            path = Taps(psf, self.geometry)
        elif chosen == "fft":
            path = Fourier(psf, self.geometry, height, width)
        else:
            path = Direct(psf, self.geometry)
        if chosen == "triton_separable":
            tables = separable_tables(columns[0], rows[0], self.geometry)
        elif chosen in costs.TRITON:
            tables = (tabulate(psf, self.geometry),)
        stored = settings.of(device)
        near = crossovers.words(stored.get("crossovers", ()), height * width)
        return Plan(chosen, work, self.whole, tuple(found), bool(stored["measured"]), path, tables, tuple(near))


def separable_tables(column: Tensor, row: Tensor, geometry: Geometry) -> tuple[TapTable, TapTable]:
    """Tap lists of the columns and of the rows of a PSF of rank 1; boundary rules act along each dimension alone."""
    left, right, top, bottom = geometry.crop
    columns = Geometry(geometry.height, 1, geometry.row, 0, geometry.boundary, (0, 0, top, bottom))
    rows = Geometry(1, geometry.width, 0, geometry.column, geometry.boundary, (left, right, 0, 0))
    return tabulate(column[:, None], columns), tabulate(row[None, :], rows)


def plan(psf: Tensor, boundary: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Plan:
    """Plan for a PSF ``[h, w]`` and images of `shape` ``(B, C, H, W)``; see `Planner`."""
    return Planner(psf, boundary).plan(shape, dtype, device)
