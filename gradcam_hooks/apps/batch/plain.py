"""Plain data read back: JSON into a dataclass, if it has exactly its fields and their types.

Files lie about for months, and people edit them; what is read is checked before it is used. This
file knows JSON and types; not what they are of.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
from types import UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

__all__ = ["read_plain"]

_T = TypeVar("_T")


def read_plain(kind: type[_T], text: str) -> _T:
    """The dataclass that `json.dumps(asdict(...))` wrote.

    Args:
        kind: the dataclass; of its fields those with a dataclass, tuples, lists, dicts, unions,
            numbers, words and None are read.
        text: the JSON.

    Raises:
        ValueError: it is no JSON, nested too deeply, or no such data; says what is wrong.

    >>> read_plain(dataclasses.make_dataclass("Point", [("x", int)]), '{"x": "one"}')
    Traceback (most recent call last):
    ValueError: x is 'one', which is no int
    """
    try:
        content = json.loads(text, parse_float=_finite, parse_constant=_finite)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return cast("_T", _read(kind, content, "it"))


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no finite number")
    return number


def _read(kind: Any, value: Any, name: str) -> object:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        for one in inner:
            with contextlib.suppress(ValueError):
                return _read(one, value, name)
    elif origin in (list, tuple) and isinstance(value, list):
        return origin(_read(inner[0], one, name) for one in value)
    elif origin is dict and isinstance(value, dict):
        return {key: _read(inner[1], one, f"{name}.{key}") for key, one in value.items()}
    elif dataclasses.is_dataclass(kind) and isinstance(value, dict):
        types = _types(cast("type", kind))
        if odd := types.keys() ^ value.keys():
            words = ", ".join(sorted(odd))
            raise ValueError(f"{name} has not exactly the fields expected: {words}")
        return cast("Any", kind)(**{key: _read(types[key], value[key], key) for key in types})
    elif origin is None and _is_one(kind, value):
        return value
    told = repr(value)
    raise ValueError(
        f"{name} is {told if len(told) < 60 else told[:57] + '...'}, which is no "
        f"{getattr(kind, '__name__', kind) if origin is None else kind}"
    )


@functools.cache  # which takes longer to find than all else that is read of a card
def _types(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _is_one(kind: Any, value: object) -> bool:
    """Whether a value is of a plain type; True is no number, and a whole number is a float."""
    kinds = (int, float) if kind is float else kind
    return isinstance(value, kinds) and not (isinstance(value, bool) and kind in (int, float))
