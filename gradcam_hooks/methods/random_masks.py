"""RISE: random masks over the input, averaged by the score that the image keeps under each.

It looks at no layer; the map is of the input's size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gradcam_hooks.checks import check_count, check_flag, check_range
from gradcam_hooks.maps import resize
from gradcam_hooks.methods.registry import method
from gradcam_hooks.runs.masks import variant_scores
from gradcam_hooks.runs.run import Run

__all__ = ["Masks", "rise"]

_BLOCK = 64
"""Masks added up at once."""


@method(
    paper="Petsiuk et al. 2018, arXiv:1806.07421, equation 6",
    cost="N F",
    needs_gradients=False,
    looks="input",
    quick={"masks": 256},
)
def rise(
    run: Run,
    *,
    masks: int = 4000,
    cells: int = 7,
    keep: float = 0.5,
    probability: bool | None = None,
) -> list[Tensor]:
    """RISE: random masks averaged, weighted by the class's probability under each.

    ``sum_i p(x M_i) M_i / (N keep)`` over N random masks.

    Args:
        run: the unmasked pass.
        masks: N.
        cells: how many cells a mask's grid has along each axis; each is kept or not, and the grid
            is resized (linear) to one cell more than the input and shifted by a part of a cell.
        keep: the probability that a cell is kept.
        probability: take the class's softmax probability for the score; by default where the
            target is a class.

    Returns:
        The map ``(batch, [targets,] *size)``.

    Petsiuk et al. 2018 (arXiv:1806.07421), equation 6; 4,000 masks of 7 cells as there for VGG16
    (8,000 for ResNet-50). Masks are seeded by ``generator=`` and the same for every image.
    """
    check_count(masks, "masks")
    check_count(cells, "cells")
    check_range(keep, "keep", 0, 1)
    if probability is None:
        probability = run.asks_classes
    check_flag(probability, "probability")
    drawn = Masks.drawn(run, masks, cells, keep)
    rows = []
    for index in range(run.batch):
        image = run.image[index]
        scores = variant_scores(
            run,
            index,
            masks,
            lambda part, image=image: image * drawn[part][:, None],  # type: ignore[misc]
            probability=probability,
            done=lambda more, index=index: run.step(  # type: ignore[misc]
                index * masks + more, run.batch * masks
            ),
        )
        rows.append(drawn.weighted(scores) / (masks * keep))
    return [torch.stack(rows)]


@dataclass(frozen=True)
class Masks:
    """Random masks, kept small: each is made when it is asked for.

    Attributes:
        grids: 1 where a cell is kept, ``(n, *cells)``.
        shifts: by how much of a cell each is shifted, ``(n, axes)``.
        cell: a cell's size in pixels along each axis.
        size: the input's space.
    """

    grids: Tensor
    shifts: Tensor
    cell: tuple[int, ...]
    size: tuple[int, ...]

    @classmethod
    def drawn(cls, run: Run, count: int, cells: int, keep: float) -> Masks:
        """``count`` masks for the run's images, drawn by its generator."""
        source = run.generator()
        many = [min(cells, pixels) for pixels in run.size]
        cell = tuple(math.ceil(pixels / n) for pixels, n in zip(run.size, many, strict=True))
        chance = torch.rand(count, *many, generator=source, device=source.device)
        shifts = [
            torch.randint(pixels, (count,), generator=source, device=source.device)
            for pixels in cell
        ]
        exact = torch.promote_types(run.image.dtype, torch.float32)
        grids = (chance < keep).to(run.image.device, exact)
        return cls(grids, torch.stack(shifts, 1).cpu(), cell, run.size)

    def __getitem__(self, part: slice) -> Tensor:
        """Some of the masks, ``(n, *size)``."""
        grids = self.grids[part]
        larger = [(n + 1) * pixels for n, pixels in zip(grids.shape[1:], self.cell, strict=True)]
        masks = []
        for one, shift in zip(resize(grids, larger), self.shifts[part].tolist(), strict=True):
            for axis, (start, pixels) in enumerate(zip(shift, self.size, strict=True)):
                one = one.narrow(axis, start, pixels)
            masks.append(one)
        return torch.stack(masks)

    def weighted(self, scores: Tensor) -> Tensor:
        """The sum of the masks, each by its ``scores (n[, targets])``: ``([targets,] *size)``."""
        total = self.grids.new_zeros(*scores.shape[1:], *self.size)
        for start in range(0, len(scores), _BLOCK):
            part = slice(start, start + _BLOCK)
            total += torch.tensordot(scores[part].to(total), self[part], dims=([0], [0]))
        return total
