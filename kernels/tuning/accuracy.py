"""When a fast path is right: its error against float64 is bounded by what torch's own path in the same precision has."""

from __future__ import annotations

from torch import Tensor

#: Largest relative rms error of a gradient with operands of a precision; a random ReLU network loses per cents in bf16.
TOLERANCE = {"ieee": 1e-5, "tf32": 2e-2, "bf16": 8e-2, "fp16": 2e-2}


def relative(result: Tensor, exact: Tensor) -> float:
    """Root mean square error relative to the root mean square."""
    return float((result.double() - exact).norm() / exact.norm())


def limit(theirs: float, precision: str = "ieee") -> float:
    """Largest error that passes: twice torch's own, or what the precision allows."""
    return max(2 * theirs, TOLERANCE[precision] if precision != "ieee" else 1e-6)


def does_not_run(problem: Exception) -> str:
    """One line for what a compiler or a driver raised."""
    lines = str(problem).strip().splitlines()
    return f"does not run: {lines[0] if lines else type(problem).__name__}"
