"""Asks a network where a layer's map lies on the input: what it sees of it, and which way round.

Noise falls on the begin of an axis of the input, and on its end; where the layer does not answer,
the input was cropped there, and the edge of what is seen is found by halving. The cells lie evenly
over what is seen; the sign of their slope (`probe`) tells a mirrored axis, and cells further apart
than they could be on what is seen tell of padding, which is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gradcam_hooks.errors import LayoutError
from gradcam_hooks.layout.asking import Network
from gradcam_hooks.layout.factors import Reading
from gradcam_hooks.layout.input_axes import InputAxes
from gradcam_hooks.layout.placement import Placement

__all__ = ["placed"]

_EDGE = 32
"""One part in so many of an axis is lit first, at either end."""

_STEEP = 1.15
"""How much further apart than on what is seen cells may lie: light sees them nearer, if at all."""


def placed(
    network: Network,
    call: int,
    number: int,
    axes: InputAxes,
    reading: Reading,
    *,
    whole: bool = False,
) -> Placement | None:
    """Where the map lies; None where it lies on all of the input, the right way round.

    Args:
        network: the model and its layer.
        call: which call of the layer.
        number: which of the network's tensors the map lies on.
        axes: the axes of that input.
        reading: what the layer's axes carry.
        whole: whether it is known that the network sees all of it.

    Raises:
        LayoutError: the network pads its input, so that the map lies beyond it.
    """
    spans = []
    for word in axes.space:
        axis = axes.words.index(word)
        start, stop = (0.0, 1.0) if whole else _seen(network, call, number, axis)
        slope, size = _slope(reading, (number, axis))
        length = network.tensors[number].shape[axis]
        apart = abs(slope) * size * (length - 1) / length  # light tells from 0 to 1, pixel to pixel
        if not whole and size > 1 and apart > _STEEP * (stop - start):
            raise LayoutError(
                f"layer {network.name!r} sees its input padded along {word!r}: its cells lie "
                f"{apart / (stop - start):.2f} times as far apart as they could. Pad "
                "the input yourself and hand over the padded one, or name a layer whose map is of "
                "the input."
            )
        spans.append((stop, start) if slope < 0 else (start, stop))
    place = Placement(tuple(spans))
    return None if place.whole else place


def _slope(reading: Reading, key: tuple[int, int]) -> tuple[float, int]:
    """How far a cell goes along an axis of an input, and how many cells there are."""
    found = [f for one in reading.axes for f in one.factors if key in f.keys]
    size = 1
    for factor in found:
        size *= factor.size
    finest = min((f.slope for f in found), key=abs, default=0.0)
    return finest, size


def _seen(network: Network, call: int, number: int, axis: int) -> tuple[float, float]:
    """What the layer sees of an axis of an input: the fractions where that begins and ends."""
    length = network.tensors[number].shape[axis]
    base = network.run(network.tensors)[call]
    least = float(base.double().square().mean()) * (4 * torch.finfo(base.dtype).eps) ** 2

    def answers(first: int, last: int) -> bool:
        """Whether the layer answers light on these cells of the axis."""
        lit = list(network.tensors)
        lit[number] = _lit(lit[number], axis, first, last)
        change = network.run(lit)[call].double() - base.double()
        return bool(change.square().mean() > least)

    return _edge(answers, length), 1 - _edge(lambda a, b: answers(length - b, length - a), length)


def _edge(answers: Callable[[int, int], bool], length: int) -> float:
    """The fraction of an axis ahead of the first cell that answers."""
    if answers(0, max(1, length // _EDGE)):
        return 0.0
    dark, bright = max(1, length // _EDGE), length  # [0, dark) is dark, [0, bright) is not
    while bright - dark > 1:
        middle = (dark + bright) // 2
        if answers(0, middle):
            bright = middle
        else:
            dark = middle
    return dark / length


def _lit(tensor: Tensor, axis: int, first: int, last: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(tensor.shape, generator=generator).to(tensor)
    spread = tensor.float().std()
    where = torch.zeros(tensor.shape[axis], device=tensor.device, dtype=tensor.dtype)
    where[first:last] = 1
    shape: Sequence[int] = [-1 if one == axis else 1 for one in range(tensor.ndim)]
    return tensor + noise * where.view(*shape) * (spread if spread > 0 else 1)
