"""The groups that are to be judged: of all pictures by place, of each class by both.

Whatever may be a strategy; what is one, the trials say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from gradcam_hooks.auditing import clusters
from gradcam_hooks.auditing.islands import gap_of, islands
from gradcam_hooks.auditing.looking import Seen
from gradcam_hooks.auditing.trials import APART, Group

__all__ = ["LEAST", "OF_CLASS", "groups_of"]

LEAST = 4
"""Pictures of a strategy at least."""

OF_CLASS = 16
"""Pictures of a class at least, for strategies to be looked for among them alone."""


GAPS = {"place": APART, "look": 1.9}
"""From where on an island is one, in standard deviations of the gap to the rest."""

_STABLE = 0.5
"""How far groups come again when a fifth of the pictures is left out, on average, at least."""


def groups_of(seen: Seen, generator: torch.Generator) -> list[Group]:
    """All groups that are to be judged: of all pictures by place, of each class by both."""
    blank = seen.places.sum(1) <= 0
    every = (~blank).nonzero()[:, 0]
    found = _split(seen, every, None, generator)
    counts = Counter(seen.answers[every].tolist())
    for answer, count in sorted(counts.items()):
        if count >= OF_CLASS and count < len(every):
            found += _split(seen, every[seen.answers[every] == answer], answer, generator)
    return found


def _split(
    seen: Seen, numbers: Tensor, among: int | None, generator: torch.Generator
) -> list[Group]:
    """All of some pictures as one group, and the groups among them."""
    if len(numbers) < LEAST:
        return []
    found = [Group(numbers, "place", among, whole=True)]
    points: dict[str, list[Tensor | None]] = {
        "place": [seen.places.sqrt()],
        "look": [seen.looks, seen.details],
    }
    for kind in ("place", "look") if among is not None else ("place",):
        for every in points[kind]:
            if every is None:
                continue
            here = every[numbers]
            found += [
                Group(numbers[own], kind, among, leaves, stability=stable, gap=wide)
                for own, leaves, stable, wide in _parts(here, generator)
            ]
            found += [
                Group(
                    numbers[one.members],
                    kind,
                    among,
                    stability=one.stability,
                    island=True,
                    gap=one.gap,
                )
                for one in islands(here, generator, GAPS[kind], LEAST)
            ]
    return _once(found)


def _parts(points: Tensor, generator: torch.Generator) -> list[tuple[Tensor, float, float, float]]:
    """The groups by the graph's spectrum: members, edges that leave, stability, gap to the rest.

    None where a picture's group, on average, does not come again: these are cuts through a cloud.
    """
    own, leaves = clusters.grouped(points, generator)
    if len(leaves) < 2:
        return []
    stable = clusters.returning(points, own, generator)
    sizes = torch.bincount(own, minlength=len(leaves)).tolist()
    if sum(n * one for n, one in zip(sizes, stable, strict=True)) < _STABLE * len(points):
        return []
    members = [(own == group).nonzero()[:, 0] for group in range(len(leaves))]
    return [
        (one, left, again, gap_of(points, own == group))
        for group, (one, left, again) in enumerate(zip(members, leaves, stable, strict=True))
        if len(one) >= LEAST
    ]


def _once(groups: Sequence[Group]) -> list[Group]:
    """The groups without those that hold the pictures of an earlier one."""
    found: dict[tuple[bool, tuple[int, ...]], Group] = {}
    for one in groups:
        found.setdefault((one.whole, tuple(one.members.tolist())), one)
    return list(found.values())
