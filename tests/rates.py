"""Rates of processors for the planner of blurs, so that what tests expect of it does not hang on the processor they run on."""

from __future__ import annotations

from typing import Any

from fastreg.kernels import settings

#: Of a processor on which every way to blur is the fastest for some PSF: its convolutions are as fast as its shifts.
EVEN: dict[str, dict[str, float]] = {
    "direct": {"operations": 1e10, "bytes": 2e10, "launch": 5e-6},
    "separable": {"operations": 1e10, "bytes": 2e10, "launch": 5e-6},
    "taps": {"operations": 5e9, "bytes": 2e10, "launch": 5e-6},
    "fft": {"operations": 5e9, "bytes": 1e10, "launch": 1e-5},
}


def on_a_cpu(rates: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Settings with these rates of a CPU, for `settings.using`."""
    default = settings.defaults()
    return {**default, "blur_gradient": {**default["blur_gradient"], "cpu": rates}}
