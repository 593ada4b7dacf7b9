"""From maps to regions: a mask where a map is high, boxes and outlines of what hangs together.

Pure functions on arrays of any rank: signals ``(length,)``, pictures ``(height, width)`` and
volumes ``(depth, height, width)``. OpenCV thresholds, labels and follows contours; what it has
for pictures alone is put together slice by slice. Knows arrays: no model, no picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from torch import Tensor

from gradcam_hooks.checks import check_one_of, check_range
from gradcam_hooks.errors import InputError
from gradcam_hooks.images.colors import to_uint8
from gradcam_hooks.images.opencv import opencv

__all__ = ["Box", "Cut", "CutMethod", "boxes", "components", "contours", "mask", "otsu"]

Bools = npt.NDArray[np.bool_]
Box = tuple[int, ...]
"""Low corner, then high corner, x first: ``(left, top, right, bottom)`` of a picture,
``(start, end)`` of a signal, ``(left, top, front, right, bottom, back)`` of a volume. A pixel
covers [i, i + 1], so right - left is the width, and ``image[top:bottom, left:right]`` the crop."""

CutMethod = Literal["threshold", "otsu", "quantile"]


@dataclass(frozen=True)
class Cut:
    """How high a map must be to count.

    Attributes:
        threshold: the least value that counts, in [0, 1]; by default 0.5.
        method: ``"threshold"``; ``"otsu"``, which splits the map's own values in two groups; or
            ``"quantile"``, which keeps the highest values.
        quantile: the share of positions that lie below, in [0, 1]; by default 0.9, which keeps
            the highest tenth.

    Raises:
        InputError: no such method, a number outside [0, 1], or one that the method has no use for.
    """

    threshold: float | None = None
    method: str = "threshold"
    quantile: float | None = None

    def __post_init__(self) -> None:
        check_one_of(self.method, "method", get_args(CutMethod), error=InputError)
        for name in ("threshold", "quantile"):
            number = getattr(self, name)
            if number is None:
                continue
            if self.method != name:
                raise InputError(
                    f"{name}= is for method={name!r}; with method={self.method!r} leave it out."
                )
            check_range(number, name, 0, 1, ends="[]", error=InputError)

    def level(self, values: npt.NDArray[np.float32]) -> float:
        """The least value that counts, given all values of a map."""
        if self.method == "otsu":
            return otsu(values)
        if self.method == "quantile":
            return float(np.quantile(values, 0.9 if self.quantile is None else self.quantile))
        return 0.5 if self.threshold is None else self.threshold


def otsu(heat: npt.ArrayLike) -> float:
    """The level that parts a map's values in two groups with the least variance within them.

    OpenCV's ``THRESH_OTSU`` on 256 levels. Values from the level up are the higher group; it lies
    halfway between two of the 256, so that no rounding decides.

    N. Otsu 1979, doi:10.1109/TSMC.1979.4310076, equations 12 to 18.

    >>> round(otsu([0.0, 0.1, 0.1, 0.8, 0.9]), 3)
    0.104
    """
    cv2 = opencv()

    levels = to_uint8(np.asarray(heat, np.float32)).reshape(1, -1)
    low, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return (float(low) + 0.5) / 255


def mask(heat: npt.ArrayLike | Tensor, cut: Cut | None = None, seen: Bools | None = None) -> Bools:
    """Where a map is at least as high as the cut: bool, of the map's shape.

    A position of value 0 holds no evidence and is in no mask, so that a blank map has none.

    Args:
        heat: a map in [0, 1], any rank.
        cut: how high it must be; by default 0.5.
        seen: True where the network saw the picture; the rest is in no mask, and has no say in
            Otsu's level and the quantile.

    >>> mask([0.0, 0.2, 0.5, 1.0]).tolist()
    [False, False, True, True]
    """
    values = _array(heat)
    looked = values if seen is None else values[seen]
    if not looked.size:
        return np.zeros(values.shape, np.bool_)
    level = (cut or Cut()).level(looked)
    high: Bools = (values >= np.float32(level)) & (values > 0)
    return high if seen is None else high & seen


def boxes(mask: npt.ArrayLike | Tensor, *, min_area: int = 1) -> list[Box]:
    """A box around each connected region of a mask, the largest region first.

    Regions touch also at corners. Of two of one size, the one that is met first in reading order
    comes first.

    Args:
        mask: bool, any rank.
        min_area: the least region that counts, in positions of the mask.

    >>> boxes([[True, False, False], [True, False, True]])
    [(0, 0, 1, 2), (2, 1, 3, 2)]
    """
    return [box for _, box in _regions(_bools(mask), min_area)]


def contours(mask: npt.ArrayLike | Tensor, *, min_area: int = 1) -> list[npt.NDArray[np.int32]]:
    """The outline of each connected region of a mask ``(height, width)``, in the order of `boxes`.

    Each is a polygon ``(points, 2)`` of x and y of the region's border pixels, OpenCV's
    ``findContours``; ``cv2.fillPoly`` gives the region back, its holes filled.

    Raises:
        InputError: the mask is not two-dimensional.

    >>> contours([[False, True, True], [False, True, True]])[0].tolist()
    [[1, 0], [1, 1], [2, 1], [2, 0]]
    """
    cv2 = opencv()

    flags = _bools(mask)
    if flags.ndim != 2:
        raise InputError(
            f"outlines are of masks (height, width), this one has the shape {flags.shape}; "
            "boxes are of any rank."
        )
    found = []
    for region, (left, top, _, _) in _regions(flags, min_area):
        lines, _ = cv2.findContours(
            region.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(left, top)
        )
        found.append(np.asarray(lines[0], np.int32)[:, 0])
    return found


def components(mask: npt.ArrayLike | Tensor) -> tuple[npt.NDArray[np.int32], int]:
    """The connected regions of a mask by number, 0 where there is none, and how many there are.

    Positions touch along edges and at corners: 2 neighbours of a signal's position, 8 of a
    picture's, 26 of a volume's.

    >>> components([True, True, False, True])[0].tolist()
    [1, 1, 0, 2]
    """
    flags = _bools(mask)
    if not flags.ndim or not flags.size:
        return np.zeros(flags.shape, np.int32), 0
    if flags.ndim < 3:
        cv2 = opencv()

        count, labels = cv2.connectedComponents(np.atleast_2d(flags).astype(np.uint8))
        return np.asarray(labels, np.int32).reshape(flags.shape), count - 1
    slices, total = [], 0
    for one in flags:
        labels, count = components(one)
        slices.append(np.where(labels > 0, labels + total, 0))
        total += count
    parent = list(range(total + 1))

    def root(label: int) -> int:
        while parent[label] != label:
            parent[label] = parent[parent[label]]
            label = parent[label]
        return label

    for above, below in pairwise(slices):
        for first, second in _touching(above, below):
            low, high = sorted((root(first), root(second)))
            parent[high] = low
    _, number = np.unique([root(label) for label in range(total + 1)], return_inverse=True)
    return number.astype(np.int32)[np.stack(slices)], int(number.max())


def _touching(
    above: npt.NDArray[np.int32], below: npt.NDArray[np.int32]
) -> Iterator[tuple[int, int]]:
    """The pairs of labels of two neighbouring slices that touch, also at corners."""
    around = np.pad(below, 1)
    for shift in product(range(3), repeat=above.ndim):
        window = tuple(slice(s, s + side) for s, side in zip(shift, above.shape, strict=True))
        other = around[window]
        both = (above > 0) & (other > 0)
        pairs = np.unique(np.stack([above[both], other[both]], axis=1), axis=0)
        yield from ((int(first), int(second)) for first, second in pairs)


def _regions(flags: Bools, min_area: int) -> list[tuple[Bools, Box]]:
    """Each region cut out at its box, and that box; the largest first, then in reading order."""
    labels, count = components(flags)
    places = np.nonzero(labels)
    owners = labels[places]
    if not count:
        return []
    areas = np.bincount(owners, minlength=count + 1)
    _, first = np.unique(owners, return_index=True)
    low = np.full((count + 1, flags.ndim), max(flags.shape))
    high = np.zeros_like(low)
    for axis, place in enumerate(places):
        np.minimum.at(low[:, axis], owners, place)
        np.maximum.at(high[:, axis], owners, place + 1)
    found = []
    for label in sorted(range(1, count + 1), key=lambda one: (-areas[one], first[one - 1])):
        if areas[label] < min_area:
            break
        window = tuple(slice(a, b) for a, b in zip(low[label], high[label], strict=True))
        corners = (*low[label, ::-1].tolist(), *high[label, ::-1].tolist())
        found.append((labels[window] == label, corners))
    return found


def _array(heat: npt.ArrayLike | Tensor) -> npt.NDArray[np.float32]:
    if isinstance(heat, Tensor):
        heat = heat.detach().to("cpu").float().numpy()
    return np.asarray(heat, np.float32)


def _bools(mask: npt.ArrayLike | Tensor) -> Bools:
    flags = mask.detach().cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
    if flags.dtype != np.bool_ or not flags.ndim:
        raise InputError(
            f"a mask is bool, with an axis at least; this is {flags.dtype} of shape {flags.shape}. "
            "regions.mask makes one of a map."
        )
    return flags
