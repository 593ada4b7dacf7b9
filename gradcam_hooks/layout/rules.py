"""Where the channels and the space of an activation are: inferred as data, or asked for.

A layout is a reading of a shape. Maps have an axis for each axis of space, before the channels or
behind them; tokens have one axis for all of space, maybe with a prefix (class, distillation and
register tokens). A reading fits when its space is the input's space, shrunk alike along every
axis; for tokens, when they are a grid of square patches behind a short prefix, or the grid that
the layer itself gave beside them. Where the shape alone does not decide, the modules do
(`evidence`). Where nothing decides, the error shows the arithmetic; nothing is guessed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

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
from gradcam_hooks.layout.windows import cut_up, pair_of_tokens
from gradcam_hooks.network.modules import describe

__all__ = ["Layout", "LayoutName", "infer"]

LayoutName = Literal[
    "channels-first", "channels-last", "tokens", "tokens-channels-first", "tokens-sequence-first"
]

_TOLERANCES = (math.log(1.1), LOOSELY)
"""How unlike the axes may have shrunk: hardly, or as much as unpadded layers take off a short side.
A reading that fits closely stands before one that fits loosely."""

_PREFIX = 2
"""How many tokens may stand ahead of the patches where nobody tells: one for the class, one for
distillation. More would let many a sequence pass for a grid."""

_MOST_PREFIX = 16
"""How many may where the user says that these are tokens: a few registers more."""

_GRID = re.compile(r"(?:(?P<prefix>\d+)\+)?(?P<space>\d+(?:x\d+)*)")


@dataclass(frozen=True)
class Layout:
    """How an activation's axes are read.

    Attributes:
        name: the order of the axes behind the batch: ``"channels-first"`` (channels, *space),
            ``"channels-last"`` (*space, channels), ``"tokens"`` (tokens, channels),
            ``"tokens-channels-first"`` (channels, tokens); ``"tokens-sequence-first"`` is
            (tokens, batch, channels).
        channels: how many channels it has.
        space: the layer's spatial size, ``(height, width)`` for pictures.
        prefix: how many tokens stand ahead of those in space.
        kinds: what these are, ``(("class", 1), ("register", 4))``, where the model tells.
        behind: how many tokens stand behind those in space.
    """

    name: LayoutName
    channels: int
    space: tuple[int, ...]
    prefix: int = 0
    kinds: tuple[tuple[str, int], ...] = ()
    behind: int = 0

    @property
    def batch_axis(self) -> int:
        """Which axis of the activation is the batch."""
        return 1 if self.name == "tokens-sequence-first" else 0

    def channels_first(self, tensor: Tensor) -> Tensor:
        """A view of ``tensor`` as ``(..., batch, channels, *space)``; what leads its axes stays.

        What is written into the view is written into ``tensor``.
        """
        if self.name == "channels-first":
            return tensor
        if self.name == "channels-last":
            return tensor.movedim(-1, -1 - len(self.space))
        if self.name == "tokens-sequence-first":
            tensor = tensor.movedim(-3, -2)
        if self.name != "tokens-channels-first":
            tensor = tensor.movedim(-1, -2)
        patches = tensor.narrow(-1, self.prefix, math.prod(self.space))
        return torch.unflatten(patches, -1, self.space)

    def __str__(self) -> str:
        space = "x".join(map(str, self.space))
        if not self.name.startswith("tokens"):
            return f"{self.channels} channels x {space} ({self.name})"
        ahead = _counted(self.kinds or (("prefix", self.prefix),)) if self.prefix else ""
        behind = f" + {self.behind} token{'s' * (self.behind > 1)} behind" if self.behind else ""
        return f"{ahead}{space} patches{behind} x {self.channels} channels ({self.name})"


def _counted(kinds: Sequence[tuple[str, int]]) -> str:
    said = " + ".join(f"{count} {kind}" for kind, count in kinds)
    return f"{said} token{'s' * (kinds[-1][1] > 1)} + "


def infer(
    shape: Sequence[int],
    image: Sequence[int],
    name: str,
    modules: Mapping[str, nn.Module],
    asked: str | None = None,
    *,
    batch: int | None = None,
    grid: Sequence[int] | None = None,
) -> Layout:
    """The layout of an activation of ``shape`` at layer ``name``.

    Args:
        shape: the activation's shape.
        image: the spatial size of the network's input.
        name: the layer's dotted name.
        modules: the model's modules by name, whose kinds tell what the shape does not.
        asked: the name of a layout, which is taken at its word; with the grid of tokens behind a
            colon where their number alone is no answer: ``"tokens:8x14x14"``, what is left stands
            ahead of the grid, or ``"tokens:1+8x14x14"``, one token does and what is left stands
            behind.
        batch: how many images went in; by default the first axis.
        grid: the grid of its tokens that the layer itself told.

    Raises:
        LayoutError: the number of axes fits no reading, or two readings fit, or none; or the
            activation is of windows that the map was cut into.

    >>> str(infer((1, 512, 7, 7), (224, 224), "", {"": nn.Sequential()}))
    '512 channels x 7x7 (channels-first)'
    >>> str(infer((1, 197, 768), (224, 224), "", {"": nn.Sequential()}))
    '1 prefix token + 14x14 patches x 768 channels (tokens)'
    >>> str(infer((1, 197, 768), (224, 112), "", {"": nn.Sequential()}, "tokens:28x7"))
    '1 prefix token + 28x7 patches x 768 channels (tokens)'
    """
    batch = shape[0] if batch is None else batch
    order, explicit = _asked(asked)
    if explicit:
        return _explicit(shape, image, name, batch, order, explicit, extra_tokens(name, modules))
    if asked is None and (cut := cut_up(shape, batch, name, modules)):
        raise LayoutError(cut)
    if asked is None and pair_of_tokens(
        shape, counts(tuple(image), _prefixes(name, modules)), name, modules
    ):
        raise LayoutError(
            f"layer {describe(name)} gives {tuple(shape)} within an attention, where two axes of "
            "one length are the weights of tokens for tokens more often than height and width. "
            "Name a layer outside of the attention; or, if it is a map, say so: "
            "layout='channels-first' or layout='channels-last'."
        )
    if in_regions(name, modules):
        raise LayoutError(
            f"layer {describe(name)} gives {tuple(shape)}, a map for each region that was cut out "
            "of the image, and none of the image. Name a layer of the backbone; "
            "gradcam_hooks.layers(model, x) lists those that ran."
        )
    extra = extra_tokens(name, modules)
    maps = _steps(shape, image, extra) or list(_maps(shape, image))
    readings: list[_Reading] = [*maps, *_tokens(shape, image, batch, name, modules, grid)]
    if asked is None:
        # What a recurrent layer gives has as many axes as tokens, and so have many other things:
        # unasked, tokens must be an exact grid behind as short a prefix as nearly all have.
        recurrent = isinstance(modules[name], nn.RNNBase)
        readings = [one for one in readings if not one.bold and not (recurrent and one.tokens)]
    readings = [one for one in readings if order in (None, one.layout.name)]
    own, flat = channel_order(modules[name]), len(image) == 2
    if own is not None and asked is None:
        readings = [one for one in readings if one.channel_order == own]
    for closeness in (0, 1, 2):
        fitting = [one for one in readings if one.closeness == closeness]
        told = own
        if len(fitting) > 1 or closeness == 2:
            told = own or channel_order_around(name, modules)
        if closeness == 2 and asked is None and (told is None or (told == "last" and flat)):
            # The number of axes alone decides nothing; and linear layers see much that has four
            # axes and is no picture, where convolutions are known to be on one.
            break
        if len(fitting) > 1:
            agreeing = [one for one in fitting if one.channel_order == told]
            fitting = agreeing if len(agreeing) == 1 else fitting
        if len(fitting) == 1:
            if asked is None and fitting[0].tokens and _flat_map(shape, image, name, modules):
                raise LayoutError(
                    f"layer {describe(name)} gives {tuple(shape)}, which is of the proportions of "
                    f"the input, {'x'.join(map(str, image))}, and comes from convolutions: a map "
                    "without channels. Name a layer before it; or, if these are tokens, say so: "
                    f"layout='{fitting[0].layout.name}'."
                )
            return fitting[0].layout
        if fitting:
            break
    raise LayoutError(_undecided(shape, image, name, readings))


def _asked(asked: str | None) -> tuple[LayoutName | None, str]:
    """The order of the axes that was asked for, and the grid behind the colon."""
    if asked is None:
        return None, ""
    order, colon, grid = asked.partition(":")
    for name in get_args(LayoutName):
        if name == order and (not colon or name.startswith("tokens")):
            if colon and not _GRID.fullmatch(grid):
                raise LayoutError(
                    f"behind the colon of layout={asked!r} stands the grid of the patches, as in "
                    f"'{name}:14x14', or the tokens ahead of it too, as in '{name}:1+14x14'."
                )
            return name, grid
    names = ", ".join(map(repr, get_args(LayoutName)))
    raise LayoutError(
        f"layout= is one of {names}, not {asked!r}. Tokens may tell their grid: 'tokens:14x14'."
    )


def _explicit(
    shape: Sequence[int],
    image: Sequence[int],
    name: str,
    batch: int,
    order: LayoutName | None,
    grid: str,
    extra: Extra | None,
) -> Layout:
    """The layout with the grid that the user said, if there are as many tokens.

    Raises:
        LayoutError: there are not.
    """
    found = _GRID.fullmatch(grid)
    assert found is not None  # _asked let nothing else through
    space = tuple(int(one) for one in found["space"].split("x"))
    for reading, tokens, channels in _orders(shape, batch):
        prefix = tokens - math.prod(space) if found["prefix"] is None else int(found["prefix"])
        behind = tokens - math.prod(space) - prefix
        if reading == order and min(prefix, behind, *space) >= 0 and len(space) == len(image):
            kinds = extra.kinds if extra is not None and extra.ahead == prefix else ()
            return Layout(reading, channels, space, prefix, kinds, behind)
    raise LayoutError(
        f"layer {describe(name)} gives {tuple(shape)} for an input of space "
        f"{'x'.join(map(str, image))} and a batch of {batch}, which is not {order} of a grid of "
        f"{'x'.join(map(str, space))} = {math.prod(space)}"
        + (f" behind {found['prefix']} more." if found["prefix"] else ".")
    )


@dataclass(frozen=True)
class _Reading:
    """A layout that a shape can have, and how well its space fits the input's.

    Attributes:
        closeness: 0 where it fits closely, 1 where loosely, 2 where only its axes are as many.
        bold: whether it is taken only where the user asks for this layout.
    """

    layout: Layout
    closeness: int
    bold: bool = False

    @property
    def tokens(self) -> bool:
        """Whether it has one axis for all of space."""
        return self.layout.name.startswith("tokens")

    @property
    def channel_order(self) -> str:
        """Which modules speak so: those that work on the first axis, or on the last."""
        return "first" if self.layout.name.endswith("channels-first") else "last"


def _maps(shape: Sequence[int], image: Sequence[int]) -> Iterator[_Reading]:
    """The readings with an axis for each axis of space."""
    if len(shape) != 2 + len(image):
        return
    for layout in (
        Layout("channels-first", shape[1], tuple(shape[2:])),
        Layout("channels-last", shape[-1], tuple(shape[1:-1])),
    ):
        unlike = stretch(layout.space, image)
        closeness = sum(unlike > tolerance for tolerance in _TOLERANCES)
        # What was pooled to one position says nothing of the input's aspect.
        yield _Reading(layout, min(closeness, 1) if math.prod(layout.space) == 1 else closeness)


def _steps(shape: Sequence[int], image: Sequence[int], extra: Extra | None) -> list[_Reading]:
    """The readings of a sequence that other tokens may stand ahead of; none where there are none.

    Steps are of one length: where the input is a whole number of steps with those tokens counted,
    or without, but not both, that is the reading.
    """
    if len(image) != 1 or len(shape) != 3 or extra is None or not extra.ahead:
        return []
    length, ahead = shape[1], extra.ahead
    bare = _Reading(Layout("channels-last", shape[2], (length,)), 0)
    if length <= ahead:
        return [bare]
    steps = Layout("tokens", shape[2], (length - ahead,), ahead, extra.kinds)
    readings = [bare, _Reading(steps, 0)]
    whole = [one for one in readings if image[0] % one.layout.space[0] == 0]
    first = _Reading(Layout("channels-first", shape[1], (shape[2],)), 0)
    return [*(whole if len(whole) == 1 else readings), first]


def _orders(shape: Sequence[int], batch: int) -> list[tuple[LayoutName, int, int]]:
    """In which orders three axes can be tokens: the name, how many tokens, how many channels."""
    if len(shape) != 3:
        return []
    if shape[0] == batch:
        return [("tokens", shape[1], shape[2]), ("tokens-channels-first", shape[2], shape[1])]
    return [("tokens-sequence-first", shape[0], shape[2])] if shape[1] == batch else []


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
    for order, tokens, channels in _orders(shape, batch):
        other = no_patches(tokens, name, modules)
        for space, exact in grids:
            for behind in {0, most_behind}:
                prefix = tokens - behind - math.prod(space)
                if prefix in (0, known) if known is not None else 0 <= prefix <= _MOST_PREFIX:
                    long = known is None and prefix > _PREFIX
                    bold = long or not exact or other or order == "tokens-channels-first"
                    kinds = extra.kinds if extra is not None and prefix else ()
                    layout = Layout(order, channels, space, prefix, kinds, behind)
                    yield _Reading(layout, 0 if exact else 1, bold)


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
    shape: Sequence[int], image: Sequence[int], name: str, readings: Sequence[_Reading]
) -> str:
    what = f"layer {describe(name)} gives {tuple(shape)} for an input of space "
    what += "x".join(map(str, image))
    best = min((one.closeness for one in readings), default=2)
    shown = [one.layout for one in readings if one.closeness == best]
    if not readings:
        grid = "x".join(("DEPTH", "HEIGHT", "WIDTH")[-len(image) :])
        say = f" If they are, say of which: layout='tokens:{grid}'." if len(shape) == 3 else ""
        return (
            f"{what}: {len(shape)} axes, where maps have {2 + len(image)} (batch, channels, space) "
            f"and tokens are a grid of patches.{say} Name a layer whose output is still spatial; "
            "gradcam_hooks.layers(model, x) marks them."
        )
    fit = "no reading fits" if best == 2 else "more than one reading fits"
    names = [one.name for one in shown]
    asks = dict.fromkeys(
        f"layout='{one.name}{_grid_of(one) if names.count(one.name) > 1 else ''}'" for one in shown
    )
    readings_shown = "; ".join(map(str, shown))
    say = " or ".join(asks)
    return f"{what}, and {fit}: {readings_shown}. Say which: {say}, or name another layer."


def _grid_of(layout: Layout) -> str:
    return ":" + (f"{layout.prefix}+" * bool(layout.behind)) + "x".join(map(str, layout.space))
