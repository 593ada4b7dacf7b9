"""What modules hold, kept and put back: their buffers, their attributes, their lists and dicts.

A pass may leave tensors in a module: a weight that a hook computed, the last attention, a cache, a
running mean. Such a module is put back whole, with the numbers and flags that say what its tensors
are good for. One in which a pass only counted, or noted that it is set up, is as after any other
pass. Attributes go by identity, tensors by value as well, in lists and dicts at any depth; but for
parameters, which are large. Knows modules; not what they are.
"""

from __future__ import annotations

import operator
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Any, TypeAlias, TypeGuard

from torch import Tensor, nn

from gradcam_hooks.network.buffers import Buffers

__all__ = ["Contents"]

_Container: TypeAlias = "dict[Any, object] | list[object] | set[object] | deque[object]"

_HOLDING = ("_parameters", "_buffers", "_modules")
_KNOWN = frozenset(vars(nn.Module()))
_EVERY = _KNOWN - set(_HOLDING)
"""The attributes that any module has, and that hold nothing of its own."""


class Contents:
    """What is in modules now, to be put back.

    Args:
        modules: each once.
        ours: the names of attributes that are changed by whoever keeps them.
    """

    def __init__(self, modules: Sequence[nn.Module], ours: Sequence[str]) -> None:
        self._ours = ours
        self._held = [vars(module) for module in modules]
        # There are thousands, and next to none has changed: all are compared in one go.
        self._keys, self._values = self._now()
        self._counts = list(map(len, self._held))
        # Of the parts that any module has it is known what they hold.
        parts = [held[name] for held in self._held for name in _HOLDING if name in held]
        known = [one for one in parts if _is_container(one)]  # of scripted ones it is none
        own = [held[name] for held in self._held for name in held.keys() - _KNOWN]
        self._containers, tensors = _reached(own, _parts, known)
        self._dicts = [one for one in self._containers if isinstance(one, dict)]
        self._sizes = list(map(len, self._containers))
        self._inside = self._inside_now()
        self._buffers = Buffers(*_sorted(modules, tensors))
        self._kept: list[_Kept] = []

    def _now(self) -> tuple[list[str], list[object]]:
        keys = list(chain.from_iterable(self._held))
        return keys, list(chain.from_iterable(map(dict.values, self._held)))

    def _inside_now(self) -> list[object]:
        """What is in the containers; of a dict the keys, and behind all the values."""
        parts = list(chain.from_iterable(self._containers))
        return parts + list(chain.from_iterable(map(dict.values, self._dicts)))

    def put_back(self) -> None:
        """All as it was."""
        written = self._buffers.put_back()
        keys, values = self._now()
        same = _same(values, self._values) and keys == self._keys
        if same and not written and not self._kept and _same(self._inside_now(), self._inside):
            return
        self._kept = self._kept or self._each()
        for module in self._kept:
            module.put_back(written)

    def _each(self) -> list[_Kept]:
        """What was in each module, where something has changed."""
        found: list[_Kept] = []
        pairs = iter(zip(self._keys, self._values, strict=True))
        inside = iter(self._inside)
        was: dict[int, tuple[object, ...]] = {}
        for one, size in zip(self._containers, self._sizes, strict=True):
            was[id(one)] = tuple(islice(inside, size))
        for one in self._dicts:
            was[id(one)] += tuple(islice(inside, len(was[id(one)])))
        for held, count in zip(self._held, self._counts, strict=True):
            found.append(_Kept(held, dict(islice(pairs, count)), was, self._ours))
        return found


class _Kept:
    """What was in one module.

    Args:
        now: its attributes.
        found: what they were.
        parts: what was in each container, by its ``id``.
        ours: as for `Contents`.
    """

    def __init__(
        self,
        now: dict[str, object],
        found: dict[str, object],
        parts: Mapping[int, tuple[object, ...]],
        ours: Sequence[str],
    ) -> None:
        self._now, self._found, self._ours = now, found, ours
        own = [found[name] for name in found.keys() - _EVERY]
        containers, self._tensors = _reached(own, lambda one: parts[id(one)])
        self._containers = [(one, parts[id(one)]) for one in containers]
        self._whole = False

    def put_back(self, written: set[int]) -> None:
        """As it was, if there are other tensors in it, or its buffers are among ``written``."""
        found = self._found
        refilled = [(one, was) for one, was in self._containers if not _same(_parts(one), was)]
        for name in self._ours:
            self._put_back(name, found)
        different = [name for name in {**self._now, **found} if self._differs(name, found)]
        held = [one.get(name) for name in different for one in (self._now, found)]
        held += [part for one, was in refilled for part in (_parts(one), was)]
        # An interruption may come before all is put back, and the tensors would not tell any more.
        self._whole |= bool(_reached(held, _parts)[1])
        self._whole |= any(id(one) in written for one in self._tensors)
        if self._whole:
            for name in different:
                self._put_back(name, found)
            for one, was in refilled:
                _refill(one, was)

    def _differs(self, name: str, found: Mapping[str, object]) -> bool:
        return self._now.get(name, _NOTHING) is not found.get(name, _NOTHING)

    def _put_back(self, name: str, found: Mapping[str, object]) -> None:
        if name not in found:
            self._now.pop(name, None)
        elif self._differs(name, found):
            self._now[name] = found[name]


_NOTHING = object()


_CONTAINERS = frozenset((dict, OrderedDict, defaultdict, Counter, list, set, deque))
_PLAIN = frozenset((str, int, float, bool, type(None)))
"""Types of most of what is in a module, in which there is nothing."""


def _is_container(value: object) -> TypeGuard[_Container]:
    return type(value) in _CONTAINERS or isinstance(value, list)


def _reached(
    values: Iterable[object],
    parts: Callable[[_Container], Iterable[object]],
    known: Iterable[_Container] = (),
) -> tuple[list[_Container], list[Tensor]]:
    """The containers and the tensors among these, and in the containers at any depth.

    With those containers that are ``known``, into which nobody looks.
    """
    containers, tensors = {id(one): one for one in known}, list[Tensor]()
    empty = set(_PLAIN)
    todo = [one for one in values if type(one) not in empty]
    while todo:
        deeper = list[object]()
        for one in todo:
            if type(one) is tuple:
                deeper += one
            elif _is_container(one):
                if id(one) not in containers:
                    containers[id(one)] = one
                    deeper += parts(one)
            elif isinstance(one, Tensor):
                tensors.append(one)
            elif isinstance(one, tuple):
                deeper += one
            else:
                empty.add(type(one))
        todo = [one for one in deeper if type(one) not in empty]
    return list(containers.values()), tensors


def _sorted(
    modules: Sequence[nn.Module], tensors: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """The buffers, and those of the tensors that are neither buffers nor a parameter's memory."""
    buffers = [one for each in modules for one in each._buffers.values() if one is not None]
    weights = [one for each in modules for one in each._parameters.values() if one is not None]
    known = {*map(id, buffers), *map(id, weights)}
    others = [one for one in tensors if id(one) not in known]
    if others:
        taken = {*map(_memory, weights)}
        others = [one for one in others if _memory(one) not in taken]
    return buffers, others


def _memory(tensor: Tensor) -> object:
    """Where its values lie; what has no one place equals nothing."""
    try:
        return tensor.untyped_storage().data_ptr() or object()
    except (RuntimeError, NotImplementedError):
        return object()


def _parts(container: _Container) -> tuple[object, ...]:
    """What is in it, to be compared by identity; of a dict the keys, and then the values."""
    if isinstance(container, dict):
        return *container, *container.values()
    return tuple(container)


def _same(parts: Collection[object], others: Collection[object]) -> bool:
    return len(parts) == len(others) and all(map(operator.is_, parts, others))


def _refill(container: _Container, parts: tuple[object, ...]) -> None:
    if isinstance(container, dict):  # what did not change stays where other threads may look for it
        half = len(parts) // 2
        found = dict(zip(parts[:half], parts[half:], strict=True))
        for key in [key for key in container if key not in found]:
            del container[key]
        container.update(found)
        if [*container] != [*found]:
            for key in found:
                container[key] = container.pop(key)
    elif isinstance(container, list):  # whatever a class of somebody's makes of its methods
        list.__setitem__(container, slice(None), parts)
    elif isinstance(container, set):
        container.clear()
        container.update(parts)
    else:
        container.clear()
        container.extend(parts)
