"""Islands: few pictures that are one another's nearest neighbours, apart from all others.

The spectrum of a graph tells of groups that hold much of the pictures; a mark in one picture of
twenty is none of these. Here pictures are bound where each is among the three nearest of the
other, what is bound is grown by those whose nearest are mostly in it, and what is grown counts
where there is a gap to the rest and where it comes again when a fifth of the pictures is left out.
Pure functions of points ``(pictures, numbers)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradcam_hooks.auditing.clusters import MOST, apart

__all__ = ["Island", "bound", "gap_of", "islands"]

NEAR = 3
"""Nearest neighbours that bind; a chain of more binds everything."""

STABLE = 0.5
"""How far an island comes again, at least."""

_AGAIN, _KEPT = 5, 0.8
_LARGEST = 0.5


@dataclass(frozen=True, eq=False)
class Island:
    """Pictures apart from the others.

    Attributes:
        members: their numbers, rising.
        gap: to the rest, in standard deviations (`clusters.apart`).
        stability: the mean Jaccard index with what is found where a fifth is left out.
    """

    members: Tensor
    gap: float
    stability: float


def islands(points: Tensor, generator: torch.Generator, gap: float, least: int = 4) -> list[Island]:
    """The islands of any number of points, the largest gap first.

    Of more than ``MOST`` points so many are drawn; each of the others belongs to an island that
    most of its nearest drawn ones belong to.

    Args:
        points: ``(n, numbers)``.
        generator: draws what is left out.
        gap: to the rest, at least, in standard deviations.
        least: points of an island at least.
    """
    drawn = torch.randperm(len(points), generator=generator)[:MOST].sort().values
    marks = points[drawn].float()
    found = [(one, wide) for one in _grown(marks, least) if (wide := gap_of(marks, one)) >= gap]
    if not found:
        return []
    again = [_again(marks, least, generator) for _ in range(_AGAIN)]
    kept = []
    for mask, wide in found:
        stability = sum(_returned(mask, *one) for one in again) / _AGAIN
        if stability >= STABLE:
            kept.append(Island(_joined(mask, drawn, points, marks), wide, stability))
    return sorted(kept, key=lambda one: -one.gap)


def gap_of(points: Tensor, mask: Tensor) -> float:
    """Between some points and the rest, in standard deviations, seen from either."""
    return max(apart(points[mask], points[~mask]), apart(points[~mask], points[mask]))


def bound(points: Tensor, near: int = NEAR) -> tuple[Tensor, Tensor]:
    """Which points are bound together, by a number each, and the nearest of each.

    >>> bound(torch.tensor([[0.0], [1.0], [9.0], [10.0]]), 1)[0]
    tensor([0, 0, 2, 2])
    """
    count = len(points)
    distance = torch.cdist(points.double(), points.double())
    distance.fill_diagonal_(torch.inf)
    nearest = distance.topk(min(near, count - 1), largest=False).indices
    one_way = torch.zeros(count, count, dtype=torch.bool).scatter_(1, nearest, True)
    both = one_way & one_way.T
    own = torch.arange(count)
    while True:  # no more turns than a chain is long
        least = torch.where(both, own, count).amin(1).minimum(own)
        if torch.equal(least, own):
            return own, nearest
        own = least


def _grown(points: Tensor, least: int) -> list[Tensor]:
    """What is bound, with those whose nearest are mostly in it; each once."""
    if len(points) < 2 * least:
        return []
    own, nearest = bound(points)
    found: dict[tuple[int, ...], Tensor] = {}
    for number in sorted(set(own.tolist())):
        mask = own == number
        if int(mask.sum()) < least:
            continue
        while True:
            wider = mask | (mask[nearest].float().mean(1) > 0.5)
            if torch.equal(wider, mask):
                break
            mask = wider
        if int(mask.sum()) <= _LARGEST * len(points):
            found[tuple(mask.nonzero()[:, 0].tolist())] = mask
    return list(found.values())


def _again(points: Tensor, least: int, generator: torch.Generator) -> tuple[Tensor, list[Tensor]]:
    """Some of the points, and what is found among them alone."""
    count = len(points)
    some = torch.randperm(count, generator=generator)[: int(_KEPT * count)].sort().values
    return some, _grown(points[some], max(2, least - 1))


def _returned(mask: Tensor, some: Tensor, found: list[Tensor]) -> float:
    """The best Jaccard index of an island with what was found among some of the points."""
    here = mask[some]
    return max(
        (float((here & one).sum()) / max(1, int((here | one).sum())) for one in found), default=0.0
    )


def _joined(mask: Tensor, drawn: Tensor, points: Tensor, marks: Tensor) -> Tensor:
    """The island's members among all points, by the nearest drawn ones."""
    if len(drawn) == len(points):
        return drawn[mask]
    every = torch.zeros(len(points), dtype=torch.bool)
    for start in range(0, len(points), 4096):
        part = points[start : start + 4096].float()
        near = torch.cdist(part, marks).topk(NEAR, largest=False).indices
        every[start : start + 4096] = mask[near].float().mean(1) > 0.5
    every[drawn] = mask
    return every.nonzero()[:, 0]
