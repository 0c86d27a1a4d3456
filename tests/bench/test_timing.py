"""Statistics of interleaved runs."""

from __future__ import annotations

import pytest
import torch

from bench import timing

CPU = torch.device("cpu")


def test_the_sides_take_turns() -> None:
    order: list[str] = []
    runs = {name: (lambda name=name: order.append(name)) for name in "abc"}
    samples = timing.interleaved(runs, 3, CPU)
    assert "".join(order) == "abccbaabc"
    assert {name: len(values) for name, values in samples.items()} == {"a": 3, "b": 3, "c": 3}
    assert all(value >= 0 for values in samples.values() for value in values)


def test_quartiles_of_the_samples() -> None:
    assert timing.summary([float(k) for k in range(7)]) == {"p50": 3.0, "quartiles": [1.5, 4.5], "samples": 7}
    assert timing.quartiles([2.0]) == [2.0, 2.0]


def test_the_ratio_is_of_medians_and_its_spread_of_rounds() -> None:
    result = timing.ratio([2.0, 4.0, 12.0], [1.0, 1.0, 2.0])
    assert result["ratio"] == 4.0
    assert result["quartiles"] == [3.0, 5.0]
    with pytest.raises(ValueError, match="two equally long lists"):
        timing.ratio([1.0], [1.0, 2.0])
