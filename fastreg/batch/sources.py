"""Finding the images that files, globs and folders name."""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fastreg.io import raw
from fastreg.io.images import SUFFIXES


class Source(NamedTuple):
    """An image, and the path it is to have within an output folder."""

    path: Path
    relative: Path


def expand(
    inputs: Sequence[str | Path], without: Path | None = None, endings: Collection[str] = SUFFIXES
) -> list[Source]:
    """The images that files, globs and folders name, in the order given, and sorted within a folder.

    Linked files and folders are taken like others, each under its own name; a link back to a folder that is being searched adds
    nothing and is not entered. What has the name of an image but cannot be read is a source as well, and so is a folder
    that cannot be searched: reading them fails, so that nothing is left out in silence.

    Parameters
    ----------
    inputs
        Files, globs (``**`` matches sub-folders) and folders, which are searched with their sub-folders for known endings; hidden
        files are left out.
    without
        A folder to leave out, unless an input lies in it: the output, which may lie within an input.
    endings
        Endings of the files to take, in lower case.

    Raises
    ------
    ValueError
        If an input does not exist, a file is of an unknown kind, a folder cannot be read, or there is no image at all.
    """
    sources: dict[str, Source] = {}
    for text in inputs:
        path = Path(text)
        check_links(path)
        if path.is_dir():
            root = path
            found = sorted(_search(path, path, (), endings), key=lambda source: source.relative.as_posix())
        elif path.exists():
            if path.suffix.lower() not in endings:
                if path.suffix.lower() in raw.SUFFIXES:
                    raise ValueError(f"{path} is a RAW file of a camera, which only demosaick takes")
                raise ValueError(f"{path} is not an image: expected one of {', '.join(SUFFIXES)}")
            root = path
            found = [Source(path, Path(path.name))]
        elif glob.has_magic(str(path)):
            root = next(parent for parent in path.parents if not glob.has_magic(str(parent)))
            found = _match(path, root, endings)
        else:
            raise ValueError(f"there is no file or folder {path}")
        if without is not None and not root.resolve().is_relative_to(without.resolve()):
            found = [source for source in found if not _resolved(source.path).is_relative_to(without.resolve())]
        for source in found:
            sources.setdefault(os.path.abspath(source.path), source)
    if not sources:
        raise ValueError(f"no images in {', '.join(str(text) for text in inputs)}: expected {', '.join(SUFFIXES)}")
    return list(sources.values())


def check_links(path: Path) -> None:
    """Raise `ValueError` if a path is a symbolic link that leads back to itself."""
    try:
        path.resolve()
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{path} is a symbolic link that leads nowhere: {error}") from error


def _resolved(path: Path) -> Path:
    """The path without links, also if there is nothing at its end."""
    return Path(os.path.realpath(path))


def _search(folder: Path, root: Path, above: tuple[Path, ...], endings: Collection[str]) -> Iterator[Source]:
    """Images in a folder and its sub-folders; `above` are the folders on the way to it, without links."""
    try:
        names = os.listdir(folder)
    except OSError as error:
        if folder == root:
            raise ValueError(f"cannot read the folder {folder}: {error.strerror}") from error
        yield Source(folder, folder.relative_to(root))
        return
    above = (*above, _resolved(folder))
    for name in names:
        path = folder / name
        if name.startswith("."):
            continue
        if not os.path.isdir(path):
            if path.suffix.lower() in endings:
                yield Source(path, path.relative_to(root))
        elif not path.is_symlink() or not any(parent.is_relative_to(_resolved(path)) for parent in above):
            yield from _search(path, root, above, endings)
        elif _resolved(path) not in above:  # it leads to a folder around the ones that were asked for
            yield Source(path, path.relative_to(root))


def _match(pattern: Path, root: Path, endings: Collection[str]) -> list[Source]:
    """Images that a glob matches, relative to its part without wildcards."""
    files = [Path(name) for name in sorted(glob.glob(str(pattern), recursive=True))]
    files = [path for path in files if path.suffix.lower() in endings and not os.path.isdir(path)]
    if not files:
        raise ValueError(f"no images match {pattern}: expected {', '.join(SUFFIXES)}")
    return [Source(path, path.relative_to(root)) for path in files if not _goes_round(path.relative_to(root), root)]


def _goes_round(path: Path, root: Path) -> bool:
    """Whether a path below `root` passes a folder twice, by a link."""
    folders = [_resolved(root / parent) for parent in path.parents]
    return len(set(folders)) < len(folders)
