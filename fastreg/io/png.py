"""PNG: its chunks, and pixels of 16 bits a sample, which Pillow reads and writes for grey images only.

Metadata are read here, because a broken chunk of metadata is to cost no picture; pixels are decoded by Pillow. A PNG filter
works on bytes and only wants to know how many make a pixel, so the high and the low bytes of a sample are read as two ordinary
8-bit images.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from fastreg.io import directories, metadata
from fastreg.io.metadata import COLOUR_CHUNKS, LARGEST, Metadata

SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Chunks without which there are no pixels.
_CRITICAL = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_LENGTHS = {b"gAMA": 4, b"cHRM": 32, b"cICP": 4, b"sRGB": 1}
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_XMP, _RAW_EXIF = b"XML:com.adobe.xmp", (b"Raw profile type exif", b"Raw profile type APP1")
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


@dataclasses.dataclass(frozen=True)
class Parts:
    """A PNG file: size, bits a sample, colour type, and its chunks in order."""

    width: int
    height: int
    bits: int
    colour: int
    chunks: list[tuple[bytes, bytes]]
    broken: bool

    def pixels(self) -> bytes:
        """The file without metadata."""
        return SIGNATURE + b"".join(chunk(kind, body) for kind, body in self.chunks if kind in _CRITICAL)

    def metadata(self) -> Metadata:
        """What the other chunks say."""
        result = Metadata(lost=("broken chunks",) if self.broken else ())
        for kind, body in self.chunks:
            if kind in _CRITICAL:
                continue
            try:
                result = _add(result, kind, body)
            except (ValueError, struct.error, zlib.error):
                name = kind.decode("latin-1")
                result = dataclasses.replace(result, lost=(*result.lost, f"broken {name} chunk"))
        return result


def split(data: bytes) -> Parts:
    """Split a file; raises `ValueError` where there is no header, it is animated, or a chunk of pixels is damaged."""
    chunks, broken = [], False
    for kind, body, sound in _chunks(data):
        if sound:
            chunks.append((kind, body))
        elif kind in _CRITICAL:
            raise ValueError(f"its {kind.decode('latin-1')} chunk is damaged")
        broken |= not sound
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) < 13:
        raise ValueError("it has no header")
    frames = dict(chunks).get(b"acTL", b"\0\0\0\1")[:4]
    if frames != b"\0\0\0\1":
        raise ValueError(f"it holds {int.from_bytes(frames, 'big')} images, expected one")
    width, height, bits, colour = struct.unpack(">IIBB", chunks[0][1][:10])
    return Parts(width, height, bits, colour, chunks, broken)


def decode_deep(parts: Parts) -> np.ndarray:
    """Samples ``uint16 [H, W, C]`` (C: 1 grey, 2 with alpha, 3 RGB, 4 with alpha) of a file with 16 bits."""
    from PIL import Image

    stream = b"".join(body for kind, body in parts.chunks if kind == b"IDAT")
    width, height, interlace = parts.width, parts.height, parts.chunks[0][1][12]
    if parts.colour not in _SAMPLES or not width or not height or not stream:
        raise ValueError("it has no pixels")
    count = _SAMPLES[parts.colour]
    mode, raw_modes = _PASSES[count]
    images = [Image.frombytes(mode, (width, height), stream, "zip", raw, interlace) for raw in raw_modes]
    if len(images) == 1:  # high and low bytes follow each other
        pairs = np.asarray(images[0], np.uint16).reshape(height, width, count, 2)
        samples = pairs[..., 0] << 8 | pairs[..., 1]
    else:
        samples = np.asarray(images[0], np.uint16) << 8 | np.asarray(images[1], np.uint16)
    transparent = dict(parts.chunks).get(b"tRNS")
    if transparent and count in (1, 3):  # one colour is transparent
        key = np.frombuffer(transparent, ">u2", count)
        alpha = np.where((samples == key).all(2, keepdims=True), 0, 65535).astype(np.uint16)
        samples = np.concatenate([samples, alpha], 2)
    return samples


def encode_deep(samples: np.ndarray) -> bytes:
    """A file of ``uint16 [H, W, C]``; C is 1 for grey, 2 with alpha, 3 for RGB, 4 with alpha."""
    height, width, count = samples.shape
    rows = samples.astype(">u2").view(np.uint8).reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 1  # every byte less that of the pixel to the left
    filtered[:, 1:] = rows
    filtered[:, 1 + 2 * count :] -= rows[:, : -2 * count]
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOUR[count], 0, 0, 0)
    body = zlib.compress(filtered.tobytes(), 6)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def with_metadata(data: bytes, image: Metadata) -> tuple[bytes, tuple[str, ...]]:
    """A PNG file with metadata, in front of everything that depends on their order; and the names of what is lost."""
    chunks, lost = list(image.chunks), image.tiff_only()
    if image.icc:
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(image.icc)))
    if image.density:
        metres = image.density.per("m")
        x, y = (round(value) for value in metres or image.density[:2])
        if 0 < x < 1 << 31 and 0 < y < 1 << 31:
            chunks.append((b"pHYs", struct.pack(">IIB", x, y, metres is not None)))
        else:
            lost = (*lost, "resolution")
    exif = image.exif(*struct.unpack(">II", data[16:24]))
    if exif:
        chunks.append((b"eXIf", directories.block(exif)))
    if image.xmp:
        chunks.append((b"iTXt", _XMP + bytes(5) + image.xmp))
    return data[:33] + b"".join(chunk(kind, body) for kind, body in chunks) + data[33:], lost


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _add(image: Metadata, kind: bytes, body: bytes) -> Metadata:
    """Metadata with those of one more chunk; raises exceptions where it is broken."""
    if kind in COLOUR_CHUNKS:
        if len(body) != _LENGTHS[kind]:
            raise ValueError("it has another length")
        return dataclasses.replace(image, chunks=(*image.chunks, (kind, body)))
    if kind == b"iCCP":
        return dataclasses.replace(image, icc=_inflated(body[body.index(b"\0") + 2 :]))
    if kind == b"pHYs":
        x, y, metres = struct.unpack(">IIB", body)
        return dataclasses.replace(image, density=metadata.make_density(x, y, "m" if metres == 1 else ""))
    if kind == b"eXIf":
        return _with_exif(image, body)
    if kind not in _TEXTS:
        return image
    keyword, text = _text(kind, body)
    if keyword == _XMP:
        return dataclasses.replace(image, xmp=text)
    if keyword in _RAW_EXIF:  # of ImageMagick: lines of hexadecimal digits below three of a header
        return _with_exif(image, bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii")))
    return dataclasses.replace(image, chunks=(*image.chunks, (kind, body)))


def _text(kind: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Keyword and text of a chunk; raises `ValueError` if it is broken."""
    keyword, text = body.split(b"\0", 1)
    packed = kind == b"zTXt"
    if kind == b"iTXt":
        packed, text = text[:1] == b"\1", text[1:]
    if kind != b"tEXt":
        if text[:1] != b"\0":
            raise ValueError("it is compressed in an unknown way")
        text = text[1:]
    if kind == b"iTXt":
        _language, _translated, text = text.split(b"\0", 2)
    return keyword, _inflated(text) if packed else text


def _with_exif(image: Metadata, body: bytes) -> Metadata:
    exif = metadata.from_exif(body)
    return dataclasses.replace(
        image,
        tags=exif.tags,
        orientation=exif.orientation,
        density=image.density or exif.density,
        lost=image.lost + exif.lost,
    )


def _inflated(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    result = inflater.decompress(data, LARGEST)
    if not inflater.eof:
        raise ValueError("it is truncated or too large")
    return result


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Kind and content of the chunks, and whether their checksum is right; ends where the file ends."""
    start = len(SIGNATURE)
    while start + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 8 + length
        if end + 4 > len(data):
            raise ValueError("it is truncated")
        body = data[start + 8 : end]
        yield kind, body, zlib.crc32(kind + body) == int.from_bytes(data[end : end + 4], "big")
        if kind == b"IEND":
            return
        start = end + 4
    raise ValueError("it is truncated")
