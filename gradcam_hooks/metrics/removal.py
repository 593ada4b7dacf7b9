"""Insertion and deletion: the score while positions are put in or taken out by the map's order."""

from __future__ import annotations

import torch
from torch import Tensor

from gradcam_hooks.checks import check_count
from gradcam_hooks.metrics.cases import Case, ranks
from gradcam_hooks.metrics.fills import Fill, filled
from gradcam_hooks.metrics.measured import Found
from gradcam_hooks.metrics.registry import metric
from gradcam_hooks.metrics.scores import Score

__all__ = ["area", "deletion", "insertion", "scores_on_the_way"]


@metric(
    title="Insertion",
    paper="Petsiuk et al. 2018, arXiv:1806.07421",
    higher_is_better=True,
    claims="The positions that the map marks suffice for the score: it rises as they appear.",
    assumes="The network answers images that are blurred in part as it answers whole ones.",
    gamed=(
        "Blurring a map, or marking one compact region, often raises it; so does a centre blob "
        "where objects stand in the middle."
    ),
    quick={"steps": 16},
)
def insertion(
    score: Score,
    images: Tensor,
    maps: Tensor,
    *,
    fill: Fill = "blur",
    steps: int = 224,
    seed: int = 0,
) -> Found:
    """Insertion: area under the score while the highest positions of the map appear.

    ``mean over s in [0, 1] of score(where(rank < s P, image, fill))``, by the trapezoidal rule.

    Args:
        score: from images to a number each; the paper takes the class's probability.
        images: ``(batch, channels, *space)``.
        maps: ``(batch[, targets], *space)``; of another size they are resized.
        fill: what is there before; the paper's is ``"blur"``.
        steps: in how many equal steps the positions appear, at most one for each; the paper's 224
            are 224 pixels at a time of 224 by 224.
        seed: for the order of positions whose values are equal.

    Returns:
        The area for each sample, and ``curve``.

    >>> ones = torch.ones(1, 1, 2, 2)  # the score is the share of the image that is there
    >>> found = insertion(lambda x: x.mean((1, 2, 3)), ones, ones[:, 0], fill=0.0, steps=4)
    >>> found.values, found.curve().tolist()
    (tensor([0.5000], dtype=torch.float64), [0.0, 0.25, 0.5, 0.75, 1.0])
    """
    return _curve(score, images, maps, fill, steps, seed, removes=False)


@metric(
    title="Deletion",
    paper="Petsiuk et al. 2018, arXiv:1806.07421",
    higher_is_better=False,
    claims="The score needs the positions that the map marks: it falls as they go.",
    assumes="The network answers images with holes as it answers whole ones.",
    gamed=(
        "A map that marks scattered positions wins, because holes that look like no image make "
        "any score fall."
    ),
    quick={"steps": 16},
)
def deletion(
    score: Score,
    images: Tensor,
    maps: Tensor,
    *,
    fill: Fill = 0.0,
    steps: int = 224,
    seed: int = 0,
) -> Found:
    """Deletion: area under the score while the highest positions of the map disappear.

    ``mean over s in [0, 1] of score(where(rank < s P, fill, image))``, by the trapezoidal rule.

    Args:
        score: from images to a number each; the paper takes the class's probability.
        images: ``(batch, channels, *space)``.
        maps: ``(batch[, targets], *space)``; of another size they are resized.
        fill: what is left; the paper's is 0 in the input's own units, a normalised image's grey.
        steps: in how many equal steps they disappear, as for `insertion`.
        seed: for the order of positions whose values are equal.

    Returns:
        The area for each sample, and ``curve``.

    >>> image = torch.tensor([[[4.0, 0.0, 0.0, 0.0]]])
    >>> right, wrong = torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    >>> [float(deletion(lambda x: x.sum((1, 2)), image, m, steps=4)) for m in (right, wrong)]
    [0.5, 3.5]
    """
    return _curve(score, images, maps, fill, steps, seed, removes=True)


def _curve(
    score: Score, images: Tensor, maps: Tensor, fill: Fill, steps: int, seed: int, *, removes: bool
) -> Found:
    case = Case.of(score, images, maps)
    curve, at = scores_on_the_way(case, fill, steps, seed, removes=removes)
    return Found(case.shaped(area(curve, at)), {"curve": case.shaped(curve)}, at)


def scores_on_the_way(
    case: Case, fill: Fill, steps: int, seed: int, *, removes: bool, least: bool = False
) -> tuple[Tensor, Tensor]:
    """The scores while positions go or come, ``(rows, points)``, and the share that did.

    Args:
        case: score, images and maps.
        fill: what stands where nothing is.
        steps: in how many steps, at most one for each position.
        seed: for the order of positions whose values are equal.
        removes: whether they go; else they come.
        least: the lowest first.
    """
    steps = min(check_count(steps, "steps"), case.cells)
    order, other = ranks(case.maps, seed=seed), filled(case.images, fill)
    if least:
        order = case.cells - 1 - order
    counts = torch.linspace(0, case.cells, steps + 1, device=order.device).round().long()

    def make(rows: Tensor, numbers: Tensor) -> Tensor:
        first = order[rows] < counts[numbers].view(-1, *[1] * case.rank)
        pixels, fills = case.pixels(rows), other[rows // (case.targets or 1)]
        return torch.where(first[:, None] != removes, pixels, fills)

    return case.scores(steps + 1, make), counts.double() / case.cells


def area(curve: Tensor, at: Tensor) -> Tensor:
    """The mean of a curve ``(..., points)`` over its span, by the trapezoidal rule.

    >>> area(torch.tensor([[0.0, 1.0, 1.0]]), torch.tensor([0.0, 1.0, 3.0]))
    tensor([0.8333])
    """
    at = at.to(curve.device, torch.promote_types(curve.dtype, torch.float32))
    return torch.trapezoid(curve, at, dim=-1) / (at[-1] - at[0])
