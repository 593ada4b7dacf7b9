"""What the library reads with nothing said, judged cell by cell against what is known."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradcam_hooks.errors import InputError, LayoutError
from gradcam_hooks.layout.factors import AxisReading
from gradcam_hooks.layout.reader import LayerReading, Words, read
from gradcam_hooks.layout.watching import Watched
from gradcam_hooks.network.hooks import Tapped, Taps
from gradcam_hooks.network.inputs import Inputs
from gradcam_hooks.network.state import untouched
from tests.support.light import Key, Net, claimed, made

Span = tuple[float, float]


@dataclass(frozen=True)
class Judged:
    """What became of one call of a layer.

    Attributes:
        net: the network's name.
        layer: the layer's.
        truth: its axes.
        word: ``right``, ``refused`` or ``WRONG``.
        map: whether there is a map to read: it carries space, each of its axes once, in an order
            that does not depend on the picture.
        by: who read it, and by how many passes; empty where it was refused.
        said: what was read, or the error.
    """

    net: str
    layer: str
    truth: str
    word: str
    map: bool
    by: str
    passes: int
    said: str


def judged(net: Net, batch: int | None = None) -> list[Judged]:
    """Each call of each layer of a network, read with nothing said.

    Args:
        net: the network.
        batch: how many elements of its inputs it is given; all of them by default.
    """
    model, tensors = made(net)
    tensors = [one[:batch] for one in tensors]
    model.requires_grad_(requires_grad=True)
    args = () if net.names else tuple(tensors)
    try:
        inputs = Inputs.of(model, args, dict(zip(net.names, tensors, strict=False)))
    except InputError as error:
        return [
            Judged(net.name, layer, truth, "refused", True, "", 0, str(error))
            for layer, truth in net.truths
        ]

    def work() -> Iterator[Judged]:
        for layer, truths in net.layers.items():
            if "#" in layer:
                continue  # a tensor beside the layer's main one
            with Watched.over(model, inputs) as seen, Taps(model, [layer], call="all") as taps:
                calls = taps.forward(inputs.copied(), "forward").select()
            for truth, call in zip(truths, calls, strict=True):
                yield _judge(net, tensors, truth, model, inputs, call, seen)

    return untouched(model, lambda: list(work()))


def _judge(
    net: Net,
    tensors: list[Tensor],
    truth: str,
    model: nn.Module,
    inputs: Inputs,
    call: Tapped,
    seen: Watched,
) -> Judged:
    shape = tuple(call.tap.activation.shape)
    axes = claimed(truth, net, shape, tensors)
    whole = [one for one in axes if one is not None]
    told = len(whole) == len(axes) and "@" not in truth and not _repeats(whole)
    floats = [n for n, one in enumerate(tensors) if one.is_floating_point()]
    there = told and any(at in floats and axis for keys in _keys(whole) for at, axis in keys)
    try:
        found = read(Words(), model, inputs, call, seen)
    except LayoutError as error:
        return Judged(net.name, call.label, truth, "refused", there, "", 0, str(error))
    word = "WRONG"
    if told:
        place = next(n for n, one in enumerate(tensors) if one is _image(inputs, found))
        right = _fits(found, whole, net, place, shape)
        word = "right" if right and _lies(found, net.spans.get(call.label)) else "WRONG"
    said = f"{found.told} of {found.axes}" + (f" at {found.place.spans}" if found.place else "")
    return Judged(net.name, call.label, truth, word, there, found.told.by, found.told.passes, said)


def _image(inputs: Inputs, found: LayerReading) -> Tensor:
    return (inputs if found.image is None else inputs.on(found.image)).image


def _lies(found: LayerReading, spans: Sequence[Span] | None) -> bool:
    """Whether its map lies where it should, nearly: a resize passes over pixels at the ends."""
    whole = ((0.0, 1.0),) * len(found.axes.space)
    there = found.place.spans if found.place is not None else whole
    pairs = zip(there, spans or whole, strict=True)
    return all(abs(a - b) < 0.05 for one, other in pairs for a, b in zip(one, other, strict=True))


def _keys(axes: Sequence[AxisReading]) -> list[list[Key]]:
    """For each axis, the axes of inputs that it carries whole."""
    return [[key for f in one.factors for key in f.keys] for one in axes]


def _repeats(axes: Sequence[AxisReading]) -> bool:
    """Whether two factors of one size and step carry the same axis of an input."""
    steps = [(key, f.size, f.slope) for one in axes for f in one.factors for key in f.keys]
    return len(set(steps)) < len(steps)


def _fits(
    found: LayerReading, truth: Sequence[AxisReading], net: Net, number: int, shape: Sequence[int]
) -> bool:
    """Whether each cell of a reading lies where the truth says, along each axis of an input."""
    carried = {key for keys in _keys(truth) for key in keys}
    layout, axes = found.layout, found.axes
    cells = layout.channels_first(torch.arange(math.prod(shape)).view(*shape))
    here = [key for key in carried if key[0] == number]
    if not here:
        return cells[0, 0].numel() == 1
    words = net.words[number]
    for axis, word in enumerate(axes.words):
        key = (number, axis)
        if axis and word not in axes.space:
            if key in carried and words[axis].lower() != "c":
                return False  # space that passes for channels
            continue
        at = 0 if axis == 0 else 2 + axes.space.index(word)
        if key not in carried:
            if cells.shape[at] != 1:
                return False
            continue
        places = _places(truth, key, shape).flatten()[cells]
        steps = torch.arange(cells.shape[at], dtype=places.dtype)
        across = [-1 if one == at else 1 for one in range(cells.ndim)]
        if not torch.equal(places, steps.view(across).expand_as(places)):
            return False
    return True


def _places(truth: Sequence[AxisReading], key: Key, shape: Sequence[int]) -> Tensor:
    """Where each element of an activation lies along an axis of an input; -1 ahead and behind."""
    mine = [f for one in truth for f in one.factors if key in f.keys]
    mine.sort(key=lambda f: f.slope)  # the finest first
    step = {id(f): math.prod(one.size for one in mine[:n]) for n, f in enumerate(mine)}
    total = torch.zeros(tuple(shape), dtype=torch.long)
    for axis, one in enumerate(truth):
        place = torch.arange(one.length - one.prefix - one.suffix)
        steps, inner = torch.zeros_like(place), 1
        for factor in reversed(one.factors):
            if id(factor) in step:
                steps += place // inner % factor.size * step[id(factor)]
            inner *= factor.size
        ends = [torch.full((count,), -(10**9)) for count in (one.prefix, one.suffix)]
        across = [-1 if other == axis else 1 for other in range(len(shape))]
        total = total + torch.cat([ends[0], steps, ends[1]]).view(across)
    return total
