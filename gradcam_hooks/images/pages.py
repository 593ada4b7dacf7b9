"""Pages: pictures and lines of text, and where they stand, before they become pixels.

A file of pixels paints the text; one of drawings (SVG, PDF) keeps it as text. Pages are put side
by side and one above the other, on white. Knows pixels and text, not what they say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from gradcam_hooks.images.colors import to_uint8
from gradcam_hooks.images.lettering import Written, lettered, text_height, written
from gradcam_hooks.images.painting import floats

if TYPE_CHECKING:
    from PIL import Image

    from gradcam_hooks.images.painting import Bytes
    from gradcam_hooks.images.palettes import Floats

__all__ = ["Page", "Part", "Text", "above", "beside"]


@dataclass(frozen=True)
class Text:
    """Lines of text on paper, as `lettered` writes them.

    Attributes:
        lines: the text.
        width: in pixels, in which it is wrapped.
        size: of the letters, in pixels.
        tall: in pixels; None for as high as the text. What does not fit is cut off.
        ground: the grey of the paper, from 0 to 255.
    """

    lines: tuple[str, ...]
    width: int
    size: int = 14
    tall: int | None = None
    ground: int = 255

    @property
    def size_drawn(self) -> tuple[int, int]:
        """The height and the width of its pixels."""
        return self.tall or text_height(self.lines, self.width, self.size), self.width

    def pixels(self) -> Bytes:
        """8-bit RGB."""
        return lettered(
            self.lines, self.width, size=self.size, height=self.tall, ground=self.ground
        )

    def written(self) -> list[Written]:
        """Each line, where it stands, as far as it fits."""
        found = written(self.lines, self.width, self.size)
        return [one for one in found if self.tall is None or one.top + self.size <= self.tall]


Part: TypeAlias = "Floats | Bytes | Text"


@dataclass(frozen=True)
class Page:
    """Parts on white paper.

    Attributes:
        height: in pixels.
        width: in pixels.
        parts: each with its top and its left: RGB, floats in [0, 1] or 8-bit, or text.
    """

    height: int
    width: int
    parts: tuple[tuple[int, int, Part], ...] = ()

    @classmethod
    def of(cls, part: Part) -> Page:
        """A page of one part."""
        height, width = part.size_drawn if isinstance(part, Text) else part.shape[:2]
        return cls(height, width, ((0, 0, part),))

    def pixels(self) -> Floats:
        """The page as RGB floats in [0, 1], its text painted."""
        paper = np.ones((self.height, self.width, 3), np.float32)
        for top, left, part in self.parts:
            drawn = floats(part.pixels() if isinstance(part, Text) else part)
            spot = paper[top : top + drawn.shape[0], left : left + drawn.shape[1]]
            spot[...] = drawn[: spot.shape[0], : spot.shape[1]]
        return paper

    def image(self) -> Image.Image:
        """The page as a picture."""
        from PIL import Image

        paper = np.full((self.height, self.width, 3), 255, np.uint8)
        for top, left, part in self.parts:
            drawn = part.pixels() if isinstance(part, Text) else part
            spot = paper[top : top + drawn.shape[0], left : left + drawn.shape[1]]
            seen = drawn[: spot.shape[0], : spot.shape[1]]
            spot[...] = seen if seen.dtype == np.uint8 else to_uint8(seen)
        return Image.fromarray(paper)

    def at(self, top: int, left: int) -> Page:
        """The page with so much white above and on the left."""
        parts = tuple((top + down, left + across, part) for down, across, part in self.parts)
        return Page(self.height + top, self.width + left, parts)

    def sized(self, height: int, width: int) -> Page:
        """The page on paper of another size."""
        return replace(self, height=height, width=width)

    def texts(self) -> Iterator[tuple[int, int, Text]]:
        """Its text, each with its top and its left."""
        yield from ((top, left, part) for top, left, part in self.parts if isinstance(part, Text))

    def pictures(self) -> Iterator[tuple[int, int, Floats]]:
        """Its pictures, each with its top and its left; the paper of text that is not white too."""
        for top, left, part in self.parts:
            if not isinstance(part, Text):
                yield top, left, floats(part)
            elif part.ground < 255:
                shape = part.pixels().shape
                yield top, left, np.full(shape, part.ground / 255, np.float32)


def beside(pages: Sequence[Page], gap: int = 0) -> Page:
    """Pages from left to right, their tops level."""
    placed, left = [], 0
    for page in pages:
        placed.append(page.at(0, left))
        left += page.width + gap
    parts = tuple(part for page in placed for part in page.parts)
    return Page(max(page.height for page in pages), left - gap, parts)


def above(pages: Sequence[Page], gap: int = 0) -> Page:
    """Pages from top to bottom, their left sides level."""
    placed, top = [], 0
    for page in pages:
        placed.append(page.at(top, 0))
        top += page.height + gap
    parts = tuple(part for page in placed for part in page.parts)
    return Page(top - gap, max(page.width for page in pages), parts)
