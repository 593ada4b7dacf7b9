"""Contact sheets: several pictures side by side on one, RGB floats in [0, 1].

Knows pixels only. Cells of one sheet have one height, the largest; each keeps its aspect.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from gradcam_hooks.images.colors import Floats

__all__ = ["sheet"]

_GAP = 8
_MOST = 512
"""Cells are drawn at this height at most: a sheet is for comparing, not for pixels."""


def sheet(rows: Sequence[Sequence[Floats]]) -> Floats:
    """Rows of pictures ``(height, width, 3)`` as one picture on white."""
    import cv2

    height = min(_MOST, max(cell.shape[0] for row in rows for cell in row))
    scaled: list[list[Floats]] = []
    for row in rows:
        cells: list[Floats] = []
        for cell in row:
            width = max(1, round(cell.shape[1] * height / cell.shape[0]))
            shrink = cell.shape[0] > height
            how = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
            resized = np.asarray(cv2.resize(cell, (width, height), interpolation=how), np.float32)
            cells.append(resized.clip(0, 1))
        scaled.append(cells)
    widths = [sum(cell.shape[1] for cell in row) + _GAP * (len(row) - 1) for row in scaled]
    total = (height + _GAP) * len(rows) - _GAP
    canvas = np.ones((total, max(widths), 3), dtype=np.float32)
    for i, line in enumerate(scaled):
        top, left = i * (height + _GAP), 0
        for cell in line:
            canvas[top : top + height, left : left + cell.shape[1]] = cell
            left += cell.shape[1] + _GAP
    return canvas
