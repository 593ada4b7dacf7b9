"""Who reads a layer's axes: the user's word, the rules where the case is plain, or the network.

The rules are believed where the network's stem saw the input as it is and nothing is there that is
known to fool them. Else the network itself is asked (`probe`), once for a layer and a shape; what
it cannot tell is an error that shows the readings. Nothing is guessed without a word: what was
read says who read it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import torch
from torch import nn

from gradcam_hooks.errors import LayoutError
from gradcam_hooks.layout import probe
from gradcam_hooks.layout.asking import (
    Network,
    agrees,
    axes_of,
    claim_of,
    only_channels,
    ordered,
    words,
)
from gradcam_hooks.layout.factors import Reading
from gradcam_hooks.layout.fits import FEW
from gradcam_hooks.layout.grids import stretch
from gradcam_hooks.layout.input_axes import InputAxes
from gradcam_hooks.layout.pattern import BATCH, Axis
from gradcam_hooks.layout.placement import Placement
from gradcam_hooks.layout.placing import placed
from gradcam_hooks.layout.reading import Layout, ToldLayout, bind
from gradcam_hooks.layout.rules import infer, said
from gradcam_hooks.layout.shorthands import PROBE
from gradcam_hooks.layout.stem import Stem
from gradcam_hooks.layout.watching import Signature, Watched, shapes
from gradcam_hooks.network.attending import are_weights
from gradcam_hooks.network.hooks import Tapped
from gradcam_hooks.network.inputs import Inputs
from gradcam_hooks.network.modules import describe, named
from gradcam_hooks.network.tree import Path

__all__ = ["LayerReading", "Words", "by_rules", "is_plain", "read"]

_TRUSTED = ("timm.", "torchvision.", "transformers.")
"""Packages whose patches are known to stand row by row behind their patch embedding."""


@dataclass(frozen=True)
class Words:
    """What the user says of axes: of the layer's, of the input's; None where nothing."""

    layout: str | None = None
    axes: str | None = None


@dataclass(frozen=True)
class LayerReading:
    """How a layer's axes are read.

    Attributes:
        layout: where its channels and its space are.
        axes: the axes of the input that its map lies on.
        told: the same for people, with who read it.
        place: where the map lies on the input, where that is not all of it.
        image: the way to the input that the map lies on; None where it is the image.
    """

    layout: Layout
    axes: InputAxes
    told: ToldLayout
    place: Placement | None = None
    image: Path | None = None


_READ: WeakKeyDictionary[nn.Module, dict[Signature, LayerReading]] = WeakKeyDictionary()
"""What was asked of a network, which costs many passes, by the layer and the shapes."""


def read(
    said_words: Words,
    model: nn.Module,
    inputs: Inputs,
    tapped: Tapped,
    seen: Watched,
) -> LayerReading:
    """The axes of one call of a layer.

    Args:
        said_words: what the user says of them.
        model: the network, in the state in which it ran.
        inputs: what it was given.
        tapped: the call, with its activation.
        seen: what else was seen of that pass.

    Raises:
        LayoutError: what the user said does not fit, or nobody can tell.
    """
    activation = tapped.tap.activation
    layer = (tapped.name, tapped.call, tuple(activation.shape))
    stem = (seen.stem.axes, seen.stem.turned, seen.place)
    key = (*layer, said_words, inputs.place, shapes(inputs), stem)
    known = _READ.setdefault(model, {})
    if key not in known:
        known[key] = _Reader(said_words, model, inputs, tapped, seen).read()
    return known[key]


def is_plain(
    model: nn.Module,
    inputs: Inputs,
    layout: Layout,
    seen: Watched,
    shape: Sequence[int],
    *,
    weights: bool,
) -> bool:
    """Whether nothing is there that is known to fool the rules, so that `read` believes them.

    Args:
        model: the network.
        inputs: what it was given.
        layout: what the rules read.
        seen: what else was seen of the pass.
        shape: that of what the layer gave.
        weights: whether that is an attention's weights.
    """
    axes, stem, image = seen.axes(model, inputs), seen.stem, inputs.image
    if inputs.place.inside is None:  # no list of pictures, which are one image's batch
        floats = (one for one in inputs.tensors() if one.is_floating_point())
        if sum(one.ndim >= image.ndim for one in floats) > 1:
            return False
    turned = stem.axes is None or stem.turned or stem.channel != axes.channel_axis
    if seen.place is None and turned:
        return False
    if weights or _counts(layout.space, seen.size(axes, image), stem.grids):
        return False
    if stem.folded and shape[0] == inputs.batch:
        return False  # frames that were folded into the batch stand elsewhere now
    tokens = [axis for axis in layout.pattern.axes if axis.others or _is_grid(axis)]
    if not tokens:
        return True
    known = type(model).__module__.startswith(_TRUSTED)  # row by row, as their stem gave them
    return known and not stem.drew and layout.space in stem.grids


def _counts(space: Sequence[int], size: Sequence[int], grids: Collection[tuple[int, ...]]) -> bool:
    """Whether axes, all alike or ill fitting, may count tokens: as long as a grid has cells."""
    if tuple(space) in grids or (len(set(space)) > 1 and stretch(space, size) < 0.1):
        return False
    return any(0 <= n - math.prod(grid) < FEW for grid in grids for n in space)


def by_rules(
    shape: Sequence[int],
    size: Sequence[int],
    name: str,
    modules: Mapping[str, nn.Module],
    axes: InputAxes,
    batch: int,
    stem: Stem,
    grid: Sequence[int] | None = None,
) -> Layout:
    """What the rules read; frames that the stem saw in the batch are there at the layer too.

    Raises:
        LayoutError: the rules cannot tell.
    """
    left = dict(zip(axes.space, size, strict=True))
    words = [axes.words[axis] for axis in stem.folded]
    frames = {word: left.pop(word) for word in words if word in left}
    count = batch * math.prod(frames.values())
    if not frames or shape[0] != count:
        return infer(shape, size, name, modules, axes, batch=batch, grid=grid)
    each = InputAxes.read(" ".join(["b", "c", *left]), 2 + len(left))
    inner = infer(shape, tuple(left.values()), name, modules, each, batch=count, grid=grid)
    group = " ".join(["b", *(f"{word}={length}" for word, length in frames.items())])
    texts = (str(axis) for axis in inner.pattern.axes)
    text = " ".join(f"({group})" if one == "b" else one for one in texts)
    return bind(text, shape, axes, size, batch, kinds=inner.kinds)


class _Reader:
    """Reads one call of a layer."""

    def __init__(
        self,
        said_words: Words,
        model: nn.Module,
        inputs: Inputs,
        tapped: Tapped,
        seen: Watched,
    ) -> None:
        self.words, self.model, self.inputs, self.seen = said_words, model, inputs, seen
        self.name, self.tapped, self.stem, self.place = tapped.name, tapped, seen.stem, seen.place
        self.shape = tuple(tapped.tap.activation.shape)

    @cached_property
    def modules(self) -> dict[str, nn.Module]:
        """The model's modules by name."""
        return named(self.model)

    def read(self) -> LayerReading:
        """What the user said, else what is plain, else what the network tells."""
        axes = self.seen.axes(self.model, self.inputs)
        layout = self.words.layout
        if layout is not None and layout != PROBE:
            return self._said(layout, axes)
        try:
            ruled, error = self._ruled(axes), None
        except LayoutError as refused:
            ruled, error = None, refused
        if layout != PROBE and ruled is not None and self.plain(ruled):
            return LayerReading(ruled, axes, ToldLayout(str(ruled), "rules"), self.place)
        return self._asked(axes, ruled, error)

    def _size(self, axes: InputAxes) -> tuple[int, ...]:
        return self.seen.size(axes, self.inputs.image)

    def _said(self, layout: str, axes: InputAxes) -> LayerReading:
        """What the user said; where tokens are a grid, unless the network tells another order.

        Raises:
            LayoutError: it does not fit, or the network is sure that it is otherwise.
        """
        size, batch = self._size(axes), self.inputs.batch
        found = said(layout, self.shape, size, self.name, self.modules, axes, batch)
        told = ToldLayout(str(found), "you")
        place = self.place
        moved = place is None and self.stem.given is not None and self.stem.axes is None
        unsure = any(map(_is_grid, found.pattern.axes)) and not self.plain(found)
        if moved or unsure:
            network = Network(self.model, self.inputs, self.name)
            reading = self._probed(network)
            claim = claim_of(found, axes, network.image, self.shape, batch)
            if reading is not None and reading.sure and not agrees(reading, claim):
                other = self._from(reading, network, network.image)
                if other is not None and ":" in layout and _sizes(other.layout) == _sizes(found):
                    return other  # "tokens:2x5" says how many, and not of what
                shown = f": layout={other.told!r}" if other is not None else ""
                raise LayoutError(
                    f"layer {describe(self.name)} gives {self.shape}, and layout={layout!r} reads "
                    f"it as {found}; the network itself, when asked, tells another order{shown}. "
                    "Take that, or leave layout= out."
                )
            if moved and reading is not None:
                place = self._placed(network, network.image, axes, reading)
        return LayerReading(found, axes, told, place)

    def _probed(self, network: Network) -> Reading | None:
        """What the network tells of this call; None where the layer is not called twice alike."""
        with torch.enable_grad():
            readings = probe.read(network.run, network.tensors, grad_run=network.run)
        return readings[self.tapped.call] if self.tapped.call < len(readings) else None

    def _ruled(self, axes: InputAxes) -> Layout:
        size, grid = self._size(axes), self.tapped.tap.grid
        return by_rules(
            self.shape, size, self.name, self.modules, axes, self.inputs.batch, self.stem, grid
        )

    def plain(self, layout: Layout) -> bool:
        """Whether nothing is there that is known to fool the rules."""
        weights = are_weights(self.tapped.tap.activation)
        return is_plain(self.model, self.inputs, layout, self.seen, self.shape, weights=weights)

    def _asked(
        self, axes: InputAxes, ruled: Layout | None, refused: LayoutError | None
    ) -> LayerReading:
        """What the network tells.

        Raises:
            LayoutError: it cannot be told.
        """
        if self.inputs.place.inside is not None:  # a list of pictures, of which none is the batch
            if ruled is None:
                raise refused or self._unknown(None, ["the pictures come as a list"])
            return LayerReading(ruled, axes, ToldLayout(str(ruled), "rules"), self.place)
        network = Network(self.model, self.inputs, self.name)
        reading = self._probed(network)
        if reading is None:
            raise self._unknown(refused, ["it does not call the layer twice alike"])
        if self.stem.drew and not network.steady(self.tapped.call):
            raise self._unknown(refused, ["the random numbers that it draws move its cells"])
        image = self.inputs.image
        number = self._which(network, reading)
        found = None
        wished = self.words.layout == PROBE and reading.sure
        if ruled is not None and number in (None, network.image) and not wished:
            claim = claim_of(ruled, axes, network.image, self.shape, self.inputs.batch)
            if agrees(reading, claim):
                place = self._placed(network, network.image, axes, reading)
                told = ToldLayout(str(ruled), "rules", reading.passes)
                found = LayerReading(ruled, axes, told, place)
        if (
            found is None
            and number is not None
            and (reading.sure or only_channels(reading, image.ndim))
        ):
            found = self._from(reading, network, number)
        if found is None:
            raise self._unknown(refused, reading.doubts)
        return found

    def _which(self, network: Network, reading: Reading) -> int | None:
        """Which of the inputs the layer sees; None where it sees none, or several."""
        seen = {at for one in reading.axes for f in one.factors for at, axis in f.keys if axis}
        if network.image in seen:
            return network.image
        return seen.pop() if len(seen) == 1 else None

    def _from(self, reading: Reading, network: Network, number: int) -> LayerReading | None:
        """What a sure reading says, in words."""
        tensor = network.tensors[number]
        if number == network.image and (self.words.axes or self.stem.axes):
            axes: InputAxes | None = self.seen.axes(self.model, self.inputs)
        else:
            axes = axes_of(reading, tensor.shape, number, self.stem.taken)
        if axes is None:
            return None
        text = words(reading, axes, number, self.inputs.batch)
        if text is None:
            return None
        layout = bind(text, self.shape, axes, axes.size(tensor.shape), self.inputs.batch)
        if math.prod(layout.space) == 1 or not ordered(reading):
            return None  # what it carries is no space, or so few cells that chance may order them
        told = ToldLayout(str(layout), "probe", reading.passes)
        other = None if number == network.image else network.path(number)
        place = self._placed(network, number, axes, reading)
        return LayerReading(layout, axes, told, place, other)

    def _placed(
        self, network: Network, number: int, axes: InputAxes, reading: Reading
    ) -> Placement | None:
        """Where the map lies; on all of the image where the stem saw all of it."""
        if self.place is not None:
            return self.place
        whole = number == network.image and self.stem.axes is not None and not self.stem.turned
        return placed(network, self.tapped.call, number, axes, reading, whole=whole)

    def _unknown(self, refused: LayoutError | None, doubts: Sequence[str]) -> LayoutError:
        rules = str(refused) if refused is not None else ""
        why = "; ".join(doubts) or "what it tells fits no reading"
        return LayoutError(
            f"{rules or f'layer {describe(self.name)} gives {self.shape}.'}\nThe network was asked "
            f"and does not tell either: {why}. Say what the axes are, as in layout='b c h w' and, "
            "of the input, axes='b c h w' (b the batch, c channels, every other word space), or "
            "name another layer."
        )


def _sizes(layout: Layout) -> list[int | None]:
    """The sizes of its factors, in their order."""
    return [one.size for one in layout.pattern.factors]


def _is_grid(axis: Axis) -> bool:
    """Whether several words of space share an axis."""
    return len(axis.factors) > 1 and all(one.word != BATCH for one in axis.factors)
