"""MaxBoxAcc: boxes around what a map lights up, at the level that suits the set of maps best.

Knows maps and boxes; no network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gradcam_hooks.checks import check_count, check_range
from gradcam_hooks.errors import InputError
from gradcam_hooks.maps import minmax
from gradcam_hooks.metrics.cases import flattened
from gradcam_hooks.metrics.measured import Found
from gradcam_hooks.metrics.registry import metric
from gradcam_hooks.metrics.truths import Boxes, check_boxes, rank_of
from gradcam_hooks.results.regions import boxes as boxes_around

__all__ = ["max_box_acc", "max_box_acc_v2", "overlap"]

_CLAIMS = "A box around what the map lights up is the object's box."
_ASSUMES = (
    "The network uses the whole object; one that knows a dog by its head is faithfully explained "
    "by a map that scores low here. The level is chosen on the very maps that are measured."
)
_GAMED = "A blob of the usual size in the middle fits many boxes."
_ELSEWHERE = (
    "The authors' code counts a box's last pixel twice (+1) and looks at 1,000 levels of 8 bits."
)


def _best(curves: Mapping[str, Tensor]) -> Tensor:
    """The hits at the level at which most are hit, the mean over overlaps."""
    picked = []
    for curve in curves.values():
        flat = curve.reshape(-1, curve.shape[-1])
        known = flat[~flat.isnan().any(1)]
        level = int(known.mean(0).argmax()) if len(known) else 0
        picked.append(curve[..., level])
    return torch.stack(picked).mean(0)


@metric(
    title="MaxBoxAcc",
    paper="Choe et al. 2020, arXiv:2001.07437",
    higher_is_better=True,
    claims=_CLAIMS,
    assumes=_ASSUMES,
    gamed=_GAMED,
    elsewhere=_ELSEWHERE,
    quick={"levels": 20},
    pooled=_best,
)
def max_box_acc(maps: Tensor, boxes: Boxes, *, overlap: float = 0.5, levels: int = 100) -> Found:
    """MaxBoxAcc: whether the largest region's box fits, at the level best for all these maps.

    ``IoU(box(m > t), box) >= overlap`` for any box of the image, ``box`` around the largest region
    of the map, min-max scaled, that hangs together; t of equal steps from 0, the one with the most
    hits.

    Args:
        maps: ``(batch[, targets], *space)``.
        boxes: for each image its boxes, low corner first and x first; a position covers [i, i + 1].
        overlap: the least intersection over union of a hit; the paper's is 0.5.
        levels: how many are tried; the authors' code tries 1,000.

    Returns:
        A hit or miss for each sample, NaN where there is no box, and the hits at each level.

    >>> m = torch.tensor([[[0.0, 0.2, 0.2, 0.0], [0.0, 0.2, 1.0, 0.0]]])
    >>> found = max_box_acc(m, [[(1, 0, 3, 2)]], levels=2)
    >>> found.values, found.curve().tolist()
    (tensor([1.], dtype=torch.float64), [1.0, 0.0])
    """
    curves = _hits(maps, boxes, (overlap,), levels, every=False)
    return Found(_best(curves), curves, torch.arange(levels) / levels)


@metric(
    title="MaxBoxAccV2",
    paper="Choe et al. 2020, arXiv:2007.04178",
    higher_is_better=True,
    claims=_CLAIMS,
    assumes=_ASSUMES,
    gamed=_GAMED,
    elsewhere=_ELSEWHERE,
    quick={"levels": 20},
    pooled=_best,
)
def max_box_acc_v2(
    maps: Tensor,
    boxes: Boxes,
    *,
    overlaps: Sequence[float] = (0.3, 0.5, 0.7),
    levels: int = 100,
) -> Found:
    """MaxBoxAccV2: whether any region's box fits, at the best level, the mean over three overlaps.

    As MaxBoxAcc with the boxes of all regions, and for each overlap the level best for it.

    Args:
        maps: ``(batch[, targets], *space)``.
        boxes: for each image its boxes, low corner first and x first; a position covers [i, i + 1].
        overlaps: the least intersection over union of a hit, one after the other.
        levels: how many are tried; the authors' code tries 1,000.

    Returns:
        A share of the overlaps for each sample, NaN where there is no box; a curve for each.

    >>> m = torch.tensor([[[0.0, 0.2, 0.2, 0.0], [0.0, 0.2, 1.0, 0.0]]])
    >>> found = max_box_acc_v2(m, [[(1, 0, 3, 2), (2, 1, 3, 2)]], levels=2)
    >>> found.values, found.curve("0.7").tolist()
    (tensor([1.], dtype=torch.float64), [1.0, 1.0])
    """
    curves = _hits(maps, boxes, tuple(overlaps), levels, every=True)
    return Found(_best(curves), curves, torch.arange(levels) / levels)


def _hits(
    maps: Tensor, boxes: Boxes, overlaps: Sequence[float], levels: int, *, every: bool
) -> dict[str, Tensor]:
    """For each overlap whether a box fits at each level, ``(batch[, targets], levels)``."""
    check_count(levels, "levels")
    if not overlaps:
        raise InputError("overlaps= needs one number at least, such as (0.5,).")
    for one in overlaps:
        check_range(one, "overlap", 0, 1)
    rank = rank_of(boxes, maps.ndim - 1)
    flat, lead = flattened(maps, rank)
    truths = check_boxes(boxes, rank)
    if len(truths) != lead[0]:
        raise InputError(
            f"boxes= are a list for each of {lead[0]} images, not {len(truths)} lists."
        )
    each = len(flat) // lead[0]
    scaled = minmax(flat, rank).cpu()
    fits = torch.full((len(flat), levels), torch.nan, dtype=torch.float64)
    for row, one in enumerate(scaled):
        truth = truths[row // each]
        if truth:
            fits[row] = torch.tensor([_fit(one > t / levels, truth, every) for t in range(levels)])
    return {
        f"{least:g}": torch.where(fits.isnan(), fits, (fits >= least).double()).view(*lead, levels)
        for least in overlaps
    }


def _fit(high: Tensor, truth: Sequence[Sequence[float]], every: bool) -> float:
    """The largest overlap of a box around a region with a true one."""
    found = boxes_around(high)
    found = found if every else found[:1]
    return max((overlap(one, box) for one in found for box in truth), default=0.0)


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """The intersection over union of two boxes, low corner and then high corner.

    >>> overlap((0, 0, 2, 1), (1, 0, 3, 1))
    0.3333333333333333
    """
    rank = len(one) // 2
    inside, first, second = 1.0, 1.0, 1.0
    for axis in range(rank):
        low, high = max(one[axis], other[axis]), min(one[axis + rank], other[axis + rank])
        inside *= max(0.0, high - low)
        first *= one[axis + rank] - one[axis]
        second *= other[axis + rank] - other[axis]
    whole = first + second - inside
    return inside / whole if whole > 0 else 0.0
