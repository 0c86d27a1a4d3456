"""The table of tasks fits the operators, models and baselines that it names."""

from __future__ import annotations

import inspect

import pytest
import torch

import fastreg
from fastreg import models, tasks
from fastreg.evaluation.baselines import BASELINES
from fastreg.operators import OPERATORS
from fastreg.solvers import Adam

GIVEN = {"psf": "gaussian:5:1", "boundary": "zero", "mask": torch.ones(8, 8), "factor": 2, "pattern": "bggr"}


def test_every_operator_has_a_task_and_every_task_an_operator() -> None:
    assert {operator.task for operator in OPERATORS.values()} == set(tasks.TASKS)


@pytest.mark.parametrize("name", tasks.TASKS)
def test_a_row_names_what_there_is(name: str) -> None:
    row = tasks.find(name)
    card = models.load(row.prior).card
    assert card is not None and name in card.tasks
    assert row.baseline in BASELINES
    arguments = inspect.signature(row.operator).parameters
    assert {*row.needs, *row.takes} <= set(arguments)
    options = {option: GIVEN[option] for option in (*row.needs, *row.takes)}
    operator = tasks.make_operator(name, **options)
    assert operator.task == name
    for option in row.needs:
        with pytest.raises(ValueError, match=f"needs --{option}"):
            tasks.make_operator(name, **{**options, option: None})
    for option in set(GIVEN) - set(options):
        with pytest.raises(ValueError, match=f"takes no --{option}"):
            tasks.make_operator(name, **options, **{option: GIVEN[option]})


@pytest.mark.parametrize("name", tasks.TASKS)
def test_random_operators_observe_and_are_those_of_their_seed(name: str) -> None:
    row = tasks.find(name)
    x = torch.rand(1, 3, 24, 36)
    for options in (*row.tuned_on, *row.held_out):
        observed = [
            tasks.random_operator(name, 24, 36, torch.Generator().manual_seed(seed), **options).observe(
                x, 0.01, torch.Generator().manual_seed(0)
            )
            for seed in (0, 0, 1)
        ]
        assert torch.equal(observed[0], observed[1])
        assert torch.equal(observed[0], observed[2]) == (row.draw is None)


@pytest.mark.parametrize("missing", [0.3, 0.5, 0.8])
def test_a_random_mask_leaves_out_its_share(missing: float) -> None:
    for name in ("inpaint", "mri"):
        operator = tasks.random_operator(name, 240, 240, torch.Generator().manual_seed(0), missing)
        assert float(1 - operator.mask.mean()) == pytest.approx(missing, abs=0.06)
    assert float(operator.mask[..., 0].min()) == 1  # the zero frequency is always measured


def test_noise_levels() -> None:
    assert tasks.noise_level("denoise", "25/255") == 25 / 255
    assert tasks.noise_level("denoise", 0.1) == 0.1
    assert tasks.noise_level("denoise", "auto") is None
    assert tasks.noise_level("deblur", None) is None  # it is estimated
    assert tasks.noise_level("inpaint", None) == 0.01
    for name, text, words in (
        ("mri", None, "needs --sigma"),
        ("inpaint", "auto", "cannot be estimated"),
        ("denoise", "2", "below 1"),
        ("sharpen", "0.1", "denoise, deblur"),
    ):
        with pytest.raises(ValueError, match=words):
            tasks.noise_level(name, text)


def test_a_task_that_a_prior_was_not_tuned_for_is_refused_unless_all_is_given() -> None:
    with pytest.raises(ValueError, match="alr-deblur was not tuned for denoise, only for deblur"):
        fastreg.restorer_for("denoise", prior="alr-deblur")
    with pytest.raises(ValueError, match="not tuned"):
        fastreg.restorer_for("denoise", prior="alr-deblur", weight=0.1)
    restorer = fastreg.restorer_for("denoise", prior="alr-deblur", weight=0.1, solver=Adam(2))
    assert restorer(torch.rand(1, 3, 24, 24), 0.1).shape == (1, 3, 24, 24)
    with pytest.raises(ValueError, match="not both"):
        fastreg.restorer_for("denoise", prior="alr-deblur", iterations=2, weight=0.1, solver=Adam(2))
    with pytest.raises(ValueError, match="the task must be one of"):
        fastreg.restorer_for("sharpen")


def test_iterations_change_the_schedule_of_the_card_alone() -> None:
    card = models.load("alr").card
    assert card is not None
    restorer = fastreg.restorer_for("inpaint", prior="alr", iterations=3, mask=torch.ones(8, 8))
    assert restorer.solver.settings == {**card.tasks["inpaint"].solver["settings"], "iterations": 3}
    assert torch.equal(restorer.weight_rule.knots, card.tasks["inpaint"].rule.knots)


def test_a_single_column_of_frequencies_is_known() -> None:
    operator = tasks.random_operator("mri", 1, 1, torch.Generator().manual_seed(0), missing=0.5)
    assert operator.mask.sum() == 1
