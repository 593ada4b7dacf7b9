"""One figure of several maps: images, methods, layers or classes side by side.

A `Comparison` is what came of explaining images in several ways; every cell of its figure says
what it is, and one without a map has the reason. It knows explanations and pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradcam_hooks.errors import GradCamHooksError
from gradcam_hooks.images.colors import Floats, to_float
from gradcam_hooks.images.pages import Page, Part, Text
from gradcam_hooks.methods import METHODS
from gradcam_hooks.results.drawing import Style
from gradcam_hooks.results.explanation import Explanation
from gradcam_hooks.results.facts import Facts

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["CELL_HEIGHT", "Cell", "Comparison"]

CELL_HEIGHT = 288
"""Of a cell's picture, in pixels at most."""


@dataclass(frozen=True)
class Cell:
    """One way to explain the image, and what came of it.

    Attributes:
        method: by its name in `METHODS`.
        layer: as it was asked for.
        target: as it was asked for.
        explanation: the result; None where there is none.
        error: why there is none.
        quick: the options that a method of many runs was cut short by; empty for most.
    """

    method: str
    layer: str
    target: str
    explanation: Explanation | None = None
    error: GradCamHooksError | None = None
    quick: str = ""

    @property
    def words(self) -> tuple[str, str, str]:
        """Method, layer and target as people read them."""
        facts = self.facts
        if facts is None:
            row = METHODS.get(self.method)
            return self.method if row is None else row.title, self.layer, self.target
        return facts.title, facts.place, facts.subject

    @property
    def reason(self) -> str:
        """Why there is no map; empty where there is one."""
        return "" if self.error is None else str(self.error)

    @property
    def facts(self) -> Facts | None:
        """What the map is a map of; None where there is none."""
        return None if self.explanation is None else self.explanation.facts()[0][0]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Several explanations of one image or of several, as one figure.

    A notebook shows it; `figure` is the picture, `save` writes it.

    Attributes:
        cells: what was tried: of every image every method at every layer for every target, in
            this order.
        shape: how many methods, layers and targets.
        columns: how many cells stand side by side where one thing alone varies.
        style: how the maps are drawn.
        images: what the images are called.
        caption: whether each cell says below what it is.
        height: of a cell's picture, in pixels at most.
    """

    cells: tuple[Cell, ...]
    shape: tuple[int, int, int]
    columns: int | None = None
    style: Style = field(default_factory=Style)
    images: tuple[str, ...] = ("image 1",)
    caption: bool = True
    height: int = CELL_HEIGHT

    @property
    def explanations(self) -> tuple[Explanation, ...]:
        """Those that there are, in the order of the cells."""
        return tuple(cell.explanation for cell in self.cells if cell.explanation is not None)

    def __repr__(self) -> str:
        counts = list(zip(self.shape, ("method", "layer", "target"), strict=True))
        if len(self.images) > 1:
            counts.insert(0, (len(self.images), "image"))
        asked = ", ".join(f"{count} {what}{'s' * (count != 1)}" for count, what in counts)
        return f"Comparison({asked}; {len(self.explanations)} of {len(self.cells)} explained)"

    @cached_property
    def figure(self) -> Image.Image:
        """All cells on one picture.

        Where one thing varies, a grid that begins with the picture itself; where more do, the
        last of them from left to right and the others from top to bottom, with titles. Of several
        images each is a row, which begins with the picture, and all else is from left to right.
        """
        return self._page().image()

    def plot(self, ax: object = None) -> Any:
        """The cells on matplotlib's axes, each under its words.

        Args:
            ax: an array of ``Axes``, a row for each image and a column for each way to explain it;
                by default those of a new figure.

        Returns:
            The array of axes.

        Raises:
            InputError: there are more or fewer axes than cells.
            ImportError: there is no matplotlib.
        """
        from gradcam_hooks.results.plotting import axes_for, noted

        wide = len(self.cells) // len(self.images)
        axes = axes_for(ax, len(self.images), wide)
        for number, (cell, place) in enumerate(zip(self.cells, axes.flat, strict=True)):
            if cell.explanation is None:
                noted(place, cell.reason)
            elif cell.explanation.scores.numel() > 1:
                place.imshow(self._drawn(cell.explanation))
                place.set_axis_off()
            else:
                cell.explanation.plot(place, style=self.style.but(caption=False))
            if self.caption:
                name = [self.images[number // wide]] if len(self.images) > 1 else []
                words = "\n".join((*name, *_lines(cell, range(3))))
                place.set_title(words, fontsize="small", loc="left")
        return axes

    def save(self, path: str | Path) -> Path:
        """Write the figure; the suffix says the format.

        Raises:
            ImageError: Pillow writes no such format, or the file cannot be written.
        """
        from gradcam_hooks.images.writing import save_page

        save_page(path, self._page())
        return Path(path)

    def _repr_png_(self) -> bytes:
        from gradcam_hooks.images.encoding import png

        return png(to_float(self.figure))

    def _repr_html_(self) -> str:
        from gradcam_hooks.results.notebook import figure

        return figure(self._repr_png_(), repr(self))

    def _page(self) -> Page:
        from gradcam_hooks.results.pages import with_bar

        page = self._by_image() if len(self.images) > 1 else self._of_one()
        return with_bar(page, self.style, 14)

    def _of_one(self) -> Page:
        """All cells of one image."""
        from gradcam_hooks.images.sheets import contact, in_rows

        bare = self._drawn(self.explanations[0], bare=True)
        pictures = [self._cell(cell, bare) for cell in self.cells]
        varying = [axis for axis, count in enumerate(self.shape) if count > 1]
        if len(varying) < 2:
            first = varying or [0]
            order = (*first, *(axis for axis in range(3) if axis not in first))
            lines = [("what was explained",), *(_lines(cell, order) for cell in self.cells)]
            wide = self.columns or ceil(sqrt(1.5 * len(lines)))
            return contact(
                in_rows([bare, *pictures], wide),
                captions=in_rows(lines, wide) if self.caption else None,
                most=self.height,
            )
        *down, across = varying
        wide = self.shape[across]
        rest = [axis for axis in range(3) if axis not in varying]
        starts = range(0, len(self.cells), wide)
        lines = [_lines(cell, rest) for cell in self.cells]
        return contact(
            in_rows(pictures, wide),
            captions=in_rows(lines, wide) if self.caption else None,
            columns=[self._title(range(i, len(self.cells), wide), (across,)) for i in range(wide)],
            titles=[self._title(range(start, start + wide), down) for start in starts],
            most=self.height,
        )

    def _by_image(self) -> Page:
        """A row for each image."""
        from gradcam_hooks.images.sheets import contact, in_rows

        wide = len(self.cells) // len(self.images)
        rows = in_rows(self.cells, wide)
        varying = [axis for axis, count in enumerate(self.shape) if count > 1]
        told = [2] if 2 not in varying else []  # the class that each predicts is its own
        pictures: list[list[Part]] = []
        captions: list[list[tuple[str, ...]]] = []
        paper = self._drawn(self.explanations[0], bare=True)
        for name, row in zip(self.images, rows, strict=True):
            known = [cell.explanation for cell in row if cell.explanation is not None]
            bare = self._drawn(known[0], bare=True) if known else None
            first = _note(name, paper, self.height) if bare is None else bare
            pictures.append(
                [first, *(self._cell(one, paper if bare is None else bare) for one in row)]
            )
            captions.append([(name,), *(_lines(one, told) for one in row)])
        titles = (
            self._title(range(i, len(self.cells), wide), varying or (0,)) for i in range(wide)
        )
        return contact(
            pictures,
            captions=captions if self.caption else None,
            columns=["", *titles],
            most=self.height,
        )

    def _cell(self, cell: Cell, like: Floats) -> Part:
        """The map, or why there is none on paper of the size of a picture."""
        if cell.explanation is None:
            return _note(cell.reason, like, self.height)
        return self._drawn(cell.explanation)

    def _title(self, cells: Sequence[int], axes: Sequence[int]) -> str:
        """What these cells have in common, in the words of one that was explained if there is."""
        group = [self.cells[i] for i in cells]
        best = next((cell for cell in group if cell.explanation is not None), group[0])
        words = list(best.words)
        if best.layer != "auto":  # some methods look elsewhere than at the layer of their row
            words[1] = best.layer
        return ", ".join(words[axis] for axis in axes)

    def _drawn(self, explanation: Explanation, *, bare: bool = False) -> Floats:
        """The map on its picture; of a method that gives several maps, a block of them."""
        from gradcam_hooks.images.encoding import shrunk
        from gradcam_hooks.images.sheets import in_rows, sheet

        style = self.style.but(alpha=0, signed=False) if bare else self.style
        (maps,) = explanation.drawn(style)
        if bare or len(maps) == 1:
            return shrunk(maps[0], 3 * self.height)
        rows = in_rows(maps, ceil(sqrt(len(maps))))
        return sheet(rows, most=max(1, min(self.height, len(maps[0])) // len(rows) - 8))


def _lines(cell: Cell, axes: Sequence[int]) -> tuple[str, ...]:
    """The caption of a cell: these of its words, a line each, and what came of it."""
    words = [cell.words[axis] for axis in axes]
    facts = cell.facts
    if facts is None:
        return (*words, "not explained")
    wrong = [] if facts.diagnosis == "ok" else [f"diagnosis: {facts.diagnosis}"]
    count = 0 if cell.explanation is None else cell.explanation.scores.numel()
    numbers = f"{count} maps" if count > 1 else facts.numbers
    return (*words, numbers, *([cell.quick] if cell.quick else []), *wrong)


def _note(reason: str, like: Floats, most: int) -> Text:
    """A cell of paper that says why there is no map, as wide as the others are."""
    height = min(most, like.shape[0])
    width = max(176, round(like.shape[1] * height / like.shape[0]))
    return Text((reason,), width, 13, height, 238)
