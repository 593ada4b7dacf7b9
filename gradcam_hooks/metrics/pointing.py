"""Where a map lies beside a mask that is known: pointing games, rank accuracy, IoU.

They need the truth of where the object is, which is not always what the network used. Know maps
and masks; no network.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gradcam_hooks.checks import check_count, check_range
from gradcam_hooks.maps import minmax
from gradcam_hooks.metrics.cases import blank, check_maps, ranks
from gradcam_hooks.metrics.measured import Found
from gradcam_hooks.metrics.registry import metric
from gradcam_hooks.metrics.truths import Truth, masks_for, rank_of

__all__ = ["energy_pointing_game", "iou", "pointing_game", "relevance_rank_accuracy"]

_ASSUMES = (
    "The network uses the object that the mask covers; one that uses the background is faithfully "
    "explained by a map that scores low here."
)
_BLOCK = 1024


@metric(
    title="Pointing game",
    paper="Zhang et al. 2018, arXiv:1608.00507",
    higher_is_better=True,
    claims="The map's highest position lies on the object.",
    assumes=_ASSUMES,
    gamed="Objects stand in the middle: a centre blob hits most of them.",
    elsewhere=(
        "Quantus 0.6.0 counts an empty mask as a hit, and one hit among tied maxima as a hit; "
        "TorchRay takes the first maximum."
    ),
)
def pointing_game(
    maps: Tensor, masks: Truth, *, tolerance: float = 0.0, rank: int | None = None
) -> Found:
    """Pointing game: whether the map's highest position lies in the mask, or near it.

    ``1`` where the distance from the maximum to the mask is the tolerance at most; of several
    equal maxima the share that hits.

    Args:
        maps: ``(batch[, targets], *space)``.
        masks: bool ``(batch[, targets], *space)``, or a list of boxes for each image.
        tolerance: in positions; 15 in the paper, for photographs of some 500 pixels.
        rank: how many axes space has, where masks ``(batch, targets, *space)`` would be taken for
            masks of one axis more.

    Returns:
        A hit, a miss or a share for each sample; 0 for a blank map, NaN where the mask is empty.

    >>> m = torch.tensor([[0.0, 0.0, 1.0]])
    >>> mask = torch.tensor([[True, False, False]])
    >>> [float(pointing_game(m, mask, tolerance=t)) for t in (0, 1, 2)]
    [0.0, 0.0, 1.0]
    """
    check_range(tolerance, "tolerance", 0, ends="[)")

    def hits(flat: Tensor, truth: Tensor) -> Tensor:
        tops = flat.flatten(1) == flat.flatten(1).amax(1, keepdim=True)
        return torch.stack(
            [
                _near(top.view(mask.shape), mask, tolerance).double().mean()
                for top, mask in zip(tops, truth, strict=True)
            ]
        )

    return _beside(maps, masks, rank, hits)


def _near(tops: Tensor, mask: Tensor, tolerance: float) -> Tensor:
    """Which of the maxima lie so near to the mask, ``(maxima,)``."""
    inside = mask[tops]
    if tolerance == 0 or not bool(mask.any()) or bool(inside.all()):
        return inside
    places, truth = tops.nonzero().double(), mask.nonzero().double()
    return torch.cat(
        [torch.cdist(part, truth).amin(1) <= tolerance for part in torch.split(places, _BLOCK)]
    )


@metric(
    title="Energy pointing game",
    paper="Wang et al. 2020, arXiv:1910.01279",
    higher_is_better=True,
    claims="Most of the map's positive evidence lies on the object.",
    assumes=_ASSUMES,
    gamed=(
        "A map that knows no class at all, Eigen-CAM, has the best value where each image holds "
        "one object; raising a map to a power concentrates it."
    ),
    elsewhere="The authors' script swaps width and height. Quantus: Relevance Mass Accuracy.",
)
def energy_pointing_game(maps: Tensor, masks: Truth, *, rank: int | None = None) -> Found:
    """Energy pointing game: the share of the map's positive values that lies in the mask.

    ``sum of relu(m) in the mask / sum of relu(m)``.

    Args:
        maps: ``(batch[, targets], *space)``.
        masks: bool ``(batch[, targets], *space)``, or a list of boxes for each image.
        rank: how many axes space has, where masks ``(batch, targets, *space)`` would be taken for
            masks of one axis more.

    Returns:
        The share for each sample; 0 for a map that is nowhere positive, NaN for an empty mask.

    >>> m = torch.tensor([[-1.0, 1.0, 3.0]])
    >>> energy_pointing_game(m, torch.tensor([[True, False, True]])).values
    tensor([0.7500], dtype=torch.float64)
    """

    def shares(flat: Tensor, truth: Tensor) -> Tensor:
        positive = flat.relu().flatten(1).double()
        total = positive.sum(1)
        inside = (positive * truth.flatten(1)).sum(1)
        return torch.where(total > 0, inside / total, 0.0)

    return _beside(maps, masks, rank, shares)


@metric(
    title="Relevance rank accuracy",
    paper="Arras et al. 2022, arXiv:2003.07258",
    higher_is_better=True,
    claims="The K highest positions lie on the object, K being its size.",
    assumes=_ASSUMES,
    gamed="As the pointing game; it sees no values, only their order.",
)
def relevance_rank_accuracy(
    maps: Tensor, masks: Truth, *, seed: int = 0, rank: int | None = None
) -> Found:
    """Relevance rank accuracy: the share of the K highest positions that lie in the mask of size K.

    ``|top_K(m) and mask| / K``, K the number of the mask's positions.

    Args:
        maps: ``(batch[, targets], *space)``.
        masks: bool ``(batch[, targets], *space)``, or a list of boxes for each image.
        seed: for the order of positions whose values are equal.
        rank: how many axes space has, where masks ``(batch, targets, *space)`` would be taken for
            masks of one axis more.

    Returns:
        The share for each sample; 0 for a blank map, NaN where the mask is empty.

    >>> m = torch.tensor([[1.0, 4.0, 3.0, 2.0]])
    >>> relevance_rank_accuracy(m, torch.tensor([[True, True, False, False]])).values
    tensor([0.5000], dtype=torch.float64)
    """

    def shares(flat: Tensor, truth: Tensor) -> Tensor:
        count = truth.flatten(1).sum(1)
        top = ranks(flat, seed=seed).flatten(1) < count[:, None]
        return (top & truth.flatten(1)).sum(1).double() / count.clamp_min(1)

    return _beside(maps, masks, rank, shares)


@metric(
    title="IoU",
    paper="Zhou et al. 2016, arXiv:1512.04150 (a map cut at a share of its maximum)",
    higher_is_better=True,
    claims="What the map lights up is the object, and all of it.",
    assumes=f"{_ASSUMES} And that one level suits all maps.",
    gamed="By the level: methods rank otherwise at each, so MaxBoxAcc takes the best of all.",
)
def iou(maps: Tensor, masks: Truth, *, threshold: float = 0.5, rank: int | None = None) -> Found:
    """IoU: intersection over union of the mask and of where the map is high.

    ``|high and mask| / |high or mask|``, high where the map, min-max scaled, is at the threshold
    or above.

    Args:
        maps: ``(batch[, targets], *space)``.
        masks: bool ``(batch[, targets], *space)``, or a list of boxes for each image.
        threshold: the level, above 0 and 1 at most.
        rank: how many axes space has, where masks ``(batch, targets, *space)`` would be taken for
            masks of one axis more.

    Returns:
        A number for each sample; 0 for a blank map, NaN where the mask is empty.

    >>> iou(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[False, False, True]])).values
    tensor([0.5000], dtype=torch.float64)
    """
    check_range(threshold, "threshold", 0, 1)

    def overlap(flat: Tensor, truth: Tensor) -> Tensor:
        high = minmax(flat, flat.ndim - 1).flatten(1) >= threshold
        both = (high & truth.flatten(1)).sum(1)
        return both.double() / (high | truth.flatten(1)).sum(1).clamp_min(1)

    return _beside(maps, masks, rank, overlap)


def _beside(
    maps: Tensor, masks: Truth, rank: int | None, found: Callable[[Tensor, Tensor], Tensor]
) -> Found:
    """What is found of maps ``(rows, *space)`` and masks; 0 for blank maps, NaN for empty masks."""
    plain = check_maps(maps)
    rank = _rank(plain, masks, rank)
    truth, lead = masks_for(masks, plain.shape, rank)
    flat, truth = plain.reshape(-1, *plain.shape[plain.ndim - rank :]), truth.to(plain.device)
    values = torch.where(blank(flat), 0.0, found(flat, truth))
    return Found(torch.where(truth.flatten(1).any(1), values, torch.nan).view(lead))


def _rank(maps: Tensor, masks: Truth, rank: int | None) -> int:
    """How many axes space has: as said, else as the truth tells it."""
    if rank is not None:
        return check_count(rank, "rank")
    if isinstance(masks, Tensor):
        return masks.ndim - 1
    return rank_of(masks, maps.ndim - 1)
