"""Sizes of tiles, warps and pipeline stages that the Triton kernels are launched with.

They were chosen so that nothing spills to memory on sm_80, sm_90 and sm_100, which `python -m bench.compile_gate` proves without
a GPU; on an H200 every kernel was right with them. One table serves all GPUs: no other settings were timed.
"""

from __future__ import annotations

BLUR_TILE = {"ROWS": 16, "COLUMNS": 64, "num_warps": 4, "num_stages": 1}
#: `PROGRAMS` is the most programs that run at once, each with a slot of scratch memory: eight on each of 132 multiprocessors.
BLUR_FUSED = {"ROWS": 32, "COLUMNS": 64, "PROGRAMS": 1056, "num_warps": 4, "num_stages": 1}

#: `M` pixels, `N` channels and `K` terms of the sum of a convolution, by the operands of the products.
CRITIC_FORWARD = {
    "ieee": {"M": 64, "N": 64, "K": 16, "num_warps": 4, "num_stages": 3},
    "tf32": {"M": 128, "N": 64, "K": 32, "num_warps": 8, "num_stages": 3},
    "half": {"M": 128, "N": 64, "K": 64, "num_warps": 4, "num_stages": 3},
}
CRITIC_BACKWARD = {
    "ieee": {"M": 64, "N": 64, "K": 16, "num_warps": 4, "num_stages": 2},
    "tf32": {"M": 128, "N": 64, "K": 32, "num_warps": 4, "num_stages": 3},
    "half": {"M": 128, "N": 64, "K": 64, "num_warps": 8, "num_stages": 3},
}
#: `NUMBERS` is pixels times channels of a tile of the last layer.
CRITIC_LAST = {"NUMBERS": 2048, "num_warps": 4, "num_stages": 1}
