"""Whether a launch setting makes a kernel keep registers in memory, asked of the compiler alone."""

from __future__ import annotations

import torch

from fastreg.kernels.tuning import accuracy
from fastreg.kernels.tuning.launches import Setting


def complaint(kernel: str, setting: Setting, architecture: int) -> str:
    """What the compile gate has against a setting on GPUs such as 90; empty if nothing.

    Shared memory is left to the launch itself, which fails where there is too little.
    """
    from fastreg.kernels.compile_cases import cases_of
    from fastreg.kernels.compile_gate import compile_case

    for case in cases_of("tried", kernel, setting):
        try:
            stack = compile_case(case, architecture).stack
        except Exception as problem:  # compilers raise what they like
            return accuracy.does_not_run(problem)
        if stack:
            return f"spills: {stack} bytes of stack in {case.name}"
    return ""


def architecture(device: torch.device) -> int:
    """The compute capability of a GPU as one number."""
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor
