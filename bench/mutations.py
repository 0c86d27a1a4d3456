"""Changes of files that decoders meet: of bytes anywhere, and of the parts of PNG, TIFF and EXIF."""

from __future__ import annotations

import struct

import numpy as np

from fastreg.io import png

#: Numbers at which programs fail.
_EDGES = (0, 1, 2, 4, 255, 256, 32767, 65535, 65536, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 2, (1 << 32) - 1)


def mutated(data: bytes, random: np.random.Generator) -> bytes:
    """A file with one to four changes; half of them know the format."""
    for _ in range(random.integers(1, 5)):
        changes = _CHANGES
        if data.startswith(png.SIGNATURE):
            changes = (*changes, *[_change_chunk] * len(changes))
        elif data[:2] in (b"II", b"MM"):
            changes = (*changes, *[_change_entry] * len(changes))
        elif b"II*\0" in data:
            changes = (*changes, *[_change_exif] * len(changes))
        data = changes[random.integers(len(changes))](data, random) or b"\0"
    return data


def _change_byte(data: bytes, random: np.random.Generator) -> bytes:
    k = int(random.integers(len(data)))
    return data[:k] + bytes([int(random.integers(256))]) + data[k + 1 :]


def _change_header(data: bytes, random: np.random.Generator) -> bytes:
    return _change_byte(data[:64], random) + data[64:]


def _change_number(data: bytes, random: np.random.Generator) -> bytes:
    k = int(random.integers(len(data)))
    number = struct.pack("<I" if random.integers(2) else ">I", random.choice(_EDGES))
    return data[:k] + (number if random.integers(2) else number[:2]) + data[k + 4 :]


def _cut(data: bytes, random: np.random.Generator) -> bytes:
    return data[: int(random.integers(len(data)))]


def _remove(data: bytes, random: np.random.Generator) -> bytes:
    k = int(random.integers(len(data)))
    return data[:k] + data[k + int(random.integers(1, 64)) :]


def _repeat(data: bytes, random: np.random.Generator) -> bytes:
    k, count = int(random.integers(len(data))), int(random.integers(1, 64))
    return data[:k] + data[k : k + count] * int(random.integers(2, 5)) + data[k + count :]


_CHANGES = (_change_byte, _change_header, _change_number, _change_byte, _cut, _remove, _repeat)


def _change_chunk(data: bytes, random: np.random.Generator) -> bytes:
    """Change, remove, repeat or move a chunk of a PNG; its checksum is right."""
    try:
        chunks = png.split(data).chunks
    except ValueError:
        return _change_byte(data, random)
    k = int(random.integers(len(chunks)))
    kind, body = chunks.pop(k)
    choice = random.integers(5)
    if choice == 0 and body:
        chunks.insert(k, (kind, _change_number(body, random)))
    elif choice == 1 and body:
        chunks.insert(k, (kind, _change_byte(body, random)))
    elif choice == 2:
        chunks[k:k] = [(kind, body)] * 2
    elif choice == 3:
        chunks.insert(int(random.integers(len(chunks) + 1)), (kind, body))
    return png.SIGNATURE + b"".join(png.chunk(kind, body) for kind, body in chunks)


def _change_entry(data: bytes, random: np.random.Generator) -> bytes:
    """Change type, count or value of a tag of a TIFF file or EXIF block."""
    try:
        order = "<" if data[:2] == b"II" else ">"
        big = data[2:4] in (b"+\0", b"\0+")
        (start,) = struct.unpack_from(order + ("8xQ" if big else "4xI"), data)
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
        place = start + (8 if big else 2) + (20 if big else 12) * int(random.integers(max(1, min(count, 99))))
        choice = int(random.integers(4))
        value = int(random.choice(_EDGES))
        buffer = bytearray(data)
        if choice < 2:
            struct.pack_into(
                order + "H", buffer, place + 2 * choice, int(random.integers(1, 20)) if choice else value % 65536
            )
        else:
            struct.pack_into(order + "I", buffer, place + 4 * (choice - 1), value)
        return bytes(buffer)
    except struct.error:
        return _change_byte(data, random)


def _change_exif(data: bytes, random: np.random.Generator) -> bytes:
    start = data.index(b"II*\0")
    return data[:start] + _change_entry(data[start:], random)
