"""The axes of the network's input: which is the batch, which are channels, which are space.

The words of space of the input are the axes of every map, in this order. Knows tensors, and no
network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from gradcam_hooks.errors import LayoutError
from gradcam_hooks.layout.pattern import BATCH, Pattern, parse
from gradcam_hooks.layout.sizes import solve

__all__ = ["CHANNELS", "InputAxes", "usual_words"]

CHANNELS = "c"
"""The word for channels."""

_DEFAULTS = {2: "b t", 3: "b c t", 4: "b c h w", 5: "b c d h w"}
"""How an input is read where nobody says otherwise, by how many axes it has."""


def usual_words(rank: int, channel: int | None) -> list[str] | None:
    """What the axes of an input are usually called, by where its channels are.

    Args:
        rank: how many axes it has, the first of them the batch.
        channel: which of them is channels; None where none is.

    Returns:
        A word for each axis; None where nothing is usual for so many of space.

    >>> usual_words(5, 2), usual_words(3, None)
    (['b', 't', 'c', 'h', 'w'], ['b', 'h', 'w'])
    """
    space = {1: ["t"], 2: ["h", "w"], 3: ["d" if channel == 1 else "t", "h", "w"]}
    words = space.get(rank - 1 - (channel is not None))
    if words is None:
        return None
    if channel is not None:
        words.insert(channel - 1, CHANNELS)
    return [BATCH, *words]


@dataclass(frozen=True)
class InputAxes:
    """What the axes of an input are.

    Attributes:
        pattern: the axes in words; ``b`` is the batch, ``c`` channels, every other word space.
    """

    pattern: Pattern

    @classmethod
    def read(cls, axes: str | None, rank: int) -> InputAxes:
        """What ``axes=`` says of an input of so many axes, or the usual where it says nothing.

        Raises:
            LayoutError: the text breaks the grammar, names another number of axes or no space, or
                nothing is usual for so many axes.

        >>> InputAxes.read(None, 4).space
        ('h', 'w')
        >>> InputAxes.read("b t c h w", 5).space
        ('t', 'h', 'w')
        """
        if axes is None and rank not in _DEFAULTS:
            raise LayoutError(
                f"the input has {rank} {'axis' if rank == 1 else 'axes'}, for which no reading is "
                "usual. Say what they are, as in axes='b t c h w': 'b' is the batch, 'c' channels, "
                "every other word an axis of the maps."
            )
        pattern = parse(_DEFAULTS[rank] if axes is None else axes, "axes")
        if len(pattern.axes) != rank:
            raise LayoutError(
                f"axes={axes!r} names {len(pattern.axes)} axes, and the input has {rank}. Name "
                "each of its axes once; one of length one that is nothing is '1'."
            )
        found = cls(pattern)
        for one in pattern.factors:
            if one.number:
                raise pattern.error(
                    one.at,
                    f"{one.name!r} is a factor of {one.word!r}",
                    "An axis of the input is named by a word without a number.",
                )
        for axis in (axis for axis in pattern.axes if axis.others):
            raise pattern.error(
                axis.at,
                "tokens stand beside space",
                "The maps lie on all of the input: name the axis by its word alone.",
            )
        if not found.space:
            raise pattern.error(
                0,
                "no word is space",
                "Every word but 'b' and 'c' is an axis of the maps; one is needed, as in 'b t'.",
            )
        return found

    @cached_property
    def space(self) -> tuple[str, ...]:
        """The words of space, in their order."""
        words = [one.word for one in self.pattern.factors]
        return tuple(word for word in words if word not in (BATCH, CHANNELS))

    @cached_property
    def words(self) -> tuple[str, ...]:
        """A word for each axis; of one that is composed its first, of one that is nothing "1"."""
        return tuple(axis.factors[0].word if axis.factors else "1" for axis in self.pattern.axes)

    @property
    def batch_axis(self) -> int:
        """Which axis the batch stands in."""
        return self.pattern.batch_axis

    @property
    def channel_axis(self) -> int | None:
        """Which axis is the channels; None where there are none, or an axis composed of more."""
        each = [[one.word for one in axis.factors] for axis in self.pattern.axes]
        return each.index([CHANNELS]) if [CHANNELS] in each else None

    def batch(self, shape: Sequence[int]) -> int:
        """How many elements an input of this shape has."""
        return self._sizes(shape)[BATCH]

    def size(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The sizes of an input along its words of space.

        >>> InputAxes.read("b h w c", 4).size((2, 48, 64, 3))
        (48, 64)
        """
        sizes = self._sizes(shape)
        return tuple(sizes[word] for word in self.space)

    def channels_first(self, tensor: Tensor) -> Tensor:
        """The input as ``(batch, channels, *space)``, with one channel where it has none."""
        here, there = self._moves
        if here == there:
            return tensor
        sizes = self._sizes(tensor.shape)
        names = enumerate(one.name for one in self.pattern.factors)
        named = {f"x{number}": sizes[name] for number, name in names}
        import einops  # only where axes stand otherwise

        return einops.rearrange(tensor, f"{here} -> {there}", **named)

    def restored(self, tensor: Tensor) -> Tensor:
        """What is ``(batch, channels, *space)`` in the input's own axes: `channels_first` undone.

        One channel and one element of the batch stay one, so that a mask broadcasts over all.
        """
        here, there = self._moves
        if here == there:
            return tensor
        import einops

        return einops.rearrange(tensor, f"{there} -> {here}")

    @cached_property
    def _moves(self) -> tuple[str, str]:
        order = (BATCH, CHANNELS, *self.space)
        return self.pattern.moves([self.pattern.of_word(word) for word in order])

    def _sizes(self, shape: Sequence[int]) -> dict[str, int]:
        return solve(self.pattern, shape)

    def __str__(self) -> str:
        return str(self.pattern)
