"""What a file says of its picture besides the samples."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

from fastreg.io import directories
from fastreg.io.directories import EXIF, Directory, Entry

#: Largest ICC profile or text that is decompressed, in bytes.
LARGEST = 1 << 24
_ORIENTATION, _X_DENSITY, _Y_DENSITY, _UNIT, _DESCRIPTION = 274, 282, 283, 296, 270
_WIDTH, _HEIGHT = 40962, 40963
_UNITS = {2: "inch", 3: "cm"}
_METRES = {"inch": 0.0254, "cm": 0.01, "m": 1.0}
#: Tags that EXIF allows in its first directory; those of the camera may stand there too.
_DESCRIPTIVE = {_DESCRIPTION, 271, 272, 301, 305, 306, 315, 316, 318, 319, 18246, 18249, 33432, 33434, 33437, 50341}
_DESCRIPTIVE |= {34850, 34852, *range(34855, 34870), *range(36864, 37523), *range(40091, 40096), *range(41483, 42112)}
#: Tags of TIFF that have no place in EXIF.
_GEO = {33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113}
_TIFF = dict.fromkeys(_GEO, "geo tags") | {269: "document name", 285: "page name", 33723: "IPTC"}
_TIFF |= {50838: "ImageJ metadata", 50839: "ImageJ metadata"}
#: Tags that are lost, by name; tags in no list describe how the samples are stored.
_LOST = {34377: "Photoshop resources", 37724: "Photoshop layers", 330: "smaller pictures"}
#: Later types are those of BigTIFF.
_LAST_KIND = 12
#: Chunks of PNG that say what the numbers are as light, and their names where other formats cannot say it.
COLOUR_CHUNKS = {b"gAMA": "gamma", b"cHRM": "primaries", b"cICP": "transfer function", b"sRGB": ""}


class Density(NamedTuple):
    """Pixels in a unit of length, across and down; the unit is ``inch``, ``cm``, ``m`` or, if unknown, empty."""

    x: float
    y: float
    unit: str

    def per(self, unit: str) -> tuple[float, float] | None:
        """Pixels in another unit; None if the unit is unknown."""
        if not self.unit:
            return None
        factor = 1.0 if unit == self.unit else _METRES[unit] / _METRES[self.unit]
        return self.x * factor, self.y * factor


@dataclasses.dataclass(frozen=True)
class Metadata:
    """Metadata of an image.

    Parameters
    ----------
    icc
        Colour profile.
    xmp
        XMP packet.
    tags
        EXIF, and the tags of TIFF that describe the picture, without those that say how it is stored.
    density
        Pixels in a unit of length.
    chunks
        Kinds and contents of chunks of PNG: gamma, primaries, texts.
    orientation
        How the samples are to be turned, as EXIF numbers it; 1 once they are.
    lost
        Names of what could not be read, or no longer holds.
    """

    icc: bytes | None = None
    xmp: bytes | None = None
    tags: Directory | None = None
    density: Density | None = None
    chunks: tuple[tuple[bytes, bytes], ...] = ()
    orientation: int = 1
    lost: tuple[str, ...] = ()

    def upright(self) -> Metadata:
        """As it is after the samples were turned."""
        if self.orientation == 1:
            return self
        density = self.density
        if density is not None and self.orientation > 4:
            density = Density(density.y, density.x, density.unit)
        return dataclasses.replace(self._without_places(), density=density, orientation=1)

    def enlarged(self, scale: float) -> Metadata:
        """As it is after each side was enlarged by a factor."""
        if scale == 1:
            return self
        density = self.density and Density(self.density.x * scale, self.density.y * scale, self.density.unit)
        return dataclasses.replace(self._without_places(), density=density)

    def without_profile(self) -> Metadata:
        """Without what holds only for the number of channels of the file."""
        lost = () if self.icc is None else ("colour profile",)
        return dataclasses.replace(self, icc=None, lost=self.lost + lost)

    def stripped(self) -> Metadata:
        """Only what says how the samples are to be shown: colour profile, gamma and primaries."""
        chunks = tuple(chunk for chunk in self.chunks if chunk[0] in COLOUR_CHUNKS)
        return Metadata(self.icc, chunks=chunks, orientation=self.orientation)

    def exif(self, width: int, height: int) -> Directory | None:
        """The part of the tags that belongs in EXIF, with the size of the image and its density."""
        tags = self.tags and self.tags.only(lambda tag: tag not in _TIFF)
        if self.density is not None and (tags is not None or self.density.unit):
            tags = _with_density(tags or Directory("<"), self.density)
        if tags is None or not (tags.entries or tags.children):
            return None
        camera = tags.children.get(EXIF)
        if camera is not None and _WIDTH in camera.entries:
            camera = camera.with_numbers(4, {_WIDTH: (width,), _HEIGHT: (height,)})
            tags = dataclasses.replace(tags, children={**tags.children, EXIF: camera})
        return tags

    def tiff(self) -> Directory:
        """All tags, with the density of the image."""
        tags = self.tags or Directory("<")
        return tags if self.density is None else _with_density(tags, self.density)

    def tiff_only(self) -> tuple[str, ...]:
        """Names of the tags that only TIFF can hold."""
        return tuple(_TIFF[tag] for tag in (self.tags.entries if self.tags else ()) if tag in _TIFF)

    def png_only(self) -> tuple[str, ...]:
        """Names of what only PNG can hold."""
        return tuple(name for kind, _ in self.chunks if (name := COLOUR_CHUNKS.get(kind, "texts")))

    def _without_places(self) -> Metadata:
        """Without tags that give places in the image."""
        if self.tags is None or not any(tag in _GEO for tag in self.tags.entries):
            return self
        tags = self.tags.only(lambda tag: tag not in _GEO)
        return dataclasses.replace(self, tags=tags, lost=(*self.lost, "geo tags"))


def from_exif(data: bytes | None) -> Metadata:
    """Metadata in an EXIF block; a broken one has none."""
    if not data:
        return Metadata()
    while data.startswith(b"Exif\0\0"):
        data = data[6:]
    try:
        directory = directories.parse(data)
    except ValueError:
        return Metadata(lost=("EXIF",))
    return from_directory(directory)


def from_directory(directory: Directory) -> Metadata:
    """Metadata in a directory of EXIF or TIFF."""
    orientation = directory.numbers(_ORIENTATION)
    unit = int((*directory.numbers(_UNIT), 2)[0])
    across, down = directory.numbers(_X_DENSITY), directory.numbers(_Y_DENSITY)
    density = make_density(across[0], down[0], _UNITS.get(unit, "")) if across and down else None
    own = directory.entries
    tags = directory.only(lambda tag: (tag in _DESCRIPTIVE or tag in _TIFF) and own[tag].kind <= _LAST_KIND)
    lost = [name for tag, name in _LOST.items() if tag in own]
    if directory.broken:
        lost.append("broken tags")
    description = tags.entries.get(_DESCRIPTION, Entry(2, b"")).data
    if description.startswith(b"{") or b"<OME" in description:  # of tifffile or OME-TIFF: how samples are stored
        tags = tags.only(lambda tag: tag != _DESCRIPTION)
        if b"<OME" in description:
            lost.append("OME-XML")
    kept = tags if tags.entries or tags.children else None
    icc, xmp = own.get(34675), own.get(700)
    return Metadata(
        icc and icc.data,
        xmp and xmp.data,
        kept,
        density,
        orientation=int(orientation[0]) if orientation and 1 <= orientation[0] <= 8 else 1,
        lost=tuple(lost),
    )


def make_density(x: float, y: float, unit: str) -> Density | None:
    """A density, or None if the numbers mean that it is not known."""
    sound = 0 < x < 1e9 and 0 < y < 1e9 and not (x == y == 1 and not unit)
    return Density(x, y, unit) if sound else None


def _with_density(tags: Directory, density: Density) -> Directory:
    unit = density.unit
    x, y = (unit == "m" and density.per("cm")) or density[:2]
    fractions = {_X_DENSITY: _fraction(x), _Y_DENSITY: _fraction(y)}
    codes = {"inch": 2, "cm": 3, "m": 3}
    return tags.with_numbers(5, fractions).with_numbers(3, {_UNIT: (codes.get(unit, 1),)})


def _fraction(value: float) -> tuple[int, int]:
    bottom = 1 if value == round(value) else 10 ** max(0, min(4, 9 - math.ceil(math.log10(value))))
    return round(value * bottom), bottom
