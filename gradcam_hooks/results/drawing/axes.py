"""Axes around a picture: what its columns and rows stand for, with ticks and units.

`Axes` is what the user says of them; `framed` sets a picture on white paper with the ticks beside
it. Knows pixels and numbers, and nothing of what the picture shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gradcam_hooks.checks import check_range
from gradcam_hooks.errors import InputError

if TYPE_CHECKING:
    from gradcam_hooks.images.colors import Floats

__all__ = ["Axes", "Span", "Tick", "beside", "framed", "ticks", "write"]

Span = tuple[float, float, str]
"""An axis: the value where it begins, the value where it ends, and the unit."""

Tick = tuple[float, str]
"""A mark: its place in pixels from the axis's beginning, and its text."""

_LINE = 0.35  # grey
_DASH = 5


@dataclass(frozen=True)
class Axes:
    """What the axes of a signal or of a spectrogram stand for.

    Attributes:
        x: ``(start, end, unit)``: the values at the outer edges of the first and the last column.
        y: the same of the first and the last row. Values always grow upwards: where the first row
            has the lower value, as the frequencies of a spectrogram that was just computed, the
            picture is turned over. Of a signal: the least and the greatest amplitude drawn, the
            same for all channels, and its unit.
        rate: in place of ``x``: positions per second. Position i of a signal stands at i / rate.
        names: the channels of a signal, by name.

    Raises:
        InputError: an axis is no such triple, or has no extent; or both x and rate are given.
    """

    x: Span | None = None
    y: Span | None = None
    rate: float | None = None
    names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name in ("x", "y"):
            span = getattr(self, name)
            if span is not None:
                _check_span(name, span)
        if self.rate is None:
            return
        if self.x is not None:
            raise InputError("x= and rate= both say what the columns stand for; give one of them.")
        check_range(self.rate, "rate", 0, what="positions per second,", error=InputError)

    def across(self, length: int) -> Span | None:
        """The span of ``length`` columns, None where nothing is said of them.

        >>> Axes(rate=50).across(100)
        (0.0, 2.0, 's')
        """
        return self.x if self.rate is None else (0.0, length / self.rate, "s")


def _check_span(name: str, span: Span) -> None:
    try:
        start, end, unit = span
        good = math.isfinite(start) and math.isfinite(end) and isinstance(unit, str)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name}= is (start, end, unit), such as (0, 2.0, 's'); got {span!r}."
        ) from error
    if not good or start == end:
        raise InputError(
            f"{name}= is (start, end, unit), two different numbers and a word; got {span!r}."
        )


def ticks(span: Span, pixels: int, apart: int) -> list[Tick]:
    """Round values along an axis, ``apart`` pixels or more from each other, the last with the unit.

    >>> ticks((0.0, 2.0, "s"), 400, 90)
    [(0.0, '0.0'), (100.0, '0.5'), (200.0, '1.0'), (300.0, '1.5'), (400.0, '2.0 s')]
    """
    start, end, unit = span
    least = abs(end - start) * apart / max(pixels, 1)
    power = 10.0 ** math.floor(math.log10(least))
    step = next(power * n for n in (1, 2, 5, 10) if power * n >= least * (1 - 1e-9))
    low, high = sorted((start, end))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    values = [n * step for n in range(first, last + 1)]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    found = [((v - start) / (end - start) * pixels, f"{v + 0.0:.{digits}f}") for v in values]
    if found and unit:
        found[-1] = (found[-1][0], f"{found[-1][1]} {unit}")
    return found


def framed(panel: Floats, x: Span | None, y: Span | None, size: int) -> Floats:
    """A picture on white paper, with its ticks below and on the left.

    Args:
        panel: RGB floats in [0, 1].
        x: its columns, from left to right; None for no ticks.
        y: its rows, from bottom to top.
        size: of the letters, in pixels.
    """
    height, width = panel.shape[:2]
    below = [] if x is None else ticks(x, width, 6 * size)
    left = []
    if y is not None:
        left = [(height - place, text) for place, text in ticks(y, height, 3 * size)]
    return beside(panel, left, below, size)


def beside(panel: Floats, left: Sequence[Tick], below: Sequence[Tick], size: int) -> Floats:
    """A picture on white paper with these marks; places are pixels from its left and its top."""
    from gradcam_hooks.images.lettering import text_width

    height, width = panel.shape[:2]
    wide = [text_width(text, size) for _, text in below]
    wide = [*wide[:-1], *(2 * w for w in wide[-1:])]  # the unit stands behind the last number
    right = max(
        [0, *(math.ceil(at + w / 2 - width) for (at, _), w in zip(below, wide, strict=True))]
    )
    gutter = max([0, *(text_width(text, size) + _DASH for _, text in left)])
    over = max([0, *(math.ceil(w / 2 - at) for (at, _), w in zip(below, wide, strict=True))])
    gutter = max(gutter, over)
    top, foot = (size if left else 0), (_DASH + 2 * size if below else size if left else 0)
    paper = np.ones((top + height + foot, gutter + width + right, 3), np.float32)
    paper[top : top + height, gutter : gutter + width] = panel
    for at, text in left:
        row = top + min(max(round(at - 0.5), 0), height - 1)
        paper[row, gutter - _DASH : gutter] = _LINE
        write(paper, text, (row, gutter - _DASH), size, anchor="right")
    for at, text in below:
        column = gutter + min(max(round(at - 0.5), 0), width - 1)
        paper[top + height : top + height + _DASH, column] = _LINE
        unit = text_width(text, size) - text_width(text.partition(" ")[0], size)
        spot = (top + height + _DASH + size * 3 // 4, column + unit // 2)  # the number at its mark
        write(paper, text, spot, size, anchor="middle")
    return paper


def write(
    paper: Floats, text: str, place: tuple[int, int], size: int, *, anchor: str = "left"
) -> None:
    """Write a line on light paper, in place: its middle is at the row, its anchor at the column.

    What would stand off the paper is cut off.
    """
    from gradcam_hooks.images.colors import to_float
    from gradcam_hooks.images.lettering import lettered, text_width

    word = to_float(lettered([text], text_width(text, size), size=size))
    word = word[: size + 2 * max(2, size // 3)]
    row = place[0] - word.shape[0] // 2
    column = place[1] - {"left": 0, "middle": word.shape[1] // 2, "right": word.shape[1]}[anchor]
    top, left = max(row, 0), max(column, 0)
    spot = paper[top : row + word.shape[0], left : column + word.shape[1]]
    cut = word[top - row :, left - column :][: spot.shape[0], : spot.shape[1]]
    np.minimum(spot, cut, out=spot)
