"""What each way to compute A*(A x - y) costs, and which is the cheapest.

The estimate of a candidate is ``launches * launch + max(operations / rate, bytes / bandwidth)``, with rates stored for each
device in ``kernels/configs`` (see `fastreg.kernels.settings`), and for large images others where that was measured to matter.
Counts, with N pixels of all planes, N' those of the extended
image, k = h w taps of which n are not zero, and rank r:

================  ==========================  ===============================================================
candidate         operations                  numbers moved
================  ==========================  ===============================================================
direct            4 k N'                      extend, convolve, subtract, transpose, fold: 11 N'
separable         4 r (h + w) N'              the same and 4 r N' for the planes between rows and columns
taps              4 n N'                      6 n N': every tap reads an image, and reads and writes the sum
fft               4 transforms, 2.5 S log2 S  25 S (100 bytes in float32), S pixels in the transforms
triton_taps       4 n N                       5 N: x, y, the residual twice, the gradient
triton_fused      2 n N (1 + halo)            3 N: the residual stays in the cache; the halo is computed twice
triton_separable  4 (h + w) N                 9 N
================  ==========================  ===============================================================
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch

from fastreg.kernels import settings
from fastreg.kernels._triton import available
from fastreg.kernels.blur_gradient.geometry import Geometry
from fastreg.kernels.blur_gradient.paths import fourier_size

#: The candidates that are Triton kernels.
TRITON = ("triton_taps", "triton_fused", "triton_separable")
#: More taps than this are not unrolled into shifted additions.
MOST_TAPS = 256


class Candidate(NamedTuple):
    """One way to compute the gradient; `refused` says why it cannot be used, and is empty if it can."""

    name: str
    operations: float
    bytes: float
    launches: int
    seconds: float
    refused: str


class Work(NamedTuple):
    """What the costs depend on: sizes ``(B, C, H, W)``, the cropped PSF, its rank and its taps that are not zero."""

    shape: tuple[int, int, int, int]
    geometry: Geometry
    rank: int
    taps: int
    dtype: torch.dtype
    device: torch.device


def candidates(work: Work) -> list[Candidate]:
    """Every candidate, the usable ones first and the cheapest of them first."""
    rates: dict[str, Any] = settings.of(work.device)["blur_gradient"]
    kind = rates.get(work.device.type, rates["cpu"])
    found = []
    for name, (operations, numbers, launches) in _counts(work).items():
        refused = _refused(name, work)
        rate = kind.get(name)
        seconds = math.inf
        moved = numbers * work.dtype.itemsize
        if rate is not None:
            large = rate.get("large")
            if large is not None and math.prod(work.shape) >= large["pixels"]:
                rate = large
            slower = work.dtype.itemsize / 4
            seconds = launches * rate["launch"] + max(operations * slower / rate["operations"], moved / rate["bytes"])
        elif not refused:
            refused = f"no rates stored for {work.device.type}"
        found.append(Candidate(name, operations, moved, launches, seconds, refused))
    return sorted(found, key=lambda candidate: (bool(candidate.refused), candidate.seconds))


def _counts(work: Work) -> dict[str, tuple[float, float, int]]:
    geometry, (batch, channels, height, width) = work.geometry, work.shape
    planes = batch * channels
    h, w = geometry.height, geometry.width
    pixels = float(planes * height * width)
    extended = float(planes * (height + h - 1) * (width + w - 1))
    rows, columns = fourier_size(geometry, height, width)
    transform = float(planes * rows * columns)
    folds = 0 if geometry.boundary in ("zero", "valid") else 4
    return {
        "direct": (4 * h * w * extended, 11 * extended, 5 + folds),
        "separable": (4 * work.rank * (h + w) * extended, (11 + 4 * work.rank) * extended, 7 + folds),
        "taps": (4 * work.taps * extended, 6 * work.taps * extended, 4 * work.taps + 3 + folds),
        "fft": (4 * 2.5 * transform * math.log2(max(2, rows * columns)), 25 * transform, 9 + folds),
        "triton_taps": (4 * work.taps * pixels, 5 * pixels, 2),
        "triton_fused": (2 * work.taps * pixels * (1 + _halo(work)), 3 * pixels, 1),
        "triton_separable": (4 * (h + w) * pixels, 9 * pixels, 4),
    }


def _halo(work: Work) -> float:
    """Pixels of a tile of the fused kernel for each one it writes."""
    from fastreg.kernels.blur_gradient.tables import reach

    config, (rows, columns) = settings.launch("blur_fused", work.device), reach(work.geometry)
    kept = max(config["ROWS"] - 2 * rows, 0) * max(config["COLUMNS"] - 2 * columns, 0)
    return config["ROWS"] * config["COLUMNS"] / kept if kept else math.inf


def _refused(name: str, work: Work) -> str:
    if name in TRITON:
        if work.device.type != "cuda":
            return f"Triton kernels run on GPUs, not on {work.device.type}"
        if not available():
            return "Triton is not installed"
        if work.dtype != torch.float32:
            return f"the kernels are float32, not {work.dtype}"
        if math.prod(work.shape[1:]) >= 2**31:
            return "an image has more numbers than a 32-bit index reaches"
    if name == "triton_fused" and _halo(work) > 4:
        return "the halo would be more than three quarters of a tile"
    if name == "triton_separable" and work.rank > 1:
        return f"the PSF has rank {work.rank}, the kernels take rank 1"
    if name == "taps" and work.taps > MOST_TAPS:
        return f"{work.taps} taps are more than the {MOST_TAPS} that are unrolled"
    if name == "separable" and work.rank * (work.geometry.height + work.geometry.width) >= (
        work.geometry.height * work.geometry.width
    ):
        return f"rank {work.rank} has no fewer operations than all {work.geometry.height * work.geometry.width} taps"
    return ""
