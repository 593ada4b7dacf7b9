"""One walk over whatever holds tensors: what goes into a network, and what comes out of it.

The same kinds are read and written: mappings of any class, lists and tuples and what inherits from
them, dataclasses, what is registered with torch's pytree, and plain objects in whose attributes
tensors lie (torchvision's ImageList, DETR's NestedTensor). What is written is a copy along the way
to what changes, and the rest is the caller's own. Knows tensors and containers; knows no model.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, MutableMapping, MutableSequence, Sequence
from dataclasses import fields, is_dataclass
from functools import cached_property, partial
from types import (
    BuiltinFunctionType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
    SimpleNamespace,
)
from typing import TypeVar
from weakref import ReferenceType

from torch import Generator, Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from gradcam_hooks.errors import InputError

__all__ = ["Key", "Path", "at", "children", "drawn", "mapped", "rebuilt", "tensors", "walk"]

Key = str | int
"""What a part is called in its container: a mapping's key, an index or an attribute's name."""

Path = tuple[Key, ...]
"""The keys that lead to a part, from the outside in."""

_T = TypeVar("_T")

_LEAVES = (str, bytes, bytearray, memoryview, range, int, float, complex, type(None), Tensor)
_NO_RECORDS = (
    nn.Module,
    type,
    ModuleType,
    FunctionType,
    BuiltinFunctionType,
    MethodType,
    partial,
    Generator,
    ReferenceType,
)
"""Objects that have attributes and yet are nobody's way to hand tensors over."""

_DEEPEST = 3
"""How many plain objects deep a tensor is looked for, to know that an object holds one."""


def children(value: object) -> Iterator[tuple[Key, object]]:
    """The parts of a container with their keys; nothing for anything else."""
    if isinstance(value, _LEAVES):
        return
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        yield from zip(value._fields, value, strict=True)
    elif isinstance(value, Sequence):
        yield from enumerate(value)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from _attributes(value)
    elif not isinstance(value, _NO_RECORDS):
        registered, _ = _flat(value)
        if registered is not None:
            yield from enumerate(registered)
        elif _holds_tensor(value):
            yield from _attributes(value)


def tensors(value: object) -> Iterator[Tensor]:
    """Every tensor in a nested structure, in order."""
    return (part for _, part in _walk(value, (), ()) if isinstance(part, Tensor))


def walk(value: object) -> Iterator[tuple[Path, object]]:
    """The value itself and everything in it, each with the way to it, outside in and in order."""
    return _walk(value, (), ())


def _walk(value: object, path: Path, around: tuple[int, ...]) -> Iterator[tuple[Path, object]]:
    if id(value) in around:  # a structure that holds itself
        return
    yield path, value
    for key, part in children(value):
        yield from _walk(part, (*path, key), (*around, id(value)))


def at(value: object, path: Path) -> object:
    """The part that a path leads to.

    Raises:
        KeyError: there is none.

    >>> at({"views": [10, 20]}, ("views", 1))
    20
    """
    for key in path:
        value = dict(children(value))[key]
    return value


def drawn(value: object, indent: int = 0) -> str:
    """A structure in words, a line a part, with the shapes of its tensors.

    >>> import torch
    >>> print(drawn({"image": torch.zeros(1, 3, 8, 8), "sizes": [8]}))
    'image': (1, 3, 8, 8) torch.float32
    'sizes': list
      0: int
    """
    lines = []
    for path, part in _walk(value, (), ()):
        if path:
            what = type(part).__name__
            if isinstance(part, Tensor):
                what = f"{'nested' if part.is_nested else tuple(part.shape)} {part.dtype}"
            lines.append(f"{'  ' * (indent + len(path) - 1)}{path[-1]!r}: {what}")
    return "\n".join(lines)


def mapped(value: _T, change: Callable[[Tensor], Tensor], *, strict: bool = True) -> _T:
    """The same structure with ``change`` of each tensor in its place.

    What nothing changes in is the same object as before; what is given is never written to.

    Args:
        value: any structure.
        change: takes a tensor, returns what is to stand in its place.
        strict: whether it is an error that a part of the structure cannot be put together again;
            else that part stays as it is.

    Raises:
        InputError: a structure cannot be put together again with another tensor in it.
    """

    def one(path: Path, part: object) -> object:
        return change(part) if isinstance(part, Tensor) else part

    return rebuilt(value, one, strict=strict)


def rebuilt(value: _T, change: Callable[[Path, object], object], *, strict: bool = True) -> _T:
    """The same structure with other parts in it.

    Args:
        value: any structure.
        change: takes the way to a part and the part; returns what is to stand in its place, or the
            part itself, whose own parts are then asked for.
        strict: as for `mapped`.

    Raises:
        InputError: a structure cannot be put together again with another part in it.

    >>> rebuilt({"a": [1, 2], "b": (3,)}, lambda path, part: 9 if path == ("a", 1) else part)
    {'a': [1, 9], 'b': (3,)}
    """
    result: _T = _Rebuilding(change, strict=strict).of((), value)  # type: ignore[assignment]  # the same kind
    return result


class _Rebuilding:
    """One call of `rebuilt`: which structures are open, for one that holds itself."""

    def __init__(self, change: Callable[[Path, object], object], *, strict: bool) -> None:
        self._change, self._strict = change, strict
        self._open: set[int] = set()
        self._circles: set[int] = set()
        self._shells: dict[int, object] = {}

    def of(self, path: Path, value: object) -> object:
        """What stands in the place of one part."""
        if id(value) in self._shells:
            return self._shells[id(value)]
        if id(value) in self._open:
            self._circles.add(id(value))
            return value
        changed = self._change(path, value)
        if changed is not value:
            return changed
        self._open.add(id(value))
        changes = self._changes(path, value)
        self._open.remove(id(value))
        if not changes:
            return value
        try:
            return self._made(path, value, changes)
        except InputError:
            raise
        except Exception as error:  # whatever a class of somebody else's raises
            if not self._strict:
                return value
            raise InputError(
                f"{type(value).__name__} cannot be put together again with other tensors in it "
                f"({type(error).__name__}: {error}). Pass what is in it as a dict, a list or a "
                "dataclass, or in arguments of their own."
            ) from error

    def _made(self, path: Path, value: object, changes: Mapping[Key, object]) -> object:
        if id(value) in self._circles:  # once more, so that the circle leads to the copy
            new = self._shells[id(value)] = _shell(value)
            changes = self._changes(path, value)
            _put(value, new, changes)
            del self._shells[id(value)]
        else:
            new = _written(value, changes)
        kept = dict(children(new))
        if any(kept[key] is not part for key, part in changes.items()):
            raise TypeError("it keeps something else than what is put into it")
        return new

    def _changes(self, path: Path, value: object) -> dict[Key, object]:
        changes = {}
        for key, part in children(value):
            new = self.of((*path, key), part)
            if new is not part:
                changes[key] = new
        return changes


def _written(value: object, changes: Mapping[Key, object]) -> object:
    """A copy with some parts changed."""
    if isinstance(value, MappingProxyType):
        return MappingProxyType({**value, **changes})
    if isinstance(value, Mapping) and not isinstance(value, MutableMapping):
        return type(value)({**value, **changes})  # type: ignore[call-arg]  # as a rule it can
    if isinstance(value, Sequence) and not isinstance(value, MutableSequence):
        parts = [changes.get(key, part) for key, part in children(value)]
        return _sequence(value, parts)
    if not isinstance(value, Mapping | Sequence) and not is_dataclass(value):
        registered, spec = _flat(value)
        if registered is not None:
            kept = [changes.get(key, part) for key, part in enumerate(registered)]
            new: object = tree_unflatten(kept, spec)  # type: ignore[arg-type]
            return new
    return _put(value, _shell(value), changes)


def _sequence(value: Sequence[object], parts: Sequence[object]) -> object:
    if type(value) is tuple or not isinstance(value, tuple):
        return type(value)(parts)  # type: ignore[call-arg]  # as a rule it can
    try:
        new: object = tuple.__new__(type(value), parts)  # whatever its own __new__ asks for
    except TypeError:  # torch.return_types
        return type(value)(parts)
    for name, part in vars(value).items() if hasattr(value, "__dict__") else ():
        object.__setattr__(new, name, part)
    return new


def _shell(value: object) -> object:
    """A copy with the same parts, to write others to."""
    if isinstance(value, Mapping | Sequence):
        new = copy.copy(value)
        if getattr(value, "__dict__", None) is value:  # a dict whose keys are its attributes
            object.__setattr__(new, "__dict__", new)
        return new
    try:
        empty = object.__new__(type(value))  # whatever its own __new__ and __init__ ask for
    except TypeError:  # a class built on one of C
        return copy.copy(value)
    for name in _slots(value):
        if hasattr(value, name):
            object.__setattr__(empty, name, getattr(value, name))
    if hasattr(value, "__dict__"):
        derived = _derived(value)
        kept = {name: part for name, part in vars(value).items() if name not in derived}
        object.__getattribute__(empty, "__dict__").update(kept)
    return empty


def _put(value: object, shell: object, changes: Mapping[Key, object]) -> object:
    own, old = getattr(shell, "__dict__", {}), dict(children(value))
    for key, part in changes.items():
        if isinstance(shell, MutableMapping | MutableSequence):
            shell[key] = part  # type: ignore[index]  # a key of its own
            if isinstance(key, str) and own.get(key) is old[key]:  # shown as an attribute as well
                object.__setattr__(shell, key, part)
        elif isinstance(value, Mapping | Sequence):
            raise TypeError("it holds itself and cannot be written to")
        else:
            object.__setattr__(shell, str(key), part)
    return shell


def _attributes(value: object) -> Iterator[tuple[str, object]]:
    """An object's own attributes, a dataclass's fields first, without what it works out of them."""
    names = [one.name for one in fields(value)] if is_dataclass(value) else []
    names += _slots(value)
    if hasattr(value, "__dict__"):
        derived = _derived(value)
        names += [name for name in vars(value) if name not in derived]
    for name in dict.fromkeys(names):
        if hasattr(value, name):  # a field may not be set yet
            yield name, getattr(value, name)


def _slots(value: object) -> list[str]:
    names = []
    for kind in type(value).__mro__:
        own = vars(kind).get("__slots__", ())
        for name in (own,) if isinstance(own, str) else own:
            private = name.startswith("__") and not name.endswith("__")
            names.append(f"_{kind.__name__.lstrip('_')}{name}" if private else name)
    return [name for name in names if name not in ("__dict__", "__weakref__")]


def _derived(value: object) -> set[str]:
    """The names of cached properties: kept beside new parts, they would tell of the old ones."""
    return {
        name
        for kind in type(value).__mro__
        for name, part in vars(kind).items()
        if isinstance(part, cached_property)
    }


def _flat(value: object) -> tuple[list[object] | None, object]:
    """The parts of an object that torch's pytree knows, None of any other; and how to join them."""
    parts, spec = tree_flatten(value, is_leaf=lambda one: one is not value)
    return (None if spec.is_leaf() else parts), spec


def _holds_tensor(value: object, deep: int = _DEEPEST) -> bool:
    """Whether a tensor lies in a plain object, in its attributes or in lists and dicts of these."""
    if isinstance(value, Tensor):
        return True
    if isinstance(value, (*_LEAVES, *_NO_RECORDS)) or not deep:
        return False
    if isinstance(value, Mapping):
        return any(_holds_tensor(part, deep - 1) for part in value.values())
    if isinstance(value, Sequence):
        return any(_holds_tensor(part, deep - 1) for part in value)
    if not isinstance(value, SimpleNamespace) and type(value).__module__ == "builtins":
        return False
    return any(_holds_tensor(part, deep - 1) for _, part in _attributes(value))
