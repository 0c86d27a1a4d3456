"""Read damaged image files with `fastreg.io.files.read`, and write what was read in every format (a fuzz test).

    python -m bench.fuzz --count 10000 --seed 0
    python -m bench.fuzz --first 1234 --count 1 --seed 0     # only file 1234 of this seed

For each file, reading must give an image or a `ValueError` with a message of one line, within a few seconds and without using
much memory. An image that was read must also survive being written and read again. The work is done in processes of its own, so
that a decoder that crashes is found as well.
"""

from __future__ import annotations

import argparse
import io
import logging
import resource
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.mutations import mutated
from fastreg.io import decoders, encoders, files, images
from fastreg.io.directories import EXIF, GPS, Directory, Entry
from fastreg.io.metadata import Density, Metadata
from fastreg.io.stacks import Stack

#: Files for each process; limits on the growth of its memory in bytes, the seconds for a file, and the pixels of an image.
CHUNK, MEMORY, SECONDS, PIXELS = 500, 400 << 20, 5.0, 1 << 20
_HEIGHT, _WIDTH = 24, 32
#: Words of the errors that writing may raise: for alpha in a JPEG, and for a side of more than 16383 pixels in a WebP.
_REFUSED = ("a JPEG has no alpha channel", "16383")


def corpus() -> dict[str, bytes]:
    """Intact files by their names: all formats, with metadata, in every bit depth, compression and byte order."""
    import tifffile
    from PIL import Image

    own = _metadata()
    random = np.random.default_rng(0)
    ramp = np.add.outer(np.linspace(0, 0.5, _HEIGHT), np.linspace(0, 0.5, _WIDTH)).astype(np.float32)
    alpha = random.integers(0, 256, ramp.shape).astype(np.uint8)
    sound: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        for channels in (1, 3):
            pixels = np.stack([ramp] * channels)
            for suffix in images.SUFFIXES:
                for dtype in ("uint8", "uint16", "float32"):
                    for plane in (None, alpha) if dtype == "uint8" and suffix not in (".jpg", ".jpeg") else (None,):
                        path = Path(folder) / f"{channels}-{dtype}-{plane is not None}{suffix}"
                        images.write(images.Image(pixels, plane, dtype, metadata=own), path)
                        sound[path.name] = path.read_bytes()
    samples = (np.dstack([ramp] * 3) * 255).astype(np.uint8)
    picture = Image.fromarray(samples)
    saved: dict[str, tuple[Any, dict[str, Any]]] = {
        "palette.png": (picture.quantize(16), {}),
        "bits.png": (picture.convert("1"), {}),
        "transparent.png": (picture, {"transparency": (0, 0, 0)}),
        "progressive.jpg": (picture, {"progressive": True, "dpi": (300, 300)}),
        "cmyk.jpg": (picture.convert("CMYK"), {}),
        "lossy.webp": (picture, {"quality": 50}),
        "moving.webp": (picture, {"save_all": True, "append_images": [picture.rotate(90)]}),
        "fax.tif": (picture.convert("1"), {"compression": "group4"}),
        "lzw.tif": (picture, {"compression": "tiff_lzw", "dpi": (300, 300)}),
        "jpeg.tif": (picture, {"compression": "jpeg"}),
        "packbits.tif": (picture, {"compression": "packbits"}),
        "palette.tif": (picture.quantize(16), {}),
        "pages-fax.tif": (
            picture.convert("1"),
            {"compression": "group4", "save_all": True, "append_images": [picture.rotate(90).convert("1")]},
        ),
        "pages-lzw.tif": (
            picture,
            {"compression": "tiff_lzw", "save_all": True, "append_images": [picture.rotate(90)]},
        ),
        "pages-jpeg.tif": (
            picture,
            {"compression": "jpeg", "save_all": True, "append_images": [picture.resize((9, 9))]},
        ),
    }
    for name, (image, options) in saved.items():
        stream = io.BytesIO()
        image.save(stream, {"jpg": "JPEG", "tif": "TIFF"}.get(name[-3:], name.split(".")[1].upper()), **options)
        sound[name] = stream.getvalue()
    tiffs: dict[str, dict[str, Any]] = {
        "plain.tif": {},
        "tiles.tif": {"tile": (16, 16), "compression": "zlib"},
        "planar.tif": {"planarconfig": "separate"},
        "big.tif": {"bigtiff": True, "byteorder": ">"},
        "lzma.tif": {"compression": "lzma", "predictor": True},
        "ome.tif": {"ome": True},
        "stack.tif": {"photometric": "minisblack"},
        "stack-ome.tif": {"photometric": "minisblack", "ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeX": 0.5}},
        "stack-imagej.tif": {"photometric": "minisblack", "imagej": True, "metadata": {"axes": "TYX", "unit": "um"}},
        "axes.tif": {"photometric": "minisblack", "metadata": None, "compression": "zlib"},
    }
    for name, options in tiffs.items():
        stream = io.BytesIO()
        data = samples if options.get("photometric", "rgb") == "rgb" else samples.transpose(2, 0, 1)
        data = data.transpose(2, 0, 1) if name == "planar.tif" else data
        tifffile.imwrite(stream, data, **{"photometric": "rgb", **options})
        sound[name] = stream.getvalue()
    arrays = {"big.npy": ramp.astype(">f8"), "columns.npy": np.asfortranarray(samples), "complex.npy": ramp * 1j}
    arrays["axes.npy"] = np.stack([ramp] * 3)
    for name, array in arrays.items():
        stream = io.BytesIO()
        np.save(stream, array)
        sound[name] = stream.getvalue()
    return sound


def check(name: str, data: bytes, folder: Path) -> tuple[bool, str]:
    """Read a file and write what was read; returns whether it is an image, and what went wrong (empty if nothing did)."""
    source = folder / f"in{Path(name).suffix}"
    source.write_bytes(data)
    started = time.perf_counter()
    try:
        picture = files.read(source, max_pixels=PIXELS, axes="TYX" if name.startswith("axes") else None)
        planes = None if isinstance(picture, images.Image) else list(picture.images())
    except ValueError as error:
        return False, f"its message is {str(error)!r}" if "\n" in str(error) else ""
    except BaseException as error:
        return False, f"reading raises {error!r}"
    suffixes = images.SUFFIXES if planes is None else (".npy", ".tif") if isinstance(picture, Stack) else (".tif",)
    for suffix in suffixes:
        path = folder / f"out{suffix}"
        try:
            if not isinstance(picture, images.Image):
                files.write(picture.replaced(planes or ()), path)
            else:
                data, _ = encoders.encode(picture, suffix)
                _ = (decoders.decode_npy if suffix == ".npy" else decoders.decode)(data)
        except Exception as error:
            if not any(words in str(error) for words in _REFUSED):
                return True, f"writing {suffix} raises {error!r}"
    seconds = time.perf_counter() - started
    return True, f"it took {seconds:.1f} s" if seconds > SECONDS else ""


def run(numbers: range, seed: int, report: Callable[[int, str], None]) -> int:
    """Check the files of a seed with these numbers; returns how many of them could be read."""
    sound = corpus()
    names = sorted(sound)
    before, read = _peak(), 0
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            name = names[number % len(names)]
            report(number, "")
            good, fault = check(name, mutated(sound[name], np.random.default_rng([seed, number])), Path(folder))
            if _peak() - before > MEMORY:
                fault, before = f"the memory grew by {(_peak() - before) >> 20} MB", _peak()
            if fault:
                report(number, f"{name}: {fault}")
            read += good
    return read


def _metadata() -> Metadata:
    camera = Directory("<", {33434: Entry(5, struct.pack("<II", 1, 250)), 37500: Entry(7, bytes(range(64)))})
    place = Directory("<", {1: Entry(2, b"N\0"), 2: Entry(5, struct.pack("<6I", 52, 1, 3, 1, 7, 2))})
    entries = {271: Entry(2, b"maker\0"), 270: Entry(2, b"a text\0"), 33550: Entry(12, struct.pack("<3d", 1, 1, 0))}
    return Metadata(
        icc=bytes(36) + b"acsp" + bytes(200),
        xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>",
        tags=Directory("<", entries, {EXIF: camera, GPS: place}),
        density=Density(300, 200, "inch"),
        chunks=((b"gAMA", struct.pack(">I", 45455)), (b"tEXt", b"Title\0a text")),
    )


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _child(numbers: range, seed: int) -> None:
    """Print the number of each file before it is read, the faults, and at the end how many files could be read."""
    logging.disable()
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
    read = run(numbers, seed, lambda number, text: print(number, text, flush=True))
    print("read", read)


def _parent(count: int, seed: int) -> tuple[list[str], int]:
    """Run the processes; returns the faults, and how many files could be read."""
    faults, read = [], 0
    for first in range(0, count, CHUNK):
        arguments = ("--first", first, "--count", min(CHUNK, count - first), "--seed", seed)
        command = [sys.executable, "-m", "bench.fuzz", *map(str, arguments)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=CHUNK * SECONDS)
            output, end = done.stdout, f"exit code {done.returncode}: {done.stderr[-300:]}"
        except subprocess.TimeoutExpired as error:
            output, end = bytes(error.stdout or b"").decode(), "it does not end"
        *lines, last = output.splitlines() or [str(first)]
        faults += [line for line in lines if " " in line.strip()]
        if last.startswith("read "):
            read += int(last.split()[1])
        else:
            faults.append(f"{last} {end}")
        print(f"{first + CHUNK:>6} files, {read} read, {len(faults)} faults", flush=True)
    return faults, read


def main() -> int:
    """Check the files; returns 1 if there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="number of files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--first", type=int, help="number of the first file; the files are then checked in this process"
    )
    given = parser.parse_args()
    if given.first is not None:
        _child(range(given.first, given.first + given.count), given.seed)
        return 0
    faults, read = _parent(given.count, given.seed)
    print(*faults, sep="\n")
    print(f"{given.count} files of seed {given.seed}: {read} could be read, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
