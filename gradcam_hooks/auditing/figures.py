"""Figures of an audit: of each class, of each cell of the confusion, and where every picture lies.

Pure functions of what an `Audit` holds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradcam_hooks.auditing.features import SIDE
from gradcam_hooks.auditing.objects import Overlap
from gradcam_hooks.auditing.strategies import Audit

__all__ = [
    "Cell",
    "ClassFigures",
    "confusion",
    "of_classes",
    "overlap_of",
    "plane",
    "unlike",
    "wrong_and_sure",
]


@dataclass(frozen=True)
class ClassFigures:
    """Where the maps of the pictures that are called a class lie; all but the counts are shares.

    Attributes:
        number: of the class that the network says.
        count: its pictures.
        accuracy: the share that is right, where that is known.
        border: of the map, on the outermost of eight cells.
        centre: of the map, on the middle quarter of the picture.
        entropy: of the map over the 64 cells: 0 where it is one cell, 1 where it is even.
        area: of the picture, where the map is at least half of its largest value.
        blank: of its pictures, whose map is blank.
        doubtful: of its pictures, whose map is diagnosed as other than "ok".
        objects: how far its maps lie on the objects; None where none is told.
        agreement: how far methods agree on its pictures, a correlation; None where none was asked.
        compared: how many of its pictures that is known of.
    """

    number: int
    count: int
    accuracy: float | None
    border: float
    centre: float
    entropy: float
    area: float
    blank: float
    doubtful: float
    objects: Overlap | None = None
    agreement: float | None = None
    compared: int = 0


@dataclass(frozen=True, eq=False)
class Cell:
    """The pictures of one class that are called another, or that.

    Attributes:
        truth: the true class.
        answer: what the network says.
        members: the pictures' numbers, the most confident first.
        place: their mean place, ``(8, 8)``.
    """

    truth: int
    answer: int
    members: tuple[int, ...]
    place: Tensor


def of_classes(audit: Audit) -> tuple[ClassFigures, ...]:
    """The figures of each class that the network says, the most frequent first."""
    answers = torch.tensor(audit.answers)
    counts = Counter(audit.answers)
    return tuple(
        _figures(audit, number, (answers == number).nonzero()[:, 0])
        for number, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


def _figures(audit: Audit, number: int, members: Tensor) -> ClassFigures:
    places = audit.places[members]
    seen = places[places.sum(1) > 0]
    grid = seen.mean(0).view(SIDE, SIDE) if len(seen) else torch.zeros(SIDE, SIDE)
    middle = slice(SIDE // 4, SIDE - SIDE // 4)
    entropy = -(seen * seen.clamp_min(1e-12).log()).sum(1) / math.log(SIDE * SIDE)
    maps = audit.maps[members].float()
    right = [
        audit.answers[one] == audit.truths[one]
        for one in members.tolist()
        if audit.truths is not None and audit.truths[one] >= 0
    ]
    alike, compared = (None, 0) if audit.agreement is None else audit.agreement.of(members.tolist())
    return ClassFigures(
        number=number,
        count=len(members),
        accuracy=sum(right) / len(right) if right else None,
        border=float(grid.sum() - grid[1:-1, 1:-1].sum()),
        centre=float(grid[middle, middle].sum()),
        entropy=float(entropy.mean()) if len(seen) else 0.0,
        area=float((maps >= 0.5).float().mean()),
        blank=1 - len(seen) / len(members),
        doubtful=sum(audit.words[one] != "ok" for one in members.tolist()) / len(members),
        objects=overlap_of(audit, members.tolist()),
        agreement=alike,
        compared=compared,
    )


def overlap_of(audit: Audit, members: Sequence[int]) -> Overlap | None:
    """How far the maps of these pictures lie on their objects; None where none is told."""
    return None if audit.on_objects is None else audit.on_objects.of(members)


def confusion(audit: Audit) -> tuple[Cell, ...]:
    """What was taken for what, the most frequent mistakes first, then what is right."""
    held: dict[tuple[int, int], list[int]] = {}
    for number, (truth, answer) in enumerate(zip(audit.truths or (), audit.answers, strict=False)):
        if truth >= 0:
            held.setdefault((truth, answer), []).append(number)
    order = sorted(held, key=lambda key: (key[0] == key[1], -len(held[key]), key))
    return tuple(
        Cell(
            truth,
            answer,
            tuple(sorted(held[truth, answer], key=lambda one: -audit.chances[one])),
            audit.places[held[truth, answer]].mean(0).view(SIDE, SIDE),
        )
        for truth, answer in order
    )


def wrong_and_sure(audit: Audit) -> tuple[int, ...]:
    """The pictures that are wrong, the most confident first."""
    known = enumerate(zip(audit.truths or (), audit.answers, strict=False))
    wrong = [number for number, (truth, answer) in known if truth not in (-1, answer)]
    return tuple(sorted(wrong, key=lambda one: (-audit.chances[one], one)))


def unlike(audit: Audit) -> tuple[int, ...]:
    """The pictures that are right for a reason unlike their class's, the least like it first.

    Those whose map overlaps least with the mean map of the class's right pictures, and by less
    than a half of what these do among themselves on average.
    """
    known = enumerate(zip(audit.truths or (), audit.answers, strict=False))
    right: dict[int, list[int]] = {}
    for number, (truth, answer) in known:
        if truth == answer and float(audit.places[number].sum()) > 0:
            right.setdefault(answer, []).append(number)
    found: list[tuple[float, int]] = []
    for numbers in right.values():
        places = audit.places[numbers].double()
        shared = (places * places.mean(0)).sqrt().sum(1)
        usual = float(shared.mean())
        pairs = zip(shared.tolist(), numbers, strict=True)
        found += [(one / usual, number) for one, number in pairs if one < usual / 2]
    return tuple(number for _, number in sorted(found))


def plane(audit: Audit) -> Tensor:
    """Each picture's place on a plane, ``(pictures, 2)`` in [0, 1]: the principal components."""
    points = audit.places.double().sqrt()
    centred = points - points.mean(0)
    _, _, axes = torch.linalg.svd(centred.T @ centred)
    flat = centred @ axes[:2].T
    low, high = flat.amin(0), flat.amax(0)
    scaled: Tensor = (flat - low) / (high - low).clamp_min(1e-12)
    return scaled.float()
