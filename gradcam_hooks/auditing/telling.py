"""From verdicts to what is told: the strategies, the finding, and what would have been missed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gradcam_hooks.auditing.features import SIDE, concentration
from gradcam_hooks.auditing.grouping import LEAST, OF_CLASS
from gradcam_hooks.auditing.looking import Seen
from gradcam_hooks.auditing.strategies import Proof, Q, Strategy, told, where
from gradcam_hooks.auditing.trials import Group
from gradcam_hooks.results.facts import class_word, label_of

__all__ = ["finding", "power_of", "strategies_of"]

_SHOWN = 8

_FEW = 10
"""Pictures of a strategy from which on planted ones were mostly found."""

_CELLS = 5
"""Cells across a map from which on a corner is told from the middle."""

_Judged = tuple[Group, Proof, bool]


def strategies_of(
    seen: Seen,
    groups: Sequence[Group],
    verdicts: Sequence[tuple[Proof, bool]],
    truths: tuple[int, ...] | None,
    labels: Sequence[str] | None,
) -> tuple[Strategy, ...]:
    """The suspect groups, each picture in one; and what else there is of all pictures by place."""
    order = sorted(range(len(groups)), key=lambda i: (-len(groups[i].members), i))
    suspects = [(groups[i], *verdicts[i]) for i in order if verdicts[i][1]]
    kept = _united(suspects)
    overall = [i for i in order if groups[i].among is None and not verdicts[i][1]]
    parts = [i for i in overall if not (groups[i].whole or groups[i].island)]
    plain = parts or [i for i in overall if groups[i].whole]
    if kept and kept[0][0].whole and kept[0][0].among is None:
        plain = []
    told = [*kept, *((groups[i], *verdicts[i]) for i in plain)]
    return tuple(_strategy(seen, *one, truths, labels) for one in told)


def _united(suspects: Sequence[_Judged]) -> list[_Judged]:
    """The suspects, the largest first, of which those that share pictures became one.

    A mark may be found by its place and by its look, and its look in two pieces. The proof that
    is told is the largest one's.
    """
    kept: list[_Judged] = []
    for group, proof, suspect in suspects:
        own = set(group.members.tolist())
        for i, (other, first, _) in enumerate(kept):
            held = set(other.members.tolist())
            alike = group.among == other.among and not (group.whole or other.whole)
            if len(own & held) > len(own) / (3 if alike else 2):
                if alike:
                    both = torch.tensor(sorted(own | held))
                    kept[i] = (replace(other, members=both), first, suspect)
                break
        else:
            kept.append((group, proof, suspect))
    return kept


def _strategy(
    seen: Seen,
    group: Group,
    proof: Proof,
    suspect: bool,
    truths: tuple[int, ...] | None,
    labels: Sequence[str] | None,
) -> Strategy:
    members = group.members
    places = seen.places[members]
    mean = places.mean(0)
    looks = seen.details if seen.details is not None else seen.looks
    points = looks[members] if group.by == "look" and looks is not None else places.sqrt()
    far = (points - points.mean(0)).norm(dim=1).argsort(stable=True)
    near = members[far].tolist()
    answers = dict(Counter(seen.answers[members].tolist()).most_common())
    inside, outside = _accuracies(seen.answers, members, truths)
    together = concentration(places)
    alone = proof.q_alike <= Q and suspect
    looks_at = _looks_at(group.by, where(mean) if together >= 0.5 else None, alone=alone)
    names = [class_word(one, label_of(one, labels)) for one in answers]
    return Strategy(
        members=tuple(members.tolist()),
        share=len(members) / len(seen),
        by="look" if group.by == "look" else "place",
        among=group.among,
        suspect=suspect,
        text=told(len(members), len(seen), looks_at, proof, names),
        proof=proof,
        answers=answers,
        accuracy=inside,
        accuracy_outside=outside,
        place=mean.view(SIDE, SIDE),
        concentration=together,
        leaves=group.leaves,
        stability=group.stability,
        middle=tuple(near[:_SHOWN]),
        edge=tuple(near[::-1][:_SHOWN]),
    )


def _looks_at(by: str, place: str | None, *, alone: bool) -> str:
    """What the pictures of a group have in common, in words; ``place`` where it is one.

    Args:
        by: what they were grouped by.
        place: where they look, if at one place.
        alone: whether what is at their place is alike, and unlike what the others show.
    """
    if by == "place":
        if place is None:
            return "look at no one place"
        unlike = ", at something that the others of their class do not show" if alone else ""
        return f"look at the {place}{unlike}"
    at = "" if place is None else f" at the {place}"
    return f"look at something{at} that the others of their class do not show"


def _accuracies(
    answers: Tensor, members: Tensor, truths: tuple[int, ...] | None
) -> tuple[float | None, float | None]:
    if truths is None:
        return None, None
    known = torch.tensor(truths)
    right, judged = answers == known, known >= 0
    inside = torch.zeros(len(answers), dtype=torch.bool)
    inside[members] = True
    shares = []
    for side in (inside, ~inside):
        here = side & judged
        shares.append(float(right[here].float().mean()) if bool(here.any()) else None)
    return shares[0], shares[1]


def finding(strategies: Sequence[Strategy], count: int, power: str) -> str:
    """The audit in words: its suspects, or that there is none and what would have been missed."""
    suspects = [one for one in strategies if one.suspect]
    if not suspects:
        return f"Nothing suspect was found in {count:,} pictures. {power}"
    return " ".join(f"Suspect: {one.text}" for one in suspects)


def power_of(seen: Seen, groups: Sequence[Group], tested: int) -> str:
    """What would have been missed, in words."""
    counts = [count for count in Counter(seen.answers.tolist()).values() if count >= OF_CLASS]
    among = f", or {LEAST / max(counts):.1%} of the largest class" if counts else ""
    share = min(1.0, LEAST / len(seen))
    were = "picture was" if tested == 1 else "pictures were"
    return (
        f"A strategy in fewer than {LEAST} of the pictures ({share:.1%}{among}) would have been "
        f"missed, and in fewer than {_FEW} it often is; so would one that every picture of a class "
        "shares at changing places, and one that decides fewer than half of the answers; "
        f"{tested} {were} tried.{_unparted(groups)}{_coarse(seen)}"
    )


def _unparted(groups: Sequence[Group]) -> str:
    """That nothing parts the pictures, where nothing does."""
    if any(not group.whole for group in groups):
        return ""
    return (
        " No group of pictures lies apart from the others: all were tried as one, and each class."
    )


def _coarse(seen: Seen) -> str:
    """That maps of so few cells hide what is small, with the next step."""
    high, wide = seen.maps.shape[-2:]
    if min(high, wide) >= _CELLS:
        return ""
    return (
        f" The maps are of {high} x {wide} cells, in which what is small is not told from what "
        "lies beside it: an earlier layer (layer=) has finer ones."
    )
