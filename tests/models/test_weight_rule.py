"""The weight lambda as a function of the noise level."""

from __future__ import annotations

import math

import pytest
import torch

from fastreg.models import WeightRule


def test_weight_rule_is_exact_to_the_last_digit_of_float32() -> None:
    first, last = (0.05, 2.6511), (0.3, 0.31702)
    sigma = torch.linspace(0.01, 0.6, 500)
    expected = []
    for value in sigma.tolist():
        share = min(max(math.log(value / first[0]) / math.log(last[0] / first[0]), 0.0), 1.0)
        expected.append(
            math.exp((1 - share) * math.log(first[0] * first[1]) + share * math.log(last[0] * last[1])) / value
        )
    got = WeightRule([first, last])(sigma)
    assert got.dtype == torch.float32
    assert torch.equal(got, torch.tensor(expected, dtype=torch.float64).float())


def test_weight_rule_interpolates_powers() -> None:
    rule = WeightRule([[0.1, 4.0], [0.4, 1.0]]).double()
    sigma = torch.tensor([0.05, 0.1, 0.2, 0.4, 0.8], dtype=torch.float64)
    expected = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.5], dtype=torch.float64)
    torch.testing.assert_close(rule(sigma), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(WeightRule.constant(0.7)(sigma.float()), torch.full((5,), 0.7))
    for pairs in ([], [[0.1, -1.0]], [[0.2, 1.0], [0.1, 1.0]], [[0.1, math.nan]]):
        with pytest.raises(ValueError, match="weight rule"):
            WeightRule(pairs)
