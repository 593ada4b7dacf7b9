"""Average Drop, Increase and Gain: the score of the image under its own map as a mask."""

from __future__ import annotations

import torch
from torch import Tensor

from gradcam_hooks.maps import minmax
from gradcam_hooks.metrics.cases import Case
from gradcam_hooks.metrics.fills import Fill, filled
from gradcam_hooks.metrics.measured import Found
from gradcam_hooks.metrics.registry import metric
from gradcam_hooks.metrics.scores import Score

__all__ = ["average_drop", "drops", "gain", "increase", "masked"]

_ASSUMES = (
    "Scores are probabilities (target=Probability()), and the network answers dimmed images as it "
    "answers whole ones, which one that was never shown such images does not."
)


@metric(
    title="Average Drop",
    paper="Chattopadhyay et al. 2018, arXiv:1710.11063",
    higher_is_better=False,
    claims="What the map leaves of the image keeps the score.",
    assumes=_ASSUMES,
    gamed=(
        "A map that is 1 nearly everywhere has no drop (Fake-CAM, arXiv:2104.10252); on networks "
        "that saw no masks every true map drops by about 0.9."
    ),
    elsewhere=(
        "grad-cam's is the plain difference; it and others give percent. polycam's has a fault in "
        "the order of its operations."
    ),
)
def average_drop(score: Score, images: Tensor, maps: Tensor, *, fill: Fill = 0.0) -> Found:
    """Average Drop: what share of the score is lost when the map masks the image.

    ``relu(y - o) / y``, y the image's score and o that of ``m image + (1 - m) fill``, m the map,
    min-max scaled. A fraction, not percent.

    Args:
        score: from images to a probability each.
        images: ``(batch, channels, *space)``.
        maps: ``(batch[, targets], *space)``; of another size they are resized.
        fill: what the map's complement lets through; 0 in the input's own units.

    Returns:
        The share for each sample; NaN where the image's own score is not above 0.

    >>> images = torch.tensor([[[0.5, 0.25, 0.25]]])
    >>> average_drop(lambda x: x.sum((1, 2)), images, torch.tensor([[1.0, 0.5, 0.0]])).values
    tensor([0.3750], dtype=torch.float64)
    """
    case, before, after = drops(score, images, maps, fill)
    return Found(case.shaped(_share((before - after).relu(), before)))


@metric(
    title="Increase",
    paper="Chattopadhyay et al. 2018, arXiv:1710.11063",
    higher_is_better=True,
    claims="The map hides what speaks against the class.",
    assumes=_ASSUMES,
    gamed="As Average Drop: a map that hides one distracting position is enough.",
    blind=(
        "It counts images whose score rises; where every part of the image speaks for the class, "
        "it is 0 for the right map too."
    ),
)
def increase(score: Score, images: Tensor, maps: Tensor, *, fill: Fill = 0.0) -> Found:
    """Increase: whether the score rises when the map masks the image.

    ``o > y`` as 0 or 1, y and o as for Average Drop; the mean is the share of images.

    Args:
        score: from images to a number each.
        images: ``(batch, channels, *space)``.
        maps: ``(batch[, targets], *space)``; of another size they are resized.
        fill: what the map's complement lets through; 0 in the input's own units.

    >>> images = torch.tensor([[[1.0, -1.0]], [[1.0, 1.0]]])
    >>> increase(lambda x: x.sum((1, 2)), images, torch.tensor([[1.0, 0.0], [1.0, 0.0]])).values
    tensor([1., 0.], dtype=torch.float64)
    """
    case, before, after = drops(score, images, maps, fill)
    return Found(case.shaped((after > before).to(before)))


@metric(
    title="Average Gain",
    paper="Zhang et al. 2023, arXiv:2301.07002",
    higher_is_better=True,
    claims="The map hides what speaks against the class, and keeps what speaks for it.",
    assumes=_ASSUMES,
    gamed="A network trained with masks gains as much from a blob in the centre.",
    blind="As Increase: 0 for the right map too, where no part of the image speaks against it.",
)
def gain(score: Score, images: Tensor, maps: Tensor, *, fill: Fill = 0.0) -> Found:
    """Average Gain: what share of the missing probability is won when the map masks the image.

    ``relu(o - y) / (1 - y)``, y and o as for Average Drop. A fraction, not percent.

    Args:
        score: from images to a probability each.
        images: ``(batch, channels, *space)``.
        maps: ``(batch[, targets], *space)``; of another size they are resized.
        fill: what the map's complement lets through; 0 in the input's own units.

    Returns:
        The share for each sample; NaN where the image's own score is not below 1.

    >>> images = torch.tensor([[[0.75, -0.25]]])
    >>> gain(lambda x: x.sum((1, 2)), images, torch.tensor([[1.0, 0.0]])).values
    tensor([0.5000], dtype=torch.float64)
    """
    case, before, after = drops(score, images, maps, fill)
    return Found(case.shaped(_share((after - before).relu(), 1 - before)))


def masked(images: Tensor, maps: Tensor, *, fill: Fill = 0.0) -> Tensor:
    """Each image under its map as a mask: ``(batch[, targets], channels, *space)``.

    Of maps ``(batch[, targets], *space)``, min-max scaled, and resized where they are of another
    size. What `coherency` compares are the maps of these.

    >>> masked(torch.tensor([[[4.0, 8.0]]]), torch.tensor([[1.0, 3.0]]))
    tensor([[[0., 8.]]])
    """
    case = Case.of(lambda given: given.flatten(1).sum(1), images, maps)
    rows = torch.arange(len(case.maps), device=case.maps.device)
    return case.shaped(_under(case, filled(case.images, fill), rows))


def drops(score: Score, images: Tensor, maps: Tensor, fill: Fill) -> tuple[Case, Tensor, Tensor]:
    """The case, and the scores of the images and of the masked images, ``(rows,)`` each."""
    case = Case.of(score, images, maps)
    other = filled(case.images, fill)
    return case, case.once(), case.once(lambda rows: _under(case, other, rows))


def _under(case: Case, other: Tensor, rows: Tensor) -> Tensor:
    mask = minmax(case.maps[rows], case.rank)[:, None]
    return case.pixels(rows) * mask + other[rows // (case.targets or 1)] * (1 - mask)


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole, torch.nan)
