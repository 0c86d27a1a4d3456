"""How a float32 kernel is judged: against float64, by what torch itself achieves in float32."""

from __future__ import annotations

import torch
from torch import Tensor


def assert_as_accurate(
    kernel: Tensor, torch32: Tensor, exact: Tensor, operations: int = 4, magnitude: float | None = None
) -> None:
    """Largest error at most twice torch's, plus `operations` roundings of the largest number (where torch is lucky).

    `magnitude` is that of the numbers that are added up, if it is not that of the result.
    """
    assert kernel.shape == exact.shape
    assert bool(torch.isfinite(kernel).all()), "some numbers were never written"
    floor = operations * torch.finfo(torch.float32).eps * (float(exact.abs().max()) if magnitude is None else magnitude)
    mine = float((kernel.double() - exact).abs().max())
    theirs = float((torch32.double() - exact).abs().max())
    assert mine <= 2 * theirs + floor, f"error {mine:.3g}, torch's own {theirs:.3g}, floor {floor:.3g}"
