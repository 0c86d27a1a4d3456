"""Which layers of a critic meet in a kernel."""

from __future__ import annotations

import pytest

from fastreg.kernels.critic_gradient.groups import ALONE, COLUMNS, EXPAND, Layer, Stage, Step, explain, stages, steps
from fastreg.priors.patch_critic import ALR, ALR_RELEASED


def chain(*layers: tuple[int, int, int, int]) -> list[Layer]:
    return [Layer(inputs, outputs, side, side, stride) for inputs, outputs, side, stride in layers]


RELEASED, PAPER = chain(*ALR_RELEASED), chain(*ALR)


def test_the_released_critic() -> None:
    assert stages(RELEASED) == [Stage(True, 1, 2, False), Stage(False, 3, 4, True)]
    assert steps(RELEASED, 2) == [Step(3, EXPAND), Step(1, COLUMNS)]
    assert explain(RELEASED, 2).splitlines() == [
        "forward 1 + 2 + 3",
        "forward 4 + 5 + 6, and back to the output of 4",
        "back 4 + 3",
        "back 2 + 1",
        "sum of what meets in a pixel",
    ]


def test_overlapping_layers_meet_at_the_end_alone() -> None:
    """The critic of the paper: computing its first layer anew would nearly double the work of the second."""
    last = len(PAPER) - 1
    assert stages(PAPER) == [*[Stage(False, k, -1, False) for k in range(last - 1)], Stage(False, last - 1, -1, True)]
    assert steps(PAPER, 2) == [Step(k, ALONE) for k in range(last - 1, -1, -1)]


def test_the_products_of_the_first_layer_are_written_where_that_is_less() -> None:
    """27 numbers in float32 against 32 channels in float32 and in half precision."""
    layers = chain((3, 32, 3, 1), (32, 32, 3, 1), (32, 1, 3, 1))
    assert steps(layers, 4) == [Step(1, COLUMNS)]
    assert steps(layers, 2) == [Step(1, ALONE), Step(0, ALONE)]


def test_more_channels_than_a_program_holds_do_not_meet() -> None:
    layers = chain((3, 256, 3, 1), (256, 256, 3, 1), (256, 256, 2, 2), (256, 1, 1, 1))
    assert stages(layers) == [Stage(False, k, -1, False) for k in range(3)]
    assert {step.through for step in steps(layers, 2)} == {ALONE}
    assert explain(layers, 2).splitlines() == [
        "forward 1",
        "forward 2",
        "forward 3",
        "forward and back 4",
        "back 3",
        "back 2",
        "back 1",
    ]


@pytest.mark.parametrize("layers", [chain((3, 1, 3, 1)), chain((3, 4, 3, 1), (4, 1, 1, 1))])
def test_short_chains(layers: list[Layer]) -> None:
    assert [stage.tail for stage in stages(layers)] == [True] * (len(layers) - 1)
    assert [step.layer for step in steps(layers, 4)] == list(range(len(layers) - 2, -1, -1))


def test_every_layer_is_computed_and_transposed_once() -> None:
    for layers in (RELEASED, PAPER, chain((1, 40, 4, 2), (40, 48, 3, 2), (48, 33, 2, 2), (33, 7, 1, 1), (7, 3, 2, 1))):
        forward = []
        for stage in stages(layers):
            forward += ([0] if stage.head else []) + [stage.layer] + ([stage.local] if stage.local >= 0 else [])
        assert forward == list(range(len(layers) - 1))
        back = []
        for step in steps(layers, 2):
            back += [step.layer] + ([] if step.through == ALONE else [step.layer - 1])
        start = stages(layers)[-1].layer
        assert back == list(range(start, -1, -1))
