"""Reading what the command line prints."""

from __future__ import annotations


def last(out: str) -> str:
    """What became of the files, without the rate."""
    return out.splitlines()[-1].split(";")[0]
