"""Colours: pixels as floats, maps through a colour map, and a map laid over its picture.

Everything is RGB and float in [0, 1] until the moment it is written: nothing is divided by its
own maximum, so a dim picture stays dim, and nothing is multiplied as 8-bit integers, which
overflow. What colours a name stands for is told in `palettes`. This file knows arrays: no picture
file, no model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gradcam_hooks.checks import check_range
from gradcam_hooks.defaults import DEFAULT_COLORMAP
from gradcam_hooks.errors import InputError
from gradcam_hooks.images.opencv import opencv
from gradcam_hooks.images.palettes import (
    COLORMAPS,
    Colormap,
    Floats,
    colour_table,
)

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "COLORMAPS",
    "DEFAULT_COLORMAP",
    "Floats",
    "blend",
    "colorize",
    "inner_border",
    "to_float",
    "to_uint8",
]

_STRIP = 1 << 15
"""Pixels coloured at once: what they take on the way stays in the processor's cache."""

_OUTLINE = 1.0  # white


def to_float(image: Image.Image | npt.NDArray[np.uint8]) -> Floats:
    """8-bit pixels as float32 in [0, 1]: `value / 255`, same shape.

    Raises:
        InputError: the pixels are not 8-bit.

    >>> to_float(np.array([0, 51, 255], dtype=np.uint8))
    array([0. , 0.2, 1. ], dtype=float32)
    """
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8:
        raise InputError(
            f"expected 8-bit pixels (uint8), got {pixels.dtype}; "
            "gradcam_hooks.images.load_image reads any picture as 8-bit RGB"
        )
    floats: Floats = pixels.astype(np.float32) / np.float32(255)
    return floats


def to_uint8(rgb: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """Floats in [0, 1] as 8-bit pixels, rounded to the nearest: `floor(255 * value + 0.5)`.

    Raises:
        InputError: a value lies outside [0, 1] or is not finite.

    >>> to_uint8([0.0, 0.5, 1.0]).tolist()
    [0, 128, 255]
    """
    values = _unit("pixels", rgb)
    pixels: npt.NDArray[np.uint8] = np.floor(values * 255 + 0.5).astype(np.uint8)
    return pixels


def colorize(values: npt.ArrayLike, colormap: Colormap = DEFAULT_COLORMAP) -> Floats:
    """A map in colours: linear between the 256 entries of the colour map's table.

    Args:
        values: a map in [0, 1], any shape.
        colormap: one of `COLORMAPS`, another name of matplotlib's, or a colormap object.

    Returns:
        float32 RGB in [0, 1], the shape of `values` with 3 channels behind.

    Raises:
        InputError: no such colour map, or a value outside [0, 1].

    >>> colorize([[0.0, 1.0]], "hot").tolist()
    [[[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]]
    """
    table = colour_table(colormap)
    position = _unit("the map", values) * 255
    low = position.astype(np.intp)
    weight = (position - low.astype(np.float32))[..., None]
    steps = np.diff(table, axis=0)
    # `take` with a mode is several times faster than an index. Only the last entry is clipped,
    # and its weight is 0: there is nothing behind it to go to.
    colours: Floats = table.take(low, axis=0, mode="clip")
    colours += steps.take(low, axis=0, mode="clip") * weight
    return colours


def blend(
    image: npt.ArrayLike,
    heat: npt.ArrayLike,
    *,
    alpha: float | Floats = 0.5,
    colormap: Colormap = DEFAULT_COLORMAP,
    seen: npt.NDArray[np.bool_] | None = None,
) -> Floats:
    """A picture with a map laid over it: `image * (1 - alpha) + colour(heat) * alpha`.

    Args:
        image: RGB floats in [0, 1], `(height, width, 3)`.
        heat: the map in [0, 1], `(height, width)`.
        alpha: the map's weight in [0, 1]; 0 is the picture alone, 1 the map alone. An array
            ``(height, width)`` is the weight of each pixel.
        colormap: as `colorize` takes it.
        seen: True where the network saw the picture, `(height, width)`. Elsewhere the picture
            stays as it is; the border is a thin white line, just inside what was seen.

    Returns:
        float32 RGB in [0, 1], `(height, width, 3)`.

    Raises:
        InputError: shapes that do not fit each other, or values outside [0, 1].

    >>> blend([[[0.2, 0.2, 0.2]]], [[1.0]], alpha=0.25, colormap="hot")
    array([[[0.4, 0.4, 0.4]]], dtype=float32)
    """
    picture = _unit("the image", image)
    if picture.ndim != 3 or picture.shape[2] != 3:
        raise InputError(f"the image must be RGB, (height, width, 3); got {picture.shape}")
    size = picture.shape[:2]
    if np.shape(heat) != size:
        raise InputError(
            f"the map has the shape {np.shape(heat)}, and the image {size}; "
            "Geometry.place puts a map of the input's size on the original picture"
        )
    weight = np.broadcast_to(_weight(alpha, size)[..., None], (*size, 1))
    mixed: Floats = picture * (1 - weight)
    heat, step = np.asarray(heat), 1 + _STRIP // max(size[1], 1)
    for rows in (slice(start, start + step) for start in range(0, size[0], step)):
        mixed[rows] += colorize(heat[rows], colormap) * weight[rows]
    if seen is None:
        return mixed
    if seen.shape != size or seen.dtype != np.bool_:
        raise InputError(
            f"seen must be a bool mask of the image's size {size}; got {seen.dtype} {seen.shape}"
        )
    np.copyto(mixed, picture, where=~seen[..., None])
    np.copyto(mixed, _OUTLINE, where=inner_border(seen)[..., None])
    return mixed


def _weight(alpha: float | Floats, size: tuple[int, ...]) -> Floats:
    """The map's weight as an array: of no axes, or of the picture's two."""
    if not isinstance(alpha, np.ndarray):
        check_range(alpha, "alpha", 0, 1, ends="[]", what="the map's weight,", error=InputError)
    elif alpha.shape != size:
        raise InputError(f"alpha= has the shape {alpha.shape}, and the image {size}.")
    return _unit("alpha", np.asarray(alpha, np.float32))


def inner_border(seen: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The seen pixels next to unseen ones; a line that keeps its look on a large picture."""
    cv2 = opencv()
    width = max(1, round(min(seen.shape) / 300))
    # Beyond the picture counts as seen for erode, so the frame itself is no border.
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    inside = cv2.erode(seen.astype(np.uint8), kernel).astype(np.bool_)
    border: npt.NDArray[np.bool_] = seen & ~inside
    return border


def _unit(name: str, values: npt.ArrayLike) -> Floats:
    """Floats in [0, 1]; a rounding error outside is clipped, more is refused."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiub" or array.dtype == np.uint8:
        raise InputError(
            f"{name} must be floats in [0, 1], got {array.dtype}; "
            "gradcam_hooks.images.to_float turns 8-bit pixels into floats"
        )
    if array.size and not (array.min() >= -1e-5 and array.max() <= 1 + 1e-5):
        raise InputError(
            f"{name} must lie in [0, 1], got {array.min():.4g} to {array.max():.4g}; "
            "scale it first (a map by its minimum and maximum)"
        )
    zero, one = np.float32(0), np.float32(1)  # of Python's own NumPy 1 makes float64 of no axes
    return array.astype(np.float32).clip(zero, one)
