"""The probe wired to a network, and its answer in the language of axes.

`Asked` runs a model on other inputs and catches one layer's activations; `words` says a reading in
words. The model's state is the caller's matter (`untouched`); each pass finds what the first one
found, and draws alike. Knows modules, inputs and the probe; decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn
from torch import set_grad_enabled as _grad

from gradcam_hooks.layout.factors import AxisReading, Factor, Reading
from gradcam_hooks.layout.fits import FEW
from gradcam_hooks.layout.input_axes import CHANNELS, InputAxes, usual_words
from gradcam_hooks.layout.pattern import BATCH
from gradcam_hooks.layout.reading import Layout
from gradcam_hooks.network.chance import Chance
from gradcam_hooks.network.contents import Contents
from gradcam_hooks.network.hooking import hooked
from gradcam_hooks.network.inputs import Inputs
from gradcam_hooks.network.modules import named
from gradcam_hooks.network.outputs import main_tensor
from gradcam_hooks.network.tree import Path, walk

_COLOURS = 4
"""As many channels as a picture has at the most."""

_STATES, _MOVED = 8, 0.3
"""Passes that draw other numbers, and the share of its variance by which a layer may differ."""

_APART = 0.5
"""Of the input's axis, from the first to the last of few cells, which chance hardly does."""

__all__ = ["Network", "agrees", "axes_of", "claim_of", "only_channels", "ordered", "words"]


@dataclass(frozen=True)
class Network:
    """A model and one of its layers, to be run on other inputs.

    Attributes:
        model: in the state in which it is to run.
        inputs: what it was given.
        name: the layer's dotted name.
    """

    model: nn.Module
    inputs: Inputs
    name: str

    @cached_property
    def tensors(self) -> list[Tensor]:
        """The inputs' floating-point tensors, in order: words and sizes are left as they are."""
        return [one for one in self.inputs.tensors() if one.is_floating_point()]

    @cached_property
    def image(self) -> int:
        """Which of them is the image that the map is to lie on; of a list of pictures the first."""
        for number, tensor in enumerate(self.tensors):
            if tensor is self.inputs.image:
                return number
        return 0

    def path(self, number: int) -> Path:
        """The way from the arguments to one of `tensors`."""
        found = walk((self.inputs.args, self.inputs.kwargs))
        return next(path for path, part in found if part is self.tensors[number])

    @cached_property
    def _chance(self) -> Chance:
        return Chance()

    @cached_property
    def _contents(self) -> Contents:
        return Contents(list(self.model.modules()), ())

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The activation of each call of the layer, for other tensors in the place of these."""
        self._chance.put_back()
        return self._outputs(tensors)

    def steady(self, call: int) -> bool:
        """Whether a call's cells stay where they are in passes that draw other random numbers."""
        base = self.run(self.tensors)[call].float()
        spread = base.var()
        for _ in range(_STATES):
            others = self._outputs(self.tensors)
            if len(others) <= call or others[call].shape != base.shape:
                return False
            if (others[call].float() - base).square().mean() > _MOVED * spread:
                return False
        return True

    def _outputs(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        caught: list[Tensor] = []

        def leave(name: str, output: object) -> None:
            found = main_tensor(output)
            if found is not None:
                caught.append(found.clone())

        self._contents.put_back()  # what a pass left: an observer's ranges, a cache
        graph = any(one.requires_grad for one in tensors)
        with hooked({self.name: named(self.model)[self.name]}, leave), _grad(graph):
            self._with(tensors).call(self.model)
        return caught

    def _with(self, tensors: Sequence[Tensor]) -> Inputs:
        """The inputs with these in the place of `tensors`, and all in memory of their own."""
        new = iter(tensors)
        every = self.inputs.tensors()
        return self.inputs.with_tensors(
            [next(new).clone() if one.is_floating_point() else one.clone() for one in every]
        )


def axes_of(
    reading: Reading, shape: Sequence[int], number: int, taken: int | None
) -> InputAxes | None:
    """The axes of an input, as a reading of a layer behind it tells them; None where it does not.

    An axis that the layer no longer carries is channels; of several the one as long as the first
    convolution takes channels. A layer that mixes nothing yet carries its channels like space:
    they are that one, or the one short axis.

    Args:
        reading: of a layer.
        shape: the input's.
        number: which of the inputs it is.
        taken: how many channels the first convolution takes; None where none ran.
    """
    carried = {
        axis for one in reading.axes for f in one.factors for at, axis in f.keys if at == number
    }
    gone = [axis for axis in range(1, len(shape)) if axis not in carried]
    if not gone and not reading.mixed and len(shape) > 3:
        gone = [axis for axis in range(1, len(shape)) if shape[axis] <= _COLOURS]
    for may in ([n for n in gone if shape[n] > 1], [n for n in gone if shape[n] == taken], gone):
        if len(may) == 1:
            return _usual(shape, may[0])
    return None if gone else _usual(shape, None)


def _usual(shape: Sequence[int], channel: int | None) -> InputAxes | None:
    found = usual_words(len(shape), channel)
    return None if found is None else InputAxes.read(" ".join(found), len(shape))


def words(reading: Reading, axes: InputAxes, number: int, batch: int) -> str | None:
    """A reading in the language of axes; None where it is no map, as the weights of an attention.

    Args:
        reading: of a layer.
        axes: the axes of the input that the map lies on.
        number: which of the inputs it is.
        batch: how many elements it has; of one the light tells nothing, so it is the first axis of
            length one, or the outer factor of the first axis.
    """
    if any(factor.inputs for one in reading.axes for factor in one.factors):
        return None  # of several inputs one behind the other, of which the map lies on one
    names = axes.words
    single = next((n for n, one in enumerate(reading.axes) if one.length == 1), None)
    groups = [_named(one, names, number) for one in reading.axes]
    if batch == 1 and single is not None:
        groups[single] = [_Part(BATCH, 1)]
    elif batch == 1:
        groups[0] = [_Part(BATCH, 1), *groups[0]]
    groups = [
        [_Part(CHANNELS, one.length)] if not group and one.length > 1 else group
        for group, one in zip(groups, reading.axes, strict=True)
    ]
    flat = [part for group in groups for part in group]
    texts = []
    for group, one in zip(groups, reading.axes, strict=True):
        each = [_numbered(part, flat) for part in group]
        inner = f"({' '.join(each)})" if len(each) > 1 else (each or ["1"])[0]
        terms = [one.prefix or None, inner, one.suffix or None]
        texts.append("+".join(str(term) for term in terms if term is not None))
    return " ".join(texts)


def claim_of(
    layout: Layout, axes: InputAxes, number: int, shape: Sequence[int], batch: int
) -> tuple[AxisReading, ...]:
    """A layout as the probe takes it, to be verified.

    Args:
        layout: of the layer.
        axes: the axes of the input that the map lies on.
        number: which of the inputs it is.
        shape: the activation's.
        batch: how many elements it has.
    """
    places = {
        one.word: place for place, axis in enumerate(axes.pattern.axes) for one in axis.factors
    }
    found = []
    for axis, length in zip(layout.pattern.axes, shape, strict=True):
        factors = []
        for one in axis.factors:
            known = one.word != CHANNELS
            later = [
                other for other in layout.pattern.of_word(one.word) if other.number > one.number
            ]
            step = float(math.prod(other.size or 1 for other in later))
            size = batch if one.word == BATCH else one.size or 1
            factors.append(
                Factor(number if known else None, places[one.word] if known else None, size, step)
            )
        alone = all(one.input is None for one in factors)
        own = () if alone else tuple(factors)
        found.append(AxisReading(length, sum(axis.ahead), sum(axis.behind), own))
    return tuple(found)


def only_channels(reading: Reading, rank: int) -> bool:
    """Whether all that is open of a reading is which of two silent axes are channels: both are.

    So it is with the frequencies that a network makes of samples, ``(batch, time)``, and with the
    neighbours of points. Else one of the silent axes may be space that is too mixed to see, as in
    a window.
    """
    silent = [one for one in reading.axes if one.length > 1 and not one.factors]
    factors = [one.factors for one in reading.axes if one.factors]
    alone = all(len(each) == 1 and (each[0].axis == 0 or each[0].size >= FEW) for each in factors)
    open_ones = len(reading.doubts) == 1 and "carry nothing" in reading.doubts[0]
    carried = {key for one in reading.axes for f in one.factors for key in f.keys if key[1]}
    return open_ones and len(silent) == 2 and alone and len(carried) >= rank - 2 > -1


def ordered(reading: Reading) -> bool:
    """Whether chance would hardly order some axis so: of many cells, or few that are far apart.

    Three logits are in some order along the picture by chance; few cells that all channels tell
    apart alike are not, and so there is an axis of channels beside.
    """
    steps = [
        (factor.size, abs(factor.slope) * (factor.size - 1))
        for one in reading.axes
        for factor in one.factors
        if any(axis for _, axis in factor.keys)
    ]
    many = any(_cells(one) >= FEW for one in reading.axes)
    return many or (reading.mixed and any(size > 2 and span > _APART for size, span in steps))


def _cells(one: AxisReading) -> int:
    """How many cells of an axis have a place."""
    space = [f.size for f in one.factors if any(axis for _, axis in f.keys)]
    return math.prod(space) if space else 0


def agrees(reading: Reading, claim: Sequence[AxisReading]) -> bool:
    """Whether what the network told without a doubt bears a claim out, and nothing speaks against.

    Each axis of the claim that carries space must be borne out; where the network is in doubt of
    an axis that the claim calls channels, the claim is believed.
    """
    for told, claimed in zip(reading.axes, claim, strict=True):
        if not claimed.factors:
            # A layer that mixes nothing yet carries the channels as it does space.
            if told.factors and (reading.mixed or told.length > _COLOURS):
                return False
            continue
        found = [(one.keys[:1], one.size) for one in told.factors]
        if found != [(one.keys[:1], one.size) for one in claimed.factors if one.size > 1]:
            return False
        if (told.prefix, told.suffix) != (claimed.prefix, claimed.suffix):
            return False
    return True


@dataclass(frozen=True, eq=False)
class _Part:
    """A factor in words: of several of one word the coarser, whose steps are longer, is outer."""

    word: str
    size: int
    step: float = 0.0


def _named(one: AxisReading, names: Sequence[str], number: int) -> list[_Part]:
    """The factors of an axis."""
    return [_Part(_word(each, names, number), each.size, abs(each.slope)) for each in one.factors]


def _word(factor: Factor, names: Sequence[str], number: int) -> str:
    mine = [axis for at, axis in factor.keys if at == number]
    if any(axis == 0 for _, axis in factor.keys):
        return BATCH
    return names[mine[0]] if mine else CHANNELS


def _numbered(part: _Part, flat: Sequence[_Part]) -> str:
    """Its word and size, the word numbered where it has several factors."""
    alike = sorted((one for one in flat if one.word == part.word), key=lambda one: -one.step)
    if part.word == BATCH:
        return BATCH
    number = f"{alike.index(part) + 1}" if len(alike) > 1 else ""
    return f"{part.word}{number}={part.size}"
