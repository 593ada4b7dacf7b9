"""One figure of several maps of one image: methods, layers or classes side by side.

`compare` explains the image in every way that is asked for, and a `Comparison` is what came of
it: a figure whose every cell says what it is. It knows explanations and pixels; a method that
cannot explain this model has its reason in its cell.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import ceil, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from torch import nn

from gradcam_hooks.errors import GradCamHooksError, InputError, LayerNotFound, MethodNotFound
from gradcam_hooks.explainers import MethodSpec, explain, explainer_class
from gradcam_hooks.images.colors import DEFAULT_COLORMAP, Floats, to_float
from gradcam_hooks.methods import METHODS, Method
from gradcam_hooks.network.modules import LayerSpec
from gradcam_hooks.results.drawing import Style
from gradcam_hooks.results.explanation import Explanation
from gradcam_hooks.results.facts import Facts
from gradcam_hooks.targets import AllClasses, Target, TopK

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Cell", "Comparison", "compare"]

_METHODS = ("gradcam", "gradcam++", "xgradcam", "hirescam", "layercam", "eigencam")
"""What is compared where nothing is named: one pass each, and no two of one kind."""

_HEIGHT = 288
"""Of a cell's picture, in pixels at most."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Cell:
    """One way to explain the image, and what came of it.

    Attributes:
        method: by its name in `METHODS`.
        layer: as it was asked for.
        target: as it was asked for.
        explanation: the result; None where there is none.
        reason: why there is none; empty where there is one.
        quick: the options that a method of many runs was cut short by; empty for most.
    """

    method: str
    layer: str
    target: str
    explanation: Explanation | None = None
    reason: str = ""
    quick: str = ""

    @property
    def words(self) -> tuple[str, str, str]:
        """Method, layer and target as people read them."""
        caption = self.caption
        if caption is None:
            row = METHODS.get(self.method)
            return self.method if row is None else row.title, self.layer, self.target
        return caption.title, caption.place, caption.subject

    @property
    def caption(self) -> Facts | None:
        """What the map is a map of; None where there is none."""
        return None if self.explanation is None else self.explanation.facts()[0][0]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Several explanations of one image, as one figure.

    A notebook shows it; `figure` is the picture, `save` writes it.

    Attributes:
        cells: what was tried: every method at every layer for every target, in this order.
        shape: how many methods, layers and targets.
        columns: how many cells stand side by side where one thing alone varies.
        alpha: the maps' weight.
        colormap: the maps' colours.
    """

    cells: tuple[Cell, ...]
    shape: tuple[int, int, int]
    columns: int | None = None
    alpha: float = 0.5
    colormap: str | None = None

    @property
    def explanations(self) -> tuple[Explanation, ...]:
        """Those that there are, in the order of the cells."""
        return tuple(cell.explanation for cell in self.cells if cell.explanation is not None)

    def __repr__(self) -> str:
        counts = zip(self.shape, ("method", "layer", "target"), strict=True)
        asked = ", ".join(f"{count} {what}{'s' * (count != 1)}" for count, what in counts)
        return f"Comparison({asked}; {len(self.explanations)} of {len(self.cells)} explained)"

    @cached_property
    def figure(self) -> Image.Image:
        """All cells on one picture.

        Where one thing varies, a grid that begins with the picture itself; where more do, the
        last of them from left to right and the others from top to bottom, with titles.
        """
        from PIL import Image

        from gradcam_hooks.images.colors import to_uint8

        return Image.fromarray(to_uint8(self._sheet()))

    def save(self, path: str | Path) -> Path:
        """Write the figure; the suffix says the format.

        Raises:
            ImageError: Pillow writes no such format, or the file cannot be written.
        """
        from gradcam_hooks.images import save_image

        save_image(path, self.figure)
        return Path(path)

    def _repr_png_(self) -> bytes:
        from gradcam_hooks.images.encoding import png

        return png(to_float(self.figure))

    def _repr_html_(self) -> str:
        from gradcam_hooks.results.notebook import figure

        return figure(self._repr_png_(), repr(self))

    def _sheet(self) -> Floats:
        from gradcam_hooks.images.sheets import sheet

        bare = self._drawn(self.explanations[0], alpha=0)
        pictures = [
            _note(cell.reason, bare) if cell.explanation is None else self._drawn(cell.explanation)
            for cell in self.cells
        ]
        varying = [axis for axis, count in enumerate(self.shape) if count > 1]
        if len(varying) < 2:
            first = varying or [0]
            order = (*first, *(axis for axis in range(3) if axis not in first))
            lines = [("what was explained",), *(_lines(cell, order) for cell in self.cells)]
            wide = self.columns or ceil(sqrt(1.5 * len(lines)))
            return sheet(_rows([bare, *pictures], wide), captions=_rows(lines, wide), most=_HEIGHT)
        *down, across = varying
        wide = self.shape[across]
        rest = [axis for axis in range(3) if axis not in varying]
        starts = range(0, len(self.cells), wide)
        return sheet(
            _rows(pictures, wide),
            captions=_rows([_lines(cell, rest) for cell in self.cells], wide),
            columns=[self._title(range(i, len(self.cells), wide), (across,)) for i in range(wide)],
            titles=[self._title(range(start, start + wide), down) for start in starts],
            most=_HEIGHT,
        )

    def _title(self, cells: Sequence[int], axes: Sequence[int]) -> str:
        """What these cells have in common, in the words of one that was explained if there is."""
        group = [self.cells[i] for i in cells]
        best = next((cell for cell in group if cell.explanation is not None), group[0])
        words = list(best.words)
        if best.layer != "auto":  # some methods look elsewhere than at the layer of their row
            words[1] = best.layer
        return ", ".join(words[axis] for axis in axes)

    def _drawn(self, explanation: Explanation, *, alpha: float | None = None) -> Floats:
        """The map on its picture; of a method that gives several maps, a block of them."""
        from gradcam_hooks.images.encoding import shrunk
        from gradcam_hooks.images.sheets import sheet

        weight = self.alpha if alpha is None else alpha
        (maps,) = explanation.drawn(Style(weight, self.colormap or DEFAULT_COLORMAP))
        if alpha == 0 or len(maps) == 1:
            return shrunk(maps[0], 3 * _HEIGHT)
        rows = _rows(maps, ceil(sqrt(len(maps))))
        return sheet(rows, most=max(1, min(_HEIGHT, len(maps[0])) // len(rows) - 8))


def compare(
    model: nn.Module,
    image: object,
    /,
    *,
    methods: Sequence[MethodSpec] | MethodSpec | None = None,
    layers: Sequence[LayerSpec] | None = None,
    targets: Sequence[Target] | TopK | AllClasses | None = None,
    alpha: float = 0.5,
    colormap: str | None = None,
    columns: int | None = None,
    **options: object,
) -> Comparison:
    """Explain one image in several ways, side by side: every method, layer and target named.

    Args:
        model: any module; it is left exactly as found.
        image: one image: a tensor ``(1, channels, *space)``, a path, a PIL image or an RGB array.
        methods: names in `METHODS`, classes, or functions of one's own; by default Grad-CAM, and
            six usual ones where neither layers nor targets are named. ``"all"`` is every one of
            them, those of hundreds of runs with the fewer runs of their ``quick`` options, which
            their captions tell.
        layers: by default ``["auto"]``. Each is a layer, or several that are fused.
        targets: class numbers, labels or functions; or `TopK`, or `AllClasses`. By default the
            predicted class.
        alpha: the maps' weight in the figure.
        colormap: the maps' colours.
        columns: how many cells side by side, where one thing alone varies.
        options: `Explainer`'s, and those of the methods: each goes to the methods that have it.

    Returns:
        The comparison. A way that cannot explain this model, such as a method that needs another
        head, keeps its place in the figure with the reason.

    Raises:
        MethodNotFound, LayerNotFound: a name is wrong.
        InputError: there is more than one image, or nothing to compare.
        GradCamHooksError: no way at all could explain the image; the first one's reason.

    >>> import torch
    >>> model = torch.nn.Sequential(
    ...     torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    ... )
    >>> compare(model, torch.rand(1, 3, 32, 32), targets=[0, 1, 2])
    Comparison(1 method, 1 layer, 3 targets; 3 of 3 explained)
    """
    if methods is None:
        methods = _METHODS if layers is None and targets is None else ("gradcam",)
    everything = methods == "all"
    if everything:
        methods = list(METHODS)
    kinds = [explainer_class(one) for one in _listed(methods)]
    places: list[LayerSpec] = ["auto"] if layers is None else _several("layers", layers)
    image = _loaded(image)
    rows = [kind.row() for kind in kinds]
    own = [_suiting(options, row, rows) for row in rows]
    if everything:
        own = [{**row.quick, **mine} for row, mine in zip(rows, own, strict=True)]
    if isinstance(targets, TopK | AllClasses):
        whole = explain(model, image, places[0], target=targets, method=kinds[0], **own[0])
        asked: list[Target] = [] if whole.target is None else list(whole.target[0].tolist())
    else:
        asked = [None] if targets is None else _several("targets", targets)
    if not (kinds and places and asked):
        raise InputError("there is nothing to compare: methods=, layers= or targets= is empty.")
    if columns is not None and columns < 1:
        raise InputError(f"columns= is a whole number from 1 up, not {columns!r}.")
    cells, failures = [], []
    for at, place, target in product(range(len(kinds)), places, asked):
        words = (rows[at].name, _layer_word(place), _target_word(target))
        quick = _told(rows[at].quick) if everything else ""
        try:
            found = explain(model, image, place, target=target, method=kinds[at], **own[at])
        except (MethodNotFound, LayerNotFound):
            raise  # a wrong name, which is nothing to look at
        except GradCamHooksError as error:
            failures.append(error)
            cells.append(Cell(*words, reason=str(error)))
            continue
        if len(found) != 1:
            raise InputError(
                f"one image is compared at a time, and {len(found)} came; pass them one by one."
            )
        cells.append(Cell(*words, found, quick=quick))
    if len(failures) == len(cells):
        raise failures[0]
    shape = (len(kinds), len(places), len(asked))
    return Comparison(tuple(cells), shape, columns, alpha, colormap)


def _lines(cell: Cell, axes: Sequence[int]) -> tuple[str, ...]:
    """The caption of a cell: these of its words, a line each, and what came of it."""
    words = [cell.words[axis] for axis in axes]
    caption = cell.caption
    if caption is None:
        return (*words, "not explained")
    wrong = [] if caption.diagnosis == "ok" else [f"diagnosis: {caption.diagnosis}"]
    count = 0 if cell.explanation is None else cell.explanation.scores.numel()
    numbers = f"{count} maps" if count > 1 else caption.numbers
    return (*words, numbers, *([cell.quick] if cell.quick else []), *wrong)


def _told(options: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())


def _loaded(image: object) -> object:
    """A file is read once, not for each cell."""
    if isinstance(image, str | os.PathLike):
        from gradcam_hooks.images import load_image

        return load_image(image)
    return image


def _several(name: str, given: Sequence[_T]) -> list[_T]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise InputError(f"{name}= is a list of what to compare, such as [{given!r}].")
    return list(given)


def _suiting(
    options: Mapping[str, object], row: Method, rows: Sequence[Method]
) -> Mapping[str, object]:
    """The options without those that belong to others of the methods alone."""
    others = {option for other in rows for option in other.options}
    return {
        option: value
        for option, value in options.items()
        if option in row.options or option not in others
    }


def _listed(methods: Sequence[MethodSpec] | MethodSpec) -> Sequence[MethodSpec]:
    if isinstance(methods, Sequence) and not isinstance(methods, str):
        return methods
    return [methods]


def _layer_word(layer: LayerSpec) -> str:
    if isinstance(layer, str):
        return layer
    if isinstance(layer, nn.Module):
        return type(layer).__name__
    return ", ".join(_layer_word(one) for one in layer)


def _target_word(target: Target) -> str:
    if target is None:
        return "predicted class"
    if isinstance(target, int):
        return f"class {target}"
    return target if isinstance(target, str) else "target function"


def _note(reason: str, like: Floats) -> Floats:
    """A cell of paper that says why there is no map, of the size that the others are drawn at."""
    from gradcam_hooks.images.lettering import lettered

    height = min(_HEIGHT, like.shape[0])
    width = max(176, round(like.shape[1] * height / like.shape[0]))
    paper = lettered([reason], width, size=13, height=height, ground=238)
    return np.ascontiguousarray(paper)


def _rows(cells: Sequence[_T], wide: int) -> list[Sequence[_T]]:
    return [cells[start : start + wide] for start in range(0, len(cells), wide)]
