"""What a user gives for many pictures, as a stream: tensors, loaders, data sets, files, iterables.

A `Source` says what is handed to the readers one by one, and how each is read; of what comes in
batches already there is nothing to read. Knows pictures, tensors and what data sets return; it
runs no network and starts no process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor
from torch.utils.data import DataLoader

from gradcam_hooks.errors import InputError
from gradcam_hooks.images.files import list_images
from gradcam_hooks.images.given import Pictured, Prepare, is_picture, ready

__all__ = ["Read", "Source", "batches_of", "picked", "source_of"]

Read: TypeAlias = tuple[Tensor, Pictured | None]
"""An input ``(channels, *space)``, and the picture that it was made of, where it was."""

_KEYS = ("image", "img", "images", "pixel_values", "picture", "input", "inputs", "x")
"""Where a mapping keeps its picture, in the order in which to look."""


@dataclass(frozen=True)
class Source:
    """Pictures to be read one by one.

    Attributes:
        each: what is handed to the readers: a picture, or its number in a data set.
        read: reads it.
        count: how many there are; None where that is not known.
        own: whether the user's own code reads, of which it is not known that threads may.
    """

    each: Iterable[object]
    read: Callable[[Any], Read]
    count: int | None
    own: bool


@dataclass(frozen=True)
class _Reader:
    """Reads a picture, or an item of a data set."""

    prepare: Prepare
    items: Any = None

    def __call__(self, given: Any) -> Read:
        found = picked(given if self.items is None else self.items[given])
        if isinstance(found, Tensor):
            return found.detach(), None
        if is_picture(found):
            return ready(found, self.prepare)
        raise InputError(
            "each is a picture (a path, bytes, a PIL image, an RGB array) or a tensor (channels, "
            f"height, width), alone or ahead of its class, and one is a {type(found).__name__}."
        )


def source_of(given: Any, prepare: Prepare) -> Source:
    """What a user gave for many pictures, to be read one by one.

    Args:
        given: a folder or a file; a data set with a length; or an iterable of pictures.
        prepare: what makes inputs of pictures.

    Raises:
        ImageError, InputError: it is none of these, or there is nothing in it.
    """
    if isinstance(given, str | os.PathLike):
        found = list_images([given])
        return Source(found, _Reader(prepare), len(found), own=False)
    if isinstance(given, bytes | bytearray) or hasattr(given, "getpixel"):
        return Source([given], _Reader(prepare), 1, own=False)
    indexed = hasattr(given, "__getitem__") and isinstance(given, Sized)
    if indexed and not isinstance(given, list | tuple | Mapping):
        return Source(range(len(given)), _Reader(prepare, given), len(given), own=True)
    if isinstance(given, Iterable) and not isinstance(given, Mapping):
        count = len(given) if isinstance(given, Sized) else None
        return Source(given, _Reader(prepare), count, own=False)
    raise InputError(
        "many pictures are a folder, a tensor (pictures, channels, height, width), a DataLoader, "
        f"a data set or an iterable of pictures, not {type(given).__name__}."
    )


def batches_of(given: object) -> Iterator[Tensor | list[Any]] | None:
    """What comes in batches already: a tensor's rows, or what a DataLoader gives; None of others.

    Raises:
        InputError: the tensor is no batch, or the loader gives something else.
    """
    if isinstance(given, Tensor):
        if given.ndim < 3 or not given.is_floating_point():
            raise InputError(
                "a tensor is of inputs as the network takes them, (pictures, channels, *space), "
                f"and one of shape {tuple(given.shape)} and {given.dtype} came."
            )
        return iter([given])
    if isinstance(given, DataLoader):
        return map(_batch, given)
    return None


def _batch(given: Any) -> Tensor | list[Any]:
    each = list(given) if isinstance(given, list | tuple) else []
    if each and all(isinstance(one, tuple | Mapping) and not is_picture(one) for one in each):
        found: Any = [picked(one) for one in each]  # items as they were, which nobody collated
    elif is_picture(each) and not any(isinstance(one, list | tuple) for one in each):
        found = each
    else:
        found = picked(given)
    if isinstance(found, Tensor) and found.ndim > 2:
        return found
    if isinstance(found, list | tuple) and is_picture(found):
        return list(found)
    shape = f" of shape {tuple(found.shape)}" if isinstance(found, Tensor) else ""
    raise InputError(
        "a batch of a DataLoader is a tensor (pictures, channels, *space) or a list of pictures, "
        f"alone or ahead of their classes, and a {type(found).__name__}{shape} came."
    )


def picked(item: Any) -> Any:
    """The picture of an item: what stands first in a pair, or under the usual name in a mapping.

    Raises:
        InputError: a mapping has none of these names.

    >>> picked(("a.png", 3)), picked({"label": 3, "image": "a.png"})
    ('a.png', 'a.png')
    """
    if isinstance(item, Mapping):
        for key in _KEYS:
            if key in item:
                return item[key]
        raise InputError(
            f"a mapping has its picture under one of {', '.join(_KEYS)}, and one came with the "
            f"keys {', '.join(map(str, item))}. Pass the pictures alone, as in "
            "(item['photo'] for item in data)."
        )
    return item[0] if isinstance(item, tuple | list) and item else item
