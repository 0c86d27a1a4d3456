"""Several images of one size in one array, with names for its dimensions."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from fastreg.io import encoders, images, ome
from fastreg.io.decoders import Decoded
from fastreg.io.images import Image
from fastreg.io.metadata import Metadata

#: How to name dimensions.
EXAMPLES = (
    "such as TYX (planes, rows, columns) or TYXS (with colours last): Y and X, S for colours, other letters for planes"
)


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a TIFF file stores a stack: `kind` of its description, BigTIFF or not, arguments for tifffile, what OME-XML says."""

    kind: str = "shaped"
    big: bool = False
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
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

    @property
    def pixels(self) -> int:
        """Pixels of all images together."""
        return math.prod(size for size, axis in zip(self.samples.shape, self.axes, strict=True) if axis != "S")

    def stripped(self) -> Stack:
        """The stack without metadata, but for what says how its samples are to be shown, and what its dimensions are."""
        kind = "shaped" if self.layout.kind == "imagej" else self.layout.kind
        layout = dataclasses.replace(self.layout, kind=kind, facts={})
        return dataclasses.replace(self, metadata=self.metadata.stripped(), layout=layout)

    def colours(self) -> np.ndarray:
        """The samples without alpha."""
        if "S" not in self.axes or self.samples.shape[self.axes.index("S")] % 2:
            return self.samples
        return np.moveaxis(self.samples, self.axes.index("S"), 0)[:-1]

    def images(self) -> Iterator[Image]:
        """The planes in their order, not turned upright.

        Raises
        ------
        ValueError
            If the samples are of a type that no image has, or out of range.
        """
        order = planes_first(self.axes)
        planes = self.samples.transpose([self.axes.index(axis) for axis in order])
        planes = planes if order[-1] == "S" else planes[..., None]
        as_stored = dataclasses.replace(self.metadata, orientation=1)
        for k in np.ndindex(planes.shape[:-3]):
            try:
                if self.is_complex:
                    yield images.make_complex(planes[k])
                else:
                    yield images.make_image(Decoded(planes[k], as_stored, self.premultiplied), self.limits)
            except ValueError as error:
                raise ValueError(f"image {', '.join(map(str, k))}: {error}" if k else str(error)) from error

    def replaced(self, planes: Iterable[Image]) -> Stack:
        """A stack like this one of other images; they may differ in size and number of channels from those here."""
        order = planes_first(self.axes)
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
            axes, order = axes + "S", order + "S"
            options = options and {**options, "photometric": "rgb", "planarconfig": "contig"}
        array = array if order[-1] == "S" else array[..., 0]
        scale = array.shape[order.index("Y")] / self.samples.shape[self.axes.index("Y")]
        return dataclasses.replace(
            self,
            samples=array.transpose([order.index(axis) for axis in axes]),
            axes=axes,
            metadata=dataclasses.replace(first.metadata, orientation=self.metadata.orientation),
            layout=dataclasses.replace(self.layout, options=options, facts=ome.enlarged(self.layout.facts, scale)),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Pages:
    """Images of several sizes or types: the pages of a document, as stacks of those that follow each other and are alike."""

    parts: tuple[Stack, ...]

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def images(self) -> Iterator[Image]:
        """The pages in their order; raises `ValueError` as `Stack.images`."""
        return itertools.chain.from_iterable(part.images() for part in self.parts)

    def replaced(self, pages: Iterable[Image]) -> Pages:
        """Other images in the place of these."""
        left = iter(pages)
        return Pages(tuple(part.replaced(itertools.islice(left, len(part))) for part in self.parts))

    def stripped(self) -> Pages:
        """The pages without metadata, as `Stack.stripped`."""
        return Pages(tuple(part.stripped() for part in self.parts))


def check_axes(axes: str, shape: tuple[int, ...], max_pixels: int) -> str:
    """Axes in capital letters; raises `ValueError` if they do not fit a shape, or it has too many pixels."""
    axes = axes.upper()
    if not axes.isalpha() or len(set(axes)) != len(axes) or not {"Y", "X"} <= set(axes):
        raise ValueError(f"axes must be different letters with Y and X, {EXAMPLES}; got {axes}")
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
            f"it has {pixels // (height * width)} images of {width} x {height} pixels, more than {max_pixels} together: "
            "raise the limit with --max-pixels"
        )
    return axes


def planes_first(axes: str) -> str:
    """The letters of planes, then Y, X, and S if there is one."""
    return "".join(axis for axis in axes if axis not in "YXS") + "YX" + ("S" if "S" in axes else "")
