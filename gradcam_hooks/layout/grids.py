"""The grids of patches that an input can be cut into: sizes, and what a video's strides tell."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from torch import nn

from gradcam_hooks.layout.evidence import frame_strides

__all__ = ["LOOSELY", "counts", "stretch", "told_grids"]

LOOSELY = math.log(1.5)
"""How unlike the axes may have shrunk at the most: what unpadded layers take off a short side."""


def stretch(space: Sequence[int], image: Sequence[int]) -> float:
    """How unlike the axes shrank, as the logarithm of the largest ratio of two strides."""
    if 0 in space or 0 in image:
        return math.inf
    strides = [math.log(size / cells) for size, cells in zip(image, space, strict=True)]
    return max(strides) - min(strides)


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


def counts(image: tuple[int, ...], prefixes: Iterable[int]) -> set[int]:
    """How many tokens a picture can have, with as many beside the patches as ``prefixes`` says.

    >>> sorted(counts((32, 32), [1]))[:3]
    [5, 17, 65]
    """
    if len(image) != 2 or 0 in image:
        return set()
    more = list(prefixes)
    return {math.prod(grid) + one for grid, exact in _grids(image) if exact for one in more}


def told_grids(
    image: tuple[int, ...], told: Sequence[int] | None, modules: Mapping[str, nn.Module]
) -> list[tuple[tuple[int, ...], bool]]:
    """The grids that are possible: the one that was told, or all that strides allow."""
    like = told is not None and len(told) == len(image)
    if told is not None and like and stretch(told[-2:], image[-2:]) <= LOOSELY:
        return [(tuple(told), True)]
    grids = _grids(image)
    strides = frame_strides(modules) if len(image) > 2 else None
    if strides is None:
        # Convolutions on pictures alone see each frame, or each of several pictures, for itself:
        # nobody tells how their tokens are put together.
        pictures = len(image) > 2 and any(isinstance(m, nn.Conv2d) for m in modules.values())
        return [] if pictures else grids
    return [one for one in grids if any(-(-image[0] // by) == one[0][0] for by in strides)]
