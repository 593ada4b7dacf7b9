"""Templates fitted to the main effects along one axis: digits of a mixed radix, and their evidence.

A cell ``i`` of an axis ``(a b c)`` lies at ``(i // inner) % size`` along the axis of the input that
one of its factors carries. Such digits are fitted to the mean shares of light of its cells; what is
better than chance carries. Numbers only; knows no network.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["FEW", "MOST_FREE", "Digit", "Fit", "Track", "chance", "fit", "in_order", "slopes"]

Floats = NDArray[np.float64]
Key = tuple[int, int]

MOST_FREE = 6  # cells ahead of and behind the ones that have a place
FEW = 6  # with fewer cells every order is likely by chance
_FAIR = 0.8  # of the variance of few cells that a template must explain
_RISK = 0.01  # that one of all templates is as good by chance
_TOP = 12  # digits of each axis of an input that are tried together
_GAP = 0.97  # of the score, where a factor that carries nothing is left between
_GOOD = 0.97  # of the variance: then no cell is asked whether it is a class token


_ENDS = tuple(itertools.product(range(MOST_FREE + 1), repeat=2))
_ONE_END = tuple(ends for ends in _ENDS if sum(ends) and not all(ends))
_BOTH_ENDS = tuple(ends for ends in _ENDS if all(ends))


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


@dataclass(frozen=True)
class Digit:
    """A digit fitted: ``(i // inner) % size``, the slope of a step and the part explained, R²."""

    key: Key
    size: int
    inner: int
    slope: float
    explained: float


@dataclass(frozen=True)
class Fit:
    """The digits of one axis from outer to inner, and what they explain of each track.

    Attributes:
        ahead: cells ahead that have no place.
        behind: cells behind.
        digits: from outer to inner.
        explained: for each track, the part of the variance of the cells between.
        chance: for each track, the part that the best template reaches by chance.
    """

    ahead: int
    behind: int
    digits: tuple[Digit, ...]
    explained: Mapping[Key, float]
    chance: Mapping[Key, float]


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


def fit(tracks: Mapping[Key, Track]) -> Fit:
    """The mixed radix that explains the tracks of one axis best.

    Args:
        tracks: for each axis of an input that may be carried, its effects along this axis.
    """
    cells = len(next(iter(tracks.values())).means)
    best = _body(tracks, 0, 0)
    tried = 1
    if cells >= FEW and _leaves_something(best, tracks):
        for ends in (_ONE_END, _BOTH_ENDS):
            for ahead, behind in ends:
                free = ahead + behind
                if cells - free < max(2, free):
                    continue
                tried += 1
                other = _body(tracks, ahead, behind)
                more = free - best.ahead - best.behind
                # an end that has a place costs a cell; one that has none costs one to keep
                if cells * (other.score - best.score) > 0.5 * more + 0.5:
                    best = other
            if not _leaves_something(best, best.tracks):
                break
    digits = _refined(best, _chain(best))
    explained = dict.fromkeys(tracks, 0.0)
    for digit in digits:
        explained[digit.key] += digit.explained
    return Fit(
        ahead=best.ahead,
        behind=best.behind,
        digits=digits,
        explained=explained,
        chance={key: _by_chance(best, key, digits, tried) for key in tracks},
    )


def _by_chance(body: _Body, key: Key, digits: Sequence[Digit], tried: int) -> float:
    """The R² by chance: of one template for an axis that is one factor, else of all tried."""
    cells = _cells(body.tracks[key])
    free = body.ahead + body.behind
    if not free and any(d.key == key and d.size == len(body.tracks[key].means) for d in digits):
        return chance(1, cells)
    return chance((tried if free else 1) * max(1, len(body.tables[key])), cells)


@dataclass(frozen=True)
class _Body:
    """The cells between those ahead and behind, and every digit fitted to each of their tracks."""

    ahead: int
    behind: int
    tracks: Mapping[Key, Track]
    tables: Mapping[Key, list[Digit]]
    score: float


def _body(tracks: Mapping[Key, Track], ahead: int, behind: int) -> _Body:
    cells = len(next(iter(tracks.values())).means)
    inside = slice(ahead, cells - behind)
    cut = {
        key: replace(track, means=track.means[inside], weights=track.weights[inside])
        for key, track in tracks.items()
    }
    tables = {key: _table(key, track) for key, track in cut.items()}
    score = 0.0
    for key, track in tracks.items():
        whole = _squares(track.means, track.weights)
        if tables[key] and whole > 0:
            part = _squares(cut[key].means, cut[key].weights) / whole
            score += track.part * max(digit.explained for digit in tables[key]) * min(1.0, part)
    return _Body(ahead, behind, cut, tables, score)


def _table(key: Key, track: Track) -> list[Digit]:
    """Each digit that fits into the axis, with its slope and what it explains."""
    length = len(track.means)
    whole = _squares(track.means, track.weights)
    if length < 2 or whole <= 0:
        return []
    weights = track.weights
    sums = weights * (track.means - np.average(track.means, weights=weights))
    return [
        digit
        for inner in divisors(length)
        for digit in _digits(key, sums, weights, inner, whole)
        if digit.size == track.size
        or (not track.exact and (digit.size < track.size or digit.size == length))
    ]


def _digits(key: Key, sums: Floats, weights: Floats, inner: int, whole: float) -> Iterator[Digit]:
    summed = sums.reshape(-1, inner).sum(1)
    weighed = weights.reshape(-1, inner).sum(1)
    for size in divisors(len(summed)):
        if size < 2:
            continue
        steps = np.arange(size)
        mass = weighed.reshape(-1, size).sum(0)
        centre = mass @ steps / mass.sum()
        across = mass @ (steps - centre) ** 2
        if across <= 0:
            continue
        slope = summed.reshape(-1, size).sum(0) @ (steps - centre) / across
        yield Digit(key, size, inner, float(slope), float(slope**2 * across / whole))


def _leaves_something(body: _Body, tracks: Mapping[Key, Track]) -> bool:
    """Whether cells at the ends may have no place: the fit is not good, or they lie far off it."""
    for key, track in tracks.items():
        if not body.tables[key]:
            continue
        best = max(body.tables[key], key=lambda digit: digit.explained)
        if best.explained < _GOOD:
            return True
        place = (np.arange(len(track.means)) // best.inner) % best.size
        off = track.means - best.slope * place
        off = np.abs(off - np.median(off)) / (abs(best.slope) * (best.size - 1))
        ends = np.r_[off[:MOST_FREE], off[-MOST_FREE:]]
        if ends.max() > 0.15:
            return True
    return False


def _chain(body: _Body) -> tuple[Digit, ...]:
    """One digit for each track, which go together as factors of the axis, the best such."""
    length = len(next(iter(body.tracks.values())).means)
    tops = []
    for key, table in body.tables.items():
        cells = _cells(body.tracks[key])
        floor = chance(len(table), cells) if cells >= FEW else _FAIR
        whole = chance(1, cells) if cells >= FEW else _FAIR
        good = [d for d in table if d.explained > (whole if d.size == length else floor)]
        good.sort(key=lambda digit: (-round(digit.explained, 3), digit.size * digit.inner))
        if good:
            tops.append((body.tracks[key].part, good[:_TOP]))
    tops.sort(key=lambda top: -top[0] * top[1][0].explained)
    best: tuple[float, tuple[Digit, ...]] = (0.0, ())
    for choice in _choices([top for _, top in tops[:6]], length):
        score = sum(part * d.explained for (part, _), d in zip(tops, choice, strict=False) if d)
        digits = tuple(digit for digit in choice if digit is not None)
        if math.prod({digit.inner: digit.size for digit in digits}.values()) < length:
            score *= _GAP
        if score > best[0] * 1.002:
            best = (score, digits)
    return tuple(sorted(best[1], key=lambda digit: -digit.inner))


def _choices(
    tops: Sequence[Sequence[Digit]], length: int, chosen: tuple[Digit | None, ...] = ()
) -> Iterator[tuple[Digit | None, ...]]:
    """Each choice of one digit or none from each list, such that they go together."""
    if len(chosen) == len(tops):
        yield chosen
        return
    for digit in (*tops[len(chosen)], None):
        if digit is None or all(_fits(digit, other) for other in chosen if other is not None):
            yield from _choices(tops, length, (*chosen, digit))


def _fits(one: Digit, other: Digit) -> bool:
    """Whether two digits can be factors of the same axis, or carry the same one alike."""
    if (one.size, one.inner) == (other.size, other.inner):
        return one.key[0] != other.key[0]  # the same axis of two inputs
    low, high = sorted((one, other), key=lambda digit: digit.inner)
    return high.inner % (low.inner * low.size) == 0


def _refined(body: _Body, digits: tuple[Digit, ...]) -> tuple[Digit, ...]:
    """Finer digits of the same tracks in the gaps between: an axis cut into units of units."""
    while digits:
        best: tuple[float, Digit] | None = None
        for key in {digit.key for digit in digits}:
            track = body.tracks[key]
            if track.exact:
                continue
            mine = [digit for digit in digits if digit.key == key]
            left = _left(track, mine)
            noise = 1 - sum(digit.explained for digit in mine)
            whole = _squares(track.means, track.weights)
            for digit in _table(key, replace(track, means=left)):
                explained = digit.explained * _squares(left, track.weights) / whole
                if not all(_fits(digit, other) for other in digits):
                    continue
                if digit.slope * mine[0].slope < 0:
                    continue
                cells = _cells(track)
                rest = max(noise - explained, 1e-9)
                ratio = explained / rest * (cells - len(mine) - 2)
                if ratio > 30 and (best is None or explained > best[0]):
                    best = (explained, replace(digit, explained=explained))
        if best is None:
            return digits
        digits = tuple(sorted((*digits, best[1]), key=lambda digit: -digit.inner))
    return digits


def _left(track: Track, digits: Sequence[Digit]) -> Floats:
    """What the digits do not explain."""
    place = np.arange(len(track.means))
    left: Floats = track.means.copy()
    for digit in digits:
        left -= digit.slope * ((place // digit.inner) % digit.size)
    return left


def slopes(digit: Digit, ahead: int, behind: int, draws: Sequence[tuple[Floats, Floats]]) -> Floats:
    """The slope of a digit in each draw alone.

    Args:
        digit: the digit.
        ahead: cells ahead that have no place.
        behind: cells behind.
        draws: the means and weights of each draw.
    """
    found = []
    for means, weights in draws:
        inside = slice(ahead, len(means) - behind)
        m, w = means[inside], weights[inside]
        place = (np.arange(len(m)) // digit.inner) % digit.size
        place = place - (w @ place) / max(w.sum(), 1e-30)
        found.append((w * place) @ m / max((w * place) @ place, 1e-30))
    return np.array(found)


def in_order(track: Track, digits: Sequence[Digit], ahead: int, behind: int) -> float:
    """The part of the variance between the steps of one digit, where these rise or fall strictly.

    Cells at the edges see less than half a picture on one side, so that steps there are shorter:
    no line, and yet in order. 0 where they do not rise or fall all the way.

    Args:
        track: the effects along the whole axis.
        digits: the digits of one key.
        ahead: cells ahead that have no place.
        behind: cells behind.
    """
    inside = slice(ahead, len(track.means) - behind)
    m, w = track.means[inside], track.weights[inside]
    if len(digits) != 1 or digits[0].size < 4:
        return 0.0
    shape = (-1, digits[0].size, digits[0].inner)
    mass = w.reshape(shape).sum((0, 2))
    if (mass <= 0).any():
        return 0.0
    steps = (w * m).reshape(shape).sum((0, 2)) / mass
    if not (np.diff(steps) * np.sign(digits[0].slope) > 0).all():
        return 0.0
    return float(mass @ (steps - mass @ steps / mass.sum()) ** 2 / max(_squares(m, w), 1e-30))


def _squares(means: Floats, weights: Floats) -> float:
    total = weights.sum()
    if total <= 0:
        return 0.0
    return float(weights @ (means - weights @ means / total) ** 2)


def _cells(track: Track) -> float:
    """How many cells answer, those that hardly do counted less."""
    return float(track.weights.sum() ** 2 / max((track.weights**2).sum(), 1e-30))
