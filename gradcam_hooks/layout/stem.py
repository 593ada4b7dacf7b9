"""What a network's convolutions were given in one pass: how its stem saw the input.

The stem is the first convolution to run. Where it was given the very values of the input, maybe
scaled channel by channel (normalised), its axes put in another order, frames folded into the batch
or an axis of length one put in, then what a convolution takes its axes for tells what the input's
axes are, and nothing cropped, resized or mirrored it on the way: the rules of `rules` may be
believed. That costs no pass of its own. Knows modules and tensors.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from gradcam_hooks.layout.input_axes import usual_words
from gradcam_hooks.network.hooking import entered, hooked
from gradcam_hooks.network.modules import named

__all__ = ["Stem", "stem_watched"]

_SHARE = {torch.float16: 2e-2, torch.bfloat16: 5e-2}
"""How far a normalised image may be from a line through it, as a share of its spread."""


@dataclass
class Stem:
    """What the convolutions saw.

    Attributes:
        given: the shape of what the first convolution was given; None where none ran.
        axes: the axes of the input in words, where the values tell them.
        channel: which axis of the input it takes for channels; None where it takes none.
        folded: the axes of the input that are folded into the batch, behind it.
        turned: whether its axes of space stand in another order than the input's.
        grids: the sizes of space that the convolutions gave.
        drew: whether random numbers were drawn on the way.
    """

    given: tuple[int, ...] | None = None
    axes: str | None = None
    channel: int | None = None
    folded: tuple[int, ...] = ()
    turned: bool = False
    grids: set[tuple[int, ...]] = field(default_factory=set)
    drew: bool = False

    @property
    def taken(self) -> int | None:
        """How many channels the first convolution takes; None where none ran."""
        return None if self.given is None else self.given[1]


@contextmanager
def stem_watched(model: nn.Module, image: Tensor) -> Iterator[Stem]:
    """While open, what the model's convolutions are given of an image ``(batch, ...)``."""
    stem = Stem()

    def enter(name: str, args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
        given = args[0] if args else kwargs.get("input")
        if stem.given is None and isinstance(given, Tensor):
            stem.given = tuple(given.shape)
            _look(stem, given, image)

    def leave(name: str, output: object) -> None:
        if isinstance(output, Tensor):
            stem.grids.add(tuple(output.shape[2:]))

    convolutions = {
        name: one for name, one in named(model).items() if isinstance(one, nn.modules.conv._ConvNd)
    }
    before = _random_state(image)
    with hooked(convolutions, leave), entered(convolutions, enter):
        yield stem
    after = _random_state(image)
    stem.drew = any(not torch.equal(*pair) for pair in zip(before, after, strict=True))


def _random_state(image: Tensor) -> list[Tensor]:
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(image.device)] if image.is_cuda else states


def _look(stem: Stem, given: Tensor, image: Tensor) -> None:
    """Note the axes of an image of which a convolution was given these values.

    >>> stem, image = Stem(), torch.rand(2, 5, 3, 8, 9)
    >>> _look(stem, image.flatten(0, 1), image)
    >>> stem.axes, stem.channel, stem.folded
    ('b t c h w', 2, (1,))
    >>> stem = Stem()
    >>> _look(stem, torch.rand(image.shape), image)
    >>> stem.axes is None
    True
    """
    others = range(1, image.ndim)
    for order, folded in itertools.product(itertools.permutations(others), range(image.ndim - 1)):
        if tuple(sorted(order[:folded])) != order[:folded]:
            continue
        rest = order[folded:]
        lengths = [math.prod(image.shape[axis] for axis in (0, *order[:folded]))]
        lengths += [image.shape[axis] for axis in rest]
        place = _channel(given.shape, lengths)
        if place is not None and _alike(given, image.permute(0, *order).reshape(given.shape)):
            stem.channel, stem.folded = rest[place - 1] if place else None, order[:folded]
            space = [axis for axis in rest if axis != stem.channel]
            words = usual_words(image.ndim, stem.channel)
            stem.axes = " ".join(words) if words is not None else None
            stem.turned = space != sorted(space)
            return


def _channel(given: Sequence[int], lengths: Sequence[int]) -> int | None:
    """Which axis of ``lengths`` a convolution takes for channels; 0: one of length one put in."""
    if tuple(given) == tuple(lengths):
        return 1
    inserted = (lengths[0], 1, *lengths[1:])
    return 0 if tuple(given) == inserted else None


def _alike(given: Tensor, image: Tensor) -> bool:
    """Whether a tensor is an image but for a scale and a shift of each channel, the second axis."""
    if given.data_ptr() == image.data_ptr() or torch.equal(
        given.to(image.dtype).nan_to_num(), image.nan_to_num()
    ):
        return True
    x, y = (one.detach().double().transpose(0, 1).flatten(1) for one in (image, given))
    x, y = (one - one.mean(1, keepdim=True) for one in (x, y))
    scale = (x * y).sum(1, keepdim=True) / x.square().sum(1, keepdim=True).clamp_min(1e-300)
    off, spread = (y - scale * x).abs().amax(1), y.abs().amax(1)
    share = max(_SHARE.get(one.dtype, 1e-3) for one in (given, image))
    return bool((off <= share * spread).all() and (scale > 0).all())
