"""The pictures of an audit: a tensor, files, a folder or a data set, as inputs of a network.

Inputs are made when they are asked for, so that a hundred thousand files never lie in memory
together. Knows pictures and what data sets return; it runs no network.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradcam_hooks.errors import InputError
from gradcam_hooks.images.files import list_images
from gradcam_hooks.images.geometry import Geometry
from gradcam_hooks.images.given import Prepare, is_picture, prepared, ready, stacked
from gradcam_hooks.images.pictures import Picture
from gradcam_hooks.stream.feed import auto_workers, fed

__all__ = ["Pictures", "not_finite", "pictures_of"]


@dataclass(frozen=True)
class Pictures:
    """Pictures by their numbers.

    Attributes:
        count: how many there are.
        inputs: from numbers to a tensor ``(pictures, channels, height, width)``.
        names: of each, where it is a file.
        truths: what a data set says each is, a class number or a label; None where it does not.
        classes: the classes' names, where a data set has them.
        geometries: where the inputs that were made last lie on their pictures, by number.
        each: makes the input of one picture, where several may be made at once.
    """

    count: int
    inputs: Callable[[Sequence[int]], Tensor]
    names: tuple[str, ...] | None = None
    truths: tuple[object, ...] | None = None
    classes: tuple[str, ...] | None = None
    geometries: dict[int, Geometry] = field(default_factory=dict, compare=False)
    each: Callable[[int], tuple[Tensor, Geometry | None]] | None = None

    def batches(
        self, numbers: Sequence[int], size: int, workers: int | None = None
    ) -> Generator[tuple[list[int], Tensor], None, None]:
        """The inputs of pictures, so many at a time; of files the next are read meanwhile.

        Raises:
            InputError, ImageError: as ``inputs`` does.
        """
        if self.each is None:
            for start in range(0, len(numbers), size):
                some = list(numbers[start : start + size])
                yield some, self.inputs(some)
            return
        several = auto_workers(len(numbers)) if workers is None else workers
        read = fed(numbers, self.each, ahead=2 * size, workers=several)
        with contextlib.closing(read):
            while batch := list(itertools.islice(read, size)):
                yield [number for number, _ in batch], self._put_together(batch)

    def _put_together(
        self, batch: Sequence[tuple[int, tuple[Tensor, Geometry | None] | Exception]]
    ) -> Tensor:
        self.geometries.clear()
        tensors = []
        for number, found in batch:
            if isinstance(found, Exception):
                raise found
            tensors.append(found[0])
            if found[1] is not None:
                self.geometries[number] = found[1]
        return stacked(tensors)


def pictures_of(given: object, prepare: Callable[[], Prepare]) -> Pictures:
    """The pictures that a user gave.

    Args:
        given: a tensor ``(pictures, channels, height, width)`` ready for the network; a folder, a
            file or pictures in a list; or a data set of tensors or pictures, or of pairs of one
            and its class.
        prepare: tells what makes inputs of pictures; asked where there is one.

    Raises:
        InputError, ImageError: it is none of these, or there is nothing in it.
    """
    if isinstance(given, Tensor):
        if given.ndim != 4 or not len(given):
            raise InputError(
                "an audit is of pictures, (pictures, channels, height, width), and a tensor of "
                f"shape {tuple(given.shape)} came."
            )
        whole = given
        return Pictures(len(whole), lambda numbers: whole[torch.as_tensor(list(numbers))])
    if isinstance(given, str | os.PathLike):
        given = list_images([given])
    elif isinstance(given, list | tuple) and given and all(map(_is_path, given)):
        given = list_images(given)
    if isinstance(given, list | tuple) and given and is_picture(given):
        names = tuple(map(str, given)) if _is_path(given[0]) else None
        known: dict[int, Geometry] = {}
        each = None if names is None else _File(names, prepare())
        return Pictures(len(given), _reader(given, prepare, known), names, None, None, known, each)
    if isinstance(given, np.ndarray):
        raise InputError(
            f"an audit takes a tensor ready for the network, and a NumPy array {given.shape} came: "
            "torch.from_numpy(array).float() with the channels ahead of height and width, scaled "
            "as the network was taught; or list(array) of RGB pictures, and preprocess=."
        )
    if hasattr(given, "__getitem__") and hasattr(given, "__len__") and not is_picture(given):
        return _of_set(given, prepare)
    raise InputError(
        "an audit takes a tensor (pictures, channels, height, width), a folder, a list of "
        f"pictures or a data set with a length, not {type(given).__name__}."
    )


def not_finite(pictures: Pictures, numbers: Sequence[int]) -> str:
    """That the network gives no number for pictures, in words, with the next step.

    >>> not_finite(Pictures(9, lambda numbers: torch.empty(0)), [3, 4])[:80]
    'what the network says of 2 of 9 pictures, such as picture 3, or its map, is NaN '
    """
    name = f"'{pictures.names[numbers[0]]}'" if pictures.names else f"picture {numbers[0]}"
    return (
        f"what the network says of {len(numbers):,} of {pictures.count:,} pictures, such as "
        f"{name}, or its map, is NaN or infinite. Leave them out, or look for it in these pictures "
        "and in the weights, or run in float32."
    )


@dataclass(frozen=True)
class _File:
    """Reads a file by its number, and lets the picture itself go, which may be large."""

    names: tuple[str, ...]
    prepare: Prepare

    def __call__(self, number: int) -> tuple[Tensor, Geometry | None]:
        pixels, picture = ready(self.names[number], self.prepare)
        return pixels, picture.geometry if isinstance(picture, Picture) else None


def _is_path(one: object) -> bool:
    return isinstance(one, str | os.PathLike)


def _reader(
    items: Sequence[Any], prepare: Callable[[], Prepare], known: dict[int, Geometry]
) -> Callable[..., Tensor]:
    def read(numbers: Sequence[int]) -> Tensor:
        return _made(numbers, [items[number] for number in numbers], prepare, known)

    return read


def _made(
    numbers: Sequence[int],
    items: Sequence[Any],
    prepare: Callable[[], Prepare],
    known: dict[int, Geometry],
) -> Tensor:
    """The inputs of pictures; where these lie on them is noted, and what was noted before goes."""
    inputs, pictures = prepared(items, prepare())
    known.clear()
    for number, picture in zip(numbers, pictures, strict=True):
        if isinstance(picture, Picture):
            known[number] = picture.geometry
    return inputs


def _of_set(given: Any, prepare: Callable[[], Prepare]) -> Pictures:
    """A data set; its classes are read where it lists them, else off its items."""
    count = len(given)
    if not count:
        raise InputError("the data set is empty.")
    known: dict[int, Geometry] = {}

    def read(numbers: Sequence[int]) -> Tensor:
        items = [_first(given[number]) for number in numbers]
        if all(isinstance(one, Tensor) for one in items):
            return torch.stack(items)
        if is_picture(items):
            return _made(numbers, items, prepare, known)
        raise InputError(
            "an item of a data set is a tensor (channels, height, width) or a picture, alone or "
            f"ahead of its class, and number {numbers[0]} is a {type(items[0]).__name__}."
        )

    classes = getattr(given, "classes", None)
    samples = getattr(given, "samples", None)
    files = samples if isinstance(samples, list) and len(samples) == count else None
    names = None if files is None else tuple(str(path) for path, *_ in files)
    truths, words = _truths(given, count), tuple(map(str, classes)) if classes else None
    return Pictures(count, read, names, truths, words, known)


def _truths(given: Any, count: int) -> tuple[object, ...] | None:
    listed: Any = getattr(given, "targets", ())
    if isinstance(listed, Sequence | Tensor) and len(listed) == count:
        return tuple(map(_plain, listed))
    if isinstance(given, torch.utils.data.TensorDataset) and len(given.tensors) > 1:
        return tuple(map(_plain, given.tensors[1]))
    first = given[0]
    if not (isinstance(first, tuple | list) and len(first) > 1):
        return None
    return tuple(_plain(given[number][1]) for number in range(count))


def _first(item: object) -> Any:
    return item[0] if isinstance(item, tuple | list) else item


def _plain(truth: object) -> object:
    return truth.item() if isinstance(truth, Tensor) and truth.numel() == 1 else truth
