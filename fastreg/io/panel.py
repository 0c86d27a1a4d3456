"""Pictures for comparison: images side by side, and contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

_PAPER, _INK, _GREY, _MARK = (250, 250, 248), (28, 28, 30), (120, 120, 124), (255, 176, 0)
_MARGIN, _GAP = 28, 14
#: How much larger details are.
_ZOOM = 4


class Cell(NamedTuple):
    """A picture ``[C, H, W]`` in [0, 1] (C = 1 or 3), its title, and a line below."""

    pixels: np.ndarray
    title: str
    caption: str = ""


def panel(cells: Sequence[Cell], heading: str = "", width: int = 480) -> Image.Image:
    """Pictures of one size side by side, and below each a detail of it: where the first one has the strongest contours.

    Parameters
    ----------
    cells
        The pictures, usually clean, degraded and restored.
    heading
        A line above them.
    width
        Width of a picture on the panel, in pixels.

    Raises
    ------
    ValueError
        If there is no picture, or they differ in size.
    """
    sizes = {cell.pixels.shape[-2:] for cell in cells}
    if len(sizes) != 1:
        raise ValueError(f"a panel needs pictures of one size, got {sorted(sizes)}")
    height, columns = next(iter(sizes))
    scale = width / columns
    detail = (max(1, min(height, columns // (2 * _ZOOM))), max(1, columns // _ZOOM))
    top, left = _busiest(cells[0].pixels, detail)
    tall, low = round(height * scale), round(detail[0] * width / detail[1])
    head = 54 if heading else 0
    sheet, draw = _paper(len(cells) * (width + _GAP) - _GAP + 2 * _MARGIN, head + tall + low + _GAP + 56 + 2 * _MARGIN)
    draw.text((_MARGIN, _MARGIN - 4), heading, _INK, _font(26))
    for k, cell in enumerate(cells):
        x, y = _MARGIN + k * (width + _GAP), _MARGIN + head
        picture = _picture(cell.pixels)
        sheet.paste(_resized(picture, (width, tall)), (x, y))
        box = [round(scale * v) for v in (left, top, left + detail[1], top + detail[0])]
        draw.rectangle((x + box[0], y + box[1], x + box[2], y + box[3]), outline=_MARK, width=2)
        part = picture.crop((left, top, left + detail[1], top + detail[0]))
        y += tall + _GAP
        sheet.paste(_resized(part, (width, low)), (x, y))
        draw.rectangle((x, y, x + width - 1, y + low - 1), outline=_MARK, width=2)
        draw.text((x, y + low + 8), cell.title, _INK, _font(20))
        draw.text((x, y + low + 33), cell.caption, _GREY, _font(17))
    return sheet


def contact_sheet(rows: Sequence[tuple[str, Sequence[Cell]]], heading: str = "", width: int = 300) -> Image.Image:
    """Rows of pictures with a name; titles stand once above the columns.

    Parameters
    ----------
    rows
        Name of the row and its cells; as many, with the same titles, in every row.
    heading
        A line above everything.
    width
        Width and largest height of a picture on the sheet, in pixels.

    Raises
    ------
    ValueError
        If there is no row, or the rows differ in their number of cells.
    """
    counts = {len(cells) for _, cells in rows}
    if len(counts) != 1:
        raise ValueError(f"a contact sheet needs rows with one number of pictures, got {sorted(counts)}")
    heights = [max(_fitted(cell.pixels, width)[1] for cell in cells) for _, cells in rows]
    head = 48 if heading else 0
    sheet, draw = _paper(
        counts.pop() * (width + _GAP) - _GAP + 2 * _MARGIN,
        head + 34 + sum(heights) + len(rows) * 52 - 18 + 2 * _MARGIN,
    )
    draw.text((_MARGIN, _MARGIN - 4), heading, _INK, _font(24))
    y = _MARGIN + head
    for k, cell in enumerate(rows[0][1]):
        draw.text((_MARGIN + k * (width + _GAP), y), cell.title, _INK, _font(19))
    y += 34
    for (name, cells), tall in zip(rows, heights, strict=True):
        for k, cell in enumerate(cells):
            size = _fitted(cell.pixels, width)
            x = _MARGIN + k * (width + _GAP)
            sheet.paste(_resized(_picture(cell.pixels), size), (x + (width - size[0]) // 2, y + (tall - size[1]) // 2))
            text = cell.caption if k else name
            draw.text((x, y + tall + 6), _shortened(text, _font(15), width), _GREY, _font(15))
        y += tall + 52
    return sheet


def _paper(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    from PIL import Image, ImageDraw

    sheet = Image.new("RGB", (width, height), _PAPER)
    return sheet, ImageDraw.Draw(sheet)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _picture(pixels: np.ndarray) -> Image.Image:
    from PIL import Image

    values = (np.asarray(pixels).clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:2], 3))))


def _resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    from PIL import Image

    # pixels stay pixels when they are enlarged much
    enlarged = size[0] >= 3 * picture.width
    return picture.resize(size, Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS)


def _fitted(pixels: np.ndarray, side: int) -> tuple[int, int]:
    height, width = pixels.shape[-2:]
    scale = side / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _busiest(pixels: np.ndarray, size: tuple[int, int]) -> tuple[int, int]:
    """Top left corner of the window with the largest sum of squared gradients."""
    grey = np.asarray(pixels, np.float64).mean(0)
    for axis in (0, 1):  # contours rather than texture
        grey = (np.roll(grey, 1, axis) + 2 * grey + np.roll(grey, -1, axis)) / 4
    structure = np.diff(grey, axis=0, append=grey[-1:]) ** 2 + np.diff(grey, axis=1, append=grey[:, -1:]) ** 2
    sums = np.pad(structure.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    height, width = size
    window = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(int(window.argmax()), window.shape)
    return int(top), int(left)
