"""Where the channels and the space of an activation are: inferred as data, or asked for.

A layout is a reading of a shape: ``(batch, channels, *space)`` or ``(batch, *space, channels)``.
A reading fits when its space is the input's space, shrunk alike along every axis. Where the
shape alone does not decide, the kind of module does: convolutions, batch norms and pools speak
channels first, linear layers and layer norms speak channels last. Where nothing decides, the
error shows the arithmetic; nothing is guessed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn

from gradcam_hooks.errors import LayoutError
from gradcam_hooks.modules import describe

__all__ = ["Layout", "LayoutName", "infer"]

LayoutName = Literal["channels-first", "channels-last"]

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


@dataclass(frozen=True)
class Layout:
    """How an activation's axes are read.

    Attributes:
        name: ``"channels-first"`` or ``"channels-last"``.
        channels: how many channels it has.
        space: the layer's spatial size, ``(height, width)`` for pictures.
    """

    name: LayoutName
    channels: int
    space: tuple[int, ...]

    def channels_first(self, tensor: Tensor) -> Tensor:
        """A view of ``tensor`` as ``(..., channels, *space)``; leading axes stay."""
        return tensor if self.name == "channels-first" else tensor.movedim(-1, -1 - len(self.space))

    def __str__(self) -> str:
        return f"{self.channels} channels x {'x'.join(map(str, self.space))} ({self.name})"


def infer(
    shape: Sequence[int],
    image: Sequence[int],
    name: str,
    modules: Mapping[str, nn.Module],
    asked: str | None = None,
) -> Layout:
    """The layout of an activation of ``shape (batch, ...)`` at layer ``name``.

    Args:
        shape: the activation's shape.
        image: the spatial size of the network's input.
        name: the layer's dotted name.
        modules: the model's modules by name, whose kinds tell what the shape does not.
        asked: a layout the user named; it is taken at its word.

    Raises:
        LayoutError: the number of axes does not fit the input's, or two readings fit, or none.

    >>> str(infer((1, 512, 7, 7), (224, 224), "", {"": nn.Sequential()}))
    '512 channels x 7x7 (channels-first)'
    """
    if asked is not None and asked not in get_args(LayoutName):
        known = " or ".join(map(repr, get_args(LayoutName)))
        raise LayoutError(f"layout= is {known}, not {asked!r}.")
    if len(shape) != 2 + len(image):
        raise LayoutError(
            f"layer {describe(name)} gives {tuple(shape)}: {len(shape)} axes, but an input with "
            f"space {'x'.join(map(str, image))} needs {2 + len(image)} (batch, channels, space). "
            "Name a layer whose output is still spatial; "
            "gradcam_hooks.layers(model, x) marks them."
        )
    first = Layout("channels-first", shape[1], tuple(shape[2:]))
    last = Layout("channels-last", shape[-1], tuple(shape[1:-1]))
    if asked is not None:
        return first if asked == first.name else last
    own = _speaks(modules[name])
    if own is not None:
        return first if own == first.name else last
    stretches = {layout: _stretch(layout.space, image) for layout in (first, last)}
    for tolerance in _TOLERANCES:
        fits = [layout for layout, stretch in stretches.items() if stretch <= tolerance]
        if len(fits) == 1:
            return fits[0]
        if fits:
            break
    told = _told_by_others(name, modules)
    if told is not None:
        return first if told == first.name else last
    raise LayoutError(
        f"layer {describe(name)} gives {tuple(shape)} for an input of space "
        f"{'x'.join(map(str, image))}, and {'both readings fit' if fits else 'no reading fits'}: "
        f"{first} or {last}. Say which: layout='channels-first' or layout='channels-last'."
    )


def _stretch(space: Sequence[int], image: Sequence[int]) -> float:
    """How unlike the axes shrank, as the logarithm of the largest ratio of two strides."""
    if 0 in space or 0 in image:
        return math.inf
    strides = [math.log(size / cells) for size, cells in zip(image, space, strict=True)]
    return max(strides) - min(strides)


def _speaks(module: nn.Module) -> LayoutName | None:
    # A LayerNorm that permutes around itself (torchvision's and timm's LayerNorm2d) is a
    # subclass; only the plain one is known to work on the last axis.
    if type(module) in _LAST:
        return "channels-last"
    return "channels-first" if isinstance(module, _FIRST) else None


def _told_by_others(name: str, modules: Mapping[str, nn.Module]) -> LayoutName | None:
    """What the modules inside the layer speak, else those around it, the nearest first."""
    for scope in _outwards(name):
        inside = (spoken for module in modules[scope].modules() if (spoken := _speaks(module)))
        voices = set(inside)
        if len(voices) == 1:
            return voices.pop()
        if voices:
            # A classifier's linear layers come after the space is gone, so at the top
            # convolutions alone decide; inside a block both kinds may see the map.
            return None if scope else "channels-first"
    return None


def _outwards(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.rpartition(".")[0]
    yield ""
