"""Names for the usual layouts, and the patterns they stand for.

``channels-first``, ``channels-last``, ``tokens``, ``tokens-channels-first`` and
``tokens-sequence-first``; behind a colon tokens may tell their grid, ``tokens:8x14x14``, and how
many stand ahead of it, ``tokens:1+8x14x14``. ``probe`` is no layout, but the wish that the network
itself be asked.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from typing import Literal, get_args

from gradcam_hooks.errors import LayoutError
from gradcam_hooks.layout.grids import told_grids
from gradcam_hooks.layout.input_axes import InputAxes

__all__ = ["PROBE", "LayoutName", "expand"]

LayoutName = Literal[
    "channels-first", "channels-last", "tokens", "tokens-channels-first", "tokens-sequence-first"
]

PROBE = "probe"
"""What `layout=` says where the network itself is to be asked."""

_MOST_AHEAD = 16
"""How many tokens may stand ahead of the patches where nobody tells: those for the class and for
distillation, and some registers."""

_ORDERS = {
    "tokens": ("b {} c", 1),
    "tokens-channels-first": ("b c {}", 2),
    "tokens-sequence-first": ("{} b c", 0),
}
"""For each name of tokens the pattern, and which axis is theirs."""

_GRID = re.compile(r"(?:(?P<ahead>\d+)\+)?(?P<space>\d+(?:x\d+)*)")


def expand(
    asked: str,
    shape: Sequence[int],
    inputs: InputAxes,
    size: Sequence[int],
    *,
    ahead: int | None = None,
) -> str:
    """The pattern that a shorthand stands for at an activation; a pattern itself stays as it is.

    Args:
        asked: what `layout=` says.
        shape: the activation's shape.
        inputs: the axes of the input.
        size: the input's sizes along its words of space.
        ahead: how many tokens stand ahead of the patches, where that is known.

    Raises:
        LayoutError: it is nearly a shorthand and none, the activation has other axes, or the
            number of tokens is no grid of patches, or more than one.

    >>> image = InputAxes.read(None, 4)
    >>> expand("channels-last", (1, 7, 7, 768), image, (224, 224))
    'b h w c'
    >>> expand("tokens", (1, 197, 768), image, (224, 224))
    'b 1+(h=14 w=14) c'
    >>> expand("tokens:4x6", (1, 28, 24), image, (64, 96))
    'b 4+(h=4 w=6) c'
    """
    order, colon, grid = asked.partition(":")
    if order not in get_args(LayoutName) or (colon and order not in _ORDERS):
        _refuse_near(asked, order)
        return asked
    words = " ".join(inputs.space)
    if order not in _ORDERS:
        return f"b c {words}" if order == "channels-first" else f"b {words} c"
    if len(shape) != 3:
        raise LayoutError(
            f"layout={asked!r} is of tokens, with three axes, and the activation is "
            f"{tuple(shape)}. Say what its axes are, as in layout='b t (h w) c'."
        )
    pattern, axis = _ORDERS[order]
    tokens = shape[axis]
    if colon:
        first, space, last = _told(asked, grid, tokens, inputs)
    elif len(inputs.space) == 1:
        first, last = ahead or 0, 0
        space = (tokens - first,)
    else:
        first, space, last = *_found(asked, tokens, size, ahead), 0
    factors = " ".join(f"{word}={n}" for word, n in zip(inputs.space, space, strict=True))
    group = f"({factors})" if len(space) > 1 else factors
    terms = [*([str(first)] if first else []), group, *([str(last)] if last else [])]
    return pattern.format("+".join(terms))


def _refuse_near(asked: str, order: str) -> None:
    """Raise for what is no pattern either, with the name that was meant."""
    near = difflib.get_close_matches(order, get_args(LayoutName), 1)
    if re.search("[-:]", asked) or (near and " " not in asked):
        meant = f" Did you mean {near[0]!r}?" if near and near[0] != order else ""
        raise LayoutError(
            f"layout= is a pattern such as 'b c h w', or one of {', '.join(get_args(LayoutName))} "
            f"({', '.join(_ORDERS)} may tell their grid: 'tokens:14x14'), or {PROBE!r}, not "
            f"{asked!r}.{meant}"
        )


def _told(
    asked: str, grid: str, tokens: int, inputs: InputAxes
) -> tuple[int, tuple[int, ...], int]:
    """How many tokens stand ahead of the grid behind the colon, the grid, and how many behind."""
    found = _GRID.fullmatch(grid)
    space = tuple(map(int, found["space"].split("x"))) if found else ()
    if found is None or 0 in space or len(space) != len(inputs.space):
        raise LayoutError(
            f"behind the colon of layout={asked!r} stands the grid of the patches along "
            f"{' '.join(inputs.space)}, as in 'tokens:14x14', or the tokens ahead of it too, as in "
            "'tokens:1+14x14'."
        )
    rest = tokens - math.prod(space)
    ahead = rest if found["ahead"] is None else int(found["ahead"])
    if min(ahead, rest - ahead) < 0:
        told = f"{ahead} + " * (found["ahead"] is not None)
        raise LayoutError(
            f"layout={asked!r} is {told}{' x '.join(map(str, space))} = "
            f"{math.prod(space) + max(ahead, 0) * bool(told)} tokens, and there are {tokens}."
        )
    return ahead, space, rest - ahead


def _found(
    asked: str, tokens: int, size: Sequence[int], ahead: int | None
) -> tuple[int, tuple[int, ...]]:
    """How many tokens stand ahead, and the one grid of patches that the others are."""
    may = range(_MOST_AHEAD + 1) if ahead is None else (ahead,)
    grids = [
        (tokens - math.prod(grid), grid, exact)
        for grid, exact in told_grids(tuple(size), None, {})
        if tokens - math.prod(grid) in may
    ]
    best = [one for one in grids if one[2]] or grids
    if len(best) == 1:
        return best[0][0], best[0][1]
    shown = " or ".join(f"'{asked}:{n}+{'x'.join(map(str, grid))}'" for n, grid, _ in best[:4])
    example = f"'{asked}:" + "x".join(["14"] * len(size)) + "'"
    raise LayoutError(
        f"layout={asked!r}: {tokens} tokens are {'more than one' if best else 'no'} grid of "
        f"patches of an input of {'x'.join(map(str, size))}"
        + (f" behind {ahead} others" if ahead else "")
        + f". Say which: layout={shown or example}."
    )
