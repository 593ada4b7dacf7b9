"""In a notebook: pictures and captions as HTML, whole in themselves.

Pictures travel as data; every word is escaped, because labels and layers come from elsewhere. No
script, no style sheet, no address. Knows captions, maps and what they are drawn on.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from torch import Tensor

from gradcam_hooks.errors import InputError
from gradcam_hooks.images.colors import colorize
from gradcam_hooks.images.encoding import png
from gradcam_hooks.results.drawing import Ground, Style
from gradcam_hooks.results.facts import Facts

if TYPE_CHECKING:
    from gradcam_hooks.images.colors import Floats

__all__ = ["MOST", "Shown", "figure", "html", "sheet_of", "shown"]

MOST = 8
"""Maps of a batch that a notebook is shown at most."""

_SIDE = 288
"""A cell's height in a sheet, in pixels at most."""

_BARE = ("what was explained",)
_TERM = (
    "padding:1px 14px 1px 0;text-align:left;vertical-align:top;opacity:.7;font-weight:normal;"
    "border:0"
)
_WORD = "padding:1px 0;text-align:left;border:0;white-space:normal;overflow-wrap:anywhere"


@dataclass(frozen=True)
class Shown:
    """One image and its maps, as pixels.

    Attributes:
        bare: what was explained; None where that is no picture.
        maps: each map's caption, and the map drawn; None where it cannot be.
        side: the longer side of each in a page, in pixels at most.
    """

    bare: Floats | None
    maps: Sequence[tuple[Facts, Floats | None]]
    side: int = _SIDE


def shown(
    captions: Sequence[Sequence[Facts]],
    maps: Callable[[int], Tensor],
    ground: Callable[[int], Ground],
) -> list[Shown]:
    """The first images, each alone, and each of its maps with its caption and drawn.

    Args:
        captions: a row for each image, one for each of its maps.
        maps: those of an image by its number, ``(targets, *space)``.
        ground: what they are drawn on; raises `InputError` where there is nothing.
    """
    found: list[Shown] = []
    left = MOST
    for index, row in enumerate(captions):
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
    more = f"<p>and {left} more; take one image by its number, as result[0].</p>" if left else ""
    return "".join(map(_row, shown)) + more + "".join(f"<p>{escape(note)}</p>" for note in notes)


def sheet_of(shown: Sequence[Shown]) -> bytes | None:
    """The same as the bytes of one PNG; None where nothing can be drawn."""
    from gradcam_hooks.images.sheets import sheet

    rows, captions = [], []
    for one in shown:
        drawn = [(heat, told.lines()) for told, heat in one.maps if heat is not None]
        cells = drawn if one.bare is None else [(one.bare, _BARE), *drawn]
        rows.append([cell for cell, _ in cells])
        captions.append([lines for _, lines in cells])
    return png(sheet(rows, captions=captions, most=_SIDE)) if all(rows) else None


def _row(shown: Shown) -> str:
    blocks = [] if shown.bare is None else [figure(png(shown.bare, shown.side), *_BARE)]
    for caption, heat in shown.maps:
        what = f"{caption.title} map of {caption.subject}"
        drawn = "" if heat is None else figure(png(heat, shown.side), what)
        blocks.append(drawn + _table(caption))
    wide = 26 * max(1, shown.side // _SIDE)
    cells = "".join(f'<div style="max-width:{wide}em">{block}</div>' for block in blocks)
    return f'<div style="display:flex;flex-wrap:wrap;gap:12px;margin:0 0 14px">{cells}</div>'


def figure(data: bytes, alt: str) -> str:
    """One picture, no wider than its place, with a text for those who do not see it."""
    text = base64.b64encode(data).decode("ascii")
    return (
        f'<img alt="{escape(alt)}" src="data:image/png;base64,{text}" '
        'style="max-width:100%;display:block;margin:0 0 4px">'
    )


def _table(caption: Facts) -> str:
    diagnosis = str(caption.diagnosis)
    if caption.diagnosis.message:
        diagnosis = f"{diagnosis}: {caption.diagnosis.message}"
    chance = [] if caption.probability is None else [("probability", f"{caption.probability:.4f}")]
    rows = [
        ("target", caption.subject),
        ("score", f"{caption.score:.6g}"),
        *chance,
        ("diagnosis", diagnosis),
        ("layer", caption.place),
        ("method", caption.title),
    ]
    lines = "".join(
        f'<tr style="background:none"><th scope="row" style="{_TERM}">{escape(term)}</th>'
        f'<td style="{_WORD}">{escape(word)}</td></tr>'
        for term, word in rows
    )
    return f'<table style="border-collapse:collapse;border:0;margin:0">{lines}</table>'
