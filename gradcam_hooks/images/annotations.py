"""Where objects are in pictures, as people write it down: COCO JSON, Pascal VOC XML, mask PNGs.

Read into boxes ``(left, top, right, bottom)`` in the picture's pixels, or masks, by the names of
the pictures' files. Knows files and numbers; no picture is opened, no network known.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from gradcam_hooks.errors import InputError
from gradcam_hooks.images.files import no_file, readable_formats
from gradcam_hooks.images.limits import allowed

__all__ = ["Box", "mask_files", "matched", "read_boxes", "read_coco", "read_mask", "read_voc"]

Box: TypeAlias = tuple[float, float, float, float]

_MOST = 1 << 28
"""Bytes of a file of annotations at most."""

_VOID = 255
"""In Pascal VOC's masks the border of objects, which counts as neither."""


def read_boxes(path: str | os.PathLike[str]) -> dict[str, list[Box]]:
    """The boxes of a COCO file, a VOC file, or a folder of VOC files, by the picture's file.

    Raises:
        InputError: it is none of these, or cannot be read.
    """
    where = Path(path)
    if where.is_dir():
        files = sorted(one for one in where.rglob("*") if one.suffix.lower() == ".xml")
        if not files:
            raise InputError(
                f"no .xml file in '{where}'. Boxes are a COCO .json file, a Pascal VOC .xml file, "
                "or a folder of these."
            )
        found: dict[str, list[Box]] = {}
        for file in files:
            name, boxes = read_voc(file)
            found.setdefault(name, []).extend(boxes)
        return found
    if where.suffix.lower() == ".xml":
        name, boxes = read_voc(where)
        return {name: boxes}
    return read_coco(where)


def read_coco(path: Path) -> dict[str, list[Box]]:
    """The boxes of each picture of a COCO file; those of crowds are left out.

    Raises:
        InputError: it cannot be read, or is no COCO file.
    """
    text = _text(path)
    try:
        content = json.loads(text)
        names = {one["id"]: str(one["file_name"]) for one in content["images"]}
        found: dict[str, list[Box]] = {name: [] for name in names.values()}
        for one in content["annotations"]:
            if not one.get("iscrowd"):
                left, top, width, height = map(_number, one["bbox"])
                found[names[one["image_id"]]].append((left, top, left + width, top + height))
    except (
        ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError,
    ) as error:  # fmt: skip
        raise InputError(
            f"'{path}' is no COCO file, an object with 'images' and 'annotations' of which each "
            f"has a 'bbox' ({type(error).__name__}: {error})."
        ) from error
    return {name: _checked(boxes, path, name) for name, boxes in found.items()}


def _number(one: object) -> float:
    if isinstance(one, bool) or not isinstance(one, int | float):
        raise TypeError(f"a box is four numbers, and {one!r} is none")
    return float(one)


def read_voc(path: Path) -> tuple[str, list[Box]]:
    """The picture's file and the boxes of a Pascal VOC file; its pixels are counted from 1.

    Raises:
        InputError: it cannot be read, or is no VOC file.
    """
    from xml.etree import ElementTree

    text = _text(path)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InputError(f"'{path}' declares entities, which no Pascal VOC file does.")
    try:
        root = ElementTree.fromstring(text)
        name = root.findtext("filename") or path.stem
        boxes = []
        for one in root.iter("object"):
            box = one.find("bndbox")
            if box is None:
                raise ValueError("an object without bndbox")
            words = [box.findtext(word) for word in ("xmin", "ymin", "xmax", "ymax")]
            left, top, right, bottom = (float(word or "nan") for word in words)
            boxes.append((left - 1, top - 1, right, bottom))
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(
            f"'{path}' is no Pascal VOC file, with a bndbox in each object ({error})."
        ) from error
    return name, _checked(boxes, path, name)


def _text(path: Path) -> str:
    if reason := no_file(path):
        raise InputError(f"'{path}' cannot be read: it {reason}. Name a file of annotations.")
    try:
        if path.stat().st_size > _MOST:
            raise InputError(
                f"'{path}' has more than {_MOST:,} bytes. Keep in it what is of these pictures."
            )
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"'{path}' is no text in UTF-8.") from error


def _checked(boxes: Sequence[Box], path: Path, name: str) -> list[Box]:
    for box in boxes:
        if not all(map(math.isfinite, box)) or box[2] <= box[0] or box[3] <= box[1]:
            raise InputError(
                f"'{path}' has a box without an inside for '{name}': {box}, as left, top, right "
                "and bottom. Mend it, or take it out."
            )
    return list(boxes)


def mask_files(folder: str | os.PathLike[str]) -> dict[str, Path]:
    """The masks of a folder by their names without suffix, as seen from it.

    Raises:
        InputError: there is none.
    """
    where = Path(folder)
    files = sorted(one for one in where.rglob("*") if one.suffix.lower() == ".png")
    if not where.is_dir():
        reason = no_file(where) or "is a file"
        raise InputError(f"'{where}' {reason}. Masks are a folder of PNGs named as pictures.")
    if not files:
        raise InputError(
            f"no .png file in '{where}'. Masks are a folder of PNGs named as pictures."
        )
    return {one.relative_to(where).with_suffix("").as_posix(): one for one in files}


def read_mask(path: Path) -> npt.NDArray[np.bool_]:
    """A mask, ``(height, width)``: True where a pixel is not 0, and no border of VOC's.

    Raises:
        InputError: it cannot be read.
    """
    from PIL import Image

    if reason := no_file(path):
        raise InputError(f"'{path}' cannot be read as a mask: it {reason}.")
    try:
        with Image.open(path, formats=readable_formats()) as image:
            if image.width * image.height > (most := allowed()):
                raise InputError(f"'{path}' has more than {most:,} pixels. Scale it down.")
            palette = image.mode == "P"
            pixels = np.asarray(image)
    except InputError:
        raise
    except Exception as error:  # damaged files make Pillow raise nearly everything
        raise InputError(f"'{path}' cannot be read as a mask: {error}.") from error
    if pixels.ndim == 3:
        alpha = pixels[..., -1] > 0 if pixels.shape[2] in (2, 4) else True
        colours = pixels[..., : 3 if pixels.shape[2] >= 3 else 1]
        return np.asarray(colours.any(-1) & alpha)
    return np.asarray((pixels != 0) & ~(palette & (pixels == _VOID)))


def matched(names: Sequence[str], known: Mapping[str, Any], *, stems: bool = False) -> list[Any]:
    """What is known of each picture, by its file's name; None where nothing is.

    A name is a path's end; a file's bare name will do where one entry alone bears it.

    Args:
        names: the pictures' files.
        known: by name.
        stems: whether the names have no suffix.

    Raises:
        InputError: nothing is known of any.

    >>> matched(["photos/cat/1.jpg", "photos/dog/1.jpg"], {"cat/1.jpg": "tail"})
    ['tail', None]
    """
    bare: dict[str, list[str]] = {}
    for name in known:
        bare.setdefault(name.replace("\\", "/").rpartition("/")[2], []).append(name)
    found = []
    for name in names:
        path = Path(name)
        parts = (path.with_suffix("") if stems else path).parts
        ends = ("/".join(parts[start:]) for start in range(len(parts)))
        own = next((known[end] for end in ends if end in known), None)
        alone = bare.get(parts[-1], [])
        if own is None and len(alone) == 1 and "/" not in alone[0].replace("\\", "/"):
            own = known[alone[0]]
        found.append(own)
    if all(one is None for one in found):
        some = ", ".join(map(repr, list(known)[:3])) or "there are none"
        raise InputError(
            f"none of the {len(names)} pictures, such as '{names[0]}', is among those of which the "
            f"place is told: {some}. They are matched by the names of the files."
        )
    return found
