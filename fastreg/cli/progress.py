"""How far a run is, on the terminal or, without one, as a line now and then."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence

#: Seconds between two updates on a terminal, and between two lines without one.
_OFTEN, _SELDOM = 0.1, 30.0


class Progress:
    """Counts images and the steps of the current one.

    Parameters
    ----------
    pixels
        Of each image, in the order in which they are restored; 0 where it is not known.
    steps
        Number of steps of a solve.
    """

    def __init__(self, pixels: Sequence[int], steps: int) -> None:
        self._pixels, self._iterations = pixels, steps
        self._images, self._step, self._steps, self._worked = 0, 0, steps, 0
        self._started = self._shown = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def begin(self, solves: int) -> None:
        """The current image takes this number of solves."""
        self._step, self._steps = 0, solves * self._iterations

    def step(self, done: int = 0) -> None:
        """Another step of the current image is done."""
        self._step = min(self._step + 1, self._steps)
        self._show()

    def image(self, worked: bool) -> None:
        """The current image is finished; `worked` unless it failed."""
        self._worked += self._pixels[self._images] if worked else 0
        self._images += 1
        self.begin(1)
        self._show()

    def clear(self) -> None:
        """Make room for another line on the terminal."""
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def line(self, seconds: float) -> str:
        """What is shown after that time: images, steps, rate and time left."""
        count = len(self._pixels)
        text = f"restoring: {self._images} of {count} image{'' if count == 1 else 's'}"
        if self._images == count:
            return text
        text += f", step {self._step} of {self._steps}"
        part = self._pixels[self._images] * self._step / self._steps
        if self._worked + part and seconds > 0:
            rate = (self._worked + part) / seconds
            text += f", {megapixels(rate)} a second, {clock((sum(self._pixels[self._images :]) - part) / rate)} left"
        return text

    def _show(self) -> None:
        now = time.monotonic()
        if now - self._shown < (_OFTEN if self._terminal else _SELDOM):
            return
        self._shown = now
        text = self.line(now - self._started)
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[K{text[:width]}", end="", file=sys.stderr, flush=True)
        else:
            print(f"fastreg: {text}", file=sys.stderr, flush=True)


def megapixels(pixels: float) -> str:
    """A number of pixels as text, with two digits at least."""
    if pixels < 1e4:
        return f"{pixels:.0f} pixels"
    return f"{pixels / 1e6:.0f} megapixels" if pixels >= 1e8 else f"{pixels / 1e6:.2g} megapixels"


def clock(seconds: float) -> str:
    """A time as text: 0:05, 12:34, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
