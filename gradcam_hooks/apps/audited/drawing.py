"""What the page of an audit shows of a picture: its map, what lies under the peak, a small one.

Pictures are read again for it, one at a time; one that cannot be read any more is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gradcam_hooks.apps.audited.sprites import SIDE
from gradcam_hooks.auditing.strategies import Audit
from gradcam_hooks.errors import GradCamHooksError
from gradcam_hooks.explainers import explain
from gradcam_hooks.images.given import Prepare, ready
from gradcam_hooks.images.pictures import Picture
from gradcam_hooks.models import LoadedModel

if TYPE_CHECKING:
    from PIL import Image

    from gradcam_hooks.images.given import PrepareSpec

__all__ = ["Draw", "Drawing", "crops", "overlays", "thumbs"]

Draw = Callable[[int], "Image.Image | None"]
"""The picture of a number as it is to be shown; None where it cannot be read any more."""

_FRAME = (255, 214, 10)


def _nothing(number: int) -> None:
    """No picture of any number."""


@dataclass(frozen=True)
class Drawing:
    """The ways to draw a picture by its number.

    Attributes:
        overlay: with its map.
        other: with the second network's map, where there are two.
        crop: what lies under the peak of its map.
        thumb: small, for a dot.
    """

    overlay: Draw
    other: Draw = _nothing
    crop: Draw = _nothing
    thumb: Draw = _nothing


def overlays(
    loaded: LoadedModel,
    found: Audit,
    paths: Sequence[Path],
    method: str,
    preprocess: PrepareSpec | None,
) -> Draw:
    """What draws pictures with their maps."""

    def draw(number: int) -> Image.Image | None:
        try:
            return explain(
                loaded, paths[number], list(found.layers), method=method, preprocess=preprocess
            ).overlay()
        except (GradCamHooksError, OSError):  # it was there when it was audited
            return None

    return draw


def crops(found: Audit, paths: Sequence[Path], prepare: Prepare) -> Draw:
    """What cuts out of pictures the region that the network looked at most."""

    def cut(image: Image.Image, box: list[float]) -> Image.Image:
        left, top = (min(int(one), side - 1) for one, side in zip(box, image.size, strict=False))
        right, bottom = (
            min(max(round(end), start + 1), side)
            for end, start, side in zip(box[2:], (left, top), image.size, strict=True)
        )
        return image.crop((left, top, right, bottom))

    return partial(_placed, found, paths, prepare, cut)


def thumbs(found: Audit, paths: Sequence[Path], prepare: Prepare) -> Draw:
    """What makes pictures small, with a frame around what the network looked at most."""

    def framed(small: Image.Image, box: list[float]) -> Image.Image:
        from PIL import ImageDraw

        whole = small.size
        small.thumbnail((SIDE, SIDE))
        ratio = small.width / whole[0], small.height / whole[1]
        frame = [one * ratio[i % 2] for i, one in enumerate(box)]
        ImageDraw.Draw(small).rectangle(frame, outline=_FRAME)
        return small

    return partial(_placed, found, paths, prepare, framed)


def _placed(
    found: Audit,
    paths: Sequence[Path],
    prepare: Prepare,
    change: Callable[[Image.Image, list[float]], Image.Image],
    number: int,
) -> Image.Image | None:
    """A picture, changed by the box on it, left, top, right and bottom, each at least 0."""
    try:
        _, picture = ready(paths[number], prepare)
    except (GradCamHooksError, OSError):  # it was there when it was audited
        return None
    if not isinstance(picture, Picture):
        return None
    (down, across), (top, left) = picture.geometry.scale, picture.geometry.offset
    box = found.boxes[number].tolist()
    placed = [one * (across, down)[i % 2] + (left, top)[i % 2] for i, one in enumerate(box)]
    return change(picture.image.convert("RGB"), [max(0.0, one) for one in placed])
