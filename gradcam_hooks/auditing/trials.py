"""Trials: interventions on some of the pictures, once each, that every group is judged by.

A trial covers the region of a picture and puts it onto others. What a group's trials did is
compared with what those of the other pictures of the same classes did; nothing here knows how a
group was found, so that the proof is not what chose the group.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gradcam_hooks.auditing.features import concentration, off_centre, turned
from gradcam_hooks.auditing.proof import Answer, Inputs, cover, paste
from gradcam_hooks.auditing.statistics import above, discoveries, fisher, one_way, signs, strata
from gradcam_hooks.auditing.strategies import Proof, Q

__all__ = ["Group", "Trials", "drawn", "fixed", "judged", "tried"]

RATE, MORE, COVERS = 0.5, 0.2, 0.2
"""From where on a strategy is suspect: its regions make at least half of the other pictures their
class (a quarter, where it has a place and a look of its own), at least 0.2 more than the regions of
the class's others; covering changes at least 0.2 more of the answers than covering elsewhere; the
first, and both together, at the false discovery rate ``Q``."""

LEFT, SURER = 0.75, 0.8
"""How sure the network is of another answer once the region is covered, and how often it is surer
than where a picture of the class's others is, at least, for the region to overrule something."""

APART = 3.0
"""How far the maps of few pictures lie apart from all others, in standard deviations of the gap,
for their place to be one that the classes' others do not share."""

_OF_GROUP, _OF_CLASS = 16, 24
_PART = 64
_TURNS = 999
_ALONE, _OFF = 0.5, 2 / 3
"""How far maps look at one place, at least, for that place to be suspect by itself, and how much of
it lies outside the middle quarter of the picture."""

_MINOR = 0.5
"""Of the pictures it was found among, what a strategy holds at most."""


@dataclass(frozen=True, eq=False)
class Group:
    """Pictures that are to be judged.

    Attributes:
        members: their numbers.
        by: what they have in common.
        among: the class they were found in; None: all.
        leaves: the share of the group's edges that lead out of it.
        whole: whether it is all there was to group, so that its maps did not choose it.
        stability: how far it comes again when a fifth of the pictures is left out.
        island: whether it is few pictures apart from the rest, and not a part of all.
        gap: to the rest of those it was found among, in standard deviations.
    """

    members: Tensor
    by: str
    among: int | None
    leaves: float = 0.0
    whole: bool = False
    stability: float = 1.0
    island: bool = False
    gap: float = 0.0


@dataclass(frozen=True, eq=False)
class Trials:
    """The outcome for each picture that was tried; NaN where it found none to be put onto.

    Attributes:
        numbers: of the pictures, rising.
        here: whether covering the region changed the answer.
        elsewhere: whether covering as much elsewhere did.
        rates: of the pictures it was put onto, the share that became its class.
        rates_elsewhere: the same of another part of the picture.
        replaced: as ``rates``, in the place of what the others look at.
        left: how sure the network was of another answer where the region was covered; 0 where it
            stayed with its own.
    """

    numbers: Tensor
    here: Tensor
    elsewhere: Tensor
    rates: Tensor
    rates_elsewhere: Tensor
    replaced: Tensor
    left: Tensor

    def rows(self, members: Tensor) -> Tensor:
        """Which of the trials are of these pictures, bool ``(trials,)``."""
        return torch.isin(self.numbers, members)


def drawn(
    groups: Sequence[Group], answers: Tensor, most: int, generator: torch.Generator
) -> list[int]:
    """The pictures to try: some of every group, the smallest first, and of every class in it."""
    chosen: dict[int, None] = {}

    def take(pool: Tensor, count: int) -> None:
        have = sum(int(one) in chosen for one in pool)
        for one in pool[torch.randperm(len(pool), generator=generator)].tolist():
            if have >= count or len(chosen) >= most:
                return
            if one not in chosen:
                chosen[one] = None
                have += 1

    for group in sorted(groups, key=lambda one: len(one.members)):
        take(group.members, _OF_GROUP)
    for answer in sorted(set(answers.tolist())):
        take((answers == answer).nonzero()[:, 0], _OF_CLASS)
    return sorted(chosen)


def tried(
    numbers: Sequence[int],
    boxes: Tensor,
    answers: Tensor,
    inputs: Inputs,
    answer: Answer,
    generator: torch.Generator,
) -> Trials:
    """Try the pictures of these numbers."""
    every = range(len(answers))
    found: dict[str, list[Tensor]] = {
        name: [] for name in ("here", "elsewhere", "rates", "rates_elsewhere", "replaced", "left")
    }
    for start in range(0, len(numbers), _PART):
        part = list(numbers[start : start + _PART])
        covered = cover(part, boxes[part], inputs, answer, generator)
        found["here"].append(covered.here)
        found["elsewhere"].append(covered.elsewhere)
        found["left"].append(covered.left)
        pasted = paste(part, boxes, answers, every, inputs, answer, generator)
        rates, other = torch.full((2, len(part)), math.nan)
        at = torch.searchsorted(torch.as_tensor(part), pasted.numbers)
        rates[at], other[at] = pasted.rates, pasted.elsewhere
        found["rates"].append(rates)
        found["rates_elsewhere"].append(other)
        replaced = torch.full((len(part),), math.nan)
        left = [one for one, rate in zip(part, rates.tolist(), strict=True) if math.isnan(rate)]
        if left:
            again = paste(left, boxes, answers, every, inputs, answer, generator, apart=1.0)
            replaced[torch.searchsorted(torch.as_tensor(part), again.numbers)] = again.rates
        found["replaced"].append(replaced)
    joined = {name: torch.cat(parts) for name, parts in found.items()}
    return Trials(torch.as_tensor(list(numbers)), **joined)


def judged(
    groups: Sequence[Group],
    trials: Trials,
    answers: Tensor,
    places: Tensor,
    looks: Tensor | None,
    generator: torch.Generator,
) -> list[tuple[Proof, bool]]:
    """The proof of each group, and whether it is suspect.

    Args:
        groups: what is judged.
        trials: what was tried.
        answers: the class of every picture.
        places: where each looks.
        looks: what is there, which chose no group by place; None where nobody knows.
        generator: draws permutations.
    """
    found = [_proof(group, trials, answers, generator) for group in groups]
    covered = discoveries([p for _, p, _ in found])
    pasted, both = [1.0] * len(groups), [1.0] * len(groups)
    for whole in (False, True):  # two questions, each with its own rate of false discoveries
        rows = [i for i, group in enumerate(groups) if group.whole is whole]
        for i, q in zip(rows, discoveries([found[i][2] for i in rows]), strict=True):
            pasted[i] = q
        together = discoveries([fisher(found[i][1:]) for i in rows])
        for i, q in zip(rows, together, strict=True):
            both[i] = q
    unlike = discoveries([_alike(one, answers, looks, generator) for one in groups])
    beside = [_left(one, trials, answers, generator) for one in groups]
    q_left = discoveries([p for _, p in beside])
    verdicts = []
    for i, (group, (proof, *_)) in enumerate(zip(groups, found, strict=True)):
        full = replace(
            proof, q_covered=covered[i], q_pasted=pasted[i], q=both[i], q_alike=unlike[i],
            surer=beside[i][0], q_left=q_left[i],
        )  # fmt: skip
        verdicts.append((full, _suspect(group, full, answers, places, generator)))
    return verdicts


def _proof(
    group: Group, trials: Trials, answers: Tensor, generator: torch.Generator
) -> tuple[Proof, float, float]:
    """What its trials did, and the p of covering and of pasting."""
    own = trials.rows(group.members)
    tells = ~trials.rates.isnan()
    here, elsewhere = trials.here[own], trials.elsewhere[own]
    own_rates = trials.rates[own & tells]
    said = answers[trials.numbers]
    others = trials.rates[~own & tells & torch.isin(said, said[own])]
    more, p = strata(trials.rates[tells], own[tells], said[tells], generator)
    swapped = trials.replaced[own]
    swapped = swapped[~swapped.isnan()]
    put_beside = len(own_rates) >= max(3, len(swapped))
    rates = own_rates if put_beside else swapped
    proof = Proof(
        tried=int(own.sum()),
        covered=_mean(here),
        covered_elsewhere=_mean(elsewhere),
        put=len(rates),
        pasted=_mean(rates),
        pasted_elsewhere=_mean(trials.rates_elsewhere[own & tells]) if put_beside else math.nan,
        pasted_others=_mean(others) if put_beside and not math.isnan(more) else math.nan,
        left=_mean(trials.left[own]),
        more=more,
        replaced=not put_beside,
    )
    if group.whole:  # there is nothing to compare with: more than half of what accuses
        p = signs(rates - RATE / 2, generator)
    return proof, signs(here - elsewhere, generator), p


def _mean(values: Tensor) -> float:
    return float(values.mean()) if len(values) else math.nan


def _suspect(
    group: Group, proof: Proof, answers: Tensor, places: Tensor, generator: torch.Generator
) -> bool:
    """Whether the numbers accuse it (see the thresholds)."""
    if proof.covered - proof.covered_elsewhere < COVERS or proof.pasted < RATE / 2:
        return False
    decides = proof.pasted >= RATE
    if group.whole:
        return decides and proof.q_pasted <= Q and fixed(places[group.members], generator)
    here = places[group.members]
    one_place = concentration(here) >= _ALONE and off_centre(here) >= _OFF
    minor = len(group.members) <= _MINOR * _among(group, answers)
    if not (minor or one_place):
        return False  # what is unlike it are the others, and they are judged themselves
    if decides and proof.more >= MORE and max(proof.q, proof.q_pasted) <= Q:
        return True
    if proof.q_covered > Q:
        return False
    if group.by == "look" and fixed(here, generator):
        return True  # the place did not choose it
    overrules = decides and proof.left >= LEFT and proof.surer >= SURER  # what else is there
    return (overrules and proof.q_left <= Q) or (one_place and proof.q_alike <= Q)


def _alike(
    group: Group, answers: Tensor, looks: Tensor | None, generator: torch.Generator
) -> float:
    """The p of what is there being alike, of few pictures that look at a place of their own."""
    if looks is None or group.whole or group.by != "place" or group.gap < APART:
        return 1.0
    chosen = torch.zeros(len(answers), dtype=torch.bool)
    chosen[group.members] = True
    return one_way(looks, chosen, answers, generator)


def _left(
    group: Group, trials: Trials, answers: Tensor, generator: torch.Generator
) -> tuple[float, float]:
    """How often more is left of another answer than in the class's others, and the p of that.

    A tie is half. It is asked of few pictures apart from the rest alone.
    """
    if not group.island:
        return math.nan, 1.0
    own, said = trials.rows(group.members), answers[trials.numbers]
    return above(trials.left, own, said, generator)


def _among(group: Group, answers: Tensor) -> int:
    """How many pictures it was found among."""
    return len(answers) if group.among is None else int((answers == group.among).sum())


def fixed(places: Tensor, generator: torch.Generator) -> bool:
    """Whether maps that nothing chose look at one place off the centre of the picture.

    They overlap more than they would, were each picture mirrored or turned by chance, which a
    habit of the middle would survive; most of them lies outside the middle quarter.
    """
    some = places[torch.randperm(len(places), generator=generator)[:200]]
    if len(some) < 4 or concentration(some) < _ALONE or off_centre(some) < _OFF:
        return False
    ways = turned(some.double().sqrt())
    rows = torch.arange(len(some))
    found = sum(
        float(ways[rows, torch.randint(8, (len(some),), generator=generator)].sum(0).square().sum())
        >= float(ways[:, 0].sum(0).square().sum()) - 1e-9
        for _ in range(_TURNS)
    )
    return (found + 1) / (_TURNS + 1) <= Q / 10
