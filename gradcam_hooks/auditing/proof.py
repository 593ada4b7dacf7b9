"""Proof by intervention: what the answers do when a region is covered, or put elsewhere.

A region is covered with the mean of its own surroundings, and beside that one of the same size at
a random place of the same picture. And it is put onto pictures of other classes, at the same
place, where these do not look: what it makes them is compared with what the regions of other
pictures of the class make them. Tensors in, numbers out; the network is a function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradcam_hooks.auditing.features import overlap

__all__ = ["APART", "Covered", "Pasted", "cover", "paste"]

Inputs = Callable[[Sequence[int]], Tensor]
Answer = Callable[[Tensor], Tensor]

RECIPIENTS = 4
"""Pictures that each region is put onto."""

_TRIES = 64
APART = 0.1
"""Of its own region, what a picture may lose to one that is put onto it."""


@dataclass(frozen=True, eq=False)
class Covered:
    """What covering did, a number for each picture.

    Attributes:
        here: whether the answer became another one when the region was covered.
        elsewhere: the same of a region of the same size at a random place.
        lost: how much less probable the answer became, here.
        left: how probable the network said the new answer was, here; 0 where it stayed the same.
    """

    here: Tensor
    elsewhere: Tensor
    lost: Tensor
    left: Tensor


@dataclass(frozen=True, eq=False)
class Pasted:
    """What the regions did to other pictures, a number for each region that found any.

    Attributes:
        numbers: the pictures that the regions came from.
        rates: the share of the other pictures that became the region's class.
        elsewhere: the same of a region at a random place of the same picture.
        tried: how many pictures the regions were put onto, together.
    """

    numbers: Tensor
    rates: Tensor
    elsewhere: Tensor
    tried: int


def elsewhere(boxes: Tensor, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """For each box another of its size, where it is least covered among random places."""
    height, width = size
    sides = boxes[:, 2:] - boxes[:, :2]
    found = []
    for box, (across, down) in zip(boxes, sides.tolist(), strict=True):
        left = torch.randint(width - across + 1, (_TRIES,), generator=generator)
        top = torch.randint(height - down + 1, (_TRIES,), generator=generator)
        tried = torch.stack([left, top, left + across, top + down], 1)
        shared = overlap(tried, box[None])[:, 0]
        found.append(tried[int(shared.argmin())])
    return torch.stack(found)


def covered(inputs: Tensor, boxes: Tensor) -> Tensor:
    """The inputs with each box filled with the mean of what surrounds it, as wide as half of it."""
    changed = inputs.clone()
    for one, (left, top, right, bottom) in zip(changed, boxes.tolist(), strict=True):
        wide, high = max(1, (right - left) // 2), max(1, (bottom - top) // 2)
        rows = slice(max(0, top - high), bottom + high)
        columns = slice(max(0, left - wide), right + wide)
        inner = one[:, top:bottom, left:right].sum((1, 2))
        around = one[:, rows, columns]
        count = around.shape[1] * around.shape[2] - (right - left) * (bottom - top)
        mean = (around.sum((1, 2)) - inner) / max(1, count)
        one[:, top:bottom, left:right] = mean[:, None, None]
    return changed


def cover(
    numbers: Sequence[int],
    boxes: Tensor,
    inputs: Inputs,
    answer: Answer,
    generator: torch.Generator,
) -> Covered:
    """Cover the box of each picture, and as much elsewhere.

    Args:
        numbers: of the pictures.
        boxes: one of each, ``(len(numbers), 4)``.
        inputs: makes inputs of numbers.
        answer: asks the network.
        generator: draws the places elsewhere.
    """
    given = inputs(numbers)
    size = (given.shape[-2], given.shape[-1])
    before = answer(given)
    said = before.argmax(1)
    rows = torch.arange(len(said))
    after = answer(covered(given, boxes))
    other = answer(covered(given, elsewhere(boxes, size, generator)))
    sure, said_then = after.max(1)
    return Covered(
        (said_then != said).float(),
        (other.argmax(1) != said).float(),
        (before[rows, said] - after[rows, said]).float(),
        torch.where(said_then != said, sure, torch.zeros_like(sure)).float(),
    )


def paste(
    donors: Sequence[int],
    boxes: Tensor,
    answers: Tensor,
    others: Sequence[int],
    inputs: Inputs,
    answer: Answer,
    generator: torch.Generator,
    *,
    apart: float = APART,
) -> Pasted:
    """Put the region of each donor onto pictures of other classes that do not look there.

    Args:
        donors: the numbers of the pictures whose regions are tried.
        boxes: of all pictures.
        answers: of all pictures.
        others: the numbers of the pictures that may be put onto.
        inputs: makes inputs of numbers.
        answer: asks the network.
        generator: draws which, and the regions elsewhere.
        apart: of its own region, what a picture may lose to one that is put onto it; with 1 a
            region may take the place of the other's.
    """
    pool = torch.as_tensor(list(others), dtype=torch.long)
    far = overlap(boxes[list(donors)], boxes[pool]) <= apart
    pairs: list[tuple[int, int]] = []
    for row, donor in enumerate(donors):
        legal = pool[far[row] & (answers[pool] != answers[donor])]
        drawn = torch.randperm(len(legal), generator=generator)[:RECIPIENTS]
        pairs += [(donor, int(one)) for one in legal[drawn]]
    if not pairs:
        none = torch.zeros(0)
        return Pasted(none.long(), none, none, 0)
    gave, took = (torch.tensor(side) for side in zip(*pairs, strict=True))
    source, ground = inputs(gave.tolist()), inputs(took.tolist())
    size = (source.shape[-2], source.shape[-1])
    became = []
    for own in (boxes[gave], elsewhere(boxes[gave], size, generator)):
        mixed = ground.clone()
        for one, from_, (left, top, right, bottom) in zip(mixed, source, own.tolist(), strict=True):
            one[:, top:bottom, left:right] = from_[:, top:bottom, left:right]
        became.append((answer(mixed).argmax(1) == answers[gave]).float())
    unique = torch.tensor(sorted(set(gave.tolist())))
    rates = [torch.stack([hit[gave == one].mean() for one in unique]) for hit in became]
    return Pasted(unique, rates[0], rates[1], len(pairs))
