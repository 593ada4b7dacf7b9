"""The groups that are to be judged: of all pictures by place, of each class by both.

Whatever may be a strategy; what is one, the trials say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from gradcam_hooks.auditing import clusters
from gradcam_hooks.auditing.looking import Seen
from gradcam_hooks.auditing.trials import Group

__all__ = ["LEAST", "OF_CLASS", "groups_of"]

LEAST = 4
"""Pictures of a strategy at least."""

OF_CLASS = 16
"""Pictures of a class at least, for strategies to be looked for among them alone."""


def groups_of(seen: Seen, generator: torch.Generator) -> list[Group]:
    """All groups that are to be judged: of all pictures by place, of each class by both."""
    blank = seen.places.sum(1) <= 0
    every = (~blank).nonzero()[:, 0]
    found = _split(seen, every, None, ("place",), generator)
    counts = Counter(seen.answers[every].tolist())
    for answer, count in sorted(counts.items()):
        if count >= OF_CLASS and count < len(every):
            here = every[seen.answers[every] == answer]
            found += _split(seen, here, answer, ("place", "look"), generator)
    return found


def _split(
    seen: Seen,
    numbers: Tensor,
    among: int | None,
    kinds: Sequence[str],
    generator: torch.Generator,
) -> list[Group]:
    if len(numbers) < LEAST:
        return []
    found = [Group(numbers, "place", among, whole=True)]
    for kind in kinds:
        points = seen.places[numbers].sqrt() if kind == "place" else seen.looks
        if points is None:
            continue
        points = points if kind == "place" else points[numbers]
        own, leaves = clusters.grouped(points, generator)
        if len(leaves) < 2:
            continue
        for group, left in enumerate(leaves):
            members = numbers[own == group]
            if len(members) >= LEAST:
                found.append(Group(members, kind, among, left))
    return found
