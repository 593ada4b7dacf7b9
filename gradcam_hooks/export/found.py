"""The regions of maps, one by one, with what annotation formats want of each.

Knows explanations and arrays; how a format writes them down is its own matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gradcam_hooks.errors import InputError
from gradcam_hooks.results import regions
from gradcam_hooks.results.explanation import Explanation
from gradcam_hooks.results.facts import class_word
from gradcam_hooks.results.regions import Cut

__all__ = ["Image", "Region", "found_in"]

_FINER = 4
"""An outline is followed at so many times the size, so that it lies on the edges of pixels."""


@dataclass(frozen=True)
class Region:
    """A region where a map is high.

    Attributes:
        label: what was explained, in a word.
        box: ``(left, top, right, bottom)`` in pixels; right and bottom lie just outside.
        score: the map's mean over the region, in [0, 1].
        mask: True in the region, bool ``(height, width)`` of the whole picture.
    """

    label: str
    box: tuple[int, int, int, int]
    score: float
    mask: npt.NDArray[np.bool_]

    def outline(self) -> npt.NDArray[np.float64]:
        """The polygon around the region ``(points, 2)``, x and y in pixels; holes are filled."""
        left, top, right, bottom = self.box
        inside = self.mask[top:bottom, left:right]
        large = inside.repeat(_FINER, 0).repeat(_FINER, 1)
        line = regions.contours(large)[0] + 0.5  # through the middle of the fine pixels
        outline: npt.NDArray[np.float64] = line / _FINER + (left, top)
        return outline


@dataclass(frozen=True)
class Image:
    """A picture and the regions on it.

    Attributes:
        name: of its file.
        height: in pixels.
        width: in pixels.
        method: of the maps.
        regions: those of all its maps, the largest of each first.
    """

    name: str
    height: int
    width: int
    method: str
    regions: tuple[Region, ...]


def found_in(result: Explanation, files: Sequence[str], cut: Cut, min_area: int) -> Iterator[Image]:
    """Each image of an explanation with its regions.

    Args:
        result: of pictures, or of tensors ``(batch, channels, height, width)``.
        files: a name for each image.
        cut: how high a map must be.
        min_area: the least region that counts, in pixels.

    Raises:
        InputError: the maps are no ``(height, width)``, or there are more names or fewer.
    """
    if len(files) != len(result) or isinstance(files, str):
        raise InputError(f"files= is a name for each of {len(result)} images; got {files!r}.")
    many = result.scores.ndim == 2
    for name, heat, high, facts in zip(
        files,
        result.placed(),
        result.mask(cut.threshold, method=cut.method, quantile=cut.quantile),
        result.facts(),
        strict=True,
    ):
        maps, masks = (heat, high) if many else (heat[None], high[None])
        if maps.ndim != 3:
            raise InputError(
                f"boxes of annotations are of maps (height, width), these are {maps.shape[1:]}."
            )
        found = []
        for one, mask, fact in zip(maps, masks, facts, strict=True):
            word = class_word(
                fact.target, fact.label or (fact.subject if fact.target is None else None)
            )
            found += list(_regions(word, one, mask, min_area))
        height, width = maps.shape[1:]
        yield Image(str(name), height, width, result.method, tuple(found))


def _regions(
    word: str, heat: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_], min_area: int
) -> Iterator[Region]:
    labels, _ = regions.components(mask)
    for box in regions.boxes(mask, min_area=min_area):
        left, top, right, bottom = box
        # Boxes may lie one in another, and each is of the one region that touches all its sides.
        window = labels[top:bottom, left:right]
        sides = (window[0], window[-1], window[:, 0], window[:, -1])
        (number,) = set.intersection(*(set(side[side > 0].tolist()) for side in sides))
        inside = labels == number
        yield Region(word, (left, top, right, bottom), float(heat[inside].mean()), inside)
