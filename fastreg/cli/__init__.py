"""The command line: one file a verb."""

from fastreg.cli.main import app, main

__all__ = ["app", "main"]
