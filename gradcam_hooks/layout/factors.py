"""What a layer's axes carry, as found out: factors of an axis, an axis, and a whole reading.

Data only; knows no network and no light.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["AxisReading", "Factor", "Reading", "coordinates"]

Key = tuple[int, int]


@dataclass(frozen=True)
class Factor:
    """One factor of an axis of an activation: ``h`` in ``b (h w) c``.

    Attributes:
        input: the number of the input that it carries an axis of; None where it carries none.
        axis: which axis of that input.
        size: how many steps it has.
        slope: how far one step goes along the input's axis, of its whole length, as light sees it
            (less than in truth where cells see much); negative where the axis runs backwards. Of
            two factors of one axis the coarser has the steeper slope.
        also: further axes of inputs that it carries, the same axis of a second picture.
    """

    input: int | None
    axis: int | None
    size: int
    slope: float = 0.0
    also: tuple[Key, ...] = ()

    @property
    def keys(self) -> tuple[Key, ...]:
        """The axes of inputs that it carries, as pairs of input and axis."""
        if self.input is None or self.axis is None:
            return ()
        return ((self.input, self.axis), *self.also)


@dataclass(frozen=True)
class AxisReading:
    """One axis of an activation: cells ahead, factors from outer to inner, cells behind.

    Attributes:
        length: how many cells it has.
        prefix: how many cells ahead are no place of the input: a class token, registers.
        suffix: how many behind.
        factors: from outer to inner; their sizes multiply to the cells between. Empty where the
            axis carries nothing of the inputs: channels, or an axis of length 1.
    """

    length: int
    prefix: int = 0
    suffix: int = 0
    factors: tuple[Factor, ...] = ()


@dataclass(frozen=True)
class Reading:
    """Which axes of an activation carry which axes of the inputs.

    Attributes:
        shape: the activation's shape.
        axes: what each of its axes carries.
        channels: for each input, the axis that the layer no longer carries: its channels. None
            where there is none, more than one, or the input does not reach the layer.
        seen: for each input, whether it moves the activation at all.
        mixed: False where the layer mixes no axis yet, as a norm ahead of the first convolution:
            then each axis of the input comes through, its channels as well.
        doubts: why the reading is not to be relied on; empty where it is sure.
        passes: how many passes of the network it took.
        noise: the network's own noise, of the mean square of the activation.
    """

    shape: tuple[int, ...]
    axes: tuple[AxisReading, ...]
    channels: tuple[int | None, ...]
    seen: tuple[bool, ...]
    mixed: bool
    doubts: tuple[str, ...]
    passes: int
    noise: float

    @property
    def sure(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.doubts


def coordinates(axis: AxisReading, key: Key) -> NDArray[np.float64]:
    """Where each cell of an axis lies along an axis of an input, in steps; nan ahead and behind.

    Of several factors of the same axis the coarser counts as many steps as the finer ones have.

    Args:
        axis: what the axis carries.
        key: the input and its axis.

    >>> coordinates(AxisReading(7, 1, 0, (Factor(0, 2, 2), Factor(0, 3, 3))), (0, 2))
    array([nan,  0.,  0.,  0.,  1.,  1.,  1.])
    """
    steps = np.full(axis.length, np.nan)
    inner, place = 1, np.arange(axis.length - axis.prefix - axis.suffix)
    found = np.zeros(len(place))
    mine = sorted((f for f in axis.factors if key in f.keys), key=lambda f: abs(f.slope))
    for factor in reversed(axis.factors):
        if key in factor.keys:
            finer = mine[: mine.index(factor)] if factor in mine else []
            step = _product([other.size for other in finer])
            found += (place // inner) % factor.size * step
        inner *= factor.size
    steps[axis.prefix : axis.length - axis.suffix] = found
    return steps


def _product(sizes: Sequence[int]) -> int:
    return int(np.prod(sizes, dtype=int))
