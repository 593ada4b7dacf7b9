"""Painting: a map laid over 8-bit pixels, in a fraction of the time that `colors.blend` takes.

What `blend` computes for each pixel depends on the map's value there alone, but for the picture:
so it is computed once for each of `STEPS` values, and looked up. The result is that of `blend`,
rounded, to one of 255 steps. Knows arrays: no picture file, no model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gradcam_hooks.images.colors import colorize, inner_border, to_float
from gradcam_hooks.images.opencv import opencv
from gradcam_hooks.images.palettes import Colormap, Floats

__all__ = ["STEPS", "Bytes", "floats", "paint"]

Bytes: TypeAlias = npt.NDArray[np.uint8]

STEPS = 4 * 255 + 1
"""Values of the map that are told apart: four for each entry of a colour map's table."""

_STRIP = 1 << 15
"""Pixels painted at once: what they take on the way stays in the processor's cache."""


def floats(image: Bytes | Floats) -> Floats:
    """RGB as floats in [0, 1], whichever it is."""
    if image.dtype == np.uint8:
        return to_float(image.astype(np.uint8, copy=False))
    return image.astype(np.float32, copy=False)


def paint(
    image: Bytes,
    heat: Floats,
    weight: Callable[[Floats], float | Floats],
    colormap: Colormap,
    seen: npt.NDArray[np.bool_],
) -> Bytes:
    """A picture with a map laid over it, as `blend` does.

    Args:
        image: 8-bit RGB, ``(height, width, 3)``.
        heat: the map in [0, 1], ``(height, width)``.
        weight: the map's weight at each of its values.
        colormap: as `colorize` takes it.
        seen: True where the network saw the picture, ``(height, width)``.

    Returns:
        8-bit RGB, ``(height, width, 3)``.

    >>> image = np.full((1, 2, 3), 51, np.uint8)
    >>> heat, seen = np.array([[0, 1]], np.float32), np.ones((1, 2), bool)
    >>> paint(image, heat, lambda values: 0.25 * values, "hot", seen).tolist()
    [[[51, 51, 51], [102, 102, 102]]]
    """
    values = np.linspace(0, 1, STEPS, dtype=np.float32)
    part = np.broadcast_to(np.asarray(weight(values), np.float32), values.shape)[:, None]
    keep = np.ascontiguousarray(np.broadcast_to(1 - part, (STEPS, 3)))
    add = colorize(values, colormap) * part * 255 + np.float32(0.5)
    painted: Bytes = image.copy()
    down, across = _between(seen, 0), _between(seen, 1)
    rows = max(1, _STRIP // max(across.stop - across.start, 1))
    for start in range(down.start, down.stop, rows):
        strip = slice(start, min(start + rows, down.stop)), across
        step = (heat[strip].clip(0, 1) * (STEPS - 1) + 0.5).astype(np.intp)
        mixed = keep.take(step, axis=0, mode="clip")
        mixed *= image[strip]
        mixed += add.take(step, axis=0, mode="clip")
        painted[strip] = mixed  # which takes the whole number below
    if not seen.all():
        if not seen[down, across].all():  # of one channel: `np.copyto` takes five times as long
            opencv().copyTo(image, (~seen).view(np.uint8), painted)
        painted[inner_border(seen)] = 255
    return painted


def _between(seen: npt.NDArray[np.bool_], axis: int) -> slice:
    """From the first line that is seen of, to the last."""
    lines = np.flatnonzero(seen.any(1 - axis))
    return slice(int(lines[0]), int(lines[-1]) + 1) if len(lines) else slice(0, 0)
