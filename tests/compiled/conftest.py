"""Fixtures for compiled solves."""

from __future__ import annotations

import functools

import pytest
import torch


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Programs are traced as always and then run as they are, which takes a second each; counts what the compiler did."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    counts: dict[str, int] = torch._dynamo.utils.counters["stats"]
    return counts
