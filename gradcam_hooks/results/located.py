"""Where maps are high, on the pictures that were explained: masks, boxes and outlines.

`Located` is what an explanation can be asked of that; the regions themselves are found by the pure
functions of `regions`. Knows maps and where they lie on their pictures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt
from torch import Tensor

from gradcam_hooks.images.given import Pictured
from gradcam_hooks.images.pictures import Picture
from gradcam_hooks.results import regions
from gradcam_hooks.results.regions import Box, Cut

__all__ = ["Located"]

_T = TypeVar("_T")


class Located(ABC):
    """Maps that can be asked where they are high."""

    scores: Tensor
    pictures: tuple[Pictured, ...] | None

    @abstractmethod
    def _each(self, index: int) -> Tensor:
        """The maps of one image, ``(targets, *space)``, on the CPU."""

    def placed(self) -> list[npt.NDArray[np.float32]]:
        """The maps where they lie on the original pictures, 0 where the network did not look.

        Returns:
            For each image float32 in [0, 1], ``(height, width)`` of the original picture where
            pictures were explained, and ``(*space)`` of the input where a tensor was, with an axis
            of targets ahead where several per image were asked.
        """
        found = [[heat for heat, _ in self._placed(index)] for index in range(len(self.scores))]
        return [np.stack(row) for row in found] if self.scores.ndim == 2 else [r[0] for r in found]

    def mask(
        self,
        threshold: float | None = None,
        *,
        method: str = "threshold",
        quantile: float | None = None,
    ) -> list[npt.NDArray[np.bool_]]:
        """Where the map is high: True at ``map >= level``, at the original picture's size.

        Args:
            threshold: the level, in [0, 1]; by default 0.5.
            method: how the level is found: ``"threshold"``; ``"otsu"``, which splits the map's
                values in two groups; ``"quantile"``, which keeps the highest values.
            quantile: for ``method="quantile"``: the share of the picture that lies below, in
                [0, 1]; by default 0.9, which keeps the highest tenth.

        Returns:
            A mask for each image: bool ``(height, width)`` of the original picture where pictures
            were explained, and ``(*space)`` of the input where a tensor was, with an axis of
            targets ahead where several per image were asked. Never True where the network did not
            see the picture, nor where the map is 0.

        Raises:
            InputError: no such method, or a number out of its range.
        """
        cut = Cut(threshold, method, quantile)
        found = self._found(cut, lambda one: one)
        return [np.stack(row) for row in found] if self.scores.ndim == 2 else [r[0] for r in found]

    def boxes(
        self,
        threshold: float | None = None,
        *,
        method: str = "threshold",
        quantile: float | None = None,
        min_area: int = 1,
    ) -> list[list[Box]] | list[list[list[Box]]]:
        """The boxes of the regions where the map is high, the largest region first.

        Args:
            threshold: see `mask`, as ``method`` and ``quantile``.
            method: see `mask`.
            quantile: see `mask`.
            min_area: the least region that counts, in pixels of the mask.

        Returns:
            A list for each image, of ``(left, top, right, bottom)`` in the original picture's
            pixels; a list of one list per target where several were asked. Right and bottom lie
            just outside, so that ``right - left`` is the width. Of a signal a box is
            ``(start, end)``, of a volume ``(left, top, front, right, bottom, back)``.
        """
        cut = Cut(threshold, method, quantile)
        found = self._found(cut, lambda one: regions.boxes(one, min_area=min_area))
        return found if self.scores.ndim == 2 else [row[0] for row in found]

    def contours(
        self,
        threshold: float | None = None,
        *,
        method: str = "threshold",
        quantile: float | None = None,
        min_area: int = 1,
    ) -> list[list[npt.NDArray[np.int32]]] | list[list[list[npt.NDArray[np.int32]]]]:
        """The outlines of the regions where the map is high, in the order of `boxes`.

        Returns:
            A list for each image, of polygons ``(points, 2)``: x and y of the region's border
            pixels on the original picture, as OpenCV takes them; a list of one list per target
            where several were asked. Holes are filled.

        Raises:
            InputError: the maps are not ``(height, width)``, or an option is out of its range.
        """
        cut = Cut(threshold, method, quantile)
        found = self._found(cut, lambda one: regions.contours(one, min_area=min_area))
        return found if self.scores.ndim == 2 else [row[0] for row in found]

    def _found(self, cut: Cut, of: Callable[[npt.NDArray[np.bool_]], _T]) -> list[list[_T]]:
        """What is found in the mask of each map, a list per image of one per target."""
        return [
            [of(regions.mask(heat, cut, seen)) for heat, seen in self._placed(index)]
            for index in range(len(self.scores))
        ]

    def _placed(
        self, index: int
    ) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_] | None]]:
        """Each map of an image on its picture, and what the network saw of that; None for all."""
        maps = self._each(index)
        if self.pictures is None or maps.ndim != 3:
            yield from ((one.float().numpy(), None) for one in maps)
            return
        geometry = cast("Picture", self.pictures[index]).geometry
        seen = geometry.seen_mask()
        yield from ((geometry.place(one), seen) for one in maps)
