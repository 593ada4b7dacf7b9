"""Contact sheets: several pictures on one, with titles and captions, RGB floats in [0, 1].

Knows pixels and text only. Cells of one sheet have one height, the largest; each keeps its
aspect. Columns are as wide as their widest cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from gradcam_hooks.images.lettering import text_width
from gradcam_hooks.images.opencv import opencv
from gradcam_hooks.images.pages import Page, Part, Text, above, beside
from gradcam_hooks.images.painting import floats

if TYPE_CHECKING:
    from gradcam_hooks.images.colors import Floats

__all__ = ["captioned", "contact", "in_rows", "sheet", "subtitled"]

_T = TypeVar("_T")

_GAP = 8
_MOST = 512
"""Cells are drawn at this height at most: a sheet is for comparing, not for pixels."""

_LEAST = 176
"""Text stands in columns of this width at least, however small the pictures are."""

_SIZE = 14


def sheet(
    rows: Sequence[Sequence[Floats]],
    *,
    captions: Sequence[Sequence[Sequence[str]]] | None = None,
    columns: Sequence[str] = (),
    titles: Sequence[str] = (),
    most: int = _MOST,
    least: int = _LEAST,
    gap: int = _GAP,
) -> Floats:
    """Rows of pictures ``(height, width, 3)`` as one picture on white; see `contact`."""
    page = contact(
        rows, captions=captions, columns=columns, titles=titles, most=most, least=least, gap=gap
    )
    return page.pixels()


def contact(
    rows: Sequence[Sequence[Part]],
    *,
    captions: Sequence[Sequence[Sequence[str]]] | None = None,
    columns: Sequence[str] = (),
    titles: Sequence[str] = (),
    most: int = _MOST,
    least: int = _LEAST,
    gap: int = _GAP,
) -> Page:
    """Rows of cells as one page.

    Args:
        rows: the cells: pictures ``(height, width, 3)``, or text in the place of one.
        captions: lines of text below each cell.
        columns: a title above each column.
        titles: a title on the left of each row.
        most: the height of a cell in pixels at most.
        least: the width of a column with text in pixels at least.
        gap: the pixels between cells.
    """
    tall = [cell.shape[0] for row in rows for cell in row if not isinstance(cell, Text)]
    height = min(most, max(tall, default=most))
    cells = [[Page.of(_at_height(cell, height)) for cell in row] for row in rows]
    text = captions is not None or bool(columns)
    widths = [least if text else 0] * max(map(len, cells))
    for row in cells:
        for i, cell in enumerate(row):
            widths[i] = max(widths[i], cell.width)
    bands = [_columned(row, widths, gap) for row in cells]
    if captions is not None:
        bands = [
            above([band, _written(lines, widths, gap)])
            for band, lines in zip(bands, captions, strict=True)
        ]
    if titles:
        wide = min(_LEAST, max(text_width(title, _SIZE + 2) for title in titles))
        bands = [
            beside([Page.of(Text((title,), wide, _SIZE + 2, band.height)), band])
            for title, band in zip(titles, bands, strict=True)
        ]
    if columns:
        heading = _written([[title] for title in columns], widths, gap, _SIZE + 2)
        bands.insert(0, heading.at(0, bands[0].width - heading.width))
    return above(bands, gap)


def in_rows(cells: Sequence[_T], wide: int) -> list[Sequence[_T]]:
    """Cells in rows of that many.

    >>> in_rows("abcde", 2)
    ['ab', 'cd', 'e']
    """
    return [cells[start : start + wide] for start in range(0, len(cells), wide)]


def captioned(rgb: Floats, lines: Sequence[str], size: int) -> Floats:
    """A picture with lines of text on a strip below it; a narrow one is set on wider paper."""
    return subtitled(Page.of(rgb), lines, size).pixels()


def subtitled(page: Page, lines: Sequence[str], size: int) -> Page:
    """The same of a page."""
    return above([page, Page.of(Text(tuple(lines), max(page.width, 16 * size), size))])


def _at_height(cell: Part, height: int) -> Part:
    cv2 = opencv()
    if isinstance(cell, Text):
        return replace(cell, tall=height)
    width = max(1, round(cell.shape[1] * height / cell.shape[0]))
    how = cv2.INTER_AREA if cell.shape[0] > height else cv2.INTER_LINEAR
    resized = cv2.resize(floats(cell), (width, height), interpolation=how)
    return np.asarray(resized, np.float32).clip(0, 1)


def _columned(cells: Sequence[Page], widths: Sequence[int], gap: int) -> Page:
    """Cells in their columns, on a band that has all columns."""
    placed = [cell.sized(cell.height, wide) for cell, wide in zip(cells, widths, strict=False)]
    return beside(placed, gap).sized(
        max(cell.height for cell in cells), sum(widths) + gap * (len(widths) - 1)
    )


def _written(
    texts: Sequence[Sequence[str]], widths: Sequence[int], gap: int, size: int = _SIZE
) -> Page:
    """A band of text, in the same columns."""
    cells = [
        Page.of(Text(tuple(lines), width, size))
        for lines, width in zip(texts, widths, strict=False)
    ]
    return _columned(cells, widths, gap)
