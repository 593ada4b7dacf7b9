"""What an axis of an activation carries, weighed: evidence, decisions, and what stays in doubt.

Long axes are decided by how much better than chance an order explains them; the few cells of short
ones by how steadily all draws tell them apart, against what the other axes show. Numbers only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gradcam_hooks.layout.digits import Digit, Key, Track, in_order, slopes
from gradcam_hooks.layout.fits import FEW, Fit, fit
from gradcam_hooks.layout.light import Answer, Call

__all__ = ["Evidence", "SeenAxis", "look_again", "seen", "weigh_looks"]

_CARRIES = 0.01  # evidence: of 848 axes that carry nothing the highest was 0.023
_SURE = 3.0  # a factor around that threshold in which only a steep and steady slope is sure
_STEADY, _VERY_STEADY = 6.0, 12.0  # of a slope over its standard error
_GOOD, _LINE = 0.9, 0.97  # of the variance that an order explains
_BATCH = 0.5  # of the variance: the batch's light tells its elements apart fully
_SPAN = 0.03  # of the input's axis, between the first and the last of few cells
_COLOURS = {2: 0.8, 3: 0.6}  # the same for an axis as short as colours: of nearly all of it
_FRAMES = 0.3  # for one of four or five
_AGREE = 0.3  # of draws: where they disagree no order is looked for
_CLOSE_PART, _CLOSE_AGREE = 0.0005, 0.6  # of what cells have not in common
_SHUFFLED = (0.4, 0.8, 0.12)  # part, agreement of draws and spread of cells without an order
_FAR_OFF = 0.1  # of the axis: nearer to the line of the others a token may be a place
_DARK = 0.01  # of the median answer: a cell that answers less does not answer
_DEEP_SPAN = 0.05  # of the input's axis, where gradients look

_ROUGH = "its cells are in order only roughly (R² {:.2f})"
_THIN = "the evidence is thin ({:.3f})"
_SHORT = "its few cells are hardly told apart (t {:.1f})"
_UNKNOWN = "its cells lie along it in an order that is not known"
_ENDS = "cells at its ends may be tokens, padding, or places: a class token, or padding?"


@dataclass
class Evidence:
    """What speaks for an axis of the activation carrying one axis of an input.

    Attributes:
        size: how long the input's axis is.
        part: eta².
        explained: R² of its digits.
        strength: eta² times R² above chance.
        steady: the slope over its standard error.
        span: of the input's axis, between the first step and the last.
        agree: how alike the draws are.
        spread: the standard deviation of the cells.
        short: whether there are too few cells for chance to be ruled out.
        carries: whether the axis carries it.
        doubt: what speaks against that; empty where nothing does.
    """

    size: int
    part: float
    explained: float
    strength: float
    steady: float
    span: float
    agree: float
    spread: float
    short: bool
    carries: bool = False
    doubt: str = ""


@dataclass
class SeenAxis:
    """One axis of an activation: its fit and its evidence for each axis of an input."""

    number: int
    length: int
    fit: Fit | None
    evidence: dict[Key, Evidence]

    @property
    def digits(self) -> list[Digit]:
        """The digits of what it carries, from outer to inner."""
        digits = self.fit.digits if self.fit is not None else ()
        return [digit for digit in digits if self.evidence[digit.key].carries]

    @property
    def batch(self) -> bool:
        """Whether it is the batch and nothing else."""
        return any(digit.key[1] == 0 and digit.size == self.length for digit in self.digits)

    @property
    def gap(self) -> int:
        """How many of its cells differ in nothing that it carries."""
        free = self.fit.ahead + self.fit.behind if self.fit is not None and self.digits else 0
        sizes = {digit.inner: digit.size for digit in self.digits}
        return (self.length - free) // math.prod(sizes.values())

    @property
    def doubtful(self) -> bool:
        """Whether anything about it is in doubt."""
        return any(evidence.doubt for evidence in self.evidence.values())


def seen(
    shape: Sequence[int], answers: Mapping[Key, Answer], lengths: Mapping[Key, int]
) -> list[SeenAxis]:
    """The axes of one call, weighed.

    Args:
        shape: the activation's shape.
        answers: how it answered light along each axis of the inputs.
        lengths: how long each axis of the inputs is.
    """
    axes = [_axis(number, length, answers, lengths) for number, length in enumerate(shape)]
    for axis in axes:
        _weigh_long(axis)
    for number, axis in enumerate(axes):
        if _stands_alone(axis, axes):
            axes[number] = _axis(number, axis.length, answers, lengths, placed=True)
            _weigh_long(axes[number])
    _weigh_short(axes)
    return axes


def look_again(axes: list[SeenAxis], call: Call, lengths: Mapping[Key, int]) -> None:
    """Take what light shows of axes less what their cells have in common, where that decides.

    Args:
        axes: the axes as they were seen first.
        call: how they answered, and some of them looked at closer.
        lengths: how long each axis of the inputs is.
    """
    batch = {key: answer for key, answer in call.answers.items() if key[1] == 0}
    for number, closer in call.closer.items():
        if any(evidence.doubt == _UNKNOWN for evidence in axes[number].evidence.values()):
            continue
        answers = {**batch, **closer}
        axis = _axis(number, axes[number].length, answers, lengths, least=_CLOSE_PART)
        _weigh_long(axis)
        for key, evidence in axis.evidence.items():
            if key[1]:
                # single elements are noise; the means of the cells are in order or they are not
                evidence.carries = not evidence.short and _in_close_order(evidence)
                evidence.doubt = evidence.doubt if evidence.doubt == _ENDS else ""
        if any(digit.key[1] for digit in axis.digits):
            axes[number] = axis


def _in_close_order(evidence: Evidence) -> bool:
    steady = evidence.steady > _STEADY and evidence.agree > _CLOSE_AGREE
    return steady and evidence.explained > _GOOD


def _axis(
    number: int,
    length: int,
    answers: Mapping[Key, Answer],
    lengths: Mapping[Key, int],
    *,
    placed: bool = False,
    least: float = _CARRIES / _SURE,
) -> SeenAxis:
    if length < 2:
        return SeenAxis(number, length, None, {})
    tracks = {
        key: Track(
            answer.whole.parts[number],
            answer.whole.means[number],
            answer.whole.weights[number],
            lengths[key],
            exact=key[1] == 0,
        )
        for key, answer in answers.items()
    }
    likely = {
        key: track
        for key, track in tracks.items()
        if track.part > (_BATCH if track.exact else least)
        and (track.exact or length < FEW or _agreement(answers[key], number) > _AGREE)
    }
    even = {key: _even(track, placed=placed or track.exact) for key, track in likely.items()}
    found = fit(likely, even) if likely else None
    evidence = {
        key: _evidence(key, track, found, answers[key], number) for key, track in tracks.items()
    }
    axis = SeenAxis(number, length, found, evidence)
    if placed:
        _look_at_ends(axis, tracks)
    _look_beyond_ends(axis, tracks)
    return axis


def _even(track: Track, *, placed: bool) -> Track:
    """The cells of a track counted alike: what a cell shows tells, not how loudly it answers.

    Where each cell has a place, one that does not answer is padding and tells nothing; else it is
    like a class token that has not looked yet: it sees all alike.
    """
    answering = track.weights[track.weights > 0]
    dark = _DARK * float(np.median(answering)) if len(answering) else 1.0
    answers = track.weights / (track.weights + dark)
    if placed:
        return replace(track, weights=answers)
    mean = track.weights @ track.means / max(track.weights.sum(), 1e-30)
    means = answers * track.means + (1 - answers) * mean
    return replace(track, means=means, weights=np.ones_like(track.weights))


def _evidence(key: Key, track: Track, found: Fit | None, answer: Answer, axis: int) -> Evidence:
    explained, floor, steady, span = 0.0, 1.0, 0.0, 0.0
    ahead, behind = (found.ahead, found.behind) if found is not None else (0, 0)
    if found is not None and (digits := found.of(key)):
        ordered = in_order(found.tracks[key], digits[0]) if len(digits) == 1 else 0.0
        explained = max(found.explained[key], ordered if ordered > _LINE else 0.0)
        floor = found.chance[key]
        draws = [
            replace(track, means=draw.means[axis], weights=draw.weights[axis])
            for draw in answer.draws
        ]
        steady = _steadiness(slopes(digits[0], [draw.inside(ahead, behind) for draw in draws]))
        span = sum(abs(digit.slope) * (digit.size - 1) for digit in digits)
    above = max(0.0, (explained - floor) / (1 - floor)) if floor < 1 else 0.0
    return Evidence(
        size=track.size,
        part=track.part,
        explained=explained,
        strength=track.part * above,
        steady=steady,
        span=float(span),
        agree=_agreement(answer, axis),
        spread=_spread(track),
        short=len(track.means) - ahead - behind < FEW,
    )


def _steadiness(each: NDArray[np.float64]) -> float:
    """A slope over its standard error, from those of several draws."""
    if len(each) < 2:
        return 0.0
    return float(abs(each.mean()) / (each.std(ddof=1) / len(each) ** 0.5 + 1e-9))


def _agreement(answer: Answer, axis: int) -> float:
    """The mean correlation of the cells' means between draws; 1 where there is one draw."""
    if len(answer.draws) < 2:
        return 1.0
    centred = [draw.means[axis] - draw.means[axis].mean() for draw in answer.draws]
    pairs = [
        float(a @ b / ((a @ a) * (b @ b)) ** 0.5)
        for a, b in itertools.combinations(centred, 2)
        if a @ a > 0 and b @ b > 0
    ]
    return float(np.mean(pairs)) if pairs else 0.0


def _spread(track: Track) -> float:
    if track.weights.sum() <= 0:
        return 0.0
    mean = np.average(track.means, weights=track.weights)
    return float(np.average((track.means - mean) ** 2, weights=track.weights) ** 0.5)


def _stands_alone(axis: SeenAxis, axes: Sequence[SeenAxis]) -> bool:
    """Whether an axis is one factor of an input that other axes carry more of: no tokens."""
    mine = {digit.key for digit in axis.digits if digit.key[1]}
    if len(mine) != 1:
        return False
    (key,) = mine
    others = {d.key for other in axes if other is not axis for d in other.digits}
    return any(other[0] == key[0] and other[1] and other != key for other in others)


def _look_at_ends(axis: SeenAxis, tracks: Mapping[Key, Track]) -> None:
    """Doubt an axis of which a cell or two at one end do not answer."""
    for key, evidence in axis.evidence.items():
        if key[1] == 0 or axis.fit is None or not axis.fit.of(key):
            continue
        weights = tracks[key].weights
        dark = weights < _DARK * float(np.median(weights))
        runs = [int(np.argmin(side)) for side in (dark, dark[::-1])]
        if sorted(runs) in ([0, 1], [0, 2]):
            evidence.doubt = _ENDS


def _look_beyond_ends(axis: SeenAxis, tracks: Mapping[Key, Track]) -> None:
    """Doubt tokens beside cells where all may be places: as many as the input has, or in line."""
    found = axis.fit
    if found is None or not found.ahead + found.behind or len(found.digits) != 1:
        return
    (digit,) = found.digits
    track, cells = tracks[digit.key], axis.length - found.ahead - found.behind
    if digit.size != cells or track.exact:
        return
    off = np.abs(track.means - found.line(axis.length)) / (abs(digit.slope) * cells)
    free = [*off[: found.ahead], *off[axis.length - found.behind :]]
    if axis.length == track.size or max(free) < _FAR_OFF:
        axis.evidence[digit.key].doubt = _ENDS


def _weigh_long(axis: SeenAxis) -> None:
    """Decide what an axis carries by how much better than chance an order explains it."""
    for key, evidence in axis.evidence.items():
        fitted = axis.fit is not None and bool(axis.fit.of(key))
        if key[1] == 0:
            evidence.carries = fitted and evidence.part > _BATCH
        elif not evidence.short:
            clear = evidence.steady > _VERY_STEADY and evidence.explained > 0.95
            enough = _CARRIES / _SURE if clear else _CARRIES
            evidence.carries = fitted and evidence.strength > enough
            evidence.doubt = evidence.doubt or _doubt_long(evidence, clear)


def _doubt_long(evidence: Evidence, clear: bool) -> str:
    if evidence.carries and evidence.explained < _GOOD:
        return _ROUGH.format(evidence.explained)
    if _CARRIES / _SURE < evidence.strength < _CARRIES * _SURE and not clear:
        return _THIN.format(evidence.strength)
    part, agree, spread = _SHUFFLED
    shuffled = evidence.part > part and evidence.agree > agree and evidence.spread > spread
    if not evidence.carries and evidence.size >= FEW and shuffled:
        return _UNKNOWN
    return ""


def _weigh_short(axes: Sequence[SeenAxis]) -> None:
    """Decide axes of few cells, against what the others carry."""
    short = [
        (axis, key, evidence)
        for axis in axes
        for key, evidence in axis.evidence.items()
        if key[1] and evidence.short and not axis.batch
    ]
    for axis, key, evidence in short:
        evidence.carries = _carries_short(axis, key, evidence, axes)
    for axis, key, evidence in short:
        if not evidence.carries:
            evidence.doubt = _doubt_short(axis, key, evidence, axes)


def _carries_short(axis: SeenAxis, key: Key, evidence: Evidence, axes: Sequence[SeenAxis]) -> bool:
    """Whether few cells carry an axis: all draws tell them apart, and no other axis does better."""
    most = max((other.evidence[key].part for other in axes if key in other.evidence), default=0.0)
    if axis.fit is None or not axis.fit.of(key) or evidence.part < 0.1 * most:
        return False
    span, line = _SPAN, _GOOD
    if evidence.size < FEW:  # a few channels differ by chance as much as a few colours
        span, line = _COLOURS.get(evidence.size, _FRAMES), _LINE
    return evidence.steady > _STEADY and evidence.span > span and evidence.explained > line


def _doubt_short(axis: SeenAxis, key: Key, evidence: Evidence, axes: Sequence[SeenAxis]) -> str:
    taken = max((e.part for e in axis.evidence.values() if e.carries), default=0.0)
    elsewhere = max(
        (o.evidence[key].part for o in axes if key in o.evidence and o.evidence[key].carries),
        default=0.0,
    )
    if evidence.part < 0.1 * taken or evidence.part < 0.02 * elsewhere:
        return ""
    length, size = axis.length, evidence.size
    if size < FEW:
        strided = length % size == 0 or size % length == 0 or length == (size + 1) // 2
        if not strided or evidence.part < 0.02 or evidence.agree < 0.5:
            return ""
    return _SHORT.format(evidence.steady)


def weigh_looks(axis: SeenAxis, looks: Mapping[Key, NDArray[np.float64]]) -> None:
    """Decide a short axis by where the gradients of its cells look.

    Args:
        axis: the axis, whose doubts are settled where that tells.
        looks: for each axis of an input the centres, ``(draws, cells)``.
    """
    tracks = {}
    for key, evidence in axis.evidence.items():
        centres = looks.get(key)
        if key[1] == 0 or centres is None or not np.isfinite(centres).all():
            continue
        if evidence.carries and not evidence.doubt:
            continue
        means = centres.mean(0)
        tracks[key] = Track(float(means.std()), means, np.ones(len(means)), evidence.size)
    if not tracks or any(digit.key[1] == 0 for digit in axis.digits):
        return
    found = fit(tracks)
    for key, track in tracks.items():
        evidence, digits = axis.evidence[key], found.of(key)
        draws = [replace(track, means=row) for row in looks[key]]
        steady = _steadiness(slopes(digits[0], draws)) if digits else 0.0
        span = float(np.ptp(track.means))
        evidence.explained = found.explained[key]
        evidence.carries = steady > _STEADY and span > _DEEP_SPAN
        unsure = steady > _STEADY and not evidence.carries
        evidence.doubt = _SHORT.format(steady) if unsure else ""
    axis.fit = found
