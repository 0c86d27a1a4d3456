"""Tile sizes, warps and pipeline stages of the Triton kernels.

With these settings no kernel spills registers to memory on sm_80, sm_90 and sm_100, which `python -m bench.compile_gate` checks
without a GPU, and every kernel gave correct results on an H200. The same table is used on all GPUs: no other settings were timed.
"""

from __future__ import annotations

BLUR_TILE = {"ROWS": 16, "COLUMNS": 64, "num_warps": 4, "num_stages": 1}
#: `PROGRAMS` limits how many programs run at once, each with its own scratch memory: eight on each of 132 multiprocessors.
BLUR_FUSED = {"ROWS": 32, "COLUMNS": 64, "PROGRAMS": 1056, "num_warps": 4, "num_stages": 1}

#: Tiles of `M` pixels, `N` channels and `K` terms of the sum of a convolution.
CRITIC_FORWARD = {"M": 64, "N": 64, "K": 16, "num_warps": 4, "num_stages": 3}
CRITIC_BACKWARD = {"M": 64, "N": 64, "K": 16, "num_warps": 4, "num_stages": 2}
#: `NUMBERS` is the number of pixels times the number of channels in a tile of the last layer.
CRITIC_LAST = {"NUMBERS": 2048, "num_warps": 4, "num_stages": 1}
