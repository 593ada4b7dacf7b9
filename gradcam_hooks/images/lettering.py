"""Lettering: lines of text as pixels, to stand below or beside a picture.

Pillow's own font writes ASCII, so that a picture is the same on every machine; a label in another
script takes the first of the usual fonts of the system that has its letters. Knows text and
pixels, and nothing of what the text says.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image, ImageFont

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

__all__ = ["Written", "lettered", "letters", "text_height", "text_width", "written"]

_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "arial.ttf",
    "Arial Unicode.ttf",
    "msyh.ttc",
)
_STEP = 1.32  # from line to line, of the size of the letters
_STRONG, _SOFT = 24, 96  # grey: the first line, and the others


def letters(size: tuple[int, int]) -> int:
    """How high letters are, in pixels, under a picture of ``(height, width)``.

    >>> letters((480, 640)), letters((32, 32)), letters((3000, 4000))
    (17, 12, 107)
    """
    return max(12, round(min(size[1], size[0] * 4 / 3) / 37.5))


def lettered(
    lines: Sequence[str],
    width: int,
    *,
    size: int = 14,
    height: int | None = None,
    ground: int = 255,
) -> npt.NDArray[np.uint8]:
    """Lines of text, wrapped to a width: the first dark, the others grey.

    Args:
        lines: the text; whatever is no letter to be seen is written as "?".
        width: in pixels.
        size: of the letters, in pixels.
        height: in pixels; by default as high as the text. What does not fit is cut off.
        ground: the grey of the paper, from 0 to 255.

    Returns:
        8-bit RGB, ``(height, width, 3)``.
    """
    from PIL import Image

    found = written(lines, width, size)
    paper = Image.new("L", (width, height or text_height(lines, width, size)), ground)
    for one in found:
        paper.paste(one.ink, (one.left - size, one.top - size), _inked(one.text, one.font, size))
    return np.asarray(paper.convert("RGB"))


@lru_cache(maxsize=32)  # of a run's captions the last lines stand under every picture
def _inked(text: str, font: Font, size: int) -> Image.Image:
    """How much ink there is of a line, with as much paper around it as its letters are high."""
    from PIL import Image, ImageDraw

    extent = math.ceil(font.getlength(text)) + 2 * size, 3 * size
    paper = Image.new("L", extent)
    ImageDraw.Draw(paper).text((size, size), text, fill=255, font=font)
    return paper


def text_height(lines: Sequence[str], width: int, size: int) -> int:
    """How high `lettered` makes these lines, in pixels."""
    return 2 * _margin(size) + round(size * _STEP) * len(written(lines, width, size))


@dataclass(frozen=True)
class Written:
    """A line of text where it stands.

    Attributes:
        text: what is written.
        top: of its letters' line, in pixels from the paper's top.
        left: in pixels from the paper's left.
        ink: its grey, from 0 to 255.
        font: Pillow's.
    """

    text: str
    top: int
    left: int
    ink: int
    font: Font

    @property
    def width(self) -> float:
        """In pixels."""
        return float(self.font.getlength(self.text))


def written(lines: Sequence[str], width: int, size: int) -> tuple[Written, ...]:
    """Lines of text, wrapped to a width, as `lettered` paints them."""
    return _written(tuple(lines), width, size)


@lru_cache(maxsize=64)  # how high, how far, and what: one caption is asked several times
def _written(lines: tuple[str, ...], width: int, size: int) -> tuple[Written, ...]:
    margin, step = _margin(size), round(size * _STEP)
    found: list[Written] = []
    for number, line in enumerate(lines):
        text, font = _fitting(_clean(line), size)
        ink = _STRONG if number == 0 else _SOFT
        for part in _wrapped(text, font, width - 2 * margin):
            found.append(Written(part, margin + len(found) * step, margin, ink, font))
    return tuple(found)


def text_width(line: str, size: int) -> int:
    """How wide `lettered` needs to be for a line to stay one, in pixels."""
    text, font = _fitting(_clean(line), size)
    return math.ceil(font.getlength(text)) + 2 * _margin(size)


def _margin(size: int) -> int:
    return max(2, size // 3)


def _clean(line: str) -> str:
    """One line: a label from elsewhere may hold line breaks, or marks that turn text around."""
    seen = (one if unicodedata.category(one)[0] != "C" else "?" for one in " ".join(line.split()))
    return "".join(seen)


def _wrapped(text: str, font: Font, width: int) -> list[str]:
    """The text in lines that fit; a word that is too long for any is broken."""
    if font.getlength(text) <= width:
        return [text]
    lines, line = [], ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if font.getlength(longer) <= width:
            line = longer
            continue
        if line:
            lines.append(line)
        line = word
        while len(line) > 1 and font.getlength(line) > width:
            fits = max(1, sum(font.getlength(line[: n + 1]) <= width for n in range(len(line))))
            lines.append(line[:fits])
            line = line[fits:]
    return [*lines, line]


def _fitting(text: str, size: int) -> tuple[str, Font]:
    """A font that has all letters of the text, or Pillow's own and the text without accents."""
    own = _font("", size)
    assert own is not None  # it comes with Pillow
    if text.isascii():
        return text, own
    for name in _FONTS:
        font = _font(name, size)
        if font is not None and all(_has(font, one) for one in set(text)):
            return text, font
    plain = (one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    return "".join(one if one.isascii() else "?" for one in plain), own


@cache
def _font(name: str, size: int) -> Font | None:
    """A font of the system by its file's name, "" for Pillow's own; None where there is none."""
    from PIL import ImageFont

    if not name:
        return ImageFont.load_default(size)
    try:
        return ImageFont.truetype(name, size)
    except OSError:  # not installed here
        return None


def _has(font: Font, letter: str) -> bool:
    """Whether a letter looks other than what the font draws for what it has not."""
    if letter.isspace():
        return True
    missing, drawn = font.getmask("\U0010fffd"), font.getmask(letter)
    return missing.size != drawn.size or bytes(missing) != bytes(drawn)
