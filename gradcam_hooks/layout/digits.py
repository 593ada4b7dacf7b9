"""Digits of a mixed radix, fitted to what light shows along one axis of an activation.

A cell ``i`` of an axis ``(a b c)`` lies at ``(i // inner) % size`` along the axis of the input that
one of its factors carries. Numbers only; knows no network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Digit",
    "Floats",
    "Key",
    "Track",
    "chance",
    "digits_of",
    "fitted",
    "in_order",
    "slopes",
    "squares",
]

Floats = NDArray[np.float64]

Key = tuple[int, int]
"""An axis of an input: which input, and which of its axes."""

_RISK = 0.01  # that one of all templates is as good by chance
_LONGER = 1.5  # times the input's axis is the least that is an enlargement
_STEPS = 4  # fewer rise or fall strictly by chance


@dataclass(frozen=True)
class Track:
    """What light along one axis of an input shows along one axis of the activation.

    Attributes:
        part: the part of the variance between its cells, eta².
        means: the mean share of each cell.
        weights: how much each cell answered.
        size: how long the input's axis is: a factor has no more steps, but may be a whole axis.
        exact: whether a factor has just as many steps, as a batch has.
    """

    part: float
    means: Floats
    weights: Floats
    size: int
    exact: bool = False

    def inside(self, ahead: int, behind: int) -> Track:
        """The track without the cells ahead and behind."""
        cut = slice(ahead, len(self.means) - behind)
        return replace(self, means=self.means[cut], weights=self.weights[cut])

    @property
    def cells(self) -> float:
        """How many cells answer, those that hardly do counted less."""
        return float(self.weights.sum() ** 2 / max((self.weights**2).sum(), 1e-30))


@dataclass(frozen=True)
class Digit:
    """A digit fitted: ``(i // inner) % size``, the slope of a step and the part explained, R²."""

    key: Key
    size: int
    inner: int
    slope: float
    explained: float

    def of(self, cells: int) -> NDArray[np.int64]:
        """The digit of each cell.

        >>> Digit((0, 2), 2, 3, 0.1, 1.0).of(6)
        array([0, 0, 0, 1, 1, 1])
        """
        return (np.arange(cells) // self.inner) % self.size


@lru_cache(maxsize=512)
def divisors(number: int) -> tuple[int, ...]:
    """All divisors in order.

    >>> divisors(12)
    (1, 2, 3, 4, 6, 12)
    """
    low = [d for d in range(1, int(number**0.5) + 1) if number % d == 0]
    return tuple(sorted({*low, *(number // d for d in low)}))


def chance(templates: int, cells: float) -> float:
    """The R² that the best of so many templates reaches on so many cells, once in a hundred.

    >>> round(chance(1, 10), 2)
    0.68
    """
    if cells <= 3:
        return 1.0
    return float(1 - (_RISK / max(templates, 1)) ** (2 / (cells - 2)))


def digits_of(key: Key, track: Track) -> list[Digit]:
    """Each digit that fits into an axis, with its slope and what it explains."""
    length, weights = len(track.means), track.weights
    whole = squares(track.means, weights)
    if length < 2 or whole <= 0:
        return []
    sums = weights * (track.means - weights @ track.means / weights.sum())
    found = []
    for inner in divisors(length):
        summed = sums.reshape(-1, inner).sum(1)
        weighed = weights.reshape(-1, inner).sum(1)
        for size in divisors(len(summed)):
            if _possible(size, track, length):
                slope, across = _line(
                    summed.reshape(-1, size).sum(0), weighed.reshape(-1, size).sum(0)
                )
                if across > 0:
                    found.append(Digit(key, size, inner, slope, slope**2 * across / whole))
    return found


def fitted(key: Key, size: int, inner: int, track: Track) -> Digit:
    """One digit, with its slope and what it explains; nothing where it does not fit in."""
    whole = squares(track.means, track.weights)
    if whole <= 0 or len(track.means) % (size * inner):
        return Digit(key, size, inner, 0.0, 0.0)
    sums = track.weights * (track.means - track.weights @ track.means / track.weights.sum())
    shape = (-1, size, inner)
    slope, across = _line(sums.reshape(shape).sum((0, 2)), track.weights.reshape(shape).sum((0, 2)))
    return Digit(key, size, inner, slope, slope**2 * across / whole)


def _line(sums: Floats, mass: Floats) -> tuple[float, float]:
    """The slope over the steps of a digit, and their sum of squares."""
    steps = np.arange(len(sums))
    steps = steps - mass @ steps / mass.sum()
    across = float(mass @ steps**2)
    return (float(sums @ steps) / across if across > 0 else 0.0), across


def _possible(size: int, track: Track, length: int) -> bool:
    if track.exact or size < 2:
        return size == track.size and size > 1
    # a layer a little longer than its input is padded, or has tokens that are no place
    return size <= track.size or (size == length and size >= _LONGER * track.size)


def slopes(digit: Digit, draws: Sequence[Track]) -> Floats:
    """The slope of a digit in each draw alone."""
    found = []
    for draw in draws:
        steps = digit.of(len(draw.means)).astype(float)
        steps -= draw.weights @ steps / max(draw.weights.sum(), 1e-30)
        pull = draw.weights * steps
        found.append(pull @ draw.means / max(pull @ steps, 1e-30))
    return np.array(found)


def in_order(track: Track, digit: Digit) -> float:
    """The part of the variance between the steps of a digit, where these rise or fall strictly.

    Cells at the edges see less than half a picture on one side, so that steps there are shorter:
    no line, and yet in order. 0 where they do not rise or fall all the way.
    """
    if digit.size < _STEPS:
        return 0.0
    shape = (-1, digit.size, digit.inner)
    mass = track.weights.reshape(shape).sum((0, 2))
    if (mass <= 0).any():
        return 0.0
    means = (track.weights * track.means).reshape(shape).sum((0, 2)) / mass
    if not (np.diff(means) * np.sign(digit.slope) > 0).all():
        return 0.0
    return squares(means, mass) / max(squares(track.means, track.weights), 1e-30)


def squares(means: Floats, weights: Floats) -> float:
    """The weighted sum of squares around the mean."""
    total = weights.sum()
    if total <= 0:
        return 0.0
    return float(weights @ (means - weights @ means / total) ** 2)
