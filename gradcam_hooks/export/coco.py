"""COCO: the regions of maps as the JSON of its annotations, with boxes, and polygons or masks.

Knows regions; the format is that of https://cocodataset.org/#format-data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from gradcam_hooks.checks import check_one_of
from gradcam_hooks.errors import InputError
from gradcam_hooks.export.found import found_in
from gradcam_hooks.results.explanation import Explanation
from gradcam_hooks.results.regions import Cut

__all__ = ["coco"]

Segmentation = Literal["polygon", "rle"]


def coco(
    result: Explanation,
    files: Sequence[str],
    *,
    threshold: float | None = None,
    method: str = "threshold",
    quantile: float | None = None,
    min_area: int = 1,
    segmentation: Segmentation = "polygon",
) -> dict[str, list[dict[str, Any]]]:
    """The regions of an explanation's maps as a COCO data set, ready for ``json.dump``.

    Args:
        result: of one picture or several.
        files: the ``file_name`` of each picture.
        threshold: see `Explanation.mask`, as ``method`` and ``quantile``.
        method: see `Explanation.mask`.
        quantile: see `Explanation.mask`.
        min_area: the least region that counts, in pixels.
        segmentation: ``"polygon"``, the outline along the edges of pixels, its holes filled;
            ``"rle"``, each pixel, as run lengths.

    Returns:
        ``images``, ``categories`` (the classes explained, from 1 in the order of their coming) and
        ``annotations``. ``score`` is the map's mean over the region.

    Raises:
        InputError: the maps are no ``(height, width)``, or there are more names or fewer.
    """
    check_one_of(segmentation, "segmentation", get_args(Segmentation), error=InputError)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    categories: dict[str, int] = {}
    for image in found_in(result, files, Cut(threshold, method, quantile), min_area):
        number = len(images) + 1
        images.append(
            {"id": number, "file_name": image.name, "height": image.height, "width": image.width}
        )
        for region in image.regions:
            left, top, right, bottom = region.box
            outline: Any = [region.outline().reshape(-1).tolist()]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": categories.setdefault(region.label, len(categories) + 1),
                    "bbox": [left, top, right - left, bottom - top],
                    "area": int(region.mask.sum()),
                    "segmentation": outline if segmentation == "polygon" else _rle(region.mask),
                    "iscrowd": 0,
                    "score": region.score,
                }
            )
    named = [{"id": number, "name": name} for name, number in categories.items()]
    return {"images": images, "categories": named, "annotations": annotations}


def _rle(mask: npt.NDArray[np.bool_]) -> dict[str, list[int]]:
    """Run lengths down the columns, beginning with those that are not in the mask.

    >>> _rle(np.array([[False, True], [True, True]]))
    {'size': [2, 2], 'counts': [1, 3]}
    >>> _rle(np.array([[True, False]]))
    {'size': [1, 2], 'counts': [0, 1, 1]}
    """
    flat = mask.reshape(-1, order="F")
    turns = np.flatnonzero(np.diff(flat)) + 1
    edges = [0, *turns.tolist(), flat.size]
    counts = np.diff(edges).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}
