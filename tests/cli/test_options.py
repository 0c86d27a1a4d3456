"""The options of all commands."""

from __future__ import annotations

from typer.main import get_command

from fastreg.cli.main import app


def test_no_placeholder_is_the_name_of_its_option() -> None:
    """Typer 0.27 takes such a word for the only spelling of the option: ``--task`` would be unknown."""
    commands, wrong = [get_command(app)], []
    for command in commands:
        commands += getattr(command, "commands", {}).values()
        options = [p for p in command.params if p.param_type_name == "option"]
        wrong += [p.name for p in options if (getattr(p, "metavar", None) or "").lower() == p.name]
    assert len(commands) > 12 and not wrong
