"""A planted truth: a score whose reasons are known, its right map, and a wrong one.

Each image holds two objects on a background of zeros, in opposite quarters; the score is the mean
of the first one and the foil that of the second. The right map is what each position contributes,
the wrong one the same map laid on the other object.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gradcam_hooks import metrics
from gradcam_hooks.metrics import Measured

SIDE, HALF = 8, 4


@dataclass(frozen=True)
class Planted:
    """Images ``(4, 1, 8, 8)``, masks of both objects, and which quarter the first is in."""

    images: Tensor
    first: Tensor
    second: Tensor
    quarters: Tensor

    def score(self, images: Tensor) -> Tensor:
        return 0.9 * self._mean(images, self.first)

    def foil(self, images: Tensor) -> Tensor:
        return 0.9 * self._mean(images, self.second)

    def _mean(self, images: Tensor, mask: Tensor) -> Tensor:
        whole = (self.images[:, 0] * mask).sum((1, 2))
        return (images[:, 0] * mask).sum((1, 2)) / whole

    @property
    def right(self) -> Tensor:
        return self.images[:, 0] * self.first


def planted() -> Planted:
    generator = torch.Generator().manual_seed(3)
    images = torch.zeros(4, 1, SIDE, SIDE, dtype=torch.float64)
    masks = torch.zeros(4, SIDE, SIDE, dtype=torch.bool)
    for quarter in range(4):
        top, left = HALF * (quarter // 2), HALF * (quarter % 2)
        masks[quarter, top + 1 : top + HALF, left + 1 : left + HALF] = True
    other = moved(masks)
    drawn = torch.rand(images.shape, generator=generator, dtype=torch.float64)
    images = (0.6 + 0.4 * drawn) * (masks | other)[:, None]
    return Planted(images, masks, other, torch.arange(4))


def moved(maps: Tensor) -> Tensor:
    """Laid on the other object, in the opposite quarter."""
    return maps.roll((HALF, HALF), (-2, -1))


def noisy(maps: Tensor, size: float = 1e-4) -> Tensor:
    """The map with noise that changes nothing."""
    drawn = torch.rand(maps.shape, generator=torch.Generator().manual_seed(5), dtype=maps.dtype)
    return maps + size * drawn


def looks(truth: Planted) -> dict[str, Callable[[Tensor], Measured]]:
    """Each metric as a function of the map alone; what else it is given follows the map."""
    score, images = truth.score, truth.images
    masks = truth.first
    boxes = [[_box(mask)] for mask in masks]
    chance = torch.rand(
        4, SIDE, SIDE, generator=torch.Generator().manual_seed(9), dtype=torch.float64
    )
    contrast = truth.right - truth.images[:, 0] * truth.second

    def moves(maps: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda given: maps * (1 + (given - images).mean((1, 2, 3)).view(-1, 1, 1))

    def told_apart(maps: Tensor) -> Measured:
        # The map of a difference: what was right is, of a moved map, the other way round.
        sign = contrast if torch.equal(maps.argmax(), truth.right.argmax()) else moved(contrast)
        shift = maps - (truth.right if sign is contrast else moved(truth.right))
        return metrics.contrastive_faithfulness(score, truth.foil, images, sign + shift)

    few = {"steps": 16}
    return {
        "insertion": lambda m: metrics.insertion(score, images, m, fill=0.0, **few),
        "deletion": lambda m: metrics.deletion(score, images, m, **few),
        "road": lambda m: metrics.road(score, images, m, shares=(0.1, 0.3)),
        "average_drop": lambda m: metrics.average_drop(score, images, m),
        "increase": lambda m: metrics.increase(score, images, m),
        "gain": lambda m: metrics.gain(score, images, m),
        "complexity": metrics.complexity,
        "sparseness": metrics.sparseness,
        "coherency": lambda m: metrics.coherency(m, 0.9 * m),
        "adcc": lambda m: metrics.adcc(score, images, m, m),
        "arcc": lambda m: metrics.arcc(score, images, m, m, shares=(0.1, 0.3)),
        "infidelity": lambda m: metrics.infidelity(score, images, m, samples=20),
        "idsds": lambda m: metrics.idsds(score, images, m),
        "f_fidelity": lambda m: metrics.f_fidelity(score, images, m, shares=(0.1,), samples=5),
        "contrastive_faithfulness": told_apart,
        "max_sensitivity": lambda m: metrics.max_sensitivity(moves(m), images, m),
        "mprt": lambda m: metrics.mprt(m, [chance, chance.flip(0)]),
        "smprt": lambda m: metrics.smprt(torch.stack([m, m]), [torch.stack([chance, chance])]),
        "emprt": lambda m: metrics.emprt(m, chance),
        "random_logit": lambda m: metrics.random_logit(m, m.flip(-1)),
        "pointing_game": lambda m: metrics.pointing_game(m, masks),
        "energy_pointing_game": lambda m: metrics.energy_pointing_game(m, masks),
        "relevance_rank_accuracy": lambda m: metrics.relevance_rank_accuracy(m, masks),
        "iou": lambda m: metrics.iou(m, masks),
        "max_box_acc": lambda m: metrics.max_box_acc(m, boxes, levels=20),
        "max_box_acc_v2": lambda m: metrics.max_box_acc_v2(m, boxes, levels=20),
        "grid_pg": lambda m: metrics.grid_pg(m, truth.quarters, grid=2),
        "di_full": lambda m: metrics.di_full(m, truth.quarters, grid=2),
        "di_part": lambda m: metrics.di_part(m, truth.quarters, grid=2),
    }


def _box(mask: Tensor) -> tuple[int, ...]:
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    low = int(columns.min()), int(rows.min())
    return (*low, int(columns.max()) + 1, int(rows.max()) + 1)
