"""Group-CAM: groups of Grad-CAM's channels as masks between the image and its blur."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gradcam_hooks.checks import check_count, check_flag
from gradcam_hooks.maps import spread
from gradcam_hooks.methods.registry import method
from gradcam_hooks.runs.masks import blurred, masks_of, variant_scores
from gradcam_hooks.runs.run import Run

__all__ = ["groupcam"]

_CELLS, _WIDTH = 51, 50.0
"""The blur of the authors' code."""


@method(
    paper="Zhang et al. 2021, arXiv:2103.13859",
    cost="34 F + 1 B",
    elsewhere=(
        "The paper de-noises each group's map. The authors' first code kept the largest three "
        "tenths of all values; their code of today keeps all that is positive, which is done here. "
        "Where 32 does not divide the channels, it goes on with fewer groups than it counts on (20 "
        "of 2 for 40 channels), and fails or mixes their masks up; here there are always as many."
    ),
)
def groupcam(run: Run, *, groups: int = 32, probability: bool | None = None) -> list[Tensor]:
    """Group-CAM: groups of weighted channels, weighted by what the image gains under them, summed.

    ``sum_g w_g M_g``, ``M_g = relu(sum of mean(g_k) A_k over the group's channels)``,
    ``w_g = relu(p(x H_g + blur(x) (1 - H_g)) - p(blur(x)))``, ``H_g = minmax(resize(M_g))``.

    Args:
        run: the pass at the image itself.
        groups: how many groups of neighbouring channels, of equal size (or one more).
        probability: take the class's softmax probability for the score; by default where the
            target is a class.

    Returns:
        For each layer the raw map ``(batch, [targets,] *space)``, nowhere negative.

    Zhang et al. 2021 (arXiv:2103.13859); blur (51 pixels, sigma 50, borders mirrored) and
    neighbours for groups as in the authors' code, whose grouping by clusters is not offered.
    A group whose map has no spread has no mask and weighs nothing.
    """
    check_count(groups, "groups")
    if probability is None:
        probability = run.asks_classes
    check_flag(probability, "probability")
    soft = blurred(run.image.detach(), _CELLS, _WIDTH)
    columns = run.columns()
    total, done = len(columns) * len(run.layers) * run.batch, 0
    found = []
    for target, column in enumerate(columns):
        raws = []
        for layer, gradient in zip(run.layers, run.gradients(column), strict=True):
            maps = _grouped(layer.activation(), gradient, groups)
            rows = []
            for index in range(run.batch):
                scores = _gains(run, index, maps[index], soft[index], probability)
                weights = scores if scores.ndim == 1 else scores[:, target]
                rows.append(torch.einsum("g,g...->...", weights.to(maps), maps[index]))
                done += 1
                run.step(done, total)
            raws.append(torch.stack(rows))
        found.append(raws)
    return run.joined(found)


def _grouped(activation: Tensor, gradient: Tensor, groups: int) -> Tensor:
    """Each group's own Grad-CAM map, ``(batch, groups, *space)``."""
    weights = gradient.flatten(2).mean(2).view(*gradient.shape[:2], *[1] * (gradient.ndim - 2))
    parts = (weights * activation).tensor_split(min(groups, activation.shape[1]), 1)
    return torch.stack([part.sum(1).relu() for part in parts], 1)


def _gains(run: Run, index: int, maps: Tensor, soft: Tensor, probability: bool) -> Tensor:
    """How far the score rises from the blur to the image under each mask, ``(groups[, targets])``.

    Not below 0, and 0 where a map has no spread.
    """
    living = spread(maps, maps.ndim - 1)
    sharp, own = run.image[index], maps[living]

    def variants(part: slice) -> Tensor:
        masks = masks_of(run, own[part])[:, None].to(soft)
        return soft + masks * (sharp - soft)

    def scores(count: int, images: Callable[[slice], Tensor]) -> Tensor:
        return variant_scores(run, index, count, images, probability=probability)

    base = scores(1, lambda _: soft[None])
    gains = base.new_zeros(len(maps), *base.shape[1:])
    if len(own):
        gains[living] = (scores(len(own), variants) - base).relu()
    return gains
