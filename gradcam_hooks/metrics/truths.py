"""What is known to be right: masks, boxes, and cells of a grid, checked against maps.

Knows maps and shapes alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gradcam_hooks.errors import InputError

__all__ = ["Boxes", "Truth", "check_boxes", "masks_for", "masks_of", "rank_of"]

Boxes = Sequence[Sequence[Sequence[float]]]
"""For each image its boxes: low corner, then high corner, x first, in positions of the map."""

Truth = Tensor | Boxes


def masks_for(truth: Truth, shape: torch.Size, rank: int) -> tuple[Tensor, torch.Size]:
    """Masks ``(rows, *space)`` for maps of this shape, and the shape of what is found.

    Args:
        truth: bool ``(batch[, targets], *space)``, or boxes of each image.
        shape: of the maps, ``(batch[, targets], *space)``.
        rank: how many of the mask's axes are space.

    Raises:
        InputError: they do not fit.
    """
    space = shape[len(shape) - rank :]
    if not isinstance(truth, Tensor):
        truth = masks_of(truth, space)
    if truth.is_floating_point() or truth.shape[truth.ndim - rank :] != space:
        raise InputError(
            f"masks= are bool (batch, *space) with the maps' space {tuple(space)}, or a list of "
            f"boxes for each image, not {truth.dtype} {tuple(truth.shape)}."
        )
    lead, own = shape[: len(shape) - rank], truth.shape[: truth.ndim - rank]
    if own != lead and own != lead[:1]:
        raise InputError(f"for maps {tuple(shape)} masks are needed for each, not {tuple(own)}.")
    whole = truth.bool().view(*own, *[1] * (len(lead) - len(own)), *space)
    return whole.expand(*lead, *space).reshape(-1, *space), lead


def masks_of(boxes: Boxes, size: Sequence[int]) -> Tensor:
    """Masks of boxes: bool ``(batch, *size)``, True where a position's middle lies in a box.

    Args:
        boxes: for each image its boxes, ``(left, top, right, bottom)`` of a picture, ``(start,
            end)`` of a signal; a position covers [i, i + 1].
        size: the sizes of space.

    Raises:
        InputError: a box has another number of values than space has ends.

    >>> masks_of([[(1, 0, 3, 1)]], (2, 3)).int().tolist()
    [[[0, 1, 1], [0, 0, 0]]]
    """
    checked = check_boxes(boxes, len(size))
    masks = torch.zeros(len(checked), *size, dtype=torch.bool)
    for mask, own in zip(masks, checked, strict=True):
        for box in own:
            inside = torch.ones(*size, dtype=torch.bool)
            for axis, cells in enumerate(size):
                word = len(size) - 1 - axis  # x comes first in a box and last in space
                middle = torch.arange(cells) + 0.5
                along = (middle >= box[word]) & (middle < box[word + len(size)])
                inside &= along.view(-1, *[1] * (len(size) - 1 - axis))
            mask |= inside
    return masks


def rank_of(boxes: Boxes, usual: int) -> int:
    """How many axes of space boxes have; ``usual`` where there is none.

    Raises:
        InputError: they are no list of boxes for each image.

    >>> rank_of([[], [(1, 0, 3, 1)]], 3)
    2
    """
    for own in boxes:
        for box in own:
            if not isinstance(box, Sequence | Tensor):
                raise InputError(
                    "boxes= hold a list of boxes for each image; a single box is [box] of that "
                    f"image, not {own!r}."
                )
            return len(box) // 2
    return usual


def check_boxes(boxes: Boxes, rank: int) -> list[list[tuple[float, ...]]]:
    """The boxes of each image.

    Raises:
        InputError: a box has another number of values, or its corners are the wrong way round.
    """
    found = []
    for own in boxes:
        found.append([tuple(map(float, box)) for box in own])
        for box in found[-1]:
            low, high = box[:rank], box[rank:]
            if len(box) != 2 * rank or any(a > b for a, b in zip(low, high, strict=False)):
                raise InputError(
                    f"a box has its low corner and then its high corner, x first, {2 * rank} "
                    f"values for maps of {rank} axes of space, not {box}."
                )
    return found
