"""Restoring files and folders of images, skipping those that were restored before."""

from __future__ import annotations

import glob
import hashlib
import json
import mimetypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fastreg.io import decoders, files
from fastreg.io.atomic import replacing
from fastreg.io.files import Picture
from fastreg.io.images import SUFFIXES


class Source(NamedTuple):
    """An image, and the path it is to have within an output folder."""

    path: Path
    relative: Path


class Job(NamedTuple):
    """An image to read and the file to write."""

    source: Path
    target: Path


class Outcome(NamedTuple):
    """What became of a job: ``done``, ``skipped`` (it was done before) or ``failed``; and the reason or a remark."""

    job: Job
    status: str
    text: str = ""


def expand(inputs: Sequence[str | Path], without: Path | None = None) -> list[Source]:
    """The images that files, globs and folders name, in the order given, and sorted within a folder.

    Parameters
    ----------
    inputs
        Files, globs (``**`` matches sub-folders) and folders, which are searched with their sub-folders for known endings; hidden
        files are left out.
    without
        A folder to leave out: the output, if it lies within an input.

    Raises
    ------
    ValueError
        If an input does not exist, a file is of an unknown kind, or there is no image at all.
    """
    sources: dict[Path, Source] = {}
    for text in inputs:
        path = Path(text)
        _check_links(path)
        if path.is_dir():
            found = _search(path)
            if without is not None and without.resolve() != path.resolve():
                found = [source for source in found if not source.path.resolve().is_relative_to(without.resolve())]
        elif path.exists():
            if path.suffix.lower() not in SUFFIXES:
                raise ValueError(f"{path} is not an image: expected one of {', '.join(SUFFIXES)}")
            found = [Source(path, Path(path.name))]
        elif glob.has_magic(str(path)):
            found = _match(path)
        else:
            raise ValueError(f"there is no file or folder {path}")
        for source in found:
            sources.setdefault(source.path.resolve(), source)
    if not sources:
        raise ValueError(f"no images in {', '.join(str(text) for text in inputs)}: expected {', '.join(SUFFIXES)}")
    return list(sources.values())


def plan(inputs: Sequence[str | Path], output: str | Path) -> list[Job]:
    """What to read and where to write it.

    A single input file may have an output file; everything else goes to an output folder, under the name of the input and in the
    sub-folders of an input folder.

    Raises
    ------
    ValueError
        As `expand`, or if two inputs would become one output, an output is an input, or the output is an image of a format that
        cannot be written.
    """
    output = Path(output)
    _check_links(output)
    sources = expand(inputs, output)
    if output.suffix.lower() in SUFFIXES and not output.is_dir():
        if len(inputs) != 1 or not Path(inputs[0]).is_file():
            raise ValueError(f"the output {output} is a file, which needs a single input file: give a folder")
        jobs = [Job(sources[0].path, output)]
    else:
        if output.exists() and not output.is_dir():
            raise ValueError(f"the output {output} exists and is neither a folder nor an image")
        if not output.exists() and (mimetypes.guess_type(output.name)[0] or "").startswith("image/"):
            raise ValueError(f"cannot write {output}: expected a folder, or a file that ends in {', '.join(SUFFIXES)}")
        jobs = [Job(source.path, output / source.relative) for source in sources]
    taken: dict[Path, Path] = {}
    origins = {job.source.resolve() for job in jobs}
    for job in jobs:
        target = job.target.resolve()
        if target in origins:
            raise ValueError(f"the output {job.target} is also an input: choose another folder")
        if target in taken:
            raise ValueError(
                f"{taken[target]} and {job.source} would both become {job.target}: give their folder instead"
            )
        taken[target] = job.source
    return jobs


def run(
    jobs: Sequence[Job],
    read: Callable[[Path], Picture],
    restore: Callable[[Picture], tuple[Picture, str]],
    settings: Mapping[str, Any],
    overwrite: bool = False,
) -> Iterator[Outcome]:
    """Do the jobs one after the other; a job that fails leaves no output, and the others are still done.

    Beside every output lies a hidden note, ``.NAME.fastreg.json``. A job is skipped if the note says that the output was made
    from the same input with the same settings, and done again if they differ. An output without a note was not written by
    fastreg, and is replaced only with `overwrite`.

    Parameters
    ----------
    jobs
        See `plan`.
    read
        Reads an input, see `fastreg.io.files.read`.
    restore
        From an image or stack to another and a remark to print; an exception fails the job.
    settings
        Everything that the outputs depend on, as plain JSON values.
    overwrite
        Do everything again.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    for job in jobs:
        try:
            said = _do(job, read, restore, digest, overwrite)
        except Exception as error:  # one bad file costs no other
            text = explain(error)
            yield Outcome(job, "failed", text if str(job.source) in text else f"{job.source}: {text}")
        else:
            yield Outcome(job, "skipped") if said is None else Outcome(job, "done", said)


def count_pixels(jobs: Sequence[Job], overwrite: bool = False) -> int:
    """Pixels of all the inputs that have no output yet, by the headers of their files."""
    return sum(decoders.count_pixels(job.source) for job in jobs if overwrite or not job.target.exists())


def explain(error: Exception) -> str:
    """An exception in one line; with its type, unless bad files or too little memory cause exceptions of that type."""
    lines = str(error).strip().splitlines()[:1]
    expected = isinstance(error, OSError | ValueError | RuntimeError | MemoryError)
    return lines[0] if lines and expected else ": ".join([type(error).__name__, *lines])


def _do(
    job: Job,
    read: Callable[[Path], Picture],
    restore: Callable[[Picture], tuple[Picture, str]],
    settings: str,
    overwrite: bool,
) -> str | None:
    """Do a job and return its remark; None if it was done before."""
    facts = job.source.stat()
    origin = {"settings": settings, "input_size": facts.st_size, "input_modified": facts.st_mtime_ns}
    note = job.target.with_name(f".{job.target.name}.fastreg.json")
    if job.target.exists() and not overwrite:
        before = _read_note(note)
        # an unfinished note comes from a run that was interrupted between writing the output and noting its size
        if before is None or before.get("output_size", job.target.stat().st_size) != job.target.stat().st_size:
            raise ValueError(
                f"the output {job.target} exists and was not written by fastreg: use --overwrite to replace it"
            )
        if before == {**origin, "output_size": job.target.stat().st_size}:
            return None
    image, said = restore(read(job.source))
    job.target.parent.mkdir(parents=True, exist_ok=True)
    _write_note(note, origin)
    try:
        files.write(image, job.target)
    except ValueError:
        if not job.target.exists():
            note.unlink(missing_ok=True)
        raise
    _write_note(note, {**origin, "output_size": job.target.stat().st_size})
    return said


def _read_note(path: Path) -> dict[str, Any] | None:
    try:
        note = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return note if isinstance(note, dict) else None


def _write_note(path: Path, note: Mapping[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(note))


def _check_links(path: Path) -> None:
    """Raise `ValueError` if a path is a symbolic link that leads back to itself."""
    try:
        path.resolve()
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{path} is a symbolic link that leads nowhere: {error}") from error


def _search(folder: Path) -> list[Source]:
    files = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]
    sources = [Source(path, path.relative_to(folder)) for path in files]
    visible = [source for source in sources if not any(part.startswith(".") for part in source.relative.parts)]
    return sorted(visible, key=lambda source: source.relative.as_posix())


def _match(pattern: Path) -> list[Source]:
    """Images that a glob matches, relative to its part without wildcards."""
    root = pattern
    while glob.has_magic(str(root)):
        root = root.parent
    files = [Path(name) for name in sorted(glob.glob(str(pattern), recursive=True))]
    files = [path for path in files if path.suffix.lower() in SUFFIXES and path.is_file()]
    if not files:
        raise ValueError(f"no images match {pattern}: expected {', '.join(SUFFIXES)}")
    return [Source(path, path.relative_to(root)) for path in files]
