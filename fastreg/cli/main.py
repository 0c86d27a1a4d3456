"""The program `fastreg`: its verbs, and what happens to errors."""

from __future__ import annotations

import io
import linecache
import logging
import os
import sys
import traceback
from typing import Annotated

import typer

from fastreg.cli.demo import demo
from fastreg.cli.doctor import doctor
from fastreg.cli.evaluate import evaluate
from fastreg.cli.export import export
from fastreg.cli.import_ import import_checkpoint
from fastreg.cli.restore import restore
from fastreg.cli.train import app as train
from fastreg.cli.verify import verify

#: Exit codes.
FAILED, MISUSED, BUG, INTERRUPTED = 1, 2, 3, 130

app = typer.Typer(
    name="fastreg",
    help="Restore images with learned priors.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command()(restore)
app.command()(evaluate)
app.command()(export)
app.command()(verify)
app.command()(demo)
app.command()(doctor)
app.add_typer(train, name="train")
app.command("import")(import_checkpoint)


def _show_version(wanted: bool) -> None:
    if wanted:
        from fastreg import __version__

        typer.echo(f"fastreg {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error comes from; accepted anywhere on the command line.")
    ] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 if all went well, 1 where some inputs failed, 2 for misuse, 3 for a bug of fastreg.

    An error is one line; ``--debug`` adds the traceback.
    """
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                errors="backslashreplace"
            )  # a terminal may lack Greek letters, or those of a file's name
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # damaged files are reported by us
    try:
        code = app([word for word in given if word != "--debug"], prog_name="fastreg", standalone_mode=False)
    except BrokenPipeError:
        # whoever read our output is gone; keep the interpreter from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except Exception as error:
        if debug:
            traceback.print_exc()
        sys.exit(_explain(error))
    if code == INTERRUPTED:  # typer's answer to Ctrl-C
        _complain("interrupted")
    sys.exit(code if isinstance(code, int) else 0)


def _explain(error: Exception) -> int:
    """Say in one line what went wrong, and return the exit code."""
    text = str(error).strip() or type(error).__name__
    message = getattr(error, "format_message", None)  # of typer's own errors, which have no public base class
    if message is not None:
        _complain(message())
        return MISUSED
    if isinstance(error, OSError) or (isinstance(error, ValueError | TypeError) and raised_on_purpose(error)):
        _complain(text)
        return MISUSED
    if isinstance(error, MemoryError) or "out of memory" in text or "allocate memory" in text:
        _complain(f"out of memory: {text}")
        return FAILED
    _complain(f"this is a bug of fastreg, please report it with the output of --debug: {type(error).__name__}: {text}")
    return BUG


def raised_on_purpose(error: BaseException) -> bool:
    """Whether an error comes from a ``raise`` of fastreg, not from a library that was called wrongly."""
    frame, number = [*traceback.walk_tb(error.__traceback__)][-1]
    line = linecache.getline(frame.f_code.co_filename, number, frame.f_globals)
    return str(frame.f_globals.get("__name__")).startswith("fastreg") and line.lstrip().startswith("raise ")


def _complain(text: str) -> None:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if lines:  # without a verb the help has been shown, and there is nothing to add
        print("fastreg: error:", " ".join(lines), file=sys.stderr)
