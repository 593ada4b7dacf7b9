"""What a layer's axes carry, as found out: factors of an axis, an axis, and a whole reading.

Data only; knows no network and no light.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from gradcam_hooks.layout.digits import Key

__all__ = ["AxisReading", "Factor", "Reading", "twice"]


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
        inputs: where it carries no axis but tells inputs apart, as two batches one behind the
            other do: the input of each step.
    """

    input: int | None
    axis: int | None
    size: int
    slope: float = 0.0
    also: tuple[Key, ...] = ()
    inputs: tuple[int, ...] = ()

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
        mixed: False where the layer mixes no axis yet, as a norm ahead of the first convolution:
            then each axis of the input comes through, its channels as well.
        doubts: why the reading is not to be relied on; empty where it is sure.
        passes: how many passes of the network it took.
    """

    shape: tuple[int, ...]
    axes: tuple[AxisReading, ...]
    mixed: bool
    doubts: tuple[str, ...]
    passes: int

    @property
    def sure(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.doubts


def twice(axes: Sequence[AxisReading]) -> dict[Key, list[int]]:
    """The axes of inputs that several axes of an activation carry each for itself.

    Windows carry a part each, the coarser as many times steeper as the finer has steps; the queries
    and keys of an attention carry the same.

    >>> one = AxisReading(4, factors=(Factor(0, 2, 4, 0.25),))
    >>> twice([one, one])
    {(0, 2): [0, 1]}
    >>> twice([one, AxisReading(4, factors=(Factor(0, 2, 4, 0.0625),))])
    {}
    """
    found: dict[Key, list[tuple[float, int, int]]] = {}
    for number, axis in enumerate(axes):
        for factor in axis.factors:
            for key in factor.keys:
                found.setdefault(key, []).append((abs(factor.slope), factor.size, number))
    alike = {}
    for key, factors in found.items():
        factors.sort()
        for (fine, size, one), (coarse, _, other) in itertools.pairwise(factors):
            if key[1] and coarse < fine * size**0.5:
                alike[key] = sorted((one, other))
    return alike
