"""Labels: the names of the classes, in the order of their indices.

They come as a list, as a text file with one name a line, as JSON, or inside a checkpoint. A list
with a hole names every class after it wrongly, so it is an error. Of a network this file knows the
configuration alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

from gradcam_hooks.errors import ModelError
from gradcam_hooks.images.files import nearest_file, read_text

__all__ = ["labels_of", "plain_labels", "read_labels"]

_MOST = 1 << 20
"""Classes that anybody has names for; a number beyond is none of a class."""


def read_labels(labels: str | Path | Sequence[str]) -> tuple[str, ...]:
    """The classes' names, in the order of their indices.

    Args:
        labels: the names, or a file: one name a line, or JSON, a list or a dict of index to name
            (also ImageNet's `{"0": ["n01440764", "tench"], ...}`) or of name to index.

    Raises:
        ModelError: the file cannot be read, is empty, or leaves an index without a name.

    >>> read_labels(["cat", "dog"])
    ('cat', 'dog')
    """
    if not isinstance(labels, (str, Path)):
        content: object = list(labels)
        source = "labels"
    else:
        path = Path(labels).expanduser()
        source = f"'{path}'"
        try:
            text = read_text(path)
            content = json.loads(text) if text.lstrip()[:1] in ("{", "[") else _lines(text)
        except FileNotFoundError as error:
            raise ModelError(f"no file of labels '{path}'{nearest_file(path)}") from error
        except (OSError, ValueError, RecursionError) as error:
            raise ModelError(f"{source} cannot be read as labels: {error}") from error
    found = plain_labels(content)
    if not found:
        raise ModelError(
            f"{source}: expected one name for each class, none left out: a name a line, a JSON "
            'list, or a JSON dict {"0": "cat", "1": "dog"}'
        )
    return found


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
