"""Very many small pictures as few large ones: each a tile of a sheet, as JPEG in base64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradcam_hooks.apps.report.standing import data_uri

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Sprites", "sprites_of"]

SIDE, WIDE, HIGH = 56, 20, 20
"""Pixels of a tile, and tiles across and down a sheet."""

_QUALITY = 70

MOST = 10_000
"""Pictures that get a tile; of more, evenly some."""


@dataclass(frozen=True)
class Sprites:
    """Sheets of tiles.

    Attributes:
        sheets: data addresses, one a sheet.
        tiles: the tile of each picture, counted through all sheets; -1 where it has none.
    """

    sheets: tuple[str, ...]
    tiles: tuple[int, ...]

    def plain(self) -> dict[str, object]:
        """What the page's script has to know to cut a tile out."""
        return {"sheets": self.sheets, "side": SIDE, "wide": WIDE, "each": WIDE * HIGH}


def sprites_of(count: int, thumb: Callable[[int], Image.Image | None]) -> Sprites:
    """The sheets of so many pictures.

    Args:
        count: how many there are.
        thumb: makes the small picture of a number; None where it cannot be read any more.
    """
    from PIL import Image

    each, step = WIDE * HIGH, max(1, -(-count // MOST))
    tiles, sheets = [-1] * count, []
    made = 0
    sheet = Image.new("RGB", (WIDE * SIDE, HIGH * SIDE))
    for number in range(0, count, step):
        small = thumb(number)
        if small is None:
            continue
        small = small.convert("RGB")
        small.thumbnail((SIDE, SIDE))
        row, column = divmod(made % each, WIDE)
        left = column * SIDE + (SIDE - small.width) // 2
        sheet.paste(small, (left, row * SIDE + (SIDE - small.height) // 2))
        tiles[number] = made
        made += 1
        if made % each == 0:
            sheets.append(data_uri(sheet, "JPEG", _QUALITY))
            sheet = Image.new("RGB", (WIDE * SIDE, HIGH * SIDE))
    if made % each:
        rows = -(-(made % each) // WIDE)
        last = sheet.crop((0, 0, WIDE * SIDE, rows * SIDE))
        sheets.append(data_uri(last, "JPEG", _QUALITY))
    return Sprites(tuple(sheets), tuple(tiles))
