"""Map arithmetic: from a signed raw map to one in [0, 1] at the input's size.

``minmax(resize(relu(raw)))`` for one layer; for several the scaled maps are fused and scaled
again. Every function takes maps with any leading axes, ``(..., *space)``, in 1-D, 2-D and 3-D,
and stays on their device. Knows tensors only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["FUSIONS", "finish", "fuse", "minmax", "resize", "spread"]

_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}

_ROUNDING = 8 * torch.finfo(torch.float32).eps
"""A spread of this share of the map's largest value or less is rounding, not evidence."""

_BLOCK = 1 << 20
"""Values scaled at once: a block that stays in the cache is several times as fast."""


def _flat(maps: Tensor, rank: int) -> Tensor:
    return maps.flatten(maps.ndim - rank)


def spread(maps: Tensor, rank: int) -> Tensor:
    """Whether each map has any spread beyond rounding: bool ``(...)`` for maps ``(..., *space)``.

    >>> spread(torch.tensor([[0.0, 1.0], [2.0, 2.0]]), 1)
    tensor([ True, False])
    """
    flat = _flat(maps, rank)
    low, high = flat.amin(-1), flat.amax(-1)
    return (high - low) > _ROUNDING * torch.maximum(low.abs(), high.abs())


def minmax(maps: Tensor, rank: int) -> Tensor:
    """``(x - min) / (max - min)`` of each map ``(..., *space)``; a map without spread is all zeros.

    >>> minmax(torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]]), 1)
    tensor([[0.0000, 0.5000, 1.0000],
            [0.0000, 0.0000, 0.0000]])
    """
    flat = _flat(maps, rank)
    low, high = flat.amin(-1, keepdim=True), flat.amax(-1, keepdim=True)
    alive = spread(maps, rank)[..., None]
    span = torch.where(alive, high - low, torch.ones_like(high))
    scaled = (flat - low).div_(span).clamp_(0, 1)
    return scaled.masked_fill_(~alive, 0).view(maps.shape)


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps ``(..., *space)`` at ``size``, linear along every axis, ``align_corners=False``."""
    rank = len(size)
    space = maps.shape[maps.ndim - rank :]
    if tuple(space) == tuple(size):
        return maps
    images = maps.reshape(1, -1, *space)
    resized = functional.interpolate(images, tuple(size), mode=_MODES[rank], align_corners=False)
    return resized.reshape(*maps.shape[: maps.ndim - rank], *size)


def finish(raw: Tensor, size: Sequence[int]) -> Tensor:
    """``minmax(resize(relu(raw)))`` in float32: ``(..., *layer_space)`` to ``(..., *size)``.

    Whether a map has spread is asked of the raw map, because resizing a constant makes
    differences of rounding that the scaling would blow up to a picture. A map with a value that
    is not finite is all zeros.
    """
    rank = len(size)
    low = raw.float().relu()
    lead, space = low.shape[: low.ndim - rank], low.shape[low.ndim - rank :]
    low = low.reshape(-1, *space)
    # NaN compares false, and an infinite map's spread is infinite or NaN.
    flat = low.flatten(1)
    alive = spread(low, rank) & flat.isfinite().all(-1)
    low = torch.where(alive.view(-1, *[1] * rank), low, torch.zeros_like(low))
    step = max(1, _BLOCK // math.prod(size))
    if len(low) <= step:
        return minmax(resize(low, size), rank).view(*lead, *size)
    maps = torch.empty(len(low), *size, dtype=low.dtype, device=low.device)
    for start in range(0, len(low), step):
        block = slice(start, start + step)
        maps[block] = minmax(resize(low[block], size), rank)
    return maps.view(*lead, *size)


def _mean(maps: Tensor) -> Tensor:
    return maps.mean(0)


def _max(maps: Tensor) -> Tensor:
    return maps.amax(0)


FUSIONS = {"mean": _mean, "max": _max}
"""How the maps of several layers become one: ``(layers, ..., *space)`` to ``(..., *space)``."""


def fuse(maps: Sequence[Tensor], how: str, rank: int) -> Tensor:
    """One map of the scaled maps of several layers; min-max again. One map is left as it is."""
    return maps[0] if len(maps) == 1 else minmax(FUSIONS[how](torch.stack(list(maps))), rank)
