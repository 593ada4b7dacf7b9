"""Truth by construction: grids of images, and networks that see no more than one cell of them.

`grids` puts images on grids. `Gridded` makes of a network's features and head the three settings
of Rao et al. 2022: in GridPG the whole grid is seen; in DiPart a head sees its own cell of the
features; in DiFull the features too are computed in each cell alone, so that nothing outside of it
can matter, whatever was learned.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from gradcam_hooks.checks import check_count, check_one_of
from gradcam_hooks.errors import InputError, OptionError
from gradcam_hooks.metrics.cases import check_maps
from gradcam_hooks.metrics.measured import Found
from gradcam_hooks.metrics.registry import metric

__all__ = ["Gridded", "cells_of", "di_full", "di_part", "grid_pg", "grids"]

_PAPER = "Rao et al. 2022, arXiv:2205.10435"
Setting = Literal["grid_pg", "di_part", "di_full"]


@metric(
    title="GridPG",
    paper=_PAPER,
    higher_is_better=True,
    claims="Of a grid of images the map marks the one that shows the class.",
    assumes=(
        "The network is sure of each image alone, and finds the class in its own cell: a belief "
        "about what it learned."
    ),
    gamed="Not by a class-agnostic map, which is at chance, 1 over the number of cells.",
)
def grid_pg(maps: Tensor, cells: Tensor | int, *, grid: int = 3) -> Found:
    """GridPG: the share of the map's positive values that lies in the cell of the class.

    ``sum of relu(m) in the cell / sum of relu(m)``.

    Args:
        maps: of grids, ``(batch[, targets], *space)``.
        cells: the cell's number in reading order for each map, ``(batch[, targets])``, or of all.
        grid: how many cells along each axis.

    Returns:
        The share for each sample; chance is ``1 / grid ** axes``. 0 for a map nowhere positive.

    >>> m = torch.tensor([[[3.0, 0.0], [1.0, -5.0]]])
    >>> grid_pg(m, 0, grid=2).values
    tensor([0.7500], dtype=torch.float64)
    """
    return _in_cell(maps, cells, grid)


@metric(
    title="DiFull",
    paper=_PAPER,
    higher_is_better=True,
    claims="The map marks nothing that the network's answer cannot hang on.",
    assumes=(
        "Nothing of what was learned: the network computes each cell alone (`Gridded` with "
        "setting='di_full'), so the truth holds on random weights too."
    ),
    gamed="It does not see where within its cell a map lies: the whole cell lit up has all of it.",
)
def di_full(maps: Tensor, cells: Tensor | int, *, grid: int = 3) -> Found:
    """DiFull: the share of the map's positive values in the only cell that the answer hangs on.

    ``sum of relu(m) in the cell / sum of relu(m)``, of a network that computes each cell alone.

    Args:
        maps: of grids, ``(batch[, targets], *space)``; raw ones at the layer's own resolution are
            exact, for resizing carries values across the cell's edge.
        cells: the cell's number in reading order for each map, ``(batch[, targets])``, or of all.
        grid: how many cells along each axis.

    Returns:
        The share for each sample, 1 where nothing leaks; 0 for a map nowhere positive.

    >>> m = torch.tensor([[[0.0, 0.0], [0.0, 2.0]]])
    >>> di_full(m, torch.tensor([3]), grid=2).values
    tensor([1.], dtype=torch.float64)
    """
    return _in_cell(maps, cells, grid)


@metric(
    title="DiPart",
    paper=_PAPER,
    higher_is_better=True,
    claims="As DiFull, where features may look a little way into the next cell.",
    assumes=(
        "Features look no further than a receptive field (`Gridded` with setting='di_part'), so a "
        "little beyond the cell's edge may matter."
    ),
    gamed="As DiFull.",
)
def di_part(maps: Tensor, cells: Tensor | int, *, grid: int = 3) -> Found:
    """DiPart: the share of the map's positive values in the cell whose features the head sees.

    ``sum of relu(m) in the cell / sum of relu(m)``, of a head that sees its own cell's features.

    Args:
        maps: of grids, ``(batch[, targets], *space)``.
        cells: the cell's number in reading order for each map, ``(batch[, targets])``, or of all.
        grid: how many cells along each axis.

    >>> m = torch.tensor([[[1.0, 1.0], [1.0, 1.0]]])
    >>> di_part(m, 1, grid=2).values
    tensor([0.2500], dtype=torch.float64)
    """
    return _in_cell(maps, cells, grid)


def _in_cell(maps: Tensor, cells: Tensor | int, grid: int) -> Found:
    plain, grid = check_maps(maps), check_count(grid, "grid")
    number = torch.as_tensor(cells, device=plain.device)
    if number.is_floating_point() or number.ndim > 2:
        raise InputError(
            f"cells= are whole numbers (batch,) or (batch, targets), not {number.dtype} "
            f"{tuple(number.shape)}."
        )
    ahead = max(number.ndim, 1)
    rank = plain.ndim - ahead
    lead = plain.shape[:ahead]
    if number.ndim and number.shape != lead:
        raise InputError(
            f"maps {tuple(plain.shape)} need cells {tuple(lead)}, not {tuple(number.shape)}."
        )
    count = grid**rank
    if int(number.min()) < 0 or int(number.max()) >= count:
        raise InputError(
            f"cells= of a grid of {grid} along {rank} axes are 0 to {count - 1}, in reading order; "
            f"these go from {int(number.min())} to {int(number.max())}."
        )
    parts = cells_of(plain.reshape(-1, 1, *plain.shape[ahead:]).relu().double(), grid)
    sums = parts.flatten(2).sum(2)
    inside = sums.gather(1, number.expand(lead).reshape(-1, 1))[:, 0]
    total = sums.sum(1)
    return Found(torch.where(total > 0, inside / total, 0.0).view(lead))


def cells_of(images: Tensor, grid: int) -> Tensor:
    """The cells of grids in reading order, ``(n, cells, channels, *cell)``.

    Raises:
        InputError: the space does not divide into so many cells.

    >>> cells_of(torch.arange(4.0).view(1, 1, 2, 2), 2).flatten().tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    batch, channels, *space = images.shape
    if any(size % grid for size in space):
        raise InputError(
            f"a grid of {grid} along each axis needs sizes that {grid} divides, not "
            f"{tuple(space)}; take maps at the input's size, or another input."
        )
    apart = images.view(batch, channels, *(n for size in space for n in (grid, size // grid)))
    rank = len(space)
    order = [0, *range(2, 2 + 2 * rank, 2), 1, *range(3, 3 + 2 * rank, 2)]
    cells: Tensor = apart.permute(order).flatten(1, rank)
    return cells


def grids(images: Tensor, grid: int = 3, *, rank: int | None = None) -> Tensor:
    """Grids of images, in reading order, ``(n, channels, *space)``.

    Args:
        images: ``(n * cells, channels, *cell)``, the cells of one grid behind those of another.
        grid: how many cells along each axis.
        rank: how many axes space has; by default all but the first two.

    Raises:
        InputError: the images fill no whole number of grids.

    >>> grids(torch.tensor([[[1.0]], [[2.0]]]), 2).tolist()
    [[[1.0, 2.0]]]
    """
    grid = check_count(grid, "grid")
    rank = images.ndim - 2 if rank is None else rank
    count = grid**rank
    if len(images) % count or not len(images):
        raise InputError(f"a grid has {count} cells; {len(images)} images fill no whole number.")
    apart = images.reshape(-1, *[grid] * rank, *images.shape[1:])
    channels = rank + 1
    order = [0, channels, *(axis for i in range(rank) for axis in (1 + i, channels + 1 + i))]
    cell = images.shape[2:]
    return apart.permute(order).reshape(-1, images.shape[1], *(grid * size for size in cell))


class Gridded(nn.Module):
    """A network of features and head, on grids of images.

    Its output is ``(batch, cells * classes)``: class c of cell i is ``i * classes + c``; in GridPG,
    where one head sees the whole, ``(batch, classes)``. The features of the whole grid go through
    `features_of_grid`, ``(batch, channels, *space)``, which is the layer to explain in every
    setting.

    Args:
        features: from images to ``(batch, channels, *space)``.
        head: from features to logits ``(batch, classes)``, of any size of space.
        grid: how many cells along each axis.
        setting: ``"grid_pg"``, ``"di_part"`` or ``"di_full"``.

    Raises:
        OptionError: another setting.

    Example::

        net = Gridded(backbone, head, 2, "di_full").eval()
        x = grids(images, 2)  # four images
        result = gh.explain(net, x, layer="features_of_grid", target=3 * classes + label)
        di_full(result.raw, 3, grid=2)
    """

    def __init__(
        self, features: nn.Module, head: nn.Module, grid: int = 3, setting: Setting = "di_full"
    ) -> None:
        super().__init__()
        check_one_of(setting, "setting", ("grid_pg", "di_part", "di_full"), error=OptionError)
        self.features, self.head = features, head
        self.features_of_grid = nn.Identity()
        self.grid, self.setting = check_count(grid, "grid"), setting

    def forward(self, images: Tensor) -> Tensor:
        """The logits of grids ``(batch, channels, *space)``."""
        if self.setting == "di_full":
            cells = cells_of(images, self.grid)
            found = self.features(cells.flatten(0, 1))
            whole = grids(found, self.grid)
        else:
            whole = self.features(images)
        whole = self.features_of_grid(whole)
        if self.setting == "grid_pg":
            logits: Tensor = self.head(whole)
            return logits
        parts = cells_of(whole, self.grid)
        each: Tensor = self.head(parts.flatten(0, 1))
        return each.view(len(images), -1)
