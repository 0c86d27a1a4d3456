"""PNG with 16 bits a sample, which Pillow reads and writes for grey images only.

Chunks are split here, the pixels are decoded by Pillow: a PNG filter works on bytes and only wants to know how
many make a pixel, so the high and the low bytes of a sample are read as two ordinary 8-bit images.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Samples of a pixel by colour type: grey, RGB, grey and alpha, RGBA.
_SAMPLES = {0: 1, 2: 3, 4: 2, 6: 4}
_COLOUR = {samples: colour for colour, samples in _SAMPLES.items()}
#: Mode and raw modes of Pillow that deliver all bytes of pixels with so many samples.
_PASSES = {
    1: ("LA", ("LA",)),
    2: ("RGBA", ("RGBA",)),
    3: ("RGB", ("RGB;16B", "RGB;16L")),
    4: ("RGBA", ("RGBA;16B", "RGBA;16L")),
}


class Decoded(NamedTuple):
    """Samples ``uint16 [H, W, C]`` (C: 1 grey, 2 with alpha, 3 RGB, 4 with alpha), ICC profile and EXIF block."""

    samples: np.ndarray
    icc: bytes | None
    exif: bytes | None


def is_deep(data: bytes) -> bool:
    """Whether a file is a PNG with 16 bits a sample."""
    return data[:8] == SIGNATURE and data[12:16] == b"IHDR" and data[24:25] == b"\x10"


def decode(data: bytes) -> Decoded:
    """Decode a file for which `is_deep` holds; raises `ValueError` where it is damaged."""
    from PIL import Image

    found: dict[bytes, bytes] = {}
    pixels = []
    for kind, body in _chunks(data):
        if kind == b"IDAT":
            pixels.append(body)
        else:
            found.setdefault(kind, body)
    width, height, _, colour, _, _, interlace = struct.unpack(">IIBBBBB", found[b"IHDR"][:13])
    if colour not in _SAMPLES or not width or not height or not pixels:
        raise ValueError("it has no pixels")
    if width * height > 2 * (Image.MAX_IMAGE_PIXELS or width * height):
        raise ValueError(f"its header claims {width} x {height} pixels")
    count = _SAMPLES[colour]
    mode, raw_modes = _PASSES[count]
    stream = b"".join(pixels)
    images = [Image.frombytes(mode, (width, height), stream, "zip", raw, interlace) for raw in raw_modes]
    if len(images) == 1:  # high and low bytes follow each other
        pairs = np.asarray(images[0], np.uint16).reshape(height, width, count, 2)
        samples = pairs[..., 0] << 8 | pairs[..., 1]
    else:
        samples = np.asarray(images[0], np.uint16) << 8 | np.asarray(images[1], np.uint16)
    if b"tRNS" in found and count in (1, 3):  # one colour is transparent
        key = np.frombuffer(found[b"tRNS"], ">u2", count)
        alpha = np.where((samples == key).all(2, keepdims=True), 0, 65535).astype(np.uint16)
        samples = np.concatenate([samples, alpha], 2)
    icc = found.get(b"iCCP")
    return Decoded(samples, zlib.decompress(icc[icc.index(b"\0") + 2 :]) if icc else None, found.get(b"eXIf"))


def encode(samples: np.ndarray, icc: bytes | None = None, exif: bytes | None = None) -> bytes:
    """Encode ``uint16 [H, W, C]``; C is 1 for grey, 2 with alpha, 3 for RGB, 4 with alpha."""
    height, width, count = samples.shape
    rows = samples.astype(">u2").view(np.uint8).reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 1  # every byte less that of the pixel to the left
    filtered[:, 1:] = rows
    filtered[:, 1 + 2 * count :] -= rows[:, : -2 * count]
    parts = [SIGNATURE, _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, _COLOUR[count], 0, 0, 0))]
    if icc:
        parts.append(_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc)))
    if exif:
        parts.append(_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")))
    parts += [_chunk(b"IDAT", zlib.compress(filtered.tobytes(), 6)), _chunk(b"IEND", b"")]
    return b"".join(parts)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    start = 8
    while True:
        if start + 12 > len(data):
            raise ValueError("it is truncated")
        length, kind = struct.unpack(">I4s", data[start : start + 8])
        end = start + 8 + length
        if end + 4 > len(data):
            raise ValueError("it is truncated")
        body = data[start + 8 : end]
        if zlib.crc32(kind + body) != int.from_bytes(data[end : end + 4], "big"):
            raise ValueError(f"its {kind.decode('latin-1')} chunk is damaged")
        yield kind, body
        if kind == b"IEND":
            return
        start = end + 4


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
