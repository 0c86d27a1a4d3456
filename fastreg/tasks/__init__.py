"""What a task is: one table, and what is built from it."""

from fastreg.tasks.building import (
    choose_device,
    estimate,
    make_operator,
    make_restorer,
    noise_level,
    random_operator,
    restorer_for,
)
from fastreg.tasks.fidelities import read_fidelity
from fastreg.tasks.guarantee import DescentCheck, descent_choice
from fastreg.tasks.settings import Choice, Options, OptionsAndChoice, split
from fastreg.tasks.solving import effective_weight, solve, visible_part
from fastreg.tasks.table import TASKS, Task, find, tasks_with

__all__ = [
    "TASKS",
    "Choice",
    "DescentCheck",
    "Options",
    "OptionsAndChoice",
    "Task",
    "choose_device",
    "descent_choice",
    "effective_weight",
    "estimate",
    "find",
    "make_operator",
    "make_restorer",
    "noise_level",
    "random_operator",
    "read_fidelity",
    "restorer_for",
    "solve",
    "split",
    "tasks_with",
    "visible_part",
]
