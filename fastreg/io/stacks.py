"""Files of several images of one size, restored plane by plane: TIFF, OME-TIFF, ImageJ, BigTIFF and ``.npy``."""

from __future__ import annotations

import dataclasses
import math
import mmap
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fastreg.io import decoders, directories, encoders, images, metadata, ome
from fastreg.io.atomic import replacing
from fastreg.io.decoders import MAX_PIXELS, Decoded
from fastreg.io.images import Image, Limits
from fastreg.io.metadata import Metadata

#: Kinds of TIFF that are written as they are read; ``plain`` has no description of its dimensions.
_KINDS = {"uniform": "plain", "generic": "plain", "shaped": "shaped", "imagej": "imagej", "ome": "ome"}
#: White of a camera of 12 bits. Files hold its samples in 16 bits, and hardly ever so dark a picture of 16 bits.
_DARK = 4095
#: Tags of the density, which tifffile writes by name.
_DENSITY = (282, 283, 296)
_EXAMPLES = (
    "such as TYX (planes, rows, columns) or TYXS (with colours last): Y and X, S for colours, other letters for planes"
)


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a TIFF file stores a stack: the `kind` of its description, arguments for tifffile, and what OME-XML says."""

    kind: str = "shaped"
    options: dict[str, Any] = dataclasses.field(default_factory=lambda: {"compression": "zlib"})
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class Stack:
    """Images of one size in one array, with what is needed to write them in the form in which they were read.

    Parameters
    ----------
    samples
        The samples of the file, with a dimension for each letter of `axes`.
    axes
        ``Y`` and ``X``: rows and columns; ``S``: the colours, and alpha, of a pixel; every other letter numbers planes.
    limits, premultiplied, metadata
        As in `fastreg.io.images.Image`.
    layout
        How a TIFF file stores it.
    """

    samples: np.ndarray
    axes: str
    limits: tuple[float, float] | None = None
    premultiplied: bool = False
    metadata: Metadata = dataclasses.field(default_factory=Metadata)
    layout: Layout = dataclasses.field(default_factory=Layout)

    def __len__(self) -> int:
        return math.prod(size for size, axis in zip(self.samples.shape, self.axes, strict=True) if axis not in "YXS")

    @property
    def is_complex(self) -> bool:
        """Whether these are measurements of complex numbers."""
        return self.samples.dtype.kind == "c"

    def colours(self) -> np.ndarray:
        """The samples without alpha."""
        if "S" not in self.axes or self.samples.shape[self.axes.index("S")] % 2:
            return self.samples
        return np.moveaxis(self.samples, self.axes.index("S"), 0)[:-1]

    def images(self) -> Iterator[Image]:
        """The planes in their order.

        Raises
        ------
        ValueError
            If the samples are of a type that no image has, or out of range.
        """
        order = _planes_first(self.axes)
        planes = self.samples.transpose([self.axes.index(axis) for axis in order])
        planes = planes if order[-1] == "S" else planes[..., None]
        for k in np.ndindex(planes.shape[:-3]):
            try:
                if self.is_complex:
                    yield images.make_complex(planes[k])
                else:
                    yield images.make_image(Decoded(planes[k], self.metadata, self.premultiplied), self.limits)
            except ValueError as error:
                raise ValueError(f"plane {', '.join(map(str, k))}: {error}") from error

    def replaced(self, planes: Iterable[Image]) -> Stack:
        """A stack like this one of other images; they may differ in size and number of channels from those here."""
        order = _planes_first(self.axes)
        lead = [self.samples.shape[self.axes.index(axis)] for axis in order if axis not in "YXS"]
        array, first = np.empty(0), None
        for place, image in zip(np.ndindex(*lead), planes, strict=True):
            samples = encoders.to_samples(image, image.dtype)
            if first is None:
                first, array = image, np.empty((*lead, *samples.shape), samples.dtype)
            array[place] = samples
        assert first is not None
        axes, options = self.axes, self.layout.options
        if "S" not in axes and array.shape[-1] > 1:  # grey planes have become colours
            axes, order, options = axes + "S", order + "S", {**options, "photometric": "rgb", "planarconfig": "contig"}
        array = array if order[-1] == "S" else array[..., 0]
        scale = array.shape[order.index("Y")] / self.samples.shape[self.axes.index("Y")]
        return dataclasses.replace(
            self,
            samples=array.transpose([order.index(axis) for axis in axes]),
            axes=axes,
            metadata=first.metadata,
            layout=Layout(self.layout.kind, options, ome.enlarged(self.layout.facts, scale)),
        )


def read(
    path: str | os.PathLike[str],
    complex_numbers: bool = False,
    max_pixels: int = MAX_PIXELS,
    limits: Limits | None = None,
    axes: str | None = None,
) -> Image | Stack:
    """Read an image as `fastreg.io.images.read`, or a stack of images.

    Parameters
    ----------
    path, complex_numbers, max_pixels, limits
        As in `fastreg.io.images.read`; the planes of a stack have `max_pixels` together, and the same `limits`.
    axes
        What the dimensions of a TIFF or ``.npy`` file are, see `Stack`; if not given, what a TIFF file says itself.

    Raises
    ------
    ValueError
        As `fastreg.io.images.read`; if `axes` do not fit, or it is not clear what the dimensions are.
    """
    path = Path(path)
    try:
        stack = None
        if path.suffix.lower() == ".npy":
            stack = _from_npy(path, max_pixels, axes)
        elif path.is_file():
            with open(path, "rb") as file:
                if file.read(4) in decoders.TIFF:
                    stack = _from_tiff(path, max_pixels, axes)
        if stack is None:
            image = images.read(path, complex_numbers, max_pixels, limits)
            if image.dtype == "uint16" and limits is None:
                _check_white(round(float(image.pixels.max()) * 65535))
            return image
        if stack.is_complex != complex_numbers:
            raise ValueError(
                f"its samples are {stack.samples.dtype}, expected {'complex' if complex_numbers else 'real'} numbers"
            )
        if stack.samples.dtype == np.uint16 and limits is None:
            _check_white(int(stack.samples.max()))
        if limits == "auto":
            limits = images.span(stack.colours())
        return dataclasses.replace(stack, limits=limits)
    except Exception as error:  # decoders raise exceptions of many kinds for damaged files
        text = images.explain(error)
        raise ValueError(text if str(path) in text else f"cannot read {path}: {text}") from error


def write(image: Image | Stack, path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Write an image as `fastreg.io.images.write`, or a stack as TIFF or ``.npy``; returns the names of lost metadata."""
    if isinstance(image, Image):
        return images.write(image, path)
    path = Path(path)
    try:
        with replacing(path) as temporary:
            if path.suffix.lower() == ".npy":
                np.save(temporary, image.samples)
                described = ("description of the stack",) if image.layout.kind in ("imagej", "ome") else ()
                return (*encoders.lost_in_npy(image.metadata), *described)
            if path.suffix.lower() in (".tif", ".tiff"):
                return _to_tiff(image, temporary)
            raise ValueError(f"it holds {len(image)} planes: expected an ending of .tif, .tiff or .npy")
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot write {path}: {images.explain(error)}") from error


def _check_white(largest: int) -> None:
    """Raise `ValueError` if the largest sample of 16 bits looks like that of a camera with 12 bits or fewer."""
    if 0 < largest <= _DARK:
        bits = max(10, largest.bit_length())
        raise ValueError(
            f"no sample is above {largest}, of 65535: say which one is white, --white {2**bits - 1} if it has {bits} bits, "
            "or --white 65535 if it is so dark"
        )


def _from_npy(path: Path, max_pixels: int, axes: str | None) -> Stack | None:
    try:
        samples = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception:  # `images.read` says what is wrong
        return None
    if not isinstance(samples, np.ndarray) or samples.dtype == bool:
        return None
    shape = samples.shape
    if axes is None:
        if len(shape) < 3 or (len(shape) == 3 and shape[2] <= 4):
            return None
        raise ValueError(f"its shape is {list(shape)}: say what the dimensions are with --axes, {_EXAMPLES}")
    axes = _checked(axes, shape, max_pixels)
    return Stack(samples.astype(samples.dtype.newbyteorder("=")), axes)


def _from_tiff(path: Path, max_pixels: int, axes: str | None) -> Stack | None:
    import tifffile

    with tifffile.TiffFile(path, _multifile=False) as file:
        found = [series for series in file.series if not getattr(series.keyframe, "is_reduced", False)]
        if axes is None and len(found) == 1 and found[0].axes in ("YX", "YXS", "SYX") and found[0].kind != "ome":
            return None
        if len(found) != 1:
            sizes = " and ".join(str(list(series.shape)) for series in found[:3])
            raise ValueError(f"it holds {len(found)} groups of images of different sizes, {sizes}, expected one")
        (series,) = found
        page: Any = series.keyframe
        if series.kind not in _KINDS:
            raise ValueError(f"it is a TIFF of the kind {series.kind}: convert it to OME-TIFF")
        if page.photometric not in (0, 1, 2):
            raise ValueError(f"its colours are {page.photometric.name}, expected grey or RGB in a stack")
        if page.bitspersample not in (8, 16, 32, 64):
            raise ValueError(f"its samples have {page.bitspersample} bits, expected 8 or 16, or floating point")
        pages = list(series.pages)
        if any(part is None for part in pages):
            raise ValueError("its planes are in several files: join them in one")
        used = _checked(axes or series.axes, series.shape, max_pixels)
        if "S" in used:
            decoders.check_channels(page, series.shape[used.index("S")])
        with open(path, "rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for part in pages:
                decoders.check_segments(data, part)
            tags = directories.parse_at(data, page.offset, file.byteorder, file.is_bigtiff)
        samples = _samples_of(series, page)
        described = metadata.from_directory(tags)
        kind = _KINDS[series.kind]
        facts: dict[str, Any] = {}
        if kind == "ome":
            facts, lost = ome.parse(file.ome_metadata or "")
            described = dataclasses.replace(
                described, lost=(*(name for name in described.lost if name != "OME-XML"), *lost)
            )
        options = {
            "bigtiff": file.is_bigtiff,
            "photometric": "rgb" if page.photometric == 2 else "minisblack",
            "planarconfig": {"YXS": "contig", "SYX": "separate"}.get(page.axes),
            "extrasamples": [int(extra) for extra in page.extrasamples] or None,
            "compression": None if page.compression == 1 else "zlib",
        }
        premultiplied = 1 in [int(extra) for extra in page.extrasamples]
        return Stack(samples, used, None, premultiplied, described, Layout(kind, options, facts))


def _samples_of(series: Any, page: Any) -> np.ndarray:
    try:
        samples = series.asarray()
    except ValueError as error:
        if "imagecodecs" in str(error):
            raise ValueError(
                f"it is compressed with {page.compression.name}, which needs `pip install imagecodecs`"
            ) from error
        raise
    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    if page.photometric == 0:  # white is zero
        samples = np.invert(samples) if samples.dtype.kind == "u" else 1 - samples
    return np.asarray(samples)


def _to_tiff(stack: Stack, path: Path) -> tuple[str, ...]:
    import tifffile

    own, layout = stack.metadata, stack.layout
    if stack.is_complex:
        raise ValueError("it is a measurement of complex numbers, not an image")
    tags = own.tiff()
    described = {"ome": {"axes": stack.axes, **layout.facts}, "shaped": {"axes": stack.axes}}.get(layout.kind)
    kept = {tag: entry for tag, entry in tags.entries.items() if tag not in _DENSITY}
    extra = [(tag, entry.kind, _count(entry), entry.data, True) for tag, entry in kept.items()]
    if own.xmp:
        extra.append((700, 1, len(own.xmp), own.xmp, True))
    density = own.density and (own.density.per("cm") if own.density.unit == "m" else own.density[:2])
    tifffile.imwrite(
        path,
        stack.samples,
        **layout.options,
        byteorder=">" if tags.order == ">" else "<",
        ome=layout.kind == "ome",
        metadata=described,
        resolution=density,
        resolutionunit={"inch": 2, "": 1}.get(own.density.unit, 3) if own.density else None,
        extratags=extra,
        iccprofile=own.icc,
        software=False,
    )
    return (*own.lost, *(("EXIF",) if tags.children else ()), *own.beyond_png())


def _checked(axes: str, shape: tuple[int, ...], max_pixels: int) -> str:
    """Axes in capital letters; raises `ValueError` if they do not fit a shape, or it has too many pixels."""
    axes = axes.upper()
    if not axes.isalpha() or len(set(axes)) != len(axes) or not {"Y", "X"} <= set(axes):
        raise ValueError(f"axes must be different letters with Y and X, {_EXAMPLES}; got {axes}")
    if len(axes) != len(shape):
        raise ValueError(f"its shape is {list(shape)}, and {axes} names {len(axes)} dimensions")
    if 0 in shape:
        raise ValueError(f"its shape is {list(shape)}, expected at least one pixel")
    if "S" in axes and shape[axes.index("S")] > 4:
        raise ValueError(
            f"it has {shape[axes.index('S')]} channels (axes {axes}), expected 1 to 4 for S: "
            f"restore each for itself with --axes {axes.replace('S', 'C')}"
        )
    height, width = (shape[axes.index(axis)] for axis in "YX")
    pixels = math.prod(size for size, axis in zip(shape, axes, strict=True) if axis != "S")
    if pixels > max_pixels:
        raise ValueError(
            f"it has {pixels // (height * width)} planes of {width} x {height} pixels, more than {max_pixels} together: "
            "raise the limit with --max-pixels"
        )
    return axes


def _planes_first(axes: str) -> str:
    """The letters of planes, then Y, X, and S if there is one."""
    return "".join(axis for axis in axes if axis not in "YXS") + "YX" + ("S" if "S" in axes else "")


def _count(entry: directories.Entry) -> int:
    return len(entry.data) // directories.SIZES[entry.kind]
