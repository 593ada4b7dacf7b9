"""What a user gives for many pictures: a folder, files, or a data set; and their true classes.

Knows files, pictures and what data sets return: no network.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradcam_hooks.apps.batch.runs import searched
from gradcam_hooks.apps.batch.truths import read_truths
from gradcam_hooks.errors import InputError
from gradcam_hooks.images.files import list_images
from gradcam_hooks.images.reading import load_image

if TYPE_CHECKING:
    from PIL import Image

    from gradcam_hooks.apps.batch import Folder

__all__ = ["Pictures", "pictures_of"]


@dataclass(frozen=True)
class Pictures:
    """Pictures as files, and what came with them.

    Attributes:
        paths: the files, in order.
        truths: the true class of each, by its path, where it is known.
        labels: the classes' names, where a data set has them.
        transform: a data set's own preprocessing.
        left_out: how many files of folders are no pictures, by their suffix.
    """

    paths: list[Path]
    truths: dict[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] | None = None
    transform: Any = None
    left_out: Mapping[str, int] = field(default_factory=dict)


def pictures_of(given: object, folder: Folder, truths: object = None) -> Pictures:
    """The pictures, with their true classes.

    Args:
        given: a folder, a file, a list of files, or a data set (see `report`).
        folder: where pictures that are no files are written.
        truths: as `report` takes them; they go before a data set's own.

    Raises:
        ImageError, InputError: there are no pictures, or what came is none.
    """
    if isinstance(given, str | os.PathLike):
        found = _listed([given], folder)
    elif _samples(given):
        found = _of_samples(given)
    elif isinstance(given, Sequence) and all(isinstance(one, str | os.PathLike) for one in given):
        found = _listed(given, folder)
    else:
        found = _written(given, folder)
    return found if truths is None else _with_truths(found, truths)


def _listed(given: Sequence[str | os.PathLike[str]], folder: Folder) -> Pictures:
    """The pictures among files and folders."""
    left: Counter[str] = Counter()
    paths = list_images(given, exclude=searched(given, folder.path), left_out=left)
    return Pictures(paths, left_out=left)


def _samples(given: object) -> bool:
    """Whether it lists files and classes, as torchvision's ImageFolder does."""
    samples = getattr(given, "samples", None)
    return isinstance(samples, Sequence) and bool(samples) and isinstance(samples[0], tuple)


def _of_samples(given: Any) -> Pictures:
    names = getattr(given, "classes", None)
    labels = tuple(map(str, names)) if names else None
    paths = [Path(path) for path, *_ in given.samples]
    truths = {str(Path(path)): _name(number, labels) for path, number, *_ in given.samples}
    return Pictures(paths, truths, labels, getattr(given, "transform", None))


def _name(number: object, labels: Sequence[str] | None) -> str:
    return labels[int(number)] if labels is not None else str(number)  # type: ignore[call-overload]


def _written(given: object, folder: Folder) -> Pictures:
    """Pictures that are no files, as files in the folder; without the data set's transform."""
    items, transform = _items(given)
    names = getattr(given, "classes", None)
    labels = tuple(map(str, names)) if names else None
    paths, truths = [], {}
    with folder.held():
        for number, item in enumerate(items):
            picture, *more = item if isinstance(item, tuple | list) else (item,)
            if not (hasattr(picture, "getpixel") or isinstance(picture, np.ndarray)):
                raise InputError(
                    f"a picture is a PIL image, an 8-bit RGB array or a file, and number {number} "
                    f"is a {type(picture).__name__}. Of a data set that gives tensors, leave its "
                    "transform out and pass it as preprocess=: a report shows the pictures."
                )
            if isinstance(picture, np.ndarray):
                from PIL import Image

                picture = Image.fromarray(picture)
            paths.append(_kept(load_image(picture), f"pictures/{number:05d}", folder))
            if more and more[0] is not None:
                known = isinstance(more[0], str)
                truths[str(paths[-1])] = more[0] if known else _name(more[0], labels)
    if not paths:
        raise InputError("there is no picture: the data set is empty.")
    return Pictures(paths, truths, labels, transform)


def _kept(picture: Image.Image, stem: str, folder: Folder) -> Path:
    """The file of a picture; one that is there already stays, also where it is of another."""
    memory = io.BytesIO()
    picture.save(memory, format="PNG")
    data = memory.getvalue()
    digest = hashlib.sha256(data).hexdigest()[:8]
    for name in (f"{stem}.png", f"{stem}-{digest}.png"):
        path = folder.path / name
        if name in folder.made() and path.is_file() and not path.is_symlink():
            if path.read_bytes() == data:
                return path
            continue
        with folder.write(name) as part:
            part.write_bytes(data)
        return path
    return path


def _items(given: Any) -> tuple[Iterable[object], Any]:
    """What a data set holds ahead of its transform, which comes with it."""
    transform = getattr(given, "transform", None)
    if transform is None:
        if hasattr(given, "__getitem__") and hasattr(given, "__len__"):
            return (given[index] for index in range(len(given))), None
        if isinstance(given, Iterable):
            return given, None
        raise InputError(
            "pictures are a folder, files, or a data set of pictures or of pairs of a picture and "
            f"its class, not {type(given).__name__}."
        )
    return _untransformed(given), transform


def _untransformed(given: Any) -> Iterable[object]:
    """The items without the transform, which torchvision's data sets read at every access."""
    names = [name for name in ("transform", "transforms") if name in vars(given)]
    for index in range(len(given)):
        kept = {name: vars(given)[name] for name in names}
        vars(given).update(dict.fromkeys(names))
        try:
            item = given[index]
        finally:
            vars(given).update(kept)
        yield item


def _with_truths(found: Pictures, truths: object) -> Pictures:
    """The same with the true classes that were given."""
    if isinstance(truths, str):
        known = read_truths(truths, found.paths)
    elif isinstance(truths, Mapping):
        known = {str(path): str(label) for path, label in truths.items()}
    else:
        several = list(truths) if isinstance(truths, Iterable) else []
        if len(several) != len(found.paths):
            raise InputError(
                f"truths= are one class for each of the {len(found.paths)} pictures, and "
                f"{len(several)} came."
            )
        known = {str(path): str(one) for path, one in zip(found.paths, several, strict=True)}
    return replace(found, truths=known)
