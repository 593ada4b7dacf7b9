"""ROAD's noisy linear imputation: what is taken away becomes the mean of what is around it.

Knows images alone.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["imputed"]

_MOST = 2000
"""Steps of the solver at most; a hole of a whole photograph takes some hundred."""

_LOOK = 8
"""After so many steps it is asked whether they are enough, which waits for the device."""


def imputed(images: Tensor, known: Tensor) -> Tensor:
    """Images whose unknown positions are weighted means of their neighbours.

    In two dimensions the four neighbours along the axes weigh 1/6 each and the four diagonal ones
    1/12; at a border the others weigh more. In others a neighbour that lies off in m axes weighs
    ``2^-m``, and all of them 1. The system of equations is solved by conjugate gradients.

    Args:
        images: ``(n, channels, *space)``.
        known: bool ``(n, *space)``; where an image has none, it becomes its channels' means.

    >>> imputed(torch.tensor([[[0.0, 9.0, 9.0, 3.0]]]), torch.tensor([[True, False, False, True]]))
    tensor([[[0., 1., 2., 3.]]])
    """
    keep = known[:, None].to(images)
    none = keep.flatten(1).amax(1).view(-1, *[1] * (images.ndim - 1)) == 0
    axes = tuple(range(2, images.ndim))
    weight = _around(torch.ones_like(keep))
    right = (1 - keep) * _around(keep * images)
    found = _solved(weight, 1 - keep, right, (1 - keep) * _start(images * keep, keep))
    whole = images * keep + found
    return torch.where(none, images.mean(axes, keepdim=True), whole)


def _around(values: Tensor) -> Tensor:
    """The weighted sum of each position's neighbours; what lies outside counts nothing."""
    axes, total = range(2, values.ndim), values
    for axis in axes:
        cells, sides = total.shape[axis] - 1, 2 * total
        sides.narrow(axis, 1, cells).add_(total.narrow(axis, 0, cells))
        sides.narrow(axis, 0, cells).add_(total.narrow(axis, 1, cells))
        total = sides
    own = 2.0 ** len(axes)
    return (total - own * values) / (own * own - own)


def _solved(weight: Tensor, unknown: Tensor, right: Tensor, start: Tensor) -> Tensor:
    """X with ``weight x - around(x) = right`` where unknown and 0 elsewhere, by its own device.

    An image that is solved is taken out, so that small holes do not wait for large ones.
    """
    axes = tuple(range(2, right.ndim))

    def dot(one: Tensor, other: Tensor) -> Tensor:
        return (one * other).sum(axes, keepdim=True)

    precision = 1e-12 if right.dtype == torch.float64 else 1e-4  # a tenth of the noise
    enough = dot(right, right) * precision**2
    tiny = torch.finfo(right.dtype).tiny
    solved, places = start.clone(), torch.arange(len(start), device=start.device)
    now, rest = start, right - _left(weight, unknown, start)
    along, size = rest, dot(rest, rest)
    for step in range(_MOST):
        if step % _LOOK == 0:
            left = (size > enough).flatten(1).any(1)
            solved[places[~left]] = now[~left]
            if not bool(left.any()):
                return solved
            if not bool(left.all()):
                places, now, rest, along, size, enough, weight, unknown = (
                    one[left] for one in (places, now, rest, along, size, enough, weight, unknown)
                )
        pushed = _left(weight, unknown, along)
        far = size / dot(along, pushed).clamp_min(tiny)
        now, rest = now + far * along, rest - far * pushed
        before, size = size, dot(rest, rest)
        along = rest + size / before.clamp_min(tiny) * along
    solved[places] = now
    return solved


def _left(weight: Tensor, unknown: Tensor, values: Tensor) -> Tensor:
    """The left side of the equations."""
    return unknown * (weight * values - _around(values))


def _start(values: Tensor, keep: Tensor) -> Tensor:
    """A guess from coarse to fine, from which the solver has little left to do."""
    size = values.shape[2:]
    if max(size) == 1:
        return values
    half = [(cells + 1) // 2 for cells in size]
    share = functional.interpolate(keep, half, mode="area")
    means = functional.interpolate(values, half, mode="area") / share.clamp_min(1e-12)
    coarse = _start(means * (share > 0), (share > 0).to(keep))
    return torch.where(keep > 0, values, functional.interpolate(coarse, size, mode="nearest"))
