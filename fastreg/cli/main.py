"""The program `fastreg`: its verbs, and what happens to errors."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer

from fastreg.cli.demo import demo
from fastreg.cli.doctor import doctor
from fastreg.cli.evaluate import evaluate
from fastreg.cli.export import export
from fastreg.cli.import_ import import_checkpoint
from fastreg.cli.restore import restore
from fastreg.cli.train import app as train
from fastreg.cli.tune import tune
from fastreg.cli.verify import verify

#: Exit codes.
FAILED, MISUSED, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="fastreg",
    help="Restore images with learned regularizers.",
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
app.command()(tune)
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
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 if all went well, 1 where some inputs failed, 2 for misuse.

    An error is one line.
    """
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # damaged files are reported by us
    try:
        code = app(arguments, prog_name="fastreg", standalone_mode=False)
    except BrokenPipeError:
        # whoever read our output is gone; keep the interpreter from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except (KeyboardInterrupt, typer.Abort):
        _complain("interrupted")
        sys.exit(INTERRUPTED)
    except (ValueError, TypeError, OSError) as error:
        _complain(str(error).strip() or type(error).__name__)
        sys.exit(MISUSED)
    except Exception as error:
        message = getattr(
            error, "format_message", None
        )  # of typer's own errors, which have no public base class in all versions
        if message is None:
            raise
        _complain(message())
        sys.exit(MISUSED)
    sys.exit(code if isinstance(code, int) else 0)


def _complain(text: str) -> None:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if lines:  # without a verb the help has been shown, and there is nothing to add
        print("fastreg: error:", " ".join(lines), file=sys.stderr)
