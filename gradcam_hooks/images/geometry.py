"""Geometry: which pixel of the original picture each pixel of the network's input shows.

Stretching, cropping and letterboxing are all one scale and one offset per axis. With those two
numbers a map of the input's size goes back onto the original picture, at full size and in its
place, which is where people look at it.

This file knows arrays and numbers: no picture file, no model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from gradcam_hooks.errors import InputError

__all__ = ["Geometry"]


@dataclass(frozen=True)
class Geometry:
    """Where a network's input lies on the original picture.

        original = input * scale + offset

    in continuous coordinates: a pixel covers [i, i + 1] and its centre is i + 0.5. All four
    fields are (vertical, horizontal). A negative offset is padding at the top or the left.

    Attributes:
        original: height and width of the picture, upright (its EXIF orientation applied).
        input: height and width of what the network is given.
        scale: original pixels per input pixel.
        offset: the original position of the input's top left corner.

    Raises:
        InputError: a size or a scale that is not positive, or a number that is not finite.

    >>> Geometry((512, 768), (224, 224), scale=(2.0, 2.0), offset=(32.0, 160.0)).seen
    (160.0, 32.0, 608.0, 480.0)
    """

    original: tuple[int, int]
    input: tuple[int, int]
    scale: tuple[float, float]
    offset: tuple[float, float]

    def __post_init__(self) -> None:
        for name in ("original", "input"):
            height, width = _pair(name, getattr(self, name))
            if height != int(height) or width != int(width) or height < 1 or width < 1:
                raise InputError(
                    f"{name} must be (height, width) in whole pixels, both at least 1; "
                    f"got {getattr(self, name)!r}"
                )
            object.__setattr__(self, name, (int(height), int(width)))
        object.__setattr__(self, "scale", _pair("scale", self.scale))
        object.__setattr__(self, "offset", _pair("offset", self.offset))
        if min(self.scale) <= 0:
            raise InputError(f"scale must be positive on both axes; got {self.scale!r}")

    @classmethod
    def stretched(cls, original: tuple[int, int], input: tuple[int, int]) -> Geometry:
        """The whole picture stretched over the whole input; the identity where they are equal.

        >>> Geometry.stretched((448, 224), (224, 224)).scale
        (2.0, 1.0)
        """
        scale = (original[0] / input[0], original[1] / input[1])
        return cls(original=original, input=input, scale=scale, offset=(0.0, 0.0))

    def resized(self, original: tuple[int, int]) -> Geometry:
        """The same of a picture that was resized to ``original``, (height, width).

        >>> Geometry((4, 4), (2, 2), (1.0, 1.0), (1.0, 2.0)).resized((8, 8)).offset
        (2.0, 4.0)
        """
        down, right = (new / old for new, old in zip(original, self.original, strict=True))
        scale = (self.scale[0] * down, self.scale[1] * right)
        offset = (self.offset[0] * down, self.offset[1] * right)
        return Geometry(original, self.input, scale, offset)

    @property
    def seen(self) -> tuple[float, float, float, float]:
        """The box (left, top, right, bottom) of the picture that the network saw, in its pixels.

        To a millionth of a pixel, so that a whole picture has whole numbers.
        """
        box: list[float] = []
        for far in (False, True):
            for axis in (1, 0):
                edge = self.offset[axis] + far * self.input[axis] * self.scale[axis]
                box.append(float(round(min(max(edge, 0.0), self.original[axis]), 6)))
        return box[0], box[1], box[2], box[3]

    def seen_mask(self) -> npt.NDArray[np.bool_]:
        """True for each pixel of the original, `(height, width)`, whose centre was seen."""
        rows, columns = self._seen_lines()
        return np.logical_and(rows[:, None], columns[None, :])

    def _seen_lines(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """The rows and the columns whose centre was seen."""
        left, top, right, bottom = self.seen
        y = np.arange(self.original[0]) + 0.5
        x = np.arange(self.original[1]) + 0.5
        return (y > top) & (y < bottom), (x > left) & (x < right)

    def place(self, map: npt.ArrayLike | torch.Tensor) -> npt.NDArray[np.float32]:
        """Put a map of the input's size onto the original's canvas; 0 where nothing was seen.

        Bilinear between pixel centres, as `torch.nn.functional.interpolate` without
        `align_corners`; at the border of the input its edge pixel is continued. Where the
        picture is smaller than the input, the map is sampled, not averaged.

        Args:
            map: `(height, width)` of the input.

        Returns:
            float32 `(height, width)` of the original.

        Raises:
            InputError: the map has another shape.

        >>> Geometry.stretched((1, 4), (1, 2)).place([[0.0, 1.0]]).tolist()
        [[0.0, 0.25, 0.75, 1.0]]
        """
        if isinstance(map, torch.Tensor):
            map = map.detach().to("cpu", torch.float32).numpy()
        values = np.asarray(map, dtype=np.float32)
        if values.shape != self.input:
            raise InputError(
                f"expected one map of the input's size {self.input}, got the shape {values.shape}; "
                "take one map out of the batch, at the size of the network's input"
            )
        # Columns first, while there are few rows: whole rows are copied faster than columns.
        low, high, weight = self._sources(1)
        # `take` with a mode is several times faster than an index.
        left, right = (values.take(one, axis=1, mode="clip") for one in (low, high))
        values = left * (1 - weight) + right * weight
        low, high, weight = self._sources(0)
        placed: npt.NDArray[np.float32] = values.take(low, axis=0, mode="clip")
        placed *= (1 - weight)[:, None]
        other = values.take(high, axis=0, mode="clip")
        other *= weight[:, None]
        placed += other
        rows, columns = self._seen_lines()
        placed[~rows], placed[:, ~columns] = 0, 0
        return placed

    def _sources(
        self, axis: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """The two input pixels around each original pixel's centre, and the second one's weight.

        Own arithmetic, because `cv2.warpAffine` rounds positions to 1/32 of a pixel and
        `grid_sample` wants a coordinate pair for each pixel of the original; axis by axis the
        positions are exact, and the identity gives back the very same numbers.
        """
        centres = np.arange(self.original[axis]) + 0.5
        position = (centres - self.offset[axis]) / self.scale[axis] - 0.5
        position = np.clip(position, 0, self.input[axis] - 1)
        low = np.floor(position).astype(np.int64)
        high = np.minimum(low + 1, self.input[axis] - 1)
        return low, high, (position - low).astype(np.float32)

    def to_dict(self) -> dict[str, list[int] | list[float]]:
        """The four fields as lists, ready for JSON."""
        return {
            "original": list(self.original),
            "input": list(self.input),
            "scale": list(self.scale),
            "offset": list(self.offset),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Sequence[float]]) -> Geometry:
        """The geometry that `to_dict` described.

        Raises:
            InputError: a field is missing, unknown, or not two numbers.
        """
        names = ("original", "input", "scale", "offset")
        if set(fields) != set(names):
            raise InputError(f"a geometry has the fields {', '.join(names)}; got {list(fields)}")
        pairs = {name: _pair(name, fields[name]) for name in names}
        return cls(**pairs)  # type: ignore[arg-type]  # sizes are made whole in __post_init__


def _pair(name: str, value: Sequence[float]) -> tuple[float, float]:
    try:
        first, second = (float(number) for number in value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be (vertical, horizontal) numbers; got {value!r}") from error
    if not (math.isfinite(first) and math.isfinite(second)):
        raise InputError(f"{name} must be finite; got {value!r}")
    return first, second
