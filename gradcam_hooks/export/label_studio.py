"""Label Studio: the regions of maps as predictions, from which somebody goes on labelling.

Knows regions; the format is that of https://labelstud.io/guide/predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, Literal, get_args

from gradcam_hooks.checks import check_one_of
from gradcam_hooks.errors import InputError
from gradcam_hooks.export.found import Image, Region, found_in
from gradcam_hooks.results.explanation import Explanation
from gradcam_hooks.results.regions import Cut

__all__ = ["label_config", "label_studio"]

Shape = Literal["rectangle", "polygon"]

_NAME, _TO = "label", "image"


def label_studio(
    result: Explanation,
    files: Sequence[str],
    *,
    threshold: float | None = None,
    method: str = "threshold",
    quantile: float | None = None,
    min_area: int = 1,
    shape: Shape = "rectangle",
) -> list[dict[str, Any]]:
    """The regions of an explanation's maps as tasks with predictions, ready for ``json.dump``.

    Args:
        result: of one picture or several.
        files: the address of each picture, as Label Studio is to load it.
        threshold: see `Explanation.mask`, as ``method`` and ``quantile``.
        method: see `Explanation.mask`.
        quantile: see `Explanation.mask`.
        min_area: the least region that counts, in pixels.
        shape: ``"rectangle"`` or ``"polygon"``.

    Returns:
        A task for each picture. `label_config` is the set-up of a project that they go into.

    Raises:
        InputError: the maps are no ``(height, width)``, or there are more names or fewer.
    """
    check_one_of(shape, "shape", get_args(Shape), error=InputError)
    tasks: list[dict[str, Any]] = []
    for image in found_in(result, files, Cut(threshold, method, quantile), min_area):
        marks = [
            _mark(f"{len(tasks) + 1}-{number}", image, one, shape)
            for number, one in enumerate(image.regions, 1)
        ]
        score = max((one.score for one in image.regions), default=0.0)
        predicted = {"model_version": image.method, "score": score, "result": marks}
        tasks.append({"data": {_TO: image.name}, "predictions": [predicted]})
    return tasks


def label_config(labels: Sequence[str], shape: Shape = "rectangle") -> str:
    """The labelling set-up of a project for these labels, in Label Studio's XML.

    >>> print(label_config(["cat"]))
    <View>
      <Image name="image" value="$image"/>
      <RectangleLabels name="label" toName="image">
        <Label value="cat"/>
      </RectangleLabels>
    </View>
    """
    check_one_of(shape, "shape", get_args(Shape), error=InputError)
    tag = f"{shape.capitalize()}Labels"
    rows = [f'    <Label value="{escape(label)}"/>' for label in labels]
    return "\n".join(
        [
            "<View>",
            f'  <Image name="{_TO}" value="${_TO}"/>',
            f'  <{tag} name="{_NAME}" toName="{_TO}">',
            *rows,
            f"  </{tag}>",
            "</View>",
        ]
    )


def _mark(name: str, image: Image, region: Region, shape: Shape) -> dict[str, Any]:
    """A region in percent of the picture."""
    across, down = 100 / image.width, 100 / image.height
    left, top, right, bottom = region.box
    value: dict[str, Any]
    if shape == "rectangle":
        size = {"width": (right - left) * across, "height": (bottom - top) * down}
        value = {"x": left * across, "y": top * down, **size, "rotation": 0}
    else:
        value = {"points": (region.outline() * (across, down)).tolist(), "closed": True}
    return {
        "id": name,
        "type": f"{shape}labels",
        "from_name": _NAME,
        "to_name": _TO,
        "original_width": image.width,
        "original_height": image.height,
        "image_rotation": 0,
        "score": region.score,
        "value": {**value, f"{shape}labels": [region.label]},
    }
