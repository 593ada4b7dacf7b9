"""Contact sheets: several pictures on one, with titles and captions, RGB floats in [0, 1].

Knows pixels and text only. Cells of one sheet have one height, the largest; each keeps its
aspect. Columns are as wide as their widest cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from gradcam_hooks.images.lettering import lettered, text_width
from gradcam_hooks.images.opencv import opencv

if TYPE_CHECKING:
    from gradcam_hooks.images.colors import Floats

__all__ = ["captioned", "in_rows", "sheet"]

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
    """Rows of pictures ``(height, width, 3)`` as one picture on white.

    Args:
        rows: the cells.
        captions: lines of text below each cell.
        columns: a title above each column.
        titles: a title on the left of each row.
        most: the height of a cell in pixels at most.
        least: the width of a column with text in pixels at least.
        gap: the pixels between cells.
    """
    height = min(most, max(cell.shape[0] for row in rows for cell in row))
    cells = [[_at_height(cell, height) for cell in row] for row in rows]
    text = captions is not None or bool(columns)
    widths = [least if text else 0] * max(map(len, cells))
    for row in cells:
        for i, cell in enumerate(row):
            widths[i] = max(widths[i], cell.shape[1])
    bands = [_beside(row, widths, gap) for row in cells]
    if captions is not None:
        bands = [
            np.concatenate([band, _written(lines, widths, gap)])
            for band, lines in zip(bands, captions, strict=True)
        ]
    if titles:
        wide = min(_LEAST, max(text_width(title, _SIZE + 2) for title in titles))
        bands = [
            np.concatenate(
                [lettered([title], wide, size=_SIZE + 2, height=len(band)), band], axis=1
            )
            for title, band in zip(titles, bands, strict=True)
        ]
    if columns:
        heading = _written([[title] for title in columns], widths, gap, _SIZE + 2)
        left = bands[0].shape[1] - heading.shape[1]
        bands.insert(0, np.pad(heading, ((0, 0), (left, 0), (0, 0)), constant_values=1))
    space = np.ones((gap, bands[0].shape[1], 3), np.float32)
    return np.concatenate([part for band in bands for part in (space, band)][1:])


def in_rows(cells: Sequence[_T], wide: int) -> list[Sequence[_T]]:
    """Cells in rows of that many.

    >>> in_rows("abcde", 2)
    ['ab', 'cd', 'e']
    """
    return [cells[start : start + wide] for start in range(0, len(cells), wide)]


def captioned(rgb: Floats, lines: Sequence[str], size: int) -> Floats:
    """A picture with lines of text on a strip below it; a narrow one is set on wider paper."""
    width = max(rgb.shape[1], 16 * size)
    strip = lettered(lines, width, size=size)
    beside = width - rgb.shape[1]
    return np.concatenate([np.pad(rgb, ((0, 0), (0, beside), (0, 0)), constant_values=1), strip])


def _at_height(cell: Floats, height: int) -> Floats:
    cv2 = opencv()

    width = max(1, round(cell.shape[1] * height / cell.shape[0]))
    how = cv2.INTER_AREA if cell.shape[0] > height else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(cell, (width, height), interpolation=how), np.float32).clip(0, 1)


def _beside(cells: Sequence[Floats], widths: Sequence[int], gap: int) -> Floats:
    """Cells of one height in their columns, on white."""
    band = np.ones((cells[0].shape[0], sum(widths) + gap * (len(widths) - 1), 3), np.float32)
    left = 0
    for cell, width in zip(cells, widths, strict=False):
        band[:, left : left + cell.shape[1]] = cell
        left += width + gap
    return band


def _written(
    texts: Sequence[Sequence[str]], widths: Sequence[int], gap: int, size: int = _SIZE
) -> Floats:
    """A band of text, in the same columns."""
    cells = [lettered(lines, width, size=size) for lines, width in zip(texts, widths, strict=False)]
    tall = max(cell.shape[0] for cell in cells)
    level = [
        np.pad(cell, ((0, tall - cell.shape[0]), (0, 0), (0, 0)), constant_values=1)
        for cell in cells
    ]
    return _beside(level, widths, gap)
