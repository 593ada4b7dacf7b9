"""Labels: the names of the classes, in the order of their indices.

They come as a list, as a text file with one name a line, as JSON, inside a checkpoint, or as the
word "imagenet". A list with a hole names every class after it wrongly, so it is an error. Of a
network this file knows the configuration alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TypeAlias

from torch import nn

from gradcam_hooks.errors import ModelError
from gradcam_hooks.images.files import nearest_file, read_text

__all__ = ["IMAGENET", "IMAGENET_HINT", "LabelsSpec", "labels_of", "plain_labels", "read_labels"]

LabelsSpec: TypeAlias = "str | os.PathLike[str] | bytes | IO[bytes] | Sequence[str]"
"""The classes' names, a file of them by its path, its bytes or opened, or ``"imagenet"``."""

IMAGENET = 1000
"""The classes of ImageNet's challenge, which most published classifiers have."""

IMAGENET_HINT = (
    "These 1,000 classes have no names. If they are ImageNet's in its usual order, "
    'labels="imagenet" (--labels imagenet) names them.'
)

_MOST = 1 << 20
"""Classes that anybody has names for; a number beyond is none of a class."""


def read_labels(labels: LabelsSpec) -> tuple[str, ...]:
    """The classes' names, in the order of their indices.

    Args:
        labels: the names; or a file: one name a line, or JSON, a list or a dict of index to name
            (also ImageNet's `{"0": ["n01440764", "tench"], ...}`) or of name to index; or
            ``"imagenet"``, for the names of its 1,000 classes as torchvision has them.

    Raises:
        ModelError: the file cannot be read, is empty, or leaves an index without a name.

    >>> read_labels(["cat", "dog"]), read_labels("imagenet")[281]
    (('cat', 'dog'), 'tabby')
    """
    if isinstance(labels, str) and labels.lower() == "imagenet":
        return _imagenet()
    source = "labels"
    if isinstance(labels, str | os.PathLike):
        source = f"'{Path(labels).expanduser()}'"
        content = _parsed(_text_of(Path(labels).expanduser()), source)
    elif isinstance(labels, bytes | bytearray) or hasattr(labels, "read"):
        held = labels if isinstance(labels, bytes | bytearray) else labels.read()
        source = str(getattr(labels, "name", "labels"))
        try:
            text = held if isinstance(held, str) else bytes(held).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ModelError(f"{source} cannot be read as labels: {error}") from error
        content = _parsed(text, source)
    else:
        content = labels if isinstance(labels, Mapping) else list(labels)
    found = plain_labels(content)
    if not found:
        raise ModelError(
            f"{source}: expected one name for each class, none left out: a name a line, a JSON "
            'list, or a JSON dict {"0": "cat", "1": "dog"}'
        )
    return found


def _imagenet() -> tuple[str, ...]:
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def _text_of(path: Path) -> str:
    try:
        return read_text(path)
    except FileNotFoundError as error:
        raise ModelError(
            f"no file of labels '{path}'{nearest_file(path)}; names themselves are a list, and "
            "'imagenet' is the 1,000 of ImageNet"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"'{path}' cannot be read as labels: {error}") from error


def _parsed(text: str, source: str) -> object:
    try:
        return json.loads(text) if text.lstrip()[:1] in ("{", "[") else _lines(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{source} cannot be read as labels: {error}") from error


def labels_of(model: nn.Module) -> tuple[str, ...] | None:
    """The labels that transformers' models carry in ``config.id2label``, by their numbers.

    A number that has no label is called ``"class 3"``.
    """
    names = getattr(getattr(model, "config", None), "id2label", None)
    if not isinstance(names, Mapping) or not names:
        return None
    try:
        by_index = {int(key): str(name) for key, name in names.items()}
    except (TypeError, ValueError):
        return None
    if min(by_index) < 0 or max(by_index) >= _MOST:
        return None
    return tuple(by_index.get(number, f"class {number}") for number in range(max(by_index) + 1))


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.rstrip().splitlines()]


def plain_labels(content: object) -> tuple[str, ...] | None:
    """The names, or None where `content` is no complete list of them."""
    if isinstance(content, Mapping) and content:
        names = dict(content)
        if all(isinstance(value, int) for value in names.values()):  # name to index
            names = {index: name for name, index in content.items()}
        by_index = {str(index): name for index, name in names.items()}
        if len(by_index) != len(content):
            return None
        content = [by_index.get(str(index)) for index in range(len(by_index))]
    if not isinstance(content, (list, tuple)):
        return None
    names_only = [pair[1] if _is_pair(pair) else pair for pair in content]
    if not all(isinstance(name, str) and name for name in names_only):
        return None
    return tuple(names_only)


def _is_pair(entry: object) -> bool:
    return isinstance(entry, (list, tuple)) and len(entry) == 2
