"""Marks on a picture: boxes and outlines that stand out from photographs and colour maps alike.

A light line on a wider dark one, drawn with OpenCV; its width grows with the picture. Knows pixels
and coordinates, not what they mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gradcam_hooks.images.opencv import opencv

if TYPE_CHECKING:
    from gradcam_hooks.images.colors import Floats

__all__ = ["mark"]

_BOX = (0.0, 1.0, 1.0)  # cyan: no colour of the usual maps, nor of skin, grass or sand
_OUTLINE = (1.0, 1.0, 1.0)
_DARK = (0.0, 0.0, 0.0)


def mark(
    rgb: Floats,
    boxes: Sequence[Sequence[int]] = (),
    polygons: Sequence[npt.NDArray[np.int32]] = (),
) -> Floats:
    """A picture with boxes in cyan and polygons in white drawn on it.

    Args:
        rgb: floats in [0, 1], ``(height, width, 3)``; it is left as it is.
        boxes: ``(left, top, right, bottom)`` in pixels; right and bottom lie just outside.
        polygons: ``(points, 2)``, x and y of pixels.

    Returns:
        A new picture of the same shape. The line lies on the border pixels of what it marks, and
        is a pixel wide on a small picture and two more for each 450 of the shorter side.
    """
    cv2 = opencv()

    width = 1 + 2 * (min(rgb.shape[:2]) // 450)
    drawn: Floats = rgb.copy()
    if polygons:
        paper = np.zeros(rgb.shape[:2], np.uint8)
        cv2.polylines(paper, [*polygons], True, 255, 1)
        _stroke(drawn, paper, _OUTLINE, width)
    if boxes:
        paper = np.zeros(rgb.shape[:2], np.uint8)
        for left, top, right, bottom in boxes:
            cv2.rectangle(paper, (left, top), (right - 1, bottom - 1), 255, 1)
        _stroke(drawn, paper, _BOX, width)
    return drawn


def _stroke(
    rgb: Floats, line: npt.NDArray[np.uint8], colour: tuple[float, float, float], width: int
) -> None:
    """Lay a dark line and a narrower one of the colour on the picture, in place.

    How wide OpenCV draws a thickness differs between its versions, so a line of one pixel is
    widened here.
    """
    cv2 = opencv()

    for ink, side in ((_DARK, width + 2 * max(1, width // 3)), (colour, width)):
        wide = cv2.dilate(line, np.ones((side, side), np.uint8))
        covered = (wide.astype(np.float32) / 255)[..., None]
        rgb *= 1 - covered
        rgb += covered * np.asarray(ink, np.float32)
