"""What tells one picture's map from another's: where it looks, and what is there.

Pure functions of maps ``(pictures, height, width)`` and activations; no model, no picture.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["boxes_of", "concentration", "looks", "off_centre", "overlap", "places", "turned"]

SIDE = 8
"""Cells on a side of a place."""

_LEVEL = 0.5
"""A region is where the map is at least this part of its largest value."""

_LARGEST = 0.25
"""Of a picture's area, what a region takes at most."""


def places(maps: Tensor, side: int = SIDE) -> Tensor:
    """Where each map looks: its positive part averaged to ``side x side``, with the sum 1.

    Args:
        maps: ``(pictures, height, width)``, signed.
        side: cells on a side.

    Returns:
        ``(pictures, side * side)``; all zeros of a map without anything positive.

    >>> places(torch.tensor([[[3.0, 0.0], [-9.0, 1.0]]]), side=2)
    tensor([[0.7500, 0.0000, 0.0000, 0.2500]])
    """
    cells = functional.adaptive_avg_pool2d(maps.float().relu()[:, None], side).flatten(1)
    return cells / cells.sum(1, keepdim=True).clamp_min(torch.finfo(cells.dtype).tiny)


def looks(activation: Tensor, maps: Tensor) -> Tensor:
    """What is where each map looks: the activation pooled under it, with the length 1.

    Args:
        activation: ``(pictures, channels, height, width)``.
        maps: ``(pictures, height, width)`` of the same space, signed.

    Returns:
        ``(pictures, channels)``; all zeros where there is nothing to pool.

    >>> activation = torch.tensor([[[[3.0, 7.0]], [[4.0, 7.0]]]])
    >>> looks(activation, torch.tensor([[[2.0, -1.0]]]))
    tensor([[0.6000, 0.8000]])
    """
    pooled = torch.einsum("nchw,nhw->nc", activation.float(), maps.float().relu())
    return functional.normalize(pooled, dim=1)


def boxes_of(maps: Tensor) -> Tensor:
    """The box of the region around each map's peak: ``(pictures, 4)``, left, top, right, bottom.

    The region is connected, and at least half as high as the peak. A box that would take more
    than a quarter of the picture is drawn in around the peak.

    Args:
        maps: finished maps in [0, 1], ``(pictures, height, width)``, at the input's size.

    >>> maps = torch.zeros(1, 8, 8)
    >>> maps[0, 1:3, 2:6], maps[0, 2, 3], maps[0, 7, 7] = 0.6, 1.0, 0.9
    >>> boxes_of(maps)
    tensor([[2, 1, 6, 3]])
    """
    _, height, width = maps.shape
    flat = maps.flatten(1)
    high = maps >= _LEVEL * flat.amax(1)[:, None, None]
    peak = functional.one_hot(flat.argmax(1), height * width).view_as(maps).bool()
    region = peak
    while True:  # no more turns than the region has cells across
        grown = functional.max_pool2d(region[:, None].float(), (1, 3), 1, (0, 1))
        grown = functional.max_pool2d(grown, (3, 1), 1, (1, 0))[:, 0].bool() & high
        if bool((grown == region).all()):
            break
        region = grown
    at = flat.argmax(1)
    left, right = _ends(region.any(1), at % width, _LARGEST**0.5)
    top, bottom = _ends(region.any(2), at // width, _LARGEST**0.5)
    return torch.stack([left, top, right, bottom], 1)


def _ends(hit: Tensor, peak: Tensor, most: float) -> tuple[Tensor, Tensor]:
    """The first and the end of each row's hits, no further apart than this share of the row."""
    size = hit.shape[1]
    first = hit.float().argmax(1)
    end = size - hit.flip(1).float().argmax(1)
    side = (end - first).clamp_max(max(1, int(most * size)))
    start = (peak - side // 2).clamp_min(first)
    start = torch.minimum(start, end - side)
    return start, start + side


def overlap(boxes: Tensor, others: Tensor) -> Tensor:
    """The share of each of ``others`` that each box covers, ``(boxes, others)``.

    >>> overlap(torch.tensor([[0, 0, 2, 2]]), torch.tensor([[1, 0, 3, 2], [4, 4, 5, 5]]))
    tensor([[0.5000, 0.0000]])
    """
    one, other = boxes[:, None].float(), others[None].float()
    width = torch.minimum(one[..., 2], other[..., 2]) - torch.maximum(one[..., 0], other[..., 0])
    height = torch.minimum(one[..., 3], other[..., 3]) - torch.maximum(one[..., 1], other[..., 1])
    area = (other[..., 2] - other[..., 0]) * (other[..., 3] - other[..., 1])
    return width.clamp_min(0) * height.clamp_min(0) / area


def concentration(places: Tensor) -> float:
    """How far maps look at one place: the mean of the overlaps of every two of them.

    0 where no two look at a cell in common, 1 where all look at the same single cell; two places
    overlap by ``sum(sqrt(p * q))``.

    >>> concentration(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    0.3333333333333333
    """
    count = len(places)
    if count < 2:
        return 0.0
    roots = places.double().sqrt()
    whole = float(roots.sum(0).square().sum()) - float(roots.square().sum())
    return whole / (count * (count - 1))


def turned(places: Tensor) -> Tensor:
    """Each place as it would be in its picture mirrored or turned: ``(pictures, 8, cells)``.

    >>> turned(torch.tensor([[1.0, 0.0, 0.0, 0.0]])).sum(1)
    tensor([[2., 2., 2., 2.]])
    """
    side = round(places.shape[1] ** 0.5)
    grid = places.view(-1, side, side)
    ways = [torch.rot90(one, turn, (1, 2)) for one in (grid, grid.flip(2)) for turn in range(4)]
    return torch.stack([way.flatten(1) for way in ways], 1)


def off_centre(places: Tensor) -> float:
    """The share of the mean place that lies outside the middle quarter of the picture.

    >>> off_centre(torch.eye(16)[:1])
    1.0
    """
    side = round(places.shape[1] ** 0.5)
    grid = places.mean(0).view(side, side)
    middle = slice(side // 4, side - side // 4)
    return 1.0 - float(grid[middle, middle].sum() / grid.sum().clamp_min(1e-12))
