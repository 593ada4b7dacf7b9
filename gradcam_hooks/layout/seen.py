"""What an axis of an activation carries, weighed: evidence, decisions, and what stays in doubt.

Long axes are decided by how much better than chance an order explains them; the few cells of short
ones by how steadily all draws tell them apart, against what the other axes show. Numbers only.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gradcam_hooks.layout import fits
from gradcam_hooks.layout.fits import Digit, Fit, Track
from gradcam_hooks.layout.light import Answer, Call, Key

__all__ = ["Evidence", "SeenAxis", "seen", "weigh_looks"]

_CARRIES = 0.01  # evidence: of 848 axes that carry nothing the highest was 0.023
_SURE = 3.0  # a factor around that threshold in which only a steep and steady slope is sure
_STEADY = 6.0  # of a slope over its standard error
_VERY_STEADY = 12.0
_GOOD = 0.9  # of the variance that an order explains
_BATCH = 0.5  # of the variance: the batch's light tells its elements apart fully
_SPAN = 0.03  # of the input's axis, between the first and the last of few cells
_AGREE = 0.3  # of draws: where they disagree no order is looked for
_SHUFFLED = (0.4, 0.8, 0.12)  # part, agreement of draws and spread of cells without an order
_DEEP_SPAN = 0.05  # of the input's axis, where gradients look


@dataclass
class Evidence:
    """What speaks for an axis of the activation carrying one axis of an input.

    Attributes:
        part: eta².
        explained: R² of its digits.
        strength: eta² times R² above chance.
        steady: the slope over its standard error.
        span: of the input's axis, between the first step and the last.
        agree: how alike the draws are.
        spread: the standard deviation of the cells.
        short: whether there are too few cells for chance to be ruled out.
        looked: whether gradients were asked.
    """

    part: float
    explained: float
    strength: float
    steady: float
    span: float
    agree: float
    spread: float
    short: bool
    looked: bool = False
    carries: bool = False
    doubt: str = ""


@dataclass
class SeenAxis:
    """One axis of an activation: its fit and its evidence for each axis of an input."""

    number: int
    length: int
    fit: Fit | None
    evidence: dict[Key, Evidence]
    batch: bool = False


def seen(call: Call, inputs: Sequence[Tensor]) -> list[SeenAxis]:
    """The axes of one call, weighed.

    Args:
        call: the call and its answers to light.
        inputs: the network's inputs.
    """
    axes = [_axis(number, call, inputs) for number in range(len(call.shape))]
    _weigh(axes, inputs)
    return axes


def _axis(number: int, call: Call, inputs: Sequence[Tensor]) -> SeenAxis:
    length = call.shape[number]
    if length < 2:
        return SeenAxis(number, length, None, {})
    tracks = {
        key: Track(
            answer.whole.parts[number],
            answer.whole.means[number],
            answer.whole.weights[number],
            inputs[key[0]].shape[key[1]],
            exact=key[1] == 0,
        )
        for key, answer in call.answers.items()
    }
    likely = {
        key: track
        for key, track in tracks.items()
        if track.part > (_BATCH if track.exact else _CARRIES / _SURE)
        and (track.exact or length < fits.FEW or _agreement(call.answers[key], number) > _AGREE)
    }
    fit = fits.fit(likely) if likely else None
    evidence = {
        key: _evidence(key, track, fit, call.answers[key], number) for key, track in tracks.items()
    }
    return SeenAxis(number, length, fit, evidence)


def _evidence(key: Key, track: Track, fit: Fit | None, answer: Answer, axis: int) -> Evidence:
    draws = [(draw.means[axis], draw.weights[axis]) for draw in answer.draws]
    digits = _of(fit, key)
    explained, floor = 0.0, 1.0
    steady = span = 0.0
    if fit is not None and digits:
        ordered = fits.in_order(track, digits, fit.ahead, fit.behind)
        explained = max(fit.explained[key], ordered if ordered > 0.95 else 0.0)
        floor = fit.chance[key]
        first = digits[0]
        each = fits.slopes(first, fit.ahead, fit.behind, draws)
        if len(each) > 1:
            steady = abs(each.mean()) / (each.std(ddof=1) / len(each) ** 0.5 + 1e-9)
        span = sum(abs(digit.slope) * (digit.size - 1) for digit in digits)
    cells = len(track.means) - (fit.ahead + fit.behind if fit is not None else 0)
    above = max(0.0, (explained - floor) / (1 - floor)) if floor < 1 else 0.0
    return Evidence(
        part=track.part,
        explained=explained,
        strength=track.part * above,
        steady=float(steady),
        span=float(span),
        agree=_agreement(answer, axis),
        spread=_spread(track),
        short=cells < fits.FEW,
    )


def _of(fit: Fit | None, key: Key) -> list[Digit]:
    return [digit for digit in fit.digits if digit.key == key] if fit is not None else []


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


def _weigh(axes: Sequence[SeenAxis], inputs: Sequence[Tensor]) -> None:
    """Decide what each axis carries, the clear cases first."""
    for axis in axes:
        for key, evidence in axis.evidence.items():
            if key[1] == 0:
                evidence.carries = bool(_of(axis.fit, key)) and evidence.part > _BATCH
            elif not evidence.short:
                _weigh_long(evidence, axis.fit, key, inputs[key[0]].shape[key[1]])
        axis.batch = _is_batch(axis)
    short = [
        (axis, key, evidence, inputs[key[0]].shape[key[1]])
        for axis in axes
        for key, evidence in axis.evidence.items()
        if key[1] and evidence.short and not axis.batch
    ]
    for axis, key, evidence, size in short:
        evidence.carries = _carries_short(axis, key, evidence, size, axes)
    for axis, key, evidence, size in short:
        if not evidence.carries:
            evidence.doubt = _doubt_short(axis, key, evidence, size, axes)


def _is_batch(axis: SeenAxis) -> bool:
    """Whether an axis is the batch and nothing else."""
    if axis.fit is None:
        return False
    own = [digit for digit in axis.fit.digits if axis.evidence[digit.key].carries]
    return any(digit.key[1] == 0 and digit.size == axis.length for digit in own)


def _weigh_long(evidence: Evidence, fit: Fit | None, key: Key, size: int) -> None:
    strong = evidence.strength
    clear = evidence.steady > _VERY_STEADY and evidence.explained > 0.95
    fitted = bool(_of(fit, key))
    evidence.carries = fitted and (strong > _CARRIES or (clear and strong > _CARRIES / _SURE))
    if evidence.carries and evidence.explained < _GOOD:
        evidence.doubt = f"its cells are in order only roughly (R² {evidence.explained:.2f})"
    elif _CARRIES / _SURE < strong < _CARRIES * _SURE and not clear:
        evidence.doubt = f"the evidence is thin ({strong:.3f})"
    elif not evidence.carries and size >= fits.FEW and _is_shuffled(evidence):
        evidence.doubt = "its cells lie along it in an order that is not known"


def _is_shuffled(evidence: Evidence) -> bool:
    part, agree, spread = _SHUFFLED
    return evidence.part > part and evidence.agree > agree and evidence.spread > spread


def _carries_short(
    axis: SeenAxis, key: Key, evidence: Evidence, size: int, axes: Sequence[SeenAxis]
) -> bool:
    """Whether few cells carry an axis: all draws tell them apart, and no other axis does better."""
    digits = _of(axis.fit, key)
    if not digits or evidence.part < 0.1 * _most(key, axes):
        return False
    if size < fits.FEW and digits[0].size != size and evidence.part < 0.1:
        return False  # colours: all of a short axis or a good part of the variance
    steep = evidence.steady > _STEADY and evidence.span > _SPAN
    return steep and evidence.explained > _GOOD


def _doubt_short(
    axis: SeenAxis, key: Key, evidence: Evidence, size: int, axes: Sequence[SeenAxis]
) -> str:
    taken = max((e.part for e in axis.evidence.values() if e.carries), default=0.0)
    elsewhere = max(
        (o.evidence[key].part for o in axes if key in o.evidence and o.evidence[key].carries),
        default=0.0,
    )
    if evidence.part < 0.1 * taken or evidence.part < 0.02 * elsewhere:
        return ""
    if size < fits.FEW and (evidence.part < 0.02 or abs(evidence.agree) < 0.5):
        return ""
    return f"its few cells are hardly told apart (t {evidence.steady:.1f})"


def _most(key: Key, axes: Sequence[SeenAxis]) -> float:
    return max((axis.evidence[key].part for axis in axes if key in axis.evidence), default=0.0)


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
        spread = float(means.std())
        tracks[key] = Track(spread, means, np.ones(len(means)), axis.length)
    batch = [digit for digit in axis.fit.digits if digit.key[1] == 0] if axis.fit else []
    if not tracks or batch:
        return
    fit = fits.fit(tracks)
    for key, track in tracks.items():
        evidence = axis.evidence[key]
        evidence.looked = True
        digits = _of(fit, key)
        each = (
            fits.slopes(digits[0], 0, 0, [(row, track.weights) for row in looks[key]])
            if digits
            else np.zeros(2)
        )
        steady = float(abs(each.mean()) / (each.std(ddof=1) / len(each) ** 0.5 + 1e-9))
        span = float(np.ptp(track.means))
        evidence.doubt = ""
        evidence.carries = bool(digits) and steady > _STEADY and span > _DEEP_SPAN
        evidence.explained = fit.explained[key]
        if not evidence.carries and (steady > _STEADY and span > _DEEP_SPAN / _SURE):
            evidence.doubt = f"its few cells are hardly told apart (t {steady:.1f})"
    axis.fit = fit
