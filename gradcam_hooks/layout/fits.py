"""The mixed radix that explains what light shows along one axis of an activation best.

Which cells ahead and behind have no place, which factors follow from outer to inner, which axis of
the inputs each carries, and what the best order would explain by chance. Numbers only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gradcam_hooks.layout.digits import Digit, Floats, Key, Track, chance, digits_of, squares

__all__ = ["FEW", "Fit", "fit"]

FEW = 6  # with fewer cells every order is likely by chance
_MOST_FREE = 6  # cells ahead and behind that are tried without a sign of how many there are
_FAIR = 0.8  # of the variance of few cells that a template must explain
_TOP = 12  # digits of each axis of an input that are tried together
_GAP = 0.97  # of the score, where a factor that carries nothing is left between
_GOOD = 0.97  # of the variance: then no cell is asked whether it is a class token
_FAR = 0.15  # of the span off the fit: then it is asked
_KEEP, _FREE = 0.2, 0.4  # cells that the fit must gain, and for each one that is left free
_PLAIN = 0.8  # standard deviations: nearer to the mean of all may be a token without a place
_FINER = 30.0  # F of a further digit


@dataclass(frozen=True)
class Fit:
    """The digits of one axis from outer to inner, and what they explain of each track.

    Attributes:
        ahead: cells ahead that have no place.
        behind: cells behind.
        digits: from outer to inner.
        tracks: the tracks of the cells between.
        explained: for each track, the part of the variance of the cells between.
        chance: for each track, the part that the best template reaches by chance.
    """

    ahead: int
    behind: int
    digits: tuple[Digit, ...]
    tracks: Mapping[Key, Track]
    explained: Mapping[Key, float]
    chance: Mapping[Key, float]

    def of(self, key: Key) -> list[Digit]:
        """The digits that carry one axis of an input."""
        return [digit for digit in self.digits if digit.key == key]

    def line(self, length: int) -> Floats:
        """What each cell of the whole axis would show in line with those of the first digit."""
        digit = self.digits[0]
        track = self.tracks[digit.key]
        steps = np.arange(length) - self.ahead - (len(track.means) - 1) / 2
        middle = float(np.average(track.means, weights=track.weights))
        return middle + digit.slope * steps.astype(np.float64)


def fit(tracks: Mapping[Key, Track], even: Mapping[Key, Track] | None = None) -> Fit:
    """The mixed radix that explains the tracks of one axis best.

    Args:
        tracks: for each axis of an input that may be carried, its effects along this axis.
        even: the same with cells that count alike, by which it is decided which have no place;
            a class token may hardly answer.
    """
    even = even or tracks
    best, tried = _Body.of(even, 0, 0), 1
    if best.cells >= FEW and best.leaves_something:
        for some in _ends(even):
            for ahead, behind in some:
                tried += 1
                other = _Body.of(even, ahead, behind)
                more = ahead + behind - best.ahead - best.behind
                # an end that has a place costs cells, one that has none costs them if it is kept
                gain = len(other.whole) * (other.score - best.score)
                if gain > _FREE * more + _KEEP and other.explained >= best.explained:
                    best = other
            if not best.leaves_something:
                break
    best = _Body.of(tracks, best.ahead, best.behind)
    digits = _refined(best, _chain(best))
    explained = dict.fromkeys(tracks, 0.0)
    for digit in digits:
        explained[digit.key] += digit.explained
    return Fit(
        best.ahead, best.behind, digits, best.tracks, explained,
        {key: _by_chance(best, key, digits, tried) for key in tracks},
    )  # fmt: skip


def _by_chance(body: _Body, key: Key, digits: Sequence[Digit], tried: int) -> float:
    """The R² by chance: of one template for an axis that is one factor, else of all tried."""
    cells, free = body.tracks[key].cells, body.ahead + body.behind
    if not free and any(digit.key == key and digit.size == body.cells for digit in digits):
        return chance(1, cells)
    return chance((tried if free else 1) * max(1, len(body.tables[key])), cells)


def _ends(tracks: Mapping[Key, Track]) -> Iterator[list[tuple[int, int]]]:
    """How many cells ahead and behind may have no place: first at one end, then at both.

    Up to six, or as many as lie near the mean of all, as what sees the whole picture does.
    """
    away = np.max(
        [_away(track) for track in tracks.values() if not track.exact], axis=0, initial=0.0
    )
    cells = len(next(iter(tracks.values())).means)
    plain = [*(away < _PLAIN), False]
    runs = (plain.index(False), plain[-2::-1].index(False) if False in plain[:-1] else cells)
    ahead, behind = ({*range(_MOST_FREE + 1), run} for run in runs)
    pairs = [pair for pair in itertools.product(sorted(ahead), sorted(behind)) if sum(pair)]
    pairs = [pair for pair in pairs if cells - sum(pair) >= max(2, sum(pair) / 2)]
    yield [pair for pair in pairs if not all(pair)]
    yield [pair for pair in pairs if all(pair)]


def _away(track: Track) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    mean = track.weights @ track.means / max(track.weights.sum(), 1e-30)
    spread = (squares(track.means, track.weights) / max(track.weights.sum(), 1e-30)) ** 0.5
    return np.asarray(np.abs(track.means - mean) / max(spread, 1e-12) * track.part**0.25)


@dataclass(frozen=True)
class _Body:
    """The cells between those ahead and behind, and every digit fitted to each of their tracks."""

    ahead: int
    behind: int
    tracks: Mapping[Key, Track]
    tables: Mapping[Key, list[Digit]]
    score: float
    explained: float
    whole: range

    @classmethod
    def of(cls, whole: Mapping[Key, Track], ahead: int, behind: int) -> _Body:
        """The body without some cells at the ends."""
        tracks = {key: track.inside(ahead, behind) for key, track in whole.items()}
        tables = {key: digits_of(key, track) for key, track in tracks.items()}
        score = within = 0.0
        for key, track in whole.items():
            squared = squares(track.means, track.weights)
            if tables[key] and squared > 0:
                part = squares(tracks[key].means, tracks[key].weights) / squared
                best = max(digit.explained for digit in tables[key])
                score += track.part * best * min(1.0, part)
                within += track.part * best
        cells = range(len(next(iter(whole.values())).means))
        return cls(ahead, behind, tracks, tables, score, within, cells)

    @property
    def cells(self) -> int:
        """How many cells there are between."""
        return len(self.whole) - self.ahead - self.behind

    @property
    def leaves_something(self) -> bool:
        """Whether ends may have no place: the fit is not good, or they lie far off it."""
        for key, track in self.tracks.items():
            if track.exact:
                continue
            if not self.tables[key]:
                return True
            best = max(self.tables[key], key=lambda digit: digit.explained)
            if best.explained < _GOOD:
                return True
            off = track.means - best.slope * best.of(self.cells)
            off = np.abs(off - np.median(off)) / max(abs(best.slope) * (best.size - 1), 1e-12)
            off = off * (track.weights > 0)
            if max(off[:_MOST_FREE].max(), off[-_MOST_FREE:].max()) > _FAR:
                return True
        return False


def _chain(body: _Body) -> tuple[Digit, ...]:
    """One digit for each track, which go together as factors of the axis, the best such."""
    tops = []
    for key, table in body.tables.items():
        cells = body.tracks[key].cells
        floor = chance(len(table), cells) if cells >= FEW else _FAIR
        whole = chance(1, cells) if cells >= FEW else _FAIR
        good = [d for d in table if d.explained > (whole if d.size == body.cells else floor)]
        good.sort(key=lambda digit: (-round(digit.explained, 3), digit.size * digit.inner))
        if good:
            tops.append((body.tracks[key].part, good[:_TOP]))
    tops.sort(key=lambda top: -top[0] * top[1][0].explained)
    best: tuple[float, tuple[Digit, ...]] = (0.0, ())
    for choice in _choices([top for _, top in tops[:6]]):
        score = sum(part * d.explained for (part, _), d in zip(tops, choice, strict=False) if d)
        digits = tuple(digit for digit in choice if digit is not None)
        if math.prod({digit.inner: digit.size for digit in digits}.values()) < body.cells:
            score *= _GAP
        if score > best[0] * 1.002:
            best = (score, digits)
    return tuple(sorted(best[1], key=lambda digit: -digit.inner))


def _choices(
    tops: Sequence[Sequence[Digit]], chosen: tuple[Digit | None, ...] = ()
) -> Iterator[tuple[Digit | None, ...]]:
    """Each choice of one digit or none from each list, such that they go together."""
    if len(chosen) == len(tops):
        yield chosen
        return
    for digit in (*tops[len(chosen)], None):
        if digit is None or all(_go_together(digit, other) for other in chosen if other):
            yield from _choices(tops, (*chosen, digit))


def _go_together(one: Digit, other: Digit) -> bool:
    """Whether two digits can be factors of the same axis, or carry the same one alike."""
    if (one.size, one.inner) == (other.size, other.inner):
        return one.key[0] != other.key[0]  # the same axis of two inputs
    low, high = sorted((one, other), key=lambda digit: digit.inner)
    return high.inner % (low.inner * low.size) == 0


def _refined(body: _Body, digits: tuple[Digit, ...]) -> tuple[Digit, ...]:
    """Finer digits of the same tracks in the gaps between: an axis cut into units of units."""
    while digits:
        further = [
            digit
            for key in {digit.key for digit in digits if not body.tracks[digit.key].exact}
            for digit in _further(key, body.tracks[key], digits)
        ]
        if not further:
            return digits
        best = max(further, key=lambda digit: digit.explained)
        digits = tuple(sorted((*digits, best), key=lambda digit: -digit.inner))
    return digits


def _further(key: Key, track: Track, digits: Sequence[Digit]) -> Iterator[Digit]:
    """Digits that explain more of a track than chance does, beside those that there are."""
    mine = [digit for digit in digits if digit.key == key]
    left = track.means.copy()
    for digit in mine:
        left -= digit.slope * digit.of(len(left))
    rest = 1 - sum(digit.explained for digit in mine)
    part = squares(left, track.weights) / max(squares(track.means, track.weights), 1e-30)
    for digit in digits_of(key, replace(track, means=left)):
        if digit.slope * mine[0].slope < 0:
            continue
        explained = digit.explained * part
        ratio = explained / max(rest - explained, 1e-9) * (track.cells - len(mine) - 2)
        if ratio > _FINER and all(_go_together(digit, other) for other in digits):
            yield replace(digit, explained=explained)
