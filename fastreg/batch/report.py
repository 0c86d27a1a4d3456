"""A report: one line of JSON for each image."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fastreg.batch.folder import Outcome


@contextlib.contextmanager
def writing(path: Path | None, common: Mapping[str, Any]) -> Iterator[Callable[[Outcome], None]]:
    """Yield a function that adds an outcome to a file of JSON lines; lines of earlier runs stay.

    Parameters
    ----------
    path
        The file, which ends in ``.jsonl``; None for no report.
    common
        Values that are the same in every line.

    Raises
    ------
    ValueError
        If the ending is another one.
    OSError
        If the file cannot be written.
    """
    if path is None:
        yield lambda outcome: None
        return
    if path.suffix != ".jsonl":
        raise ValueError(f"the report {path} must end in .jsonl: it has a line of JSON for each image")
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)

    def add(outcome: Outcome) -> None:
        line = {
            "input": str(outcome.job.source),
            "output": str(outcome.job.target),
            "status": outcome.status,
            "reason": outcome.reason or None,
            **common,
            **outcome.facts,
        }
        os.write(file, f"{json.dumps(line)}\n".encode())  # a whole line at once, also if the process is killed

    try:
        yield add
    finally:
        os.close(file)
