"""What shapes and modules tell of an activation's axes: rules, which do not ask the network.

Maps have an axis for each axis of space, before the channels or behind them; tokens have one axis
for all of space, maybe with others ahead (class, distillation and register tokens). A reading fits
when its space is the input's space, shrunk alike along every axis; for tokens, when they are a
grid of square patches behind a short prefix, or the grid that the layer itself gave beside them.
Where the shape alone does not decide, the modules do (`evidence`). Where nothing decides, the
error shows the arithmetic; nothing is guessed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from gradcam_hooks.errors import LayoutError
from gradcam_hooks.layout.evidence import (
    Extra,
    channel_order,
    channel_order_around,
    extra_tokens,
    in_regions,
    no_patches,
)
from gradcam_hooks.layout.grids import LOOSELY, counts, stretch, told_grids
from gradcam_hooks.layout.input_axes import InputAxes
from gradcam_hooks.layout.reading import Layout, bind
from gradcam_hooks.layout.shorthands import expand
from gradcam_hooks.layout.windows import cut_up, pair_of_tokens
from gradcam_hooks.network.modules import describe

__all__ = ["infer", "input_axes", "said"]

_TOLERANCES = (math.log(1.1), LOOSELY)
"""How unlike the axes may have shrunk: hardly, or as much as unpadded layers take off a short side.
A reading that fits closely stands before one that fits loosely."""

_PREFIX = 2
"""How many tokens may stand ahead of the patches where nobody tells: one for the class, one for
distillation. More would let many a sequence pass for a grid."""

_Order = Literal["first", "last", "tokens", "tokens-first", "sequence-first"]

_PATTERNS: Mapping[_Order, str] = {
    "first": "b c {}",
    "last": "b {} c",
    "tokens": "b {} c",
    "tokens-first": "b c {}",
    "sequence-first": "{} b c",
}


def input_axes(shape: Sequence[int], model: nn.Module, asked: str | None = None) -> InputAxes:
    """The axes of an input: as the user says, or as the network's convolutions tell.

    Videos may come as ``(batch, frames, channels, height, width)``, as transformers' networks take
    them: then the channels of the first three-dimensional convolution are the third axis.

    Raises:
        LayoutError: what was said breaks the grammar, or names other axes.

    >>> net = nn.Conv3d(3, 8, 2)
    >>> str(input_axes((1, 3, 16, 32, 40), net)), str(input_axes((1, 16, 3, 32, 40), net))
    ('b c d h w', 'b t c h w')
    """
    if asked is None and len(shape) == 5:
        first = next((one for one in model.modules() if isinstance(one, nn.Conv3d)), None)
        if first is not None and first.in_channels == shape[2] != shape[1]:
            asked = "b t c h w"
    return InputAxes.read(asked, len(shape))


def said(
    asked: str,
    shape: Sequence[int],
    size: Sequence[int],
    name: str,
    modules: Mapping[str, nn.Module],
    axes: InputAxes,
    batch: int,
) -> Layout:
    """The layout that the user said, in the language of axes or by a shorthand.

    Args:
        asked: what was said.
        shape: the activation's shape.
        size: the input's sizes along its words of space.
        name: the layer's dotted name.
        modules: the model's modules by name, which tell how many tokens stand ahead.
        axes: the axes of the input.
        batch: how many images went in.

    Raises:
        LayoutError: it breaks the grammar, or the activation has other axes.
    """
    extra = extra_tokens(name, modules)
    ahead = None if extra is None else extra.ahead
    try:
        text = expand(asked, shape, axes, size, ahead=ahead)
    except LayoutError:
        if ahead is None:
            raise
        text = expand(asked, shape, axes, size)  # the modules may tell of other layers' tokens
    kinds = extra.kinds if extra is not None else ()
    try:
        return bind(text, shape, axes, size, batch, kinds=kinds)
    except LayoutError as error:
        raise LayoutError(f"layer {describe(name)} gives {tuple(shape)}: {error}") from None


def infer(
    shape: Sequence[int],
    size: Sequence[int],
    name: str,
    modules: Mapping[str, nn.Module],
    axes: InputAxes | None = None,
    *,
    batch: int | None = None,
    grid: Sequence[int] | None = None,
) -> Layout:
    """The layout of an activation of ``shape`` at layer ``name``, as the rules read it.

    Args:
        shape: the activation's shape.
        size: the input's sizes along its words of space.
        name: the layer's dotted name.
        modules: the model's modules by name, whose kinds tell what the shape does not.
        axes: the axes of the input; by default the usual for so many of space.
        batch: how many images went in; by default the first axis.
        grid: the grid of its tokens that the layer itself told.

    Raises:
        LayoutError: the number of axes fits no reading, or two readings fit, or none; or the
            activation is of windows that the map was cut into.

    >>> str(infer((1, 512, 7, 7), (224, 224), "", {"": nn.Sequential()}))
    'b c=512 h=7 w=7'
    >>> str(infer((1, 197, 768), (224, 224), "", {"": nn.Sequential()}))
    'b 1+(h=14 w=14) c=768'
    """
    batch = shape[0] if batch is None else batch
    axes = InputAxes.read(None, 2 + len(size)) if axes is None else axes
    _refuse(shape, size, name, modules, batch)
    readings = _readings(shape, size, name, modules, batch, grid)
    reading = _fitting(readings, shape, size, name, modules)
    if reading is None:
        raise LayoutError(_undecided(shape, size, name, readings, axes))
    if reading.tokens and _flat_map(shape, size, name, modules):
        raise LayoutError(
            f"layer {describe(name)} gives {tuple(shape)}, which is of the proportions of the "
            f"input, {_times(size)}, and comes from convolutions: a map without channels. If it "
            f"is, say so: layout='b {' '.join(axes.space)}'; or, if these are tokens: "
            f"layout={reading.text(axes)!r}."
        )
    return bind(reading.text(axes), shape, axes, size, batch, kinds=reading.kinds)


def _refuse(
    shape: Sequence[int],
    size: Sequence[int],
    name: str,
    modules: Mapping[str, nn.Module],
    batch: int,
) -> None:
    """Raise where the modules tell that the activation is no map of the image."""
    if cut := cut_up(shape, batch, name, modules):
        raise LayoutError(cut)
    if pair_of_tokens(shape, counts(tuple(size), _prefixes(name, modules)), name, modules):
        raise LayoutError(
            f"layer {describe(name)} gives {tuple(shape)} within an attention, where two axes of "
            "one length are the weights of tokens for tokens more often than height and width. "
            "Name a layer outside of the attention; or, if it is a map, say so: "
            "layout='b c h w' or layout='b h w c'."
        )
    if in_regions(name, modules):
        raise LayoutError(
            f"layer {describe(name)} gives {tuple(shape)}, a map for each region that was cut out "
            "of the image, and none of the image. Name a layer of the backbone; "
            "gradcam_hooks.layers(model, x) lists those that ran."
        )


def _readings(
    shape: Sequence[int],
    size: Sequence[int],
    name: str,
    modules: Mapping[str, nn.Module],
    batch: int,
    grid: Sequence[int] | None,
) -> list[_Reading]:
    """The readings that a shape can have at this layer."""
    extra = extra_tokens(name, modules)
    maps = _steps(shape, size, extra) or list(_maps(shape, size))
    readings = [*maps, *_tokens(shape, size, batch, name, modules, grid)]
    # What a recurrent layer gives has as many axes as tokens, and so have many other things:
    # tokens must be an exact grid behind as short a prefix as nearly all have.
    recurrent = isinstance(modules[name], nn.RNNBase)
    return [one for one in readings if not one.bold and not (recurrent and one.tokens)]


def _fitting(
    readings: Sequence[_Reading],
    shape: Sequence[int],
    size: Sequence[int],
    name: str,
    modules: Mapping[str, nn.Module],
) -> _Reading | None:
    """The one reading that fits best; None where none does, or more than one."""
    own, flat = channel_order(modules[name]), len(size) == 2
    if own is not None:
        readings = [one for one in readings if one.channel_order == own]
    for closeness in (0, 1, 2):
        fitting = [one for one in readings if one.closeness == closeness]
        told = own
        if len(fitting) > 1 or closeness == 2:
            told = own or channel_order_around(name, modules)
        if closeness == 2 and (told is None or (told == "last" and flat)):
            # The number of axes alone decides nothing; and linear layers see much that has four
            # axes and is no picture, where convolutions are known to be on one.
            return None
        if len(fitting) > 1:
            agreeing = [one for one in fitting if one.channel_order == told]
            fitting = agreeing if len(agreeing) == 1 else fitting
        if fitting:
            return fitting[0] if len(fitting) == 1 else None
    return None


@dataclass(frozen=True)
class _Reading:
    """A layout that a shape can have, and how well its space fits the input's.

    Attributes:
        order: where the channels are.
        space: the layer's size along each axis of space.
        closeness: 0 where it fits closely, 1 where loosely, 2 where only its axes are as many.
        prefix: how many tokens stand ahead of those in space.
        kinds: what these are, where the modules tell.
        behind: how many tokens stand behind them.
        bold: whether it is too bold to be taken unasked.
    """

    order: _Order
    space: tuple[int, ...]
    closeness: int
    prefix: int = 0
    kinds: tuple[tuple[str, int], ...] = ()
    behind: int = 0
    bold: bool = False

    @property
    def tokens(self) -> bool:
        """Whether it has one axis for all of space."""
        return self.order not in ("first", "last")

    @property
    def channel_order(self) -> str:
        """Which modules work so: those on the first axis behind the batch, or on the last."""
        return "first" if self.order.endswith("first") and self.order[0] != "s" else "last"

    def text(self, axes: InputAxes) -> str:
        """The reading in the language of axes."""
        each = [f"{word}={size}" for word, size in zip(axes.space, self.space, strict=True)]
        if not self.tokens:
            return _PATTERNS[self.order].format(" ".join(each))
        group = f"({' '.join(each)})" if len(each) > 1 else each[0]
        counted = sum(count for _, count in self.kinds) == self.prefix
        ahead = [count for _, count in self.kinds] if counted else [self.prefix]
        terms = [*map(str, filter(None, ahead)), group, *map(str, filter(None, [self.behind]))]
        return _PATTERNS[self.order].format("+".join(terms))


def _maps(shape: Sequence[int], image: Sequence[int]) -> Iterator[_Reading]:
    """The readings with an axis for each axis of space."""
    if len(shape) != 2 + len(image):
        return
    both: tuple[tuple[_Order, Sequence[int]], ...] = (("first", shape[2:]), ("last", shape[1:-1]))
    for order, space in both:
        unlike = stretch(space, image)
        closeness = sum(unlike > tolerance for tolerance in _TOLERANCES)
        # What was pooled to one position says nothing of the input's aspect.
        fits = min(closeness, 1) if math.prod(space) == 1 else closeness
        yield _Reading(order, tuple(space), fits)


def _steps(shape: Sequence[int], image: Sequence[int], extra: Extra | None) -> list[_Reading]:
    """The readings of a sequence that other tokens may stand ahead of; none where there are none.

    Steps are of one length: where the input is a whole number of steps with those tokens counted,
    or without, but not both, that is the reading.
    """
    if len(image) != 1 or len(shape) != 3 or extra is None or not extra.ahead:
        return []
    length, ahead = shape[1], extra.ahead
    bare = _Reading("last", (length,), 0)
    if length <= ahead:
        return [bare]
    readings = [bare, _Reading("tokens", (length - ahead,), 0, ahead, extra.kinds)]
    whole = [one for one in readings if image[0] % one.space[0] == 0]
    return [*(whole if len(whole) == 1 else readings), _Reading("first", (shape[2],), 0)]


def _orders(shape: Sequence[int], batch: int) -> list[tuple[_Order, int]]:
    """In which orders three axes can be tokens: the name, and how many tokens."""
    if len(shape) != 3:
        return []
    if shape[0] == batch:
        return [("tokens", shape[1]), ("tokens-first", shape[2])]
    return [("sequence-first", shape[0])] if shape[1] == batch else []


def _tokens(
    shape: Sequence[int],
    image: Sequence[int],
    batch: int,
    name: str,
    modules: Mapping[str, nn.Module],
    told: Sequence[int] | None,
) -> Iterator[_Reading]:
    """The readings with one axis for all of space: a grid of square patches behind a prefix."""
    if len(shape) != 3 or len(image) < 2 or 0 in image:
        return
    extra = extra_tokens(name, modules)
    known, most_behind = (None, 0) if extra is None else (extra.ahead, extra.behind)
    grids = told_grids(tuple(image), told, modules)
    for order, tokens in _orders(shape, batch):
        other = no_patches(tokens, name, modules)
        for space, exact in grids:
            for behind in {0, most_behind}:
                prefix = tokens - behind - math.prod(space)
                if prefix in (0, known) if known is not None else 0 <= prefix <= _PREFIX:
                    bold = not exact or other or order == "tokens-first"
                    kinds = extra.kinds if extra is not None and prefix else ()
                    yield _Reading(order, space, int(not exact), prefix, kinds, behind, bold)


def _prefixes(name: str, modules: Mapping[str, nn.Module]) -> Sequence[int]:
    """How many tokens can stand beside the patches at a layer."""
    extra = extra_tokens(name, modules)
    return range(_PREFIX + 1) if extra is None else (0, extra.ahead + extra.behind)


def _flat_map(
    shape: Sequence[int], image: Sequence[int], name: str, modules: Mapping[str, nn.Module]
) -> bool:
    """Whether what passes for tokens may be a map whose one channel was taken away."""
    like = len(image) == 2 and stretch(shape[1:], image) <= _TOLERANCES[0]
    return like and channel_order_around(name, modules) == "first"


def _undecided(
    shape: Sequence[int],
    image: Sequence[int],
    name: str,
    readings: Sequence[_Reading],
    axes: InputAxes,
) -> str:
    what = f"layer {describe(name)} gives {tuple(shape)} for an input of space {_times(image)}"
    best = min((one.closeness for one in readings), default=2)
    shown = dict.fromkeys(one.text(axes) for one in readings if one.closeness == best)
    words = " ".join(axes.space)
    if not readings:
        example = f"b ({words}) c" if len(image) > 1 else f"b {words} c"
        return (
            f"{what}: {len(shape)} axes, where maps have {2 + len(image)} (b c {words}) and tokens "
            f"are a grid of patches ({example}). Say what its axes are, as in layout='b c {words}' "
            f"or layout={example!r}, or name a layer whose output is still spatial; "
            "gradcam_hooks.layers(model, x) marks them."
        )
    fit = "no reading fits" if best == 2 else "more than one reading fits"
    asks = " or ".join(f"layout={one!r}" for one in shown)
    return f"{what}, and {fit}: {'; '.join(shown)}. Say which: {asks}, or name another layer."


def _times(size: Sequence[int]) -> str:
    return "x".join(map(str, size))
