"""Targets: the word of ``--target``, read into what is explained.

Knows words and targets; no network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gradcam_hooks.errors import TargetError
from gradcam_hooks.targets import (
    AllClasses,
    Binary,
    Box,
    Difference,
    Regression,
    Segment,
    Target,
    TopK,
)

__all__ = ["read_target"]


def read_target(word: str) -> Target:
    """The target: "predicted", a class number, "all", "on", a kind with what it takes, or a label.

    Raises:
        TargetError: a kind, such as "top:", with something else behind it than it takes.

    >>> read_target("predicted"), read_target("281"), read_target("top:5"), read_target("tabby")
    (None, 281, TopK(k=5), 'tabby')
    >>> read_target("box:1,2,30,40:cat"), read_target("binary:negative")
    (Box((1.0, 2.0, 30.0, 40.0), label='cat'), Binary(positive=False))
    """
    if word == "predicted":
        return None
    if word == "all":
        return AllClasses()
    kind, colon, rest = word.partition(":")
    if kind not in _KINDS or not (colon or kind in ("box", "binary", "regression")):
        return _class(word)
    read, takes = _KINDS[kind]
    try:
        return read(rest)
    except (ValueError, KeyError) as error:
        why = f" ({error})" if isinstance(error, TargetError) else ""
        raise TargetError(f"--target {kind} takes {takes}; got {word!r}{why}") from error


def _class(word: str) -> int | str:
    number = word.strip().removeprefix("-")
    return int(word) if number.isascii() and number.isdecimal() else word


def _box(rest: str) -> Box:
    box, _, label = rest.partition(":")
    if "," not in box:
        return Box(label=_class(rest) if rest else None)
    return Box([float(side) for side in box.split(",")], label=_class(label) if label else None)


def _regression(rest: str) -> Regression:
    words = [word for word in rest.split(":") if word]
    numbers = [int(word) for word in words if word not in ("up", "down")]
    if len(numbers) > 1:
        raise ValueError(rest)
    return Regression(numbers[0] if numbers else None, up="down" not in words)


def _difference(rest: str) -> Difference:
    this, that = rest.split(",")
    return Difference(_class(this.strip()), _class(that.strip()))


_KINDS: Mapping[str, tuple[Callable[[str], Target], str]] = {
    "top": (lambda rest: TopK(int(rest)), "a number, such as top:5"),
    "segment": (lambda rest: Segment(_class(rest)), "a class, such as segment:cat"),
    "box": (_box, "a class, or four sides in pixels, such as box:10,20,110,220:cat"),
    "binary": (
        lambda rest: Binary({"": True, "positive": True, "negative": False}[rest]),
        "positive or negative",
    ),
    "regression": (_regression, "the number of an output, up or down, as in regression:1:down"),
    "difference": (_difference, "two classes, such as difference:cat,dog"),
}
"""Each kind of target: how its word is read, and what it takes in words."""
