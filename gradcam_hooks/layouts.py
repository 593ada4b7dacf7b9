"""Where the channels and the space of an activation are: inferred as data, or asked for.

A layout is a reading of a shape. Maps have an axis for each axis of space, before the channels or
behind them; tokens have one axis for all of space, maybe with a prefix (class, distillation and
register tokens). A reading fits when its space is the input's space, shrunk alike along every
axis; for tokens, when they are a grid of square patches behind a short prefix. Where the shape
alone does not decide, the kind of module does: convolutions, batch norms and pools speak channels
first, linear layers and layer norms speak channels last. Where nothing decides, the error shows
the arithmetic; nothing is guessed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from torch import Tensor, nn

from gradcam_hooks.errors import LayoutError
from gradcam_hooks.modules import describe

__all__ = ["Layout", "LayoutName", "infer"]

LayoutName = Literal[
    "channels-first", "channels-last", "tokens", "tokens-channels-first", "tokens-sequence-first"
]

_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.GroupNorm,
    nn.PixelShuffle,
    nn.PixelUnshuffle,
    nn.Upsample,
)
_LAST = (nn.Linear, nn.LayerNorm)

_TOLERANCES = (math.log(1.1), math.log(1.5))
"""How unlike the axes may have shrunk: hardly, or as much as unpadded layers take off a short side.
A reading that fits closely stands before one that fits loosely."""

_PREFIX = 2
"""How many tokens may stand ahead of the patches where nobody tells: one for the class, one for
distillation. More would let many a sequence pass for a grid."""

_MOST_PREFIX = 16
"""How many may where the user says that these are tokens: a few registers more."""


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
    """

    name: LayoutName
    channels: int
    space: tuple[int, ...]
    prefix: int = 0

    @property
    def batch_axis(self) -> int:
        """Which axis of the activation is the batch."""
        return 1 if self.name == "tokens-sequence-first" else 0

    def channels_first(self, tensor: Tensor) -> Tensor:
        """``tensor`` as ``(..., batch, channels, *space)``; axes ahead of its own stay there."""
        if self.name == "channels-first":
            return tensor
        if self.name == "channels-last":
            return tensor.movedim(-1, -1 - len(self.space))
        if self.name == "tokens-sequence-first":
            tensor = tensor.movedim(-3, -2)
        if self.name != "tokens-channels-first":
            tensor = tensor.movedim(-1, -2)
        patches = tensor[..., self.prefix :]
        return patches.reshape(*patches.shape[:-1], *self.space)

    def __str__(self) -> str:
        space = "x".join(map(str, self.space))
        if not self.name.startswith("tokens"):
            return f"{self.channels} channels x {space} ({self.name})"
        ahead = f"{self.prefix} prefix token{'s' * (self.prefix > 1)} + " if self.prefix else ""
        return f"{ahead}{space} patches x {self.channels} channels ({self.name})"


def infer(
    shape: Sequence[int],
    image: Sequence[int],
    name: str,
    modules: Mapping[str, nn.Module],
    asked: str | None = None,
    *,
    batch: int | None = None,
) -> Layout:
    """The layout of an activation of ``shape`` at layer ``name``.

    Args:
        shape: the activation's shape.
        image: the spatial size of the network's input.
        name: the layer's dotted name.
        modules: the model's modules by name, whose kinds tell what the shape does not.
        asked: the name of a layout, which is taken at its word.
        batch: how many images went in; by default the first axis.

    Raises:
        LayoutError: the number of axes fits no reading, or two readings fit, or none.

    >>> str(infer((1, 512, 7, 7), (224, 224), "", {"": nn.Sequential()}))
    '512 channels x 7x7 (channels-first)'
    >>> str(infer((1, 197, 768), (224, 224), "", {"": nn.Sequential()}))
    '1 prefix token + 14x14 patches x 768 channels (tokens)'
    """
    names: tuple[str, ...] = get_args(LayoutName)
    if asked is not None and asked not in names:
        raise LayoutError(f"layout= is one of {', '.join(map(repr, names))}, not {asked!r}.")
    batch = shape[0] if batch is None else batch
    readings = [*_maps(shape, image), *_tokens(shape, image, batch, _known_prefix(name, modules))]
    if asked is None:
        # What a recurrent layer gives has as many axes as tokens, and so have many other things:
        # unasked, tokens must be an exact grid behind as short a prefix as nearly all have.
        recurrent = isinstance(modules[name], nn.RNNBase)
        readings = [one for one in readings if not one.bold and not (recurrent and one.tokens)]
    readings = [one for one in readings if asked in (None, one.layout.name)]
    own = _speaks(modules[name])
    if own is not None and asked is None:
        readings = [one for one in readings if one.voice == own]
    for closeness in (0, 1, 2):
        fitting = [one for one in readings if one.closeness == closeness]
        told = own
        if len(fitting) > 1 or closeness == 2:
            told = own or _told_by_others(name, modules)
        if closeness == 2 and told is None and asked is None:
            break  # the number of axes alone decides nothing
        if len(fitting) > 1:
            agreeing = [one for one in fitting if one.voice == told]
            fitting = agreeing if len(agreeing) == 1 else fitting
        if len(fitting) == 1:
            return fitting[0].layout
        if fitting:
            break
    raise LayoutError(_undecided(shape, image, name, readings))


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
    def voice(self) -> str:
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
        stretch = _stretch(layout.space, image)
        closeness = sum(stretch > tolerance for tolerance in _TOLERANCES)
        # What was pooled to one position says nothing of the input's aspect.
        yield _Reading(layout, min(closeness, 1) if math.prod(layout.space) == 1 else closeness)


def _stretch(space: Sequence[int], image: Sequence[int]) -> float:
    """How unlike the axes shrank, as the logarithm of the largest ratio of two strides."""
    if 0 in space or 0 in image:
        return math.inf
    strides = [math.log(size / cells) for size, cells in zip(image, space, strict=True)]
    return max(strides) - min(strides)


def _tokens(
    shape: Sequence[int], image: Sequence[int], batch: int, known: int | None
) -> Iterator[_Reading]:
    """The readings with one axis for all of space: a grid of square patches behind a prefix."""
    if len(shape) != 3 or len(image) < 2 or 0 in image:
        return
    orders: list[tuple[LayoutName, int, int]] = []
    if shape[0] == batch:
        orders = [("tokens", shape[1], shape[2]), ("tokens-channels-first", shape[2], shape[1])]
    elif shape[1] == batch:
        orders = [("tokens-sequence-first", shape[0], shape[2])]
    for name, tokens, channels in orders:
        for space, exact in _grids(tuple(image)):
            prefix = tokens - math.prod(space)
            if prefix in (0, known) if known is not None else 0 <= prefix <= _MOST_PREFIX:
                long = known is None and prefix > _PREFIX
                bold = long or not exact or name == "tokens-channels-first"
                yield _Reading(Layout(name, channels, space, prefix), 0 if exact else 1, bold)


@lru_cache
def _grids(image: tuple[int, ...]) -> list[tuple[tuple[int, ...], bool]]:
    """The grids of patches that an input can be cut into, and whether they cover it exactly.

    Patches are square; a video's first axis may be cut otherwise.
    """
    *depth, height, width = image
    grids: dict[tuple[int, ...], bool] = {}
    for side in range(1, min(height, width) + 1):
        exact = height % side == 0 and width % side == 0
        for cut in (math.floor, math.ceil):
            flat = (cut(height / side), cut(width / side))
            for thick in range(1, math.prod(depth) + 1):
                if any(frames % thick for frames in depth):
                    continue
                space = (*(frames // thick for frames in depth), *flat)
                grids[space] = exact or grids.get(space, False)
    return [(space, exact) for space, exact in grids.items() if math.prod(space) > 1]


def _known_prefix(name: str, modules: Mapping[str, nn.Module]) -> int | None:
    """How many tokens stand ahead of the patches, as timm's and transformers' models tell."""
    for scope in _outwards(name):
        prefix = getattr(modules[scope], "num_prefix_tokens", None)
        if isinstance(prefix, int):
            return prefix
        config = getattr(modules[scope], "config", None)
        registers = getattr(config, "num_register_tokens", None)
        if isinstance(registers, int):
            return 1 + registers
    return None


def _undecided(
    shape: Sequence[int], image: Sequence[int], name: str, readings: Sequence[_Reading]
) -> str:
    what = f"layer {describe(name)} gives {tuple(shape)} for an input of space "
    what += "x".join(map(str, image))
    best = min((one.closeness for one in readings), default=2)
    shown = [str(one.layout) for one in readings if one.closeness == best]
    names = dict.fromkeys(one.layout.name for one in readings if one.closeness == best)
    if not readings:
        return (
            f"{what}: {len(shape)} axes, where maps have {2 + len(image)} (batch, channels, space) "
            "and tokens are a grid of patches. Name a layer whose output is still spatial; "
            "gradcam_hooks.layers(model, x) marks them."
        )
    fit = "no reading fits" if best == 2 else "more than one reading fits"
    say = " or ".join(f"layout={one!r}" for one in names)
    return f"{what}, and {fit}: {'; '.join(shown)}. Say which: {say}, or name another layer."


def _speaks(module: nn.Module) -> str | None:
    # A LayerNorm that permutes around itself (torchvision's and timm's LayerNorm2d) is a
    # subclass; only the plain one is known to work on the last axis.
    if type(module) in _LAST:
        return "last"
    return "first" if isinstance(module, _FIRST) else None


def _told_by_others(name: str, modules: Mapping[str, nn.Module]) -> str | None:
    """What the modules inside the layer speak, else those around it, the nearest first."""
    for scope in _outwards(name):
        voices = {spoken for module in modules[scope].modules() if (spoken := _speaks(module))}
        if len(voices) == 1:
            return voices.pop()
        if voices:
            # A classifier's linear layers come after the space is gone, so at the top
            # convolutions alone decide; inside a block both kinds may see the map.
            return None if scope else "first"
    return None


def _outwards(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.rpartition(".")[0]
    yield ""
