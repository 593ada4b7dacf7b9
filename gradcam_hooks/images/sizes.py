"""Sizes: a picture made smaller, for whoever looks at it. Knows pictures alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["smaller"]


def smaller(image: Image.Image, side: int) -> Image.Image:
    """The picture with its longer side at most ``side`` pixels; itself where it has no more.

    Averaged by whole numbers of pixels first, which takes a third of the time of one step.
    """
    from PIL import Image

    shrink = side / max(image.size)
    if shrink >= 1:
        return image
    width, height = (max(1, round(one * shrink)) for one in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=1.0)
