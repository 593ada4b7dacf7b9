"""In a notebook: pictures and captions as HTML, whole in themselves.

Pictures travel as data; the words are `notebook.html`'s. No script, no style sheet, no address.
Knows facts, maps and what they are drawn on.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from gradcam_hooks.errors import InputError
from gradcam_hooks.images.colors import colorize
from gradcam_hooks.images.encoding import png
from gradcam_hooks.results.drawing import Ground, Style
from gradcam_hooks.results.facts import Facts
from gradcam_hooks.results.templates import filled

if TYPE_CHECKING:
    from gradcam_hooks.images.colors import Floats

__all__ = ["MOST", "Shown", "figure", "html", "sheet_of", "shown"]

MOST = 8
"""Maps of a batch that a notebook is shown at most."""

_SIDE = 288
"""A cell's height in a sheet, in pixels at most."""

_BARE = "what was explained"


@dataclass(frozen=True)
class Shown:
    """One image and its maps, as pixels.

    Attributes:
        bare: what was explained; None where that is no picture.
        maps: each map's facts, and the map drawn; None where it cannot be.
        side: the longer side of each in a page, in pixels at most.
    """

    bare: Floats | None
    maps: Sequence[tuple[Facts, Floats | None]]
    side: int = _SIDE


def shown(
    facts: Sequence[Sequence[Facts]],
    maps: Callable[[int], Tensor],
    ground: Callable[[int], Ground],
) -> list[Shown]:
    """The first images, each alone, and each of its maps with its facts and drawn.

    Args:
        facts: a row for each image, one for each of its maps.
        maps: those of an image by its number, ``(targets, *space)``.
        ground: what they are drawn on; raises `InputError` where there is nothing.
    """
    found: list[Shown] = []
    left = MOST
    for index, row in enumerate(facts):
        some = maps(index)[:left]
        try:
            below = ground(index)
        except InputError:  # nothing to draw on: a flat map has colours of its own
            bare, side = None, _SIDE
            drawn = [colorize(one.numpy()) if one.ndim == 2 else None for one in some]
        else:
            bare, side = below.bare(), below.side
            drawn = [below.draw(one, Style()) for one in some]
        found.append(Shown(bare, list(zip(row, drawn, strict=False)), side))
        left -= len(some)
        if not left:
            break
    return found


def html(shown: Sequence[Shown], total: int, notes: Sequence[str] = ()) -> str:
    """Each image beside its maps, each with a table of what it is; and how many maps are left.

    Args:
        shown: the images and maps to show.
        total: how many maps there are.
        notes: what else there is to say of all of them.
    """
    left = total - sum(len(one.maps) for one in shown)
    rows = []
    for one in shown:
        maps = [(facts, _data(heat, one.side)) for facts, heat in one.maps]
        rows.append((26 * max(1, one.side // _SIDE), _data(one.bare, one.side), maps))
    return filled("results/notebook.html", "page", rows, _BARE, left, notes)


def sheet_of(shown: Sequence[Shown]) -> bytes | None:
    """The same as the bytes of one PNG; None where nothing can be drawn."""
    from gradcam_hooks.images.sheets import sheet

    rows, captions = [], []
    for one in shown:
        drawn = [(heat, told.lines()) for told, heat in one.maps if heat is not None]
        cells = drawn if one.bare is None else [(one.bare, (_BARE,)), *drawn]
        rows.append([cell for cell, _ in cells])
        captions.append([lines for _, lines in cells])
    return png(sheet(rows, captions=captions, most=_SIDE)) if all(rows) else None


def figure(data: bytes, alt: str) -> str:
    """One picture, no wider than its place, with a text for those who do not see it."""
    return filled("results/notebook.html", "figure", base64.b64encode(data).decode("ascii"), alt)


def _data(rgb: Floats | None, side: int) -> str:
    """A picture as PNG in base64, no larger than that; empty where there is none."""
    return "" if rgb is None else base64.b64encode(png(rgb, side)).decode("ascii")
