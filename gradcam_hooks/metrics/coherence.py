"""Coherency, and what is put together of it, complexity and a drop: ADCC and ARCC."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gradcam_hooks.metrics.cases import Case, flattened
from gradcam_hooks.metrics.concentration import share_lit
from gradcam_hooks.metrics.drop import drops
from gradcam_hooks.metrics.fills import Fill
from gradcam_hooks.metrics.likeness import pairs, pearson
from gradcam_hooks.metrics.measured import Found
from gradcam_hooks.metrics.registry import metric
from gradcam_hooks.metrics.road import check_shares, removed
from gradcam_hooks.metrics.scores import Score

__all__ = ["adcc", "arcc", "coherency"]

_TENTHS = tuple(tenths / 10 for tenths in range(1, 10))
_CONSTANT = "any map that does not hang on the image, such as a blob in the centre, is coherent"


@metric(
    title="Coherency",
    paper="Poppi et al. 2021, arXiv:2104.10252",
    higher_is_better=True,
    claims="The map of what the map leaves of the image is the same map.",
    assumes="A method that finds what matters finds it again when the rest is gone.",
    gamed=f"By doing nothing: {_CONSTANT}.",
    blind="It compares a method with itself: a wrong map that stays is as coherent as a right one.",
)
def coherency(maps: Tensor, again: Tensor, *, rank: int | None = None) -> Found:
    """Coherency: the correlation of a map with the map of the image under it as a mask.

    ``(corr(m, m') + 1) / 2``, m' the method's map of ``m image``.

    Args:
        maps: ``(batch[, targets], *space)``.
        again: the maps that the same method gives for ``masked(images, maps)``, of the same shape.
        rank: how many axes space has; by default all but the first.

    Returns:
        A number in [0, 1] for each sample; 1/2, no correlation, where either map is constant.

    >>> one = torch.tensor([[0.0, 1.0, 2.0]])
    >>> round(float(coherency(one, one)), 6), round(float(coherency(one, -one)), 6)
    (1.0, 0.0)
    """
    one, other = pairs(maps, again, ("maps", "again"))
    flat, lead = flattened(one, rank)
    return Found(_coherent(flat, other.reshape(flat.shape)).view(lead))


@metric(
    title="ADCC",
    paper="Poppi et al. 2021, arXiv:2104.10252",
    higher_is_better=True,
    claims="The map keeps the score, stays what it is on what it leaves, and is small.",
    assumes="What Average Drop, Coherency and Complexity assume.",
    gamed=(
        "No one of the three by itself, for a harmonic mean is low where one of them is; a small "
        "blob that does not hang on the image has two of them."
    ),
)
def adcc(score: Score, images: Tensor, maps: Tensor, again: Tensor, *, fill: Fill = 0.0) -> Found:
    """ADCC: the harmonic mean of Coherency, 1 - Complexity and 1 - Average Drop, of each sample.

    ``3 / (1 / coherency + 1 / (1 - complexity) + 1 / (1 - drop))``.

    Args:
        score: from images to a probability each.
        images: ``(batch, channels, *space)``.
        maps: ``(batch[, targets], *space)``.
        again: the maps that the same method gives for ``masked(images, maps)``, of the same shape.
        fill: what the map's complement lets through; 0 in the input's own units.

    Returns:
        The mean for each sample, and the curve ``parts``: coherency, 1 - complexity, 1 - drop.

    >>> images, m = torch.tensor([[[1.0, 1.0]]]), torch.tensor([[1.0, 0.0]])
    >>> found = adcc(lambda x: x.sum((1, 2)), images, m, m)
    >>> found.curve("parts").tolist(), found.values
    ([1.0, 0.5, 0.5], tensor([0.6000], dtype=torch.float64))
    """
    case, before, after = drops(score, images, maps, fill)
    kept = 1 - torch.where(before > 0, (before - after).relu() / before, torch.nan)
    return _together(case, maps, again, kept)


@metric(
    title="ARCC",
    paper="as ADCC, with ROAD (Rong et al. 2022, arXiv:2202.00449) in the place of Average Drop",
    higher_is_better=True,
    claims="The map orders positions as the score needs them, stays what it is, and is small.",
    assumes="What ROAD, Coherency and Complexity assume.",
    gamed="As ADCC, but for masks: a map that is 1 nearly everywhere gains nothing by ROAD.",
    elsewhere=(
        "The definition here is by ADCC's pattern, with ROAD's two orders as ``relu(least - "
        "most)``; published figures may put ROAD into the mean in another way, so compare methods "
        "by it, not with tables."
    ),
    quick={"shares": (0.2, 0.5, 0.8)},
)
def arcc(
    score: Score,
    images: Tensor,
    maps: Tensor,
    again: Tensor,
    *,
    shares: Sequence[float] = _TENTHS,
    noise: float = 0.01,
    seed: int = 0,
) -> Found:
    """ARCC: the harmonic mean of Coherency, 1 - Complexity and ROAD, of each sample.

    ``3 / (1 / coherency + 1 / (1 - complexity) + 1 / road)``, ``road`` the mean over shares of the
    score without the least relevant less that without the most relevant, cut to [0, 1].

    Args:
        score: from images to a probability each.
        images: ``(batch, channels, *space)``.
        maps: ``(batch[, targets], *space)``.
        again: the maps that the same method gives for ``masked(images, maps)``, of the same shape.
        shares: as for `road`.
        noise: as for `road`.
        seed: as for `road`.

    Returns:
        The mean for each sample, and the curve ``parts``: coherency, 1 - complexity, ROAD.

    >>> images, m = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]), torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    >>> found = arcc(lambda x: x[:, 0, 0], images, m, m, shares=[0.25], noise=0)
    >>> found.curve("parts").tolist(), round(float(found), 4)
    ([1.0, 0.75, 1.0], 0.9)
    """
    case, points = Case.of(score, images, maps), check_shares(shares)
    first, last = (removed(case, points, noise, seed, least=one) for one in (False, True))
    return _together(case, maps, again, (last - first).mean(1).clamp(0, 1))


def _together(case: Case, maps: Tensor, again: Tensor, kept: Tensor) -> Found:
    one, other = pairs(maps, again, ("maps", "again"))
    flat, _ = flattened(one, case.rank)
    alike = _coherent(flat, other.reshape(flat.shape)).to(kept)
    parts = torch.stack([alike, 1 - share_lit(flat).to(kept), kept], 1).double()
    mean = parts.shape[1] / (1 / parts).sum(1)  # a part that is 0 makes it 0
    return Found(case.shaped(mean), {"parts": case.shaped(parts)})


def _coherent(one: Tensor, other: Tensor) -> Tensor:
    return (pearson(one.flatten(1).double(), other.flatten(1).double()).nan_to_num(0.0) + 1) / 2
