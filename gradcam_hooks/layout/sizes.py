"""The sizes of a pattern's words, solved from the lengths of a tensor's axes.

Each axis is one equation: its length is the tokens beside space plus the product of its factors.
Where two factors of one axis are open, as in the grid of tokens ``(h w)``, the input's proportions
decide: patches are square along the last two axes of space, and divide what is ahead of these
(time, depth). Where that leaves more than one grid, none is taken; the error shows them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from gradcam_hooks.errors import LayoutError
from gradcam_hooks.layout.pattern import BATCH, Axis, Factor, Pattern

__all__ = ["solve"]

_LOOSE = math.log(1.5)
"""How unlike the strides of two axes may be at the most: what unpadded layers take off a short
side."""

_APART = math.log(1.1)
"""How much more alike the strides of one grid must be than those of the next."""

_EXACT = 1e-9
"""How unlike strides are that differ by the rounding of floats alone."""

_SHOWN = 4
"""How many grids an error shows."""


def solve(
    pattern: Pattern,
    shape: Sequence[int],
    *,
    batch: int | None = None,
    space: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """The size of each factor of a pattern, by its name.

    Args:
        pattern: the axes in words.
        shape: their lengths.
        batch: how many elements the batch has, where that is known.
        space: the sizes of the input along its own words of space, for open grids of tokens.

    Raises:
        LayoutError: the shape has other axes, a size does not divide its axis, or one is open.

    >>> from gradcam_hooks.layout.pattern import parse
    >>> solve(parse("b 1+(h w) c"), (2, 197, 768), batch=2, space={"h": 224, "w": 224})
    {'b': 2, 'c': 768, 'h': 14, 'w': 14}
    """
    if len(shape) != len(pattern.axes):
        raise LayoutError(
            f"{_said(pattern)} names {len(pattern.axes)} axes, and the shape is {tuple(shape)}. "
            "Name each axis once; one of length one that is nothing is '1'."
        )
    sizes = {one.name: one.size for one in pattern.factors if one.size is not None}
    if batch is not None and sizes.setdefault(BATCH, batch) != batch:
        raise LayoutError(
            f"{_said(pattern)} says b={sizes[BATCH]} for a batch of {batch}. Leave the number "
            "away: 'b' serves every batch."
        )
    opened: list[tuple[list[Factor], int]] = []
    for number, axis in enumerate(pattern.axes):
        unknown = [one for one in axis.factors if one.name not in sizes]
        rest = _rest(pattern, shape, number, sizes)
        if len(unknown) == 1:
            sizes[unknown[0].name] = rest
        elif unknown:
            opened.append((unknown, rest))
    if opened:
        sizes |= _by_proportions(pattern, shape, opened, sizes, space or {})
    return sizes


def _rest(pattern: Pattern, shape: Sequence[int], number: int, sizes: Mapping[str, int]) -> int:
    """What the known factors of an axis leave for those that are open.

    Raises:
        LayoutError: they do not divide it, or leave something where nothing is open.
    """
    axis, length = pattern.axes[number], shape[number]
    known = [sizes[one.name] for one in axis.factors if one.name in sizes]
    product, here = math.prod(known), length - axis.others
    whole = len(known) == len(axis.factors)
    if here > 0 and (here == product if whole else here % product == 0):
        return here // product
    what = f"axis {number} of {tuple(shape)} is {str(axis)!r} in {_said(pattern)}"
    sums = "" if not axis.others else f" less {axis.others} for other tokens is {here}"
    if here <= 0:
        raise LayoutError(f"{what}: its length {length}{sums}, and nothing is left for space.")
    times = " x ".join(map(str, known)) or "1"
    equal = f"{times} = {product}" if len(known) > 1 else times
    named = " x ".join(one.name for one in axis.factors if one.name in sizes) or "it"
    fault = (
        f"and {named} is {equal}" if whole else f"which {named} = {equal} does not divide evenly"
    )
    raise LayoutError(
        f"{what}: its length {length}{sums}, {fault}.{_advice(axis, here, sizes)} "
        "Correct the sizes, or what stands in this axis."
    )


def _advice(axis: Axis, here: int, sizes: Mapping[str, int]) -> str:
    """A word on a batch that grew: what else may be folded into its axis."""
    batch = sizes.get(BATCH)
    if [one.word for one in axis.factors] != [BATCH] or not batch or here % batch:
        return ""
    return f" {here} = {batch} x {here // batch}: if frames or windows are in it, say '(b t)'."


def _by_proportions(
    pattern: Pattern,
    shape: Sequence[int],
    opened: Sequence[tuple[list[Factor], int]],
    sizes: Mapping[str, int],
    space: Mapping[str, int],
) -> dict[str, int]:
    """The one grid whose strides are alike."""
    for one in (one for unknown, _ in opened for one in unknown):
        if one.word not in space:
            raise pattern.error(
                one.at,
                f"of {tuple(shape)}, the size of {one.name!r} is open, and nothing tells it",
                f"Say it: '{one.name}=...'.",
            )
    names = [one.name for unknown, _ in opened for one in unknown]
    choices = itertools.product(*(_products(rest, len(unknown)) for unknown, rest in opened))
    grids = [dict(zip(names, itertools.chain(*one), strict=True)) for one in choices]
    unlike = [_unlike(pattern, {**sizes, **grid}, space) for grid in grids]
    least = min(unlike)
    limit = least + _APART if least > _EXACT else _EXACT
    near = [grid for grid, one in zip(grids, unlike, strict=True) if one <= min(limit, _LOOSE)]
    if len(grids) == 1 or len(near) == 1:
        return (near or grids)[0]
    fault = "more than one grid fits" if near else "no grid of square patches fits"
    if not near:
        order = sorted(range(len(grids)), key=lambda number: unlike[number])
        near = [grids[number] for number in order]
    shown = " or ".join(_sizes_of(opened, grid) for grid in near[:_SHOWN])
    more = f", and {len(near) - _SHOWN} more" if len(near) > _SHOWN else ""
    proportions = " ".join(f"{word}={size}" for word, size in space.items())
    raise pattern.error(
        opened[0][0][0].at,
        f"{tuple(shape)} leaves {' '.join(names)} open, and {fault} an input of {proportions}",
        f"Say the sizes, as in {shown}{more}.",
    )


def _unlike(pattern: Pattern, sizes: Mapping[str, int], space: Mapping[str, int]) -> float:
    """How unlike the strides along the last two axes of space are, as a logarithm of their ratio.

    Infinite where cells do not divide an axis ahead of these.
    """
    *ahead, last, least = [*([""] * (2 - len(space))), *space]
    cells = {word: math.prod(sizes[one.name] for one in pattern.of_word(word)) for word in space}
    if any(space[word] % cells[word] for word in ahead):
        return math.inf
    if not (pattern.of_word(last) and pattern.of_word(least)):
        return 0.0
    return abs(math.log(space[last] * cells[least] / (space[least] * cells[last])))


def _products(number: int, count: int) -> Iterator[tuple[int, ...]]:
    """All ways to write a number as a product of so many factors, in order.

    >>> list(_products(4, 2))
    [(1, 4), (2, 2), (4, 1)]
    """
    if count == 1:
        yield (number,)
        return
    low = [one for one in range(1, math.isqrt(number) + 1) if number % one == 0]
    for first in sorted({*low, *(number // one for one in low)}):
        for rest in _products(number // first, count - 1):
            yield (first, *rest)


def _sizes_of(opened: Sequence[tuple[list[Factor], int]], grid: Mapping[str, int]) -> str:
    groups = [" ".join(f"{one.name}={grid[one.name]}" for one in unknown) for unknown, _ in opened]
    return " ".join(f"({group})" for group in groups)


def _said(pattern: Pattern) -> str:
    return f"{pattern.argument}={pattern.text!r}"
