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


def test_percentiles_need_their_samples() -> None:
    few, some, many = (timing.summary([float(k) for k in range(n)]) for n in (7, 64, 1001))
    assert few["p50"] == 3.0
    assert few["quartiles"] == [1.5, 4.5]
    assert few["range"] == [0.0, 6.0]
    assert "p90" not in few
    assert "p90" in some and "p99" not in some
    assert many["p90"] == pytest.approx(900.0) and many["p99"] == pytest.approx(990.0)


def test_the_ratio_is_of_medians_and_its_spread_of_rounds() -> None:
    result = timing.ratio([2.0, 4.0, 12.0], [1.0, 1.0, 2.0])
    assert result["ratio"] == 4.0
    assert result["range"] == [2.0, 6.0]
    assert result["quartiles"] == [3.0, 5.0]
    with pytest.raises(ValueError, match="both sides of the same rounds"):
        timing.ratio([1.0], [1.0, 2.0])
