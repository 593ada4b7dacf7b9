"""Map arithmetic: from a signed raw map to one in [0, 1] at the input's size.

``minmax(resize(relu(raw)))`` for one layer; for several the scaled maps are fused and scaled
again. Every function takes maps with any leading axes, ``(..., *space)``, in 1-D, 2-D and 3-D,
and stays on their device. Knows tensors only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gradcam_hooks.layout.placement import Placement

__all__ = [
    "FUSIONS",
    "enlarge",
    "finish",
    "finish_telling",
    "fuse",
    "minmax",
    "perhaps",
    "resize",
    "signed",
    "spread",
]

_ROUNDING = 8
"""A spread of this many units of rounding of the map's largest value is no evidence."""

_BLOCK = 1 << 20
"""Values scaled at once: a block that stays in the cache is several times as fast."""


def spread(maps: Tensor, rank: int, precision: torch.dtype | None = None) -> Tensor:
    """Whether each map has any spread beyond rounding: bool ``(...)`` for maps ``(..., *space)``.

    Args:
        maps: of any floating-point type.
        rank: how many axes space has.
        precision: the arithmetic that they come from, where that is coarser than their own type.

    >>> spread(torch.tensor([[0.0, 1.0], [2.0, 2.0]]), 1)
    tensor([ True, False])
    """
    flat = maps.flatten(maps.ndim - rank)
    return _spread(flat.amin(-1), flat.amax(-1), precision)


def _spread(low: Tensor, high: Tensor, precision: torch.dtype | None = None) -> Tensor:
    unit = torch.finfo(precision or low.dtype).eps
    return (high - low) > _ROUNDING * unit * torch.maximum(low.abs(), high.abs())


def perhaps(flags: Tensor) -> bool:
    """Whether any is set; on a device, which would be waited for, that is taken for granted."""
    return flags.device.type != "cpu" or bool(flags.any())


def minmax(maps: Tensor, rank: int) -> Tensor:
    """``(x - min) / (max - min)`` of each map ``(..., *space)``; a map without spread is all zeros.

    >>> minmax(torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]]), 1)
    tensor([[0.0000, 0.5000, 1.0000],
            [0.0000, 0.0000, 0.0000]])
    """
    flat = maps.flatten(maps.ndim - rank)
    if flat.requires_grad:
        return _scaled(flat)[0].view(maps.shape)
    out = torch.empty_like(flat)
    _scale(flat, out)
    return out.view(maps.shape)


def _scale(flat: Tensor, out: Tensor) -> Tensor:
    """Write the scaled maps into ``out``; returns which of them have spread."""
    low, high = flat.amin(-1, keepdim=True), flat.amax(-1, keepdim=True)
    alive = _spread(low, high)
    torch.sub(flat, low, out=out).div_(torch.where(alive, high - low, torch.ones_like(low)))
    rounding = ~alive & (high != low)  # NaN too; elsewhere there are zeros already
    if perhaps(rounding):
        out.masked_fill_(rounding, 0)
    return alive


def _scaled(flat: Tensor) -> tuple[Tensor, Tensor]:
    """What `_scale` writes, in the graph."""
    low, high = flat.amin(-1, keepdim=True), flat.amax(-1, keepdim=True)
    alive = _spread(low, high)
    scaled = (flat - low) / torch.where(alive, high - low, torch.ones_like(low))
    return torch.where(alive, scaled, torch.zeros_like(scaled)), alive


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


def enlarge(maps: Tensor, size: Sequence[int], place: Placement | None = None) -> Tensor:
    """A layer's maps ``(n, *layer_space)`` at the input's ``size``.

    Where the network did not see the input as it is, ``place`` says where the map lies; what the
    map does not cover is zero.
    """
    if place is None or place.whole:
        return resize(maps, size)
    for axis, pixels in enumerate(size):
        weights = place.weights(axis, maps.shape[axis + 1], pixels, maps)
        maps = (maps.movedim(axis + 1, -1) @ weights).movedim(-1, axis + 1)
    return maps


def _empty(rows: int, columns: int, device: torch.device) -> Tensor:
    if device.type != "cpu":
        return torch.empty(rows, columns, device=device)
    # NumPy asks the system for huge pages and torch does not: for the maps of a thousand classes
    # that is 17 ms instead of 65 before anything is written to them.
    return torch.from_numpy(np.empty((rows, columns), dtype=np.float32))


def finish(raw: Tensor, size: Sequence[int], place: Placement | None = None) -> Tensor:
    """``minmax(resize(relu(raw)))`` in float32: ``(..., *layer_space)`` to ``(..., *size)``.

    Min-max sees no constant and no factor, so each map is scaled in its own precision before it
    becomes float32: one of small spread high above zero keeps its digits. Whether a map has spread
    is asked of the raw map, because resizing a constant makes differences of rounding that the
    scaling would blow up to a picture. A map with a value that is not finite is all zeros. Where
    the network saw only a part of the input, or more than it, ``place`` says where the map lies.
    A raw map in the graph gives a map in the graph, and keeps its precision.
    """
    return finish_telling(raw, size, place)[0]


def finish_telling(
    raw: Tensor,
    size: Sequence[int],
    place: Placement | None = None,
    precision: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """`finish`, and which maps came out blank: bool ``(...)``, without a look at each value.

    ``precision`` is the arithmetic that the raw map comes from, as for `spread`.
    """
    rank = len(size)
    graph = raw.requires_grad
    lead, space = raw.shape[: raw.ndim - rank], raw.shape[raw.ndim - rank :]
    low = _unit(raw.reshape(-1, *space), precision)
    if not (graph and raw.dtype == torch.float64):
        low = low.float()
    maps = None if graph else _empty(len(low), math.prod(size), low.device)
    parts, living = [], []
    step = max(1, _BLOCK // math.prod(size))
    for start in range(0, len(low), step):
        block = slice(start, start + step)
        flat = enlarge(low[block], size, place).flatten(1)
        if maps is None:
            scaled, one = _scaled(flat)
            parts.append(scaled)
        else:
            one = _scale(flat, maps[block])
        living.append(one)
    whole = torch.cat(parts) if maps is None else maps
    return whole.view(*lead, *size), ~torch.cat(living).view(lead)


def signed(raw: Tensor, size: Sequence[int], place: Placement | None = None) -> Tensor:
    """``resize(raw / max |raw|)`` in float32: ``(..., *layer_space)`` to ``(..., *size)``.

    In [-1, 1] with the sign that it had; a map with a value that is not finite is all zeros.

    >>> signed(torch.tensor([[1.0, -4.0], [0.0, 0.0]]), (2,))
    tensor([[ 0.2500, -1.0000],
            [ 0.0000,  0.0000]])
    """
    lead = raw.shape[: raw.ndim - len(size)]
    exact = raw if raw.dtype == torch.float64 else raw.float()
    flat = exact.reshape(-1, *raw.shape[len(lead) :])
    most = flat.flatten(1).abs().amax(1)
    alive = most.isfinite() & (most > 0)
    scale = torch.where(alive, most, 1).view(-1, *[1] * len(size))
    unit = torch.where(alive.view_as(scale), flat / scale, 0).float()
    return enlarge(unit, size, place).reshape(*lead, *size)


def _unit(raw: Tensor, precision: torch.dtype | None) -> Tensor:
    """Positive parts ``(n, *space)`` scaled to [0, 1] in their own precision, in float32 at least.

    Zeros where a map has no spread, or a value that is not finite.
    """
    exact = raw.float() if raw.dtype in (torch.float16, torch.bfloat16) else raw
    flat = exact.relu().flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    # NaN compares false, and an infinite map's spread is infinite or NaN.
    alive = _spread(low, high, precision) & flat.isfinite().all(1, keepdim=True)
    scaled = (flat - low) / torch.where(alive, high - low, torch.ones_like(low))
    return torch.where(alive, scaled, torch.zeros_like(scaled)).view(raw.shape)


_GAMMA = 2.0
"""How steeply LayerCAM's tanh lifts a map; the paper's value."""


def _mean(maps: Tensor, lows: Sequence[Tensor]) -> Tensor:
    return maps.mean(0)


def _max(maps: Tensor, lows: Sequence[Tensor]) -> Tensor:
    return maps.amax(0)


def _product(maps: Tensor, lows: Sequence[Tensor]) -> Tensor:
    return maps.prod(0)


def _tanh(maps: Tensor, lows: Sequence[Tensor]) -> Tensor:
    cells = torch.tensor([low[0].numel() for low in lows])
    # "Shallow" is every layer but the coarsest one, which stays as it is.
    lifted = [
        one if few else torch.tanh(_GAMMA * one)
        for one, few in zip(maps, (cells == cells.min()).tolist(), strict=True)
    ]
    return torch.stack(lifted).amax(0)


def _lnorm(maps: Tensor, lows: Sequence[Tensor]) -> Tensor:
    ordered = sorted(lows, key=lambda low: low[0].numel())
    fused = ordered[0]
    for low in ordered[1:]:
        coarse, fine = fused.shape[1:], low.shape[1:]
        local = resize(resize(low, coarse), fine)
        tiny = torch.finfo(low.dtype).tiny
        fused = low / local.clamp_min(tiny) * resize(fused, fine)
    return resize(fused, maps.shape[2:])


Fusion = Callable[[Tensor, Sequence[Tensor]], Tensor]
"""``(layers, maps, *space)`` scaled, and each layer's ``relu(raw) (maps, *layer_space)``, coarse or
fine: to one map each, ``(maps, *space)``."""

FUSIONS: Mapping[str, Fusion] = MappingProxyType(
    {"mean": _mean, "max": _max, "product": _product, "tanh": _tanh, "lnorm": _lnorm}
)
"""How the maps of several layers become one; the result is min-max scaled again.

``mean``, ``max`` and ``product`` are taken position by position; ``product`` is RefineCAM's
(Domeniconi et al. 2026, arXiv:2605.14641). ``tanh`` is LayerCAM's (Jiang et al. 2021, equation 9 as
others cite it): shallow layers lifted by ``tanh(2 M / max M)``, then the maximum. ``lnorm`` is
Poly-CAM's (Englebert et al. 2022, arXiv:2204.13359, in the authors' code): from coarse to fine,
each layer divided by its own mean at the coarser resolution and multiplied by the coarser map.
"""


def fuse(
    maps: Sequence[Tensor], how: str, rank: int, raws: Sequence[Tensor] | None = None
) -> Tensor:
    """One map of the scaled maps of several layers; min-max again. One map is left as it is.

    Args:
        maps: for each layer ``(..., *space)`` in [0, 1], all of one size.
        how: a name in `FUSIONS`.
        rank: how many axes space has.
        raws: for each layer its signed map ``(..., *layer_space)``; by default ``maps``.
    """
    if len(maps) == 1:
        return maps[0]
    lead = maps[0].shape[: maps[0].ndim - rank]
    flat = torch.stack([one.reshape(-1, *one.shape[one.ndim - rank :]) for one in maps])
    lows = [
        one.to(flat.dtype).relu().reshape(-1, *one.shape[one.ndim - rank :])
        for one in (maps if raws is None else raws)
    ]
    return minmax(FUSIONS[how](flat, lows).reshape(*lead, *flat.shape[2:]), rank)
