"""The measured crossovers that a settings file stores, in words: which candidate was the fastest up to which side of a PSF."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any


def words(rows: Sequence[dict[str, Any]], pixels: int) -> list[str]:
    """A line for each kind of PSF, of the measured size of images that is nearest to so many pixels a plane."""
    if not rows:
        return []
    size = min({row["size"] for row in rows}, key=lambda size: abs(math.log(size * size / pixels)))
    lines = []
    for kind in dict.fromkeys(row["psf"] for row in rows):
        found = sorted((row["side"], row["fastest"]) for row in rows if row["psf"] == kind and row["size"] == size)
        spans = []
        for fastest, group in groupby(found, key=lambda pair: pair[1]):
            sides = [side for side, _ in group]
            spans.append(f"{fastest} {sides[0]}" + (f" to {sides[-1]}" if len(sides) > 1 else ""))
        if spans:
            lines.append(f"fastest for {kind} PSFs of side: {', '.join(spans)} (measured, {size}x{size})")
    return lines
