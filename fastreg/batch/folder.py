"""Restoring files and folders of images, skipping those that were restored before."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fastreg.batch.sources import check_links, expand
from fastreg.io import files, raw
from fastreg.io.atomic import remove_leftovers, replacing
from fastreg.io.files import Picture
from fastreg.io.images import SUFFIXES
from fastreg.io.stacks import Pages, Stack

#: Endings of images that cannot be written: no name for a new folder.
_FOREIGN = re.compile(
    r"\.(avif|bmp|dng|exr|gif|hdr|heic|heif|ico|j2k|jfif|jp2|jpe|jpx|jxl|pbm|pdf|pgm|pnm|ppm|psd|raw|svg|tga)"
)

#: Note of a run that is not finished.
_RUN = ".fastreg.json"
#: Of a file, in bytes.
_LONGEST_NAME = 255


class Job(NamedTuple):
    """An image to read and the file to write."""

    source: Path
    target: Path

    @property
    def note(self) -> Path:
        """The hidden file beside the output that tells what the output was made from."""
        return self.target.with_name(f".{self.target.name}.fastreg.json")


class Outcome(NamedTuple):
    """What became of a job: ``done``, ``skipped`` (it was done before) or ``failed``, for a reason.

    `facts` are plain JSON values: shapes of the input and of the output, its number of pixels, names of metadata that were
    lost, seconds, and what the restoration adds.
    """

    job: Job
    status: str
    reason: str = ""
    facts: Mapping[str, Any] = {}


def plan(inputs: Sequence[str | Path], output: str | Path, endings: Collection[str] = SUFFIXES) -> list[Job]:
    """What to read and where to write it.

    A single input file may have an output file; everything else goes to an output folder, under the name of the input and in the
    sub-folders of an input folder; the ending of a RAW file becomes ``.tif``.

    Raises
    ------
    ValueError
        As `fastreg.batch.sources.expand`, or if two inputs would become one output, an output is an input, or the output is an
        image of a format that cannot be written.
    """
    output = Path(output)
    check_links(output)
    sources = expand(inputs, output, endings)
    suffix = output.suffix.lower()
    if suffix in SUFFIXES and not output.is_dir():
        if len(inputs) != 1 or not Path(inputs[0]).is_file():
            raise ValueError(f"the output {output} is a file, which needs a single input file: give a folder")
        jobs = [Job(sources[0].path, output)]
    else:
        if output.exists() and not output.is_dir():
            raise ValueError(f"the output {output} exists and is neither a folder nor an image")
        if not output.exists() and _FOREIGN.fullmatch(suffix):
            raise ValueError(f"cannot write {output}: expected a folder, or a file that ends in {', '.join(SUFFIXES)}")
        jobs = [Job(source.path, output / _writable(source.relative)) for source in sources]
    taken: dict[Path, Path] = {}
    origins = {Path(os.path.realpath(job.source)) for job in jobs}
    folders = {folder for job in jobs for folder in job.target.parents}
    for job in jobs:
        target = job.target.resolve()
        if target in origins:
            raise ValueError(f"the output {job.target} is also an input: choose another folder")
        if target in taken or job.target in folders:
            other = taken.get(target, "a folder")
            raise ValueError(f"{other} and {job.source} would both become {job.target}: give their folder instead")
        taken[target] = job.source
    return jobs


def _writable(path: Path) -> Path:
    return path.with_suffix(".tif") if path.suffix.lower() in raw.SUFFIXES else path


def survey(
    jobs: Sequence[Job], settings: Mapping[str, Any], overwrite: bool = False
) -> tuple[list[Job], list[Outcome]]:
    """The jobs that are left to do, and the outcomes of those that are done already, or cannot be done.

    Beside every output lies a hidden note, ``.NAME.fastreg.json``. A job is skipped if the note says that the output was made
    from the same input with the same settings, and done again if the input has changed or the settings differ. An output that was
    made from another input, or not by fastreg, is replaced only with `overwrite`.

    Parameters
    ----------
    jobs
        See `plan`.
    settings
        Everything that the outputs depend on, as plain JSON values.
    overwrite
        Do everything again.

    Raises
    ------
    ValueError
        If an output that is left to write could not be written.
    """
    left, outcomes, digest = [], [], _digest(settings)
    for job in jobs:
        try:
            done = _is_done(job, digest, overwrite)
        except (OSError, ValueError) as error:
            outcomes.append(_failed(job, error))
        else:
            if done:
                outcomes.append(Outcome(job, "skipped"))
            else:
                left.append(job)
    for folder in {job.target.parent for job in left}:
        _check_folder(folder)
    remove_leftovers(path for job in left for path in (job.target, job.note))
    return left, outcomes


def run(
    jobs: Sequence[Job],
    read: Callable[[Path], Picture],
    restore: Callable[[Picture], tuple[Picture, Mapping[str, Any]]],
    settings: Mapping[str, Any],
) -> Iterator[Outcome]:
    """Do the jobs one after the other; a job that fails leaves no output, and the others are still done.

    Parameters
    ----------
    jobs
        Those that `survey` left.
    read
        Reads an input, see `fastreg.io.files.read`.
    restore
        From an image or stack to another and facts for the outcome; an exception fails the job.
    settings
        As in `survey`.
    """
    digest = _digest(settings)
    for job in jobs:
        try:
            facts = _do(job, read, restore, digest)
        except Exception as error:  # one bad file costs no other
            yield _failed(job, error)
        else:
            yield Outcome(job, "done", facts=facts)


def unfinished(output: Path, settings: Mapping[str, Any]) -> int | None:
    """Number of pixels of a run with these settings that was interrupted; None if there was none.

    What is chosen by the number of pixels, the precision and whether to compile, stays as it was in that run: the results
    are those of a run without interruption.
    """
    note = _read_note(output / _RUN)
    return int(note["pixels"]) if note is not None and note.get("settings") == _digest(settings) else None


@contextlib.contextmanager
def running(output: Path, settings: Mapping[str, Any], pixels: int) -> Iterator[None]:
    """Keep a note in an output folder until a run is finished, for `unfinished`."""
    output.mkdir(parents=True, exist_ok=True)
    (output / _RUN).write_text(json.dumps({"settings": _digest(settings), "pixels": pixels}))
    yield
    (output / _RUN).unlink(missing_ok=True)


def explain(error: Exception) -> str:
    """An exception in one line; with its type, unless bad files or too little memory cause exceptions of that type."""
    lines = str(error).strip().splitlines()[:1]
    expected = isinstance(error, OSError | ValueError | RuntimeError | MemoryError)
    return lines[0] if lines and expected else ": ".join([type(error).__name__, *lines])


def _failed(job: Job, error: Exception) -> Outcome:
    text = explain(error)
    return Outcome(job, "failed", text if str(job.source) in text else f"{job.source}: {text}")


def _do(
    job: Job,
    read: Callable[[Path], Picture],
    restore: Callable[[Picture], tuple[Picture, Mapping[str, Any]]],
    settings: str,
) -> dict[str, Any]:
    started = time.perf_counter()
    origin = _origin(job, settings)
    picture = read(job.source)
    files.check(picture, job.target)
    result, facts = restore(picture)
    job.target.parent.mkdir(parents=True, exist_ok=True)
    _write_note(job.note, origin)  # a note without the size of the output: it is being written
    try:
        lost = files.write(result, job.target)
    except ValueError:
        if not job.target.exists():
            job.note.unlink(missing_ok=True)
        raise
    _write_note(job.note, {**origin, "output_size": job.target.stat().st_size})
    shapes = {"input_shape": _shape(picture), "output_shape": _shape(result), "pixels": _pixels(result)}
    return {**shapes, **facts, "lost": list(lost), "seconds": round(time.perf_counter() - started, 3)}


def _shape(picture: Picture) -> list[Any]:
    """Height, width and channels; of a stack the dimensions in their order, and of pages of different sizes those of each."""
    if isinstance(picture, Pages):
        return [_shape(part) for part in picture.parts]
    if isinstance(picture, Stack):
        return list(picture.samples.shape)
    return [*picture.pixels.shape[1:], len(picture.pixels)]


def _pixels(picture: Picture) -> int:
    if isinstance(picture, Pages):
        return sum(part.pixels for part in picture.parts)
    return picture.pixels if isinstance(picture, Stack) else int(picture.pixels[0].size)


def _is_done(job: Job, settings: str, overwrite: bool) -> bool:
    """Whether a job was done before; raises `OSError` or `ValueError` if it cannot be done."""
    if job.source.is_dir():
        raise ValueError(f"{job.source} was not searched: it is unreadable, or a link to a folder around itself")
    origin = _origin(job, settings)
    if len(os.fsencode(job.note.name)) > _LONGEST_NAME:
        raise ValueError(f"the name of the output {job.target} is too long: give a shorter one, as a file")
    if job.target.is_dir():
        raise ValueError(f"the output {job.target} is a folder")
    if overwrite or not job.target.exists():
        return False
    before, size = _read_note(job.note), job.target.stat().st_size
    # an unfinished note comes from a run that was interrupted between writing the output and noting its size
    if before is None or before.get("output_size", size) != size:
        raise ValueError(
            f"the output {job.target} exists and was not written by fastreg: use --overwrite to replace it"
        )
    if before.get("input") != origin["input"]:
        source = os.path.normpath(job.target.parent.resolve() / str(before.get("input")))
        raise ValueError(f"the output {job.target} was made from {source}: use --overwrite to replace it")
    return before == {**origin, "output_size": size}


def _origin(job: Job, settings: str) -> dict[str, Any]:
    """What an output is made from; the input as seen from the output, so that both can be moved together."""
    facts = job.source.stat()
    source = os.path.relpath(job.source.parent.resolve() / job.source.name, job.target.parent.resolve())
    return {
        "input": source,
        "input_size": facts.st_size,
        "input_modified": facts.st_mtime_ns,
        "settings": settings,
    }


def _check_folder(folder: Path) -> None:
    """Raise `ValueError` unless files can be made in a folder, which need not exist yet."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise ValueError(f"cannot make the folder {folder}: {existing} is a file")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(f"cannot write to the folder {existing}: permission denied")


def _digest(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _read_note(path: Path) -> dict[str, Any] | None:
    try:
        note = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return note if isinstance(note, dict) else None


def _write_note(path: Path, note: Mapping[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(note))
