"""Where an input lies on its picture, found by making inputs of pictures of coordinates.

A picture half black and half white, and its negative, tell which pixels of the input show the
picture and how each is normalised; one that grows brighter from left to right and one from top to
bottom then tell for each pixel of the input what it shows. Resizing, cropping and padding are a
straight line through these, of one scale and one offset on each axis, that `Geometry` holds;
whatever is none has no geometry. (All are equally bright, for what looks at the mean.)
Knows arrays and pictures; no library and no model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import Tensor

from gradcam_hooks.images.geometry import Geometry

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Found", "UnplacedError", "found_in", "looks_there"]

_Array = npt.NDArray[np.float32]
_Mask = npt.NDArray[np.bool_]

_NEAR = 0.25
"""How far from where they were found the ends of an input may be, in its pixels."""

_BORDER = 2
"""Pixels at the border, where resizing has nothing to average beyond, that tell no coordinate."""

_SHADES = ((25.0, 230.0), (25.0, 230.0), (195.0, 60.0))
"""Between which each picture of coordinates grows brighter: from left to right, from top to bottom,
and from right to left, where what depends on the shades that there are tells another place."""

_NOISE = 25.0
"""The most that these leave room for, at black and at white."""

_ALIKE = 0.3
"""The least correlation of an input with what its place on the picture shows."""


class UnplacedError(Exception):
    """What a callable does has no geometry; the reason goes on behind its name."""


@dataclass(frozen=True)
class Found:
    """What was found for pictures of one size.

    Attributes:
        geometry: where the input lies.
        dark: the input of a picture that is black, ``(channels, height, width)``.
        light: the input of one that is white.
    """

    geometry: Geometry
    dark: _Array
    light: _Array


def found_in(make: Callable[[Image.Image], Tensor], size: tuple[int, int]) -> Found:
    """The geometry of what ``make`` makes of pictures of that size, (width, height).

    Raises:
        UnplacedError: it is no resizing, cropping and padding.
    """
    from PIL import Image

    width, height = size
    x = (np.arange(width, dtype=np.float32) + 0.5)[None] / width
    y = (np.arange(height, dtype=np.float32) + 0.5)[:, None] / height
    # Large pictures have more pixels than there are shades, and resizing rounds to whole ones:
    # noise, more of it where more is averaged, lets the rounding fall elsewhere in each line.
    noise = np.random.default_rng(0).random((height, width), dtype=np.float32) - 0.5
    noise *= max(1.0, min(max(size) / 112, _NOISE))
    half = np.where(x < 0.5, 0, 255) + 0 * y
    lines = zip((x, y, x), _SHADES, strict=True)
    ramps = (low + (high - low) * one + noise for one, (low, high) in lines)
    made = []
    for one in (half, 255 - half, *ramps):
        grey = np.floor(one + 0.5).astype(np.uint8)
        made.append(_array(make(Image.fromarray(np.repeat(grey[..., None], 3, 2)))))
    if len({one.shape for one in made}) > 1:
        raise UnplacedError("makes an input of another size of each picture")
    left, right = made[0], made[1]
    first = _first_half(left, right)
    dark, light = np.where(first, left, right), np.where(first, right, left)
    found = []
    for one, axis, (low, high) in zip(made[2:], (1, 0, 1), _SHADES, strict=True):
        bright, seen = _bright(one, dark, light)
        if not seen.any():
            raise UnplacedError("shows nothing of the picture")
        found.append(_axis((255 * bright - low) / (high - low), seen, axis, size[1 - axis]))
    (scale_x, offset_x), (scale_y, offset_y), (again, start) = found
    far = abs(start - offset_x), abs(start - offset_x + (again - scale_x) * seen.shape[1])
    if max(far) > scale_x + 0.02 * width:
        raise UnplacedError("changes the shades of a picture by what is in it")
    space = (seen.shape[0], seen.shape[1])
    there = Geometry((height, width), space, (scale_y, scale_x), (offset_y, offset_x))
    return Found(there, dark, light)


def looks_there(found: Found, picture: Image.Image, made: Tensor) -> None:
    """Raise unless the input is like what the picture shows at its place.

    Raises:
        UnplacedError: it is not, as where a face is looked for and cut out.
    """
    array = _array(made)
    if array.shape != found.dark.shape:
        raise UnplacedError("makes inputs of several sizes of pictures of one size")
    values, seen = _bright(array, found.dark, found.light)
    rows, columns = _extent(seen)
    box = []
    for axis, one in ((1, columns), (0, rows)):
        scale, offset = found.geometry.scale[axis], found.geometry.offset[axis]
        ends = offset + scale * one[0], offset + scale * (one[-1] + 1)
        box.append((max(ends[0], 0), min(ends[1], found.geometry.original[axis])))
    (left, right), (top, bottom) = box
    shown = picture.resize((len(columns), len(rows)), 2, box=(left, top, right, bottom))
    there = np.asarray(shown, np.float32).mean(2)
    here, known = values[np.ix_(rows, columns)], seen[np.ix_(rows, columns)]
    there, here = there[known], here[known]
    if there.std() < 2 or here.std() < 0.01:  # a picture of one colour tells nothing
        return
    if np.corrcoef(there, here)[0, 1] < _ALIKE:
        raise UnplacedError("looks at what is in the picture to choose what it shows of it")


def _array(made: Tensor) -> _Array:
    array: _Array = made.detach().cpu().float().numpy()
    return array


def _first_half(left: _Array, right: _Array) -> _Mask:
    """Where an input shows the picture's left half, which is dark in ``left``; ``(1, ..., width)``.

    By the channel in which the two differ most, whichever sign its normalisation has: from left to
    right the difference changes its sign once, at the middle.
    """
    apart = right - left
    channel = apart[np.abs(apart).max((1, 2)).argmax()]
    signs = np.sign(np.where(np.abs(channel) > np.abs(channel).max() / 2, channel, 0)).sum(0)
    known = np.flatnonzero(signs)
    turns = np.flatnonzero(np.diff(np.sign(signs[known]))) if len(known) else known
    middle = known[turns[0]] + 1 if len(turns) else apart.shape[2]
    first: _Mask = np.arange(apart.shape[2])[None, None] < middle
    return first


def _bright(made: _Array, dark: _Array, light: _Array) -> tuple[_Array, _Mask]:
    """How bright each pixel's source is, in [0, 1], ``(height, width)``; and which have one."""
    span = light - dark
    weight = (span**2).sum(0)
    seen: _Mask = weight > 0.8 * weight.max()
    return ((made - dark) * span).sum(0) / np.where(seen, weight, 1), seen


def _extent(seen: _Mask) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The rows and the columns from the first in which something is seen to the last."""
    ends = [np.flatnonzero(seen.any(1 - axis)) for axis in (0, 1)]
    rows, columns = (np.arange(one[0], one[-1] + 1) for one in ends)
    return rows, columns


def _axis(source: _Array, seen: _Mask, axis: int, size: int) -> tuple[float, float]:
    """Scale and offset of one axis, from how far along it each pixel of the input looks.

    Raises:
        UnplacedError: it is no straight line along that axis.
    """
    inside = [
        one[_BORDER : len(one) - _BORDER] if len(one) > 3 * _BORDER else one
        for one in _extent(seen)
    ]
    known = seen[np.ix_(*inside)]
    values = np.where(known, source[np.ix_(*inside)], 0).astype(np.float64) * size
    if len(inside[axis]) == 1:
        return float(size), float(values[known].mean() - size * (inside[axis][0] + 0.5))
    slope, offset = _line(values, known, inside, axis)
    across, _ = _line(values, known, inside, 1 - axis)
    if slope <= 0:
        raise UnplacedError("mirrors or turns the picture")
    apart = np.where(known, values - offset, 0) - np.where(
        known, slope * np.expand_dims(inside[axis] + 0.5, 1 - axis), 0
    )
    # Noise leaves little in the mean of a line; what is bent leaves it there.
    noise = np.sqrt((apart**2).sum() / known.sum() / len(inside[1 - axis]))
    bent = np.sqrt((_means(apart, known, axis) ** 2).mean())
    turned = abs(across) * len(inside[1 - axis])
    if max(bent, turned) > 0.5 * slope + 3 * noise:
        raise UnplacedError("bends or turns the picture, or its shades")
    return _whole(slope, offset, seen.shape[axis], size)


def _means(values: npt.NDArray[np.float64], known: _Mask, axis: int) -> npt.NDArray[np.float64]:
    """The mean of each line across ``axis``, of those that hold anything."""
    count = known.sum(1 - axis)
    means: npt.NDArray[np.float64] = values.sum(1 - axis)[count > 0] / count[count > 0]
    return means


def _line(
    values: npt.NDArray[np.float64],
    known: _Mask,
    inside: Sequence[npt.NDArray[np.int64]],
    axis: int,
) -> tuple[float, float]:
    """Slope and offset along an axis."""
    places = inside[axis][known.any(1 - axis)] + 0.5
    if len(places) == 1:
        return 0.0, 0.0
    slope, offset = np.polyfit(places, _means(values, known, axis), 1)
    return float(slope), float(offset)


def _whole(slope: float, offset: float, length: int, size: int) -> tuple[float, float]:
    """Scale and offset, made exact where one of the usual ways explains both ends of the input.

    They are: all of the picture; a crop or padding alone; a resizing, then a crop or padding; a
    crop or padding, then a resizing.
    """
    end = offset + slope * length
    middle = (offset + end) / 2

    def off(scale: float, start: float) -> float:
        """How far the ends are from where they were found, in pixels of the input."""
        return max(abs(start - offset), abs(start + scale * length - end)) / slope

    if off(size / length, 0.0) < 0.5:
        return size / length, 0.0
    plain = 1.0, float(round(middle - length / 2))
    if off(*plain) < 0.4:
        return plain
    resized = size / max(1, round(size / slope))
    first, last = round(offset), round(end)
    usual = resized, round(middle / resized - length / 2) * resized
    if off(*usual) < _NEAR / 2:
        return usual
    nearest = min(usual, ((last - first) / length, float(first)), key=lambda way: off(*way))
    return nearest if off(*nearest) < _NEAR else (slope, offset)
