"""Map arithmetic: from a signed raw map to one in [0, 1] at the input's size.

``minmax(resize(relu(raw)))`` for one layer; for several the scaled maps are fused and scaled
again. Every function takes maps with any leading axes, ``(..., *space)``, in 1-D, 2-D and 3-D,
and stays on their device. Knows tensors only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gradcam_hooks.canvas import Canvas

__all__ = ["FUSIONS", "finish", "finish_telling", "fuse", "minmax", "resize", "spread"]

_ROUNDING = 8 * torch.finfo(torch.float32).eps
"""A spread of this share of the map's largest value or less is rounding, not evidence."""

_BLOCK = 1 << 20
"""Values scaled at once: a block that stays in the cache is several times as fast."""


def spread(maps: Tensor, rank: int) -> Tensor:
    """Whether each map has any spread beyond rounding: bool ``(...)`` for maps ``(..., *space)``.

    >>> spread(torch.tensor([[0.0, 1.0], [2.0, 2.0]]), 1)
    tensor([ True, False])
    """
    flat = maps.flatten(maps.ndim - rank)
    return _spread(flat.amin(-1), flat.amax(-1))


def _spread(low: Tensor, high: Tensor) -> Tensor:
    return (high - low) > _ROUNDING * torch.maximum(low.abs(), high.abs())


def minmax(maps: Tensor, rank: int) -> Tensor:
    """``(x - min) / (max - min)`` of each map ``(..., *space)``; a map without spread is all zeros.

    >>> minmax(torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]]), 1)
    tensor([[0.0000, 0.5000, 1.0000],
            [0.0000, 0.0000, 0.0000]])
    """
    flat = maps.flatten(maps.ndim - rank)
    out = torch.empty_like(flat)
    _scale(flat, out)
    return out.view(maps.shape)


def _scale(flat: Tensor, out: Tensor) -> Tensor:
    """Write the scaled maps into ``out``; returns which of them have spread."""
    low, high = flat.amin(-1, keepdim=True), flat.amax(-1, keepdim=True)
    alive = _spread(low, high)
    torch.sub(flat, low, out=out).div_(torch.where(alive, high - low, torch.ones_like(low)))
    rounding = ~alive & (high != low)  # NaN too; elsewhere there are zeros already
    if bool(rounding.any()):
        out.masked_fill_(rounding, 0)
    return alive


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps ``(..., *space)`` at ``size``, linear along every axis, ``align_corners=False``.

    What torch's linear, bilinear and trilinear interpolation give, as a product with a matrix for
    each axis, which takes a fifth of their time. The matrix is torch's own interpolation of the
    identity.
    """
    for axis, cells in enumerate(size, maps.ndim - len(size)):
        if maps.shape[axis] != cells:
            unit = torch.eye(maps.shape[axis], dtype=maps.dtype, device=maps.device)[None]
            weights = functional.interpolate(unit, cells, mode="linear", align_corners=False)[0]
            maps = (maps.movedim(axis, -1) @ weights).movedim(-1, axis)
    return maps


def _empty(rows: int, columns: int, device: torch.device) -> Tensor:
    if device.type != "cpu":
        return torch.empty(rows, columns, device=device)
    # NumPy asks the system for huge pages and torch does not: for the maps of a thousand classes
    # that is 17 ms instead of 65 before anything is written to them.
    return torch.from_numpy(np.empty((rows, columns), dtype=np.float32))


def finish(raw: Tensor, size: Sequence[int], canvas: Canvas | None = None) -> Tensor:
    """``minmax(resize(relu(raw)))`` in float32: ``(..., *layer_space)`` to ``(..., *size)``.

    Whether a map has spread is asked of the raw map, because resizing a constant makes
    differences of rounding that the scaling would blow up to a picture. A map with a value that
    is not finite is all zeros. Where the network saw the input on a larger canvas, the map is
    that of the canvas, and the picture is cut out of it first.
    """
    return finish_telling(raw, size, canvas)[0]


def finish_telling(
    raw: Tensor, size: Sequence[int], canvas: Canvas | None = None
) -> tuple[Tensor, Tensor]:
    """`finish`, and which maps came out blank: bool ``(...)``, without a look at each value."""
    rank = len(size)
    low = raw.float().relu()
    lead, space = low.shape[: low.ndim - rank], low.shape[low.ndim - rank :]
    low = low.reshape(-1, *space)
    # NaN compares false, and an infinite map's spread is infinite or NaN.
    alive = spread(low, rank) & low.flatten(1).isfinite().all(-1)
    low = torch.where(alive.view(-1, *[1] * rank), low, torch.zeros_like(low))
    maps = _empty(len(low), math.prod(size), low.device)
    living = []
    step = max(1, _BLOCK // math.prod(size))
    for start in range(0, len(low), step):
        block = slice(start, start + step)
        part = low[block]
        if canvas is not None:
            part = resize(part, canvas.size)
            for axis, cells in enumerate(canvas.picture, 1):
                part = part.narrow(axis, 0, cells)
        living.append(_scale(resize(part, size).flatten(1), maps[block]))
    return maps.view(*lead, *size), ~torch.cat(living).view(lead)


def _mean(maps: Tensor) -> Tensor:
    return maps.mean(0)


def _max(maps: Tensor) -> Tensor:
    return maps.amax(0)


FUSIONS = {"mean": _mean, "max": _max}
"""How the maps of several layers become one: ``(layers, ..., *space)`` to ``(..., *space)``."""


def fuse(maps: Sequence[Tensor], how: str, rank: int) -> Tensor:
    """One map of the scaled maps of several layers; min-max again. One map is left as it is."""
    return maps[0] if len(maps) == 1 else minmax(FUSIONS[how](torch.stack(list(maps))), rank)
