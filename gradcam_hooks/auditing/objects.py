"""Where the objects of pictures are, brought onto the network's input as masks.

Boxes and masks are told in the pixels of the picture; of tensors in those of the input. How far
maps lie on them is what two metrics say. Knows pictures, geometry and maps; no network.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from gradcam_hooks.auditing.pictures import Pictures
from gradcam_hooks.errors import InputError
from gradcam_hooks.images.annotations import mask_files, matched, read_boxes, read_mask
from gradcam_hooks.images.geometry import Geometry
from gradcam_hooks.images.given import Prepare, is_picture, ready
from gradcam_hooks.metrics import energy_pointing_game, iou

__all__ = ["Objects", "OnObjects", "Overlap", "measured", "objects_of", "on_input"]

Objects: TypeAlias = Callable[[Sequence[int], tuple[int, int]], Tensor]
"""From the pictures' numbers and the input's size to masks, bool ``(pictures, height, width)``."""


@dataclass(frozen=True)
class Overlap:
    """How far the maps of some pictures lie on their objects: means of those whose object is told.

    Attributes:
        told: how many these are.
        inside: the share of the map's positive values that lies on the object
            (`gradcam_hooks.metrics.energy_pointing_game`).
        iou: intersection over union of the object and of where the map is at least half of its
            largest value (`gradcam_hooks.metrics.iou`).
        area: the object's share of the input, which is what ``inside`` is of an even map.
    """

    told: int
    inside: float
    iou: float
    area: float


@dataclass(frozen=True, eq=False)
class OnObjects:
    """How far each map lies on its object, as `Overlap` says; NaN where no object is told.

    Attributes:
        inside: ``(pictures,)``.
        iou: ``(pictures,)``.
        area: ``(pictures,)``.
    """

    inside: Tensor
    iou: Tensor
    area: Tensor

    def of(self, members: Sequence[int]) -> Overlap | None:
        """The means of these pictures; None where no object is told of any."""
        several = torch.stack([self.inside, self.iou, self.area])[:, list(members)].double()
        known = several[:, ~several.isnan().any(0)]
        if not known.shape[1]:
            return None
        inside, both, area = known.mean(1).tolist()
        return Overlap(known.shape[1], inside, both, area)


def measured(maps: Tensor, masks: Tensor) -> Tensor:
    """How far maps lie on their objects, ``(pictures, 3)``: inside, IoU, the object's area.

    Args:
        maps: ``(pictures, height, width)``.
        masks: bool, of the same shape; one without an object gives NaN.

    >>> mask = torch.tensor([[[True, False, False, False]]])
    >>> measured(torch.tensor([[[1.0, 1.0, 0.0, 0.0]]]), mask)
    tensor([[0.5000, 0.5000, 0.2500]])
    """
    inside, both = energy_pointing_game(maps, masks).values, iou(maps, masks).values
    area = masks.flatten(1).double().mean(1)
    return torch.stack([inside, both, area.masked_fill(area == 0, torch.nan)], 1).float()


def objects_of(
    boxes: object, masks: object, pictures: Pictures, given: object, prepare: Callable[[], Prepare]
) -> Objects | None:
    """Where the objects are; None where nothing was said.

    Args:
        boxes: a COCO or VOC file, a folder of VOC files, a dict by the files' names, or for each
            picture a list of boxes.
        masks: a folder of PNGs, a dict by the files' names, or for each picture a mask.
        pictures: of which they are.
        given: what the user gave for pictures.
        prepare: what makes inputs of pictures.

    Raises:
        InputError: both were given, or they do not fit the pictures.
    """
    if boxes is None and masks is None:
        return None
    if boxes is not None and masks is not None:
        raise InputError("boxes= or masks=, not both: they say the same.")
    each = _each(boxes if masks is None else masks, pictures, of_boxes=masks is None)

    def place(number: int, size: tuple[int, int]) -> Tensor:
        told, geometry = each(number), _geometry(given, pictures, number, prepare, size)
        try:
            return on_input(told, geometry)
        except InputError as error:
            name = f"'{pictures.names[number]}'" if pictures.names else f"picture {number}"
            raise InputError(f"of {name}: {error}") from error

    return lambda numbers, size: torch.stack([place(number, size) for number in numbers])


def _each(told: object, pictures: Pictures, *, of_boxes: bool) -> Callable[[int], Any]:
    """What is told of the picture of a number."""
    word = "boxes" if of_boxes else "masks"
    if isinstance(told, str | os.PathLike):
        told = read_boxes(told) if of_boxes else mask_files(told)
        stems = not of_boxes
    else:
        stems = False
    if isinstance(told, Mapping):
        if pictures.names is None:
            raise InputError(
                f"{word}= by the names of files are for pictures that are files; of others give a "
                f"list with {word} for each."
            )
        known = {str(name): one for name, one in told.items()}
        several: Sequence[Any] = matched(pictures.names, known, stems=stems)
    elif isinstance(told, Sequence | Tensor | np.ndarray) and len(told) == pictures.count:
        several = told  # type: ignore[assignment]
    else:
        count = len(told) if isinstance(told, Sequence | Tensor | np.ndarray) else "something else"
        raise InputError(f"{word}= are for each of the {pictures.count} pictures, not {count}.")

    def one(number: int) -> Any:
        own = several[number]
        return read_mask(own) if isinstance(own, Path) else own

    return one


def _geometry(
    given: Any,
    pictures: Pictures,
    number: int,
    prepare: Callable[[], Prepare],
    size: tuple[int, int],
) -> Geometry:
    """Where the input lies on the picture; of a tensor it is the picture."""
    if number in pictures.geometries:
        return pictures.geometries[number]
    if pictures.names is not None:
        item: Any = pictures.names[number]
    elif isinstance(given, Tensor):
        item = given[number]
    else:
        item = given[number]
        item = item[0] if isinstance(item, tuple | list) else item
    if not is_picture(item):
        return Geometry.stretched(size, size)
    _, picture = ready(item, prepare())
    geometry = getattr(picture, "geometry", None)
    if not isinstance(geometry, Geometry):
        raise InputError("boxes and masks are of pictures, and a scan came.")
    return geometry


def on_input(told: Any, geometry: Geometry) -> Tensor:
    """A mask of the input, bool ``(height, width)``: where the middle of a pixel shows the object.

    Args:
        told: boxes ``(left, top, right, bottom)`` or a mask ``(height, width)`` of the picture;
            None for no object.
        geometry: where the input lies on the picture.

    Raises:
        InputError: it is neither, or of another shape than the picture.

    >>> on_input([(2, 0, 4, 2)], Geometry.stretched((2, 4), (1, 2))).tolist()
    [[False, True]]
    """
    height, width = geometry.input
    if told is None:
        return torch.zeros(height, width, dtype=torch.bool)
    if isinstance(told, Tensor | np.ndarray) and told.ndim == 2 and told.shape[-1] != 4:
        return _of_mask(torch.as_tensor(told).detach().cpu() != 0, geometry)
    if isinstance(told, Tensor | np.ndarray) and told.dtype in (torch.bool, np.bool_):
        return _of_mask(torch.as_tensor(told).detach().cpu(), geometry)
    y, x = (
        (torch.arange(count) + 0.5) * geometry.scale[axis] + geometry.offset[axis]
        for axis, count in enumerate((height, width))
    )
    found = torch.zeros(height, width, dtype=torch.bool)
    for box in told:
        if not isinstance(box, Sequence | Tensor | np.ndarray) or len(box) != 4:
            raise InputError(f"a box is (left, top, right, bottom) in the picture, not {box!r}.")
        left, top, right, bottom = map(float, box)
        found |= ((y >= top) & (y < bottom))[:, None] & ((x >= left) & (x < right))[None, :]
    return found


def _of_mask(mask: Tensor, geometry: Geometry) -> Tensor:
    if mask.ndim != 2:
        raise InputError(f"a mask is (height, width), not {tuple(mask.shape)}.")
    high, wide = geometry.original
    if abs(mask.shape[0] * wide / (mask.shape[1] * high) - 1) > 0.02:
        raise InputError(
            f"a mask has its picture's proportions, {high}x{wide}, not {mask.shape[0]}x"
            f"{mask.shape[1]}."
        )
    place = geometry.resized((mask.shape[0], mask.shape[1]))
    rows, columns = (
        ((torch.arange(count) + 0.5) * place.scale[axis] + place.offset[axis]).floor().long()
        for axis, count in enumerate(place.input)
    )
    seen = ((rows >= 0) & (rows < mask.shape[0]))[:, None] & (
        (columns >= 0) & (columns < mask.shape[1])
    )[None, :]
    picked: Tensor = mask[rows.clamp(0, mask.shape[0] - 1)][:, columns.clamp(0, mask.shape[1] - 1)]
    return picked & seen
