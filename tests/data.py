"""Photographs and reference files outside the project, named by the environment variable FASTREG_DATA."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def data(name: str) -> Path:
    """A file or folder of the data; skips the test where it is absent."""
    root = os.environ.get("FASTREG_DATA")
    if not root:
        pytest.skip("needs photographs: set FASTREG_DATA")
    path = Path(root) / name
    if not path.exists():
        pytest.skip(f"{name} is not in FASTREG_DATA")
    return path
