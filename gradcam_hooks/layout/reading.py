"""A pattern bound to shapes: where the channels and the space of an activation are.

`bind` takes the words of a layer, the shape of its activation and the axes of the input, and gives
a `Layout`, which brings activations to ``(batch, channels, *space)`` and back. Space is the
input's, in its order; an axis that the layer has not (pooled away) has length one. Knows tensors,
and no network; who chose the words is told by a `ToldLayout`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from gradcam_hooks.errors import LayoutError
from gradcam_hooks.layout.input_axes import CHANNELS, InputAxes
from gradcam_hooks.layout.pattern import BATCH, Factor, Pattern, parse
from gradcam_hooks.layout.sizes import solve

__all__ = ["Layout", "Reader", "ToldLayout", "bind"]

Reader = Literal["you", "rules", "probe"]
"""Who read a layout: the user, rules on shapes and modules, or the network when it was asked."""


class ToldLayout(str):
    """The layout of a layer in words, as `layout=` takes it, and who read it.

    Attributes:
        by: who read it.
        passes: how many passes of the network that took.

    >>> ToldLayout("b c h=7 w=7", by="rules") == "b c h=7 w=7"
    True
    """

    by: Reader
    passes: int

    def __new__(cls, text: str, by: Reader = "you", passes: int = 0) -> ToldLayout:
        """The text, with who read it."""
        told = super().__new__(cls, text)
        told.by, told.passes = by, passes
        return told


@dataclass(frozen=True)
class Layout:
    """How an activation's axes are read; made by `bind`.

    It serves every batch: all sizes are known but that of the batch.

    Attributes:
        pattern: its axes in words, with all sizes.
        words: the input's words of space, the axes of every map.
        channel_words: the words that are channels, the outermost first.
        kinds: what the tokens ahead are, ``(("class", 1), ("register", 4))``, where that is known.
    """

    pattern: Pattern
    words: tuple[str, ...]
    channel_words: tuple[str, ...] = (CHANNELS,)
    kinds: tuple[tuple[str, int], ...] = field(default=(), compare=False)

    @cached_property
    def channels(self) -> int:
        """How many channels there are; one where no axis is channels."""
        return _product(self._groups[1])

    @cached_property
    def space(self) -> tuple[int, ...]:
        """The layer's size along each axis of the input's space."""
        return tuple(_product(group) for group in self._groups[2:])

    @cached_property
    def prefix(self) -> int:
        """How many tokens stand ahead of those in space."""
        return sum(sum(axis.ahead) for axis in self.pattern.axes)

    @cached_property
    def behind(self) -> int:
        """How many tokens stand behind those in space."""
        return sum(sum(axis.behind) for axis in self.pattern.axes)

    @cached_property
    def batch_axis(self) -> int:
        """Which axis of the activation the batch stands in."""
        return self.pattern.batch_axis

    @cached_property
    def is_view(self) -> bool:
        """Whether what is written into `channels_first` of a tensor stands in the tensor."""
        return all(sum(one.size != 1 for one in group) <= 1 for group in self._groups)

    def channels_first(self, tensor: Tensor) -> Tensor:
        """An activation as ``(..., batch, channels, *space)``; what leads its axes stays.

        The tensor itself where its axes stand so, else a view where `is_view`.
        """
        here, there = self._moves
        if here == there and self._token_axis is None:
            return tensor
        import einops  # only where axes stand otherwise

        return einops.rearrange(
            self._in_space(tensor), f"... {here} -> ... {there}", **self._lengths
        )

    @cached_property
    def apart(self) -> tuple[int, ...]:
        """The axes of space, by their number, along which each cell is a map of its own.

        Frames that stand in the batch's axis, or ahead of the channels where other axes of space
        stand behind: a network of pictures sees each for itself, and so do rules that weigh
        channels (`framewise`).
        """
        axes = self.pattern.axes
        place = {one.word: at for at, axis in enumerate(axes) for one in axis.factors}
        channel = place.get(CHANNELS, -1)
        if all(place.get(word, -1) < channel for word in self.words):
            return ()
        return tuple(
            number
            for number, word in enumerate(self.words)
            if len(self.pattern.of_word(word)) == 1
            and place[word] < channel
            and (place[word] == self.batch_axis or len(axes[place[word]].factors) == 1)
        )

    def framewise(self, rule: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """A rule ``(activation, gradient) -> map`` taken of each of the cells `apart`."""
        apart = [2 + number for number in self.apart]
        if not apart:
            return rule
        first = list(range(1, 1 + len(apart)))

        def each(*tensors: Tensor) -> Tensor:
            moved = [one.movedim(apart, first) for one in tensors]
            raw = rule(*(one.flatten(0, len(apart)) for one in moved))
            raw = torch.unflatten(raw, 0, moved[0].shape[: 1 + len(apart)])
            return raw.movedim(first, [axis - 1 for axis in apart])

        return each

    def put(self, values: Tensor, like: Tensor) -> Tensor:
        """Values of ``(batch, channels, *space)`` in the activation's own axes.

        `channels_first` undone; gradients flow through it.

        Args:
            values: for a batch, or for as many variants of one image.
            like: an activation, of that batch or of one image, whose tokens ahead and behind are
                taken. Its type is the result's.

        Raises:
            LayoutError: ``like`` has another batch, or another shape.
        """
        here, there = self._moves
        values, count = values.to(like.dtype), len(values)
        batch = self.batch(like.shape)
        if batch not in (1, count):
            raise LayoutError(
                f"{count} variants are put into an activation of a batch of {batch}: it is of one "
                "image, or of as many."
            )
        if here != there:
            import einops

            values = einops.rearrange(values, f"{there} -> {here}", **self._lengths)
        axis = self._token_axis
        if axis is None:
            return values
        if batch != count:
            like = self._repeated(like, count)
        length, behind = like.shape[axis], self.behind
        first, last = like.narrow(axis, 0, self.prefix), like.narrow(axis, length - behind, behind)
        return torch.cat([first, values, last], axis)

    def batch(self, shape: Sequence[int]) -> int:
        """How many elements of the batch an activation of this shape is of.

        Raises:
            LayoutError: the shape is of another layout.
        """
        return solve(self.pattern, shape)[BATCH]

    def of_one(self, tensor: Tensor, index: int) -> Tensor:
        """One image's part of an activation, in the activation's own axes, with a batch of one.

        A view where nothing is folded into the batch's axis outside of it.
        """
        axis = self.batch_axis
        outer, inner = self._around_batch
        if outer == inner == 1:
            return tensor.narrow(axis, index, 1)
        one = torch.unflatten(tensor, axis, (outer, -1, inner)).select(axis + 1, index)
        return one.flatten(axis, axis + 1)

    def _repeated(self, tensor: Tensor, count: int) -> Tensor:
        """An activation of one image, for so many."""
        axis = self.batch_axis
        outer, inner = self._around_batch
        apart = torch.unflatten(tensor, axis, (outer, 1, inner))
        sizes = [-1] * apart.ndim
        sizes[axis + 1] = count
        return apart.expand(sizes).flatten(axis, axis + 2)

    def _in_space(self, tensor: Tensor) -> Tensor:
        """A tensor without the tokens that are no space."""
        if self._token_axis is None:
            return tensor
        axis = self._token_axis - len(self.pattern.axes)
        return tensor.narrow(axis, self.prefix, tensor.shape[axis] - self.prefix - self.behind)

    @cached_property
    def _token_axis(self) -> int | None:
        """The axis that has tokens beside space."""
        beside = [number for number, axis in enumerate(self.pattern.axes) if axis.others]
        return beside[0] if beside else None

    @cached_property
    def _around_batch(self) -> tuple[int, int]:
        """How many elements of its axis are outside of the batch, and inside."""
        factors = self.pattern.axes[self.batch_axis].factors
        at = [one.word for one in factors].index(BATCH)
        return _product(factors[:at]), _product(factors[at + 1 :])

    @cached_property
    def _groups(self) -> list[tuple[Factor, ...]]:
        """The factors of each axis of ``(batch, channels, *space)``."""
        of = self.pattern.of_word
        channels = tuple(one for word in self.channel_words for one in of(word))
        space = [() if word in self.channel_words else of(word) for word in self.words]
        return [of(BATCH), channels, *space]

    @cached_property
    def _moves(self) -> tuple[str, str]:
        return self.pattern.moves(self._groups)

    @cached_property
    def _lengths(self) -> dict[str, int]:
        """The sizes as einops takes them, by the names of `Pattern.moves`."""
        sizes = enumerate(one.size for one in self.pattern.factors)
        return {f"x{number}": size for number, size in sizes if size is not None}

    def __str__(self) -> str:
        return str(self.pattern)


def bind(
    text: str,
    shape: Sequence[int],
    inputs: InputAxes,
    size: Sequence[int],
    batch: int,
    *,
    channels: str = CHANNELS,
    kinds: Sequence[tuple[str, int]] = (),
) -> Layout:
    """The layout of an activation, from what its axes are called.

    Args:
        text: the words, as in ``"b 1+(h w) c"``.
        shape: the activation's shape.
        inputs: the axes of the input.
        size: the input's sizes along its words of space.
        batch: how many elements the input's batch has.
        channels: the words that are channels, the outermost first.
        kinds: what the tokens ahead are, which is kept where it counts as many as there are.

    Raises:
        LayoutError: the text breaks the grammar, a word is no axis of the input and no channels,
            or the shape does not agree.

    >>> image = InputAxes.read(None, 4)
    >>> str(bind("b 1+(h w) c", (2, 197, 768), image, (224, 224), 2))
    'b 1+(h=14 w=14) c=768'
    >>> bind("(b h1 w1) (h2 w2) c", (8, 49, 96), image, (224, 224), 2).space
    (14, 14)
    """
    pattern = parse(text)
    channel_words = _channel_words(channels)
    _check_words(pattern, inputs.space, channel_words)
    space = dict(zip(inputs.space, size, strict=True))
    open_words = {word: size for word, size in space.items() if word not in channel_words}
    sizes = solve(pattern, shape, batch=batch, space=open_words)
    del sizes[BATCH]
    layout = Layout(pattern.sized(sizes), inputs.space, channel_words)
    if layout.prefix and sum(count for _, count in kinds) == layout.prefix:
        return Layout(layout.pattern, inputs.space, channel_words, tuple(kinds))
    return layout


def _channel_words(channels: str) -> tuple[str, ...]:
    """The words of ``channels=``."""
    words = tuple(channels.split()) if isinstance(channels, str) else ()
    legal = all(word.replace("_", "").isalpha() and word != BATCH for word in words)
    if not words or not legal or len(set(words)) != len(words):
        raise LayoutError(
            "channels= is the words of layout= that are channels, each once, with spaces between, "
            f"as in channels='c f', not {channels!r}."
        )
    return words


def _check_words(pattern: Pattern, space: Sequence[str], channels: Sequence[str]) -> None:
    """Each word is the batch, channels, or space of the input; and space alone has tokens beside.

    Raises:
        LayoutError: one is not.
    """
    legal = (BATCH, *channels, *space)
    for one in pattern.factors:
        if one.word not in legal:
            near = difflib.get_close_matches(one.word.lower(), legal, 1, 0.5)
            raise pattern.error(
                one.at,
                f"{one.word!r} is no axis of the input's space, {' '.join(space)}",
                (f"Did you mean {near[0]!r}? " if near else "")
                + f"If it is channels, say channels='{' '.join([*channels, one.word])}'; if it is "
                "space, call that axis of the input so in axes=.",
            )
    beside = [one for axis in pattern.axes if axis.others for one in axis.factors]
    for one in beside:
        if one.word in channels:
            raise pattern.error(
                one.at,
                "tokens stand beside channels",
                "They stand beside words of space: 'b 1+(h w) c'.",
            )


def _product(factors: Sequence[Factor]) -> int:
    """The product of the sizes; that of the batch, which is not said, counts as one."""
    return math.prod(one.size or 1 for one in factors)
