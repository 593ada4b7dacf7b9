"""Pictures as bytes: of a file's format, and for pages and notebooks RGB floats in [0, 1] as PNG.

`save_image` writes files; this knows memory only.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from gradcam_hooks.images.colors import to_uint8
from gradcam_hooks.images.opencv import opencv

if TYPE_CHECKING:
    from PIL import Image

    from gradcam_hooks.images.colors import Floats

__all__ = ["encoded", "enlarged", "png", "shrunk"]


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of a file of a picture.

    What Pillow writes into a file itself it takes for written where a full disk took half of it.

    Args:
        image: the picture.
        kind: the format, by Pillow's name.
        options: Pillow's, for this format.
    """
    data = io.BytesIO()
    image.save(data, format=kind, **options)
    return data.getvalue()


def enlarged(rgb: Floats, least: int) -> Floats:
    """The picture with its shorter side at least ``least`` pixels: each pixel becomes a square.

    >>> enlarged(np.zeros((2, 3, 3), np.float32), 5).shape
    (6, 9, 3)
    """
    times = max(1, -(-least // min(rgb.shape[:2])))
    return rgb.repeat(times, 0).repeat(times, 1)


def shrunk(rgb: Floats, longest: int) -> Floats:
    """The picture with its longer side at most ``longest`` pixels, averaged; else as it is."""
    height, width = rgb.shape[:2]
    ratio = longest / max(height, width)
    if ratio >= 1:
        return rgb
    cv2 = opencv()

    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.float32).clip(0, 1)


def png(rgb: Floats, longest: int | None = None) -> bytes:
    r"""A picture ``(height, width, 3)`` as the bytes of a PNG file.

    Args:
        rgb: floats in [0, 1].
        longest: the longer side in pixels at most; by default the picture's own.

    >>> png(np.zeros((1, 1, 3), np.float32))[:4]
    b'\x89PNG'
    """
    from PIL import Image

    small = rgb if longest is None else shrunk(rgb, longest)
    return encoded(Image.fromarray(to_uint8(small)), "PNG", optimize=True)
