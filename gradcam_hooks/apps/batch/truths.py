"""Truths: the true class of each picture, from the folders they lie in or from a CSV file.

What a person wrote down is compared with the network's labels without regard to case, and with
"_" and "-" as spaces; a class number is taken too. This file knows words, paths and records: no
model, no picture.
"""

from __future__ import annotations

import contextlib
import csv
import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gradcam_hooks.apps.batch.records import Record
from gradcam_hooks.errors import InputError
from gradcam_hooks.images.files import read_text

__all__ = ["check_truths", "class_of", "judged", "read_truths"]

_FILE = frozenset({"file", "filename", "image", "path", "picture", "name", "id"})
_LABEL = frozenset({"label", "class", "truth", "target", "category"})

_DIGITS = 9
"""Of a class number at most; Python refuses to read numbers of thousands."""


def read_truths(word: str, pictures: Sequence[Path]) -> dict[str, str]:
    """The true class of each picture, by the picture's path, where it is known.

    Args:
        word: "folders", where each picture lies in a folder named after its class; or a CSV file
            with a column for the picture (`file`) and one for its class (`label`). A picture is
            named there by its path, from the CSV file or from here, or by its name alone.
        pictures: the pictures.

    Raises:
        InputError: the file is missing, is no such table, or names none of the pictures.
    """
    if word == "folders":
        return {str(path): _real(path).parent.name for path in pictures}
    rows = _rows(Path(word))
    by_path: dict[Path, str] = {}
    by_name: dict[str, set[str]] = {}
    for name, label in rows:
        for base in (Path(word).parent, Path()):
            by_path.setdefault(_real(base / name), label)
        by_name.setdefault(Path(name).name, set()).add(label)
    found: dict[str, str] = {}
    for path in pictures:
        known = by_path.get(_real(path))
        if known is None:
            labels = by_name.get(path.name) or by_name.get(path.stem) or set()
            known = next(iter(labels)) if len(labels) == 1 else None
        if known is not None:
            found[str(path)] = known
    if not found:
        example = rows[0][0] if rows else "nothing"
        raise InputError(
            f"'{word}' names none of the pictures: it names '{example}' and the like, and a "
            f"picture is '{pictures[0] if pictures else ''}'"
        )
    return found


def _real(path: Path) -> Path:
    """The path without links; as it is where there can be no such file."""
    with contextlib.suppress(ValueError):  # a null in the name
        return Path(os.path.realpath(path))
    return path


def _rows(path: Path) -> list[tuple[str, str]]:
    """The picture and the class of each row."""
    try:
        text = read_text(path)
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        table = [row for row in csv.reader(text.splitlines(), delimiter=delimiter) if row]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            f"--truth is 'folders', or a CSV file with the columns file and label; "
            f"'{path}' cannot be read: {error}"
        ) from error
    head = [cell.strip().lower() for cell in table[0]] if table else []
    files = [i for i, cell in enumerate(head) if cell in _FILE]
    labels = [i for i, cell in enumerate(head) if cell in _LABEL]
    if files and labels:
        body = table[1:]
    elif len(head) == 2:  # a table without a heading
        files, labels, body = [0], [1], table
    else:
        raise InputError(
            f"'{path}' has the columns {', '.join(head) or '(none)'}; expected file and label"
        )
    last = max(files[0], labels[0])
    return [(row[files[0]].strip(), row[labels[0]].strip()) for row in body if len(row) > last]


def check_truths(truths: Mapping[str, str], labels: Sequence[str] | None) -> None:
    """See that at least one of the true classes is a class of the network.

    Raises:
        InputError: none of them is.
    """
    if not truths or any(class_of(word, labels) is not None for word in truths.values()):
        return
    word = next(iter(truths.values()))
    if labels is None:
        raise InputError(
            f"the true class '{word}' cannot be compared: this network's classes have no names. "
            "Name them with --labels FILE, or write class numbers"
        )
    close = difflib.get_close_matches(word, labels, n=1, cutoff=0.3)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    raise InputError(f"none of the true classes, such as '{word}', is a label{hint}")


def judged(record: Record, truth: str | None, labels: Sequence[str] | None) -> Record:
    """The record with the true class, and whether the prediction is right.

    Right is None where the truth is unknown or no class of this network.

    >>> judged(Record("a.jpg", predicted=1, label="sea lion"), "Sea_Lion", ["cat", "sea lion"])
    ... # doctest: +ELLIPSIS
    Record(file='a.jpg', ..., truth='sea lion', right=True)
    """
    if truth is None:
        return replace(record, truth=None, right=None)
    index = class_of(truth, labels)
    shown = labels[index] if labels is not None and index is not None else truth
    known = index is not None and record.predicted is not None
    return replace(record, truth=shown, right=record.predicted == index if known else None)


def class_of(word: str, labels: Sequence[str] | None) -> int | None:
    """The number of the class that a word names; None where it names none."""
    if labels is not None:
        plain = [_plain(label) for label in labels]
        if _plain(word) in plain:
            return plain.index(_plain(word))
    if word.isascii() and word.isdecimal() and len(word) <= _DIGITS:
        number = int(word)
        return number if labels is None or number < len(labels) else None
    return None


def _plain(word: str) -> str:
    return " ".join(word.casefold().replace("_", " ").replace("-", " ").split())
