"""Directories of tags, of which TIFF files and EXIF blocks are made (TIFF 6.0, section 2).

Values are copied as bytes, in the order of bytes of their file: nothing is converted, so nothing changes. Pillow and tifffile
read such directories, but neither writes what it has read with the types of the original, or EXIF into a TIFF file.
"""

from __future__ import annotations

import dataclasses
import mmap
import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

#: Tags whose value is the place of another directory: camera, place, interoperability.
EXIF, GPS, INTEROPERABILITY = 34665, 34853, 40965
#: Bytes of a value of each type.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


class Entry(NamedTuple):
    """Type of a tag, and its values as bytes."""

    kind: int
    data: bytes


@dataclasses.dataclass(frozen=True)
class Directory:
    """Tags by their numbers; `order` is ``<`` or ``>``, as in `struct`; `broken` says whether some could not be read."""

    order: str
    entries: Mapping[int, Entry] = dataclasses.field(default_factory=dict)
    children: Mapping[int, Directory] = dataclasses.field(default_factory=dict)
    broken: bool = False

    def only(self, keep: Callable[[int], bool]) -> Directory:
        """The directory with those of its own tags that are to be kept."""
        return dataclasses.replace(self, entries={tag: entry for tag, entry in self.entries.items() if keep(tag)})

    def numbers(self, tag: int) -> tuple[float, ...]:
        """The values of a tag of integers or fractions; none if it is missing, of another type, or divides by zero."""
        kind, data = self.entries.get(tag, Entry(7, b""))
        if kind not in (3, 4, 5):
            return ()
        values = struct.unpack(f"{self.order}{len(data) // (2 if kind == 3 else 4)}{'H' if kind == 3 else 'I'}", data)
        if kind != 5:
            return values
        pairs = list(zip(values[::2], values[1::2], strict=True))
        return tuple(top / bottom for top, bottom in pairs) if all(bottom for _, bottom in pairs) else ()

    def with_numbers(self, kind: int, values: Mapping[int, tuple[int, ...]]) -> Directory:
        """The directory with other integers (`kind` 3: 16 bits, 4: 32 bits) or numerators and denominators (5)."""
        form = self.order + ("H" if kind == 3 else "I")
        new = {tag: Entry(kind, b"".join(struct.pack(form, v) for v in numbers)) for tag, numbers in values.items()}
        return dataclasses.replace(self, entries={**self.entries, **new})


def parse(data: bytes) -> Directory:
    """The first directory of a TIFF file or EXIF block; raises `ValueError` if it has none."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    version = data[2:4] if order == "<" else data[3:1:-1]
    form = {b"*\0": "4xI", b"+\0": "8xQ"}.get(version)
    if order is None or form is None or len(data) < 16:
        raise ValueError("it has no directory of tags")
    return parse_at(data, struct.unpack_from(order + form, data)[0], order, version == b"+\0")


def parse_at(data: bytes | mmap.mmap, start: int, order: str, big: bool) -> Directory:
    """A directory at a place of a file; `big` is BigTIFF. Entries that lead out of the file are left out."""
    return _parse(data, start, order, big, (EXIF, GPS), len(data))


def _parse(
    data: bytes | mmap.mmap, start: int, order: str, big: bool, parts: tuple[int, ...], budget: int
) -> Directory:
    head, pointer = (order + "Q", order + "Q") if big else (order + "H", order + "I")
    width = struct.calcsize(pointer)
    entries: dict[int, Entry] = {}
    children: dict[int, Directory] = {}
    broken = False
    try:
        (count,) = struct.unpack_from(head, data, start)
        for place in range(start + struct.calcsize(head), len(data), 4 + 2 * width)[:count]:
            tag, kind = struct.unpack_from(order + "HH", data, place)
            (number,) = struct.unpack_from(pointer, data, place + 4)
            size, place = SIZES.get(kind, 0) * number, place + 4 + width
            if tag in parts:
                inner = (INTEROPERABILITY,) if tag == EXIF else ()
                children[tag] = _parse(data, struct.unpack_from(pointer, data, place)[0], order, big, inner, budget)
                continue
            if size > width:
                (place,) = struct.unpack_from(pointer, data, place)
            budget -= size  # values do not overlap in a sound file
            if size and place + size <= len(data) and budget >= 0:
                entries[tag] = Entry(kind, data[place : place + size])
            else:
                broken = True
    except (struct.error, IndexError, OverflowError):  # an offset beyond the file, or beyond all files
        broken = True
    return Directory(order, entries, children, broken or any(child.broken for child in children.values()))


def block(directory: Directory) -> bytes:
    """A directory as an EXIF block, without the ``Exif`` in front."""
    mark = b"II*\0" if directory.order == "<" else b"MM\0*"
    return mark + struct.pack(directory.order + "I", 8) + _build(directory, 8, 0)


def append(data: bytes, extra: Directory) -> bytes:
    """A TIFF file with more tags in its first directory, which must have the same order of bytes."""
    order = extra.order
    (start,) = struct.unpack_from(order + "4xI", data)
    own = parse_at(data, start, order, big=False)
    (following,) = struct.unpack_from(
        order + "I", data, start + 2 + 12 * struct.unpack_from(order + "H", data, start)[0]
    )
    return with_first(data, Directory(order, {**own.entries, **extra.entries}, extra.children), following)


def with_first(data: bytes, directory: Directory, following: int = 0) -> bytes:
    """A TIFF file with another first directory; `following` is the place of the next one, or zero."""
    data += bytes(len(data) % 2)
    start = struct.pack(directory.order + "I", len(data))
    return data[:4] + start + data[8:] + _build(directory, len(data), following)


def _build(directory: Directory, offset: int, following: int) -> bytes:
    """The bytes of a directory that begins at an offset; `following` is the place of the next one, or zero."""
    order = directory.order
    items: dict[int, Entry | Directory] = {**directory.entries, **directory.children}
    head, tail = struct.pack(order + "H", len(items)), b""
    place = offset + 2 + 12 * len(items) + 4
    for tag, item in sorted(items.items()):
        if isinstance(item, Directory):
            kind, number, value = 4, 1, struct.pack(order + "I", place + len(tail))
            tail += _build(item, place + len(tail), 0)
        else:
            kind, number, value = item.kind, len(item.data) // SIZES[item.kind], item.data
            if len(value) > 4:
                value, tail = struct.pack(order + "I", place + len(tail)), tail + value + bytes(len(value) % 2)
        head += struct.pack(order + "HHI", tag, kind, number) + value.ljust(4, b"\0")
    return head + struct.pack(order + "I", following) + tail
