"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which takes its place when the block ends without an exception."""
    path = Path(path)
    temporary = path.with_name(f"{_prefix(path)}{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Remove the temporary files that a killed process left beside these paths."""
    prefixes: dict[Path, set[str]] = {}
    for path in paths:
        prefixes.setdefault(path.parent, set()).add(_prefix(path))
    for folder, known in prefixes.items():
        for name in os.listdir(folder) if folder.is_dir() else ():
            if name[: len(_prefix(folder))] in known:
                (folder / name).unlink(missing_ok=True)


def _prefix(path: Path) -> str:
    """Of the names of temporary files; short, because the name itself may be as long as a name can be."""
    return f".fastreg-{zlib.crc32(os.fsencode(path.name)):08x}-"
