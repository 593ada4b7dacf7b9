"""Two networks and the same pictures: where they look elsewhere, and what the second's gain is of.

Two checkpoints of one training, or before and after a mitigation. Pure functions of two audits and
of what the trials of some pictures did; no network is run here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gradcam_hooks.auditing.features import SIDE, concentration
from gradcam_hooks.auditing.strategies import Against, Audit, Proof, interventions, where
from gradcam_hooks.auditing.trials import Trials

__all__ = ["ELSEWHERE", "MOST_TRIED", "compared", "extra", "overlaps"]

ELSEWHERE = 0.5
"""Maps that overlap by less look elsewhere; ``sum(sqrt(p * q))`` of their places."""

MOST_TRIED = 64
"""Pictures that the second alone gets right whose regions are tried, at most."""


def overlaps(places: Tensor, others: Tensor) -> Tensor:
    """How far two maps of each picture look at the same place; NaN where one of them is blank.

    Args:
        places: ``(pictures, cells)``, each with the sum 1, or 0 of a blank map.
        others: the same of the second network.

    >>> overlaps(torch.tensor([[1.0, 0.0], [0.5, 0.5]]), torch.tensor([[0.0, 1.0], [0.5, 0.5]]))
    tensor([0., 1.])
    """
    shared = (places.double() * others.double()).sqrt().sum(1).clamp(0, 1).float()
    blank = (places.sum(1) <= 0) | (others.sum(1) <= 0)
    return shared.masked_fill(blank, math.nan)


def extra(first: Audit, second: Audit) -> tuple[int, ...]:
    """The pictures in which the second alone is right, the most confident first.

    Where no truth is known, those that it calls otherwise.
    """
    found = [
        number
        for number, (one, other) in enumerate(zip(first.answers, second.answers, strict=True))
        if one != other and (first.truths is None or _truth(second, number) == other)
    ]
    return _surest(second, found)


def _lost(first: Audit, second: Audit) -> tuple[int, ...]:
    """The pictures in which the first alone is right; none where no truth is known."""
    found = [
        number
        for number, (one, other) in enumerate(zip(first.answers, second.answers, strict=True))
        if first.truths is not None and one != other and _truth(first, number) == one
    ]
    return _surest(first, found)


def _truth(audit: Audit, number: int) -> int:
    return -1 if audit.truths is None else audit.truths[number]


def _surest(audit: Audit, numbers: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(numbers, key=lambda one: (-audit.chances[one], one)))


def compared(first: Audit, second: Audit, trials: Trials | None) -> Against:
    """What sets two audits of the same pictures apart.

    Args:
        first: of the first network.
        second: of the second.
        trials: of some of the pictures in which the second alone is right.
    """
    shared = overlaps(first.places, second.places)
    apart = (shared < ELSEWHERE).nonzero()[:, 0]  # of NaN nothing is said
    apart = apart[shared[apart].argsort(stable=True)]
    gained, lost = extra(first, second), _lost(first, second)
    places = second.places[list(gained)]
    proof = _proof(trials)
    accused = {number for one in second.suspects for number in one.members}
    by_chance = _shuffled(first.places, second.places)
    found = Against(
        audit=second,
        text="",
        overlaps=tuple(shared.tolist()),
        by_chance=by_chance,
        elsewhere=tuple(apart.tolist()),
        extra=gained,
        lost=lost,
        place=places.mean(0).view(SIDE, SIDE) if len(gained) else torch.zeros(SIDE, SIDE),
        proof=proof,
        suspect=len(accused & set(gained)),
    )
    return _with(found, " ".join(_told(first, found)))


def _with(found: Against, text: str) -> Against:
    object.__setattr__(found, "text", text)
    return found


def _shuffled(places: Tensor, others: Tensor) -> float:
    """The mean overlap of every map of the first with every map of the second of another picture.

    In closed form: of all pairs, less those of the same picture.
    """
    seen = (places.sum(1) > 0) & (others.sum(1) > 0)
    one, other = places[seen].double().sqrt(), others[seen].double().sqrt()
    count = len(one)
    if count < 2:
        return math.nan
    own = float((one * other).sum())
    return (float(one.sum(0) @ other.sum(0)) - own) / (count * (count - 1))


def _proof(trials: Trials | None) -> Proof:
    """What the trials of the extra answers did, as numbers."""
    if trials is None:
        return Proof()
    told = trials.rates[~trials.rates.isnan()]
    other = trials.rates_elsewhere[~trials.rates_elsewhere.isnan()]
    return Proof(
        tried=len(trials.numbers),
        covered=float(trials.here.mean()),
        covered_elsewhere=float(trials.elsewhere.mean()),
        put=len(told),
        pasted=float(told.mean()) if len(told) else math.nan,
        pasted_elsewhere=float(other.mean()) if len(other) else math.nan,
    )


def _told(first: Audit, found: Against) -> list[str]:
    """What sets the two apart, a sentence each."""
    second, count = found.audit, len(first)
    told = torch.tensor(found.overlaps)
    told = told[~told.isnan()]
    parts = []
    if first.accuracy is not None and second.accuracy is not None:
        parts.append(
            f"The second network is right in {second.accuracy:.1%} of {count:,} pictures, the "
            f"first in {first.accuracy:.1%}: {len(found.extra):,} right answers more, "
            f"{len(found.lost):,} fewer."
        )
    else:
        parts.append(
            f"The second network calls {len(found.extra):,} of {count:,} pictures otherwise."
        )
    if len(told):
        parts.append(
            f"Their maps overlap by {float(told.mean()):.2f} (by {found.by_chance:.2f}, were the "
            f"pictures shuffled); in {len(found.elsewhere):,} they look elsewhere, which is to "
            f"overlap by less than {ELSEWHERE}."
        )
    if found.elsewhere:
        rows = list(found.elsewhere)
        one, other = (_place(audit.places[rows]) for audit in (first, second))
        parts.append(f"There the first looks at {one}, the second at {other}.")
    return [*parts, *_gain(found)]


def _gain(found: Against) -> list[str]:
    """What the second's extra answers look at."""
    if not found.extra:
        return []
    kind = "extra right answers" if found.audit.truths is not None else "other answers"
    rows = list(found.extra)
    parts = [
        f"The second's {len(rows):,} {kind} look at {_place(found.audit.places[rows])}; "
        f"{found.suspect:,} of them are in a suspect strategy of it."
    ]
    return [*parts, *interventions(found.proof)]


def _place(places: Tensor) -> str:
    """One place in words, or that it is none."""
    alone = len(places) < 2 or concentration(places) >= ELSEWHERE
    return f"the {where(places.mean(0))}" if alone else "no one place"
