"""Drawn maps on one page: alone or as a sheet, with captions and a colour bar.

Knows pixels and facts; where they come from is the explanation's matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gradcam_hooks.images.colors import colorize
from gradcam_hooks.images.lettering import letters, text_width
from gradcam_hooks.images.pages import Page, Text, beside
from gradcam_hooks.images.sheets import contact, subtitled
from gradcam_hooks.results.drawing import Style
from gradcam_hooks.results.facts import Facts

if TYPE_CHECKING:
    from gradcam_hooks.images.colors import Floats
    from gradcam_hooks.images.painting import Bytes

__all__ = ["page_of", "with_bar"]

_SIZE = 14


def page_of(
    rows: Sequence[Sequence[Floats | Bytes]], facts: Sequence[Sequence[Facts]], style: Style
) -> Page:
    """One map at its own size, or several as a sheet.

    Args:
        rows: each map drawn: a row for each image, a column for each target.
        facts: what each is a map of.
        style: whether there are captions and a colour bar.
    """
    lines = [[one.lines() for one in row] for row in facts] if style.caption else None
    if len(rows) > 1 or len(rows[0]) > 1:
        return with_bar(contact(rows, captions=lines), style, _SIZE)
    (drawn,) = rows[0]
    size = letters((drawn.shape[0], drawn.shape[1]))
    page = with_bar(Page.of(drawn), style, size)
    return page if lines is None else subtitled(page, lines[0][0], size)


def with_bar(page: Page, style: Style, size: int) -> Page:
    """The page with the scale on its right, as high as it, where the style asks for it.

    Args:
        page: what the maps are drawn on.
        style: in what colours.
        size: of the letters, in pixels.
    """
    if not style.colorbar:
        return page
    height = page.height
    ramp = np.linspace(1, 0, height, dtype=np.float32)[:, None].repeat(size, axis=1)
    ticks = ["1", "0", "−1"] if style.signed else ["1", "0.5", "0"]
    wide = max(text_width(word, size) for word in ticks)
    tall = Page.of(Text(("1",), wide, size)).height
    parts = [(0, 0, colorize(ramp, style.colours))]
    if height < 2 * tall:
        ticks = ticks[:1]
    texts = [
        (round((height - tall) * place / 2), size, Text((word,), wide, size))
        for place, word in enumerate(ticks)
        if height >= 4 * tall or place != 1
    ]
    bar = Page(max(height, tall), size + wide, (*parts, *texts))
    return beside([page, bar], max(4, size // 2))
