"""What modules hold, kept and put back: their buffers, their attributes, their lists and dicts.

A pass may leave tensors in a module: a weight that a hook computed, the last attention, a cache, a
running mean. Such a module is put back whole, with the numbers and flags that say what its tensors
are good for. One in which a pass only counted, or noted that it is set up, is as after any other
pass. Attributes go by identity, buffers by value as well. Knows modules; not what they are.
"""

from __future__ import annotations

import operator
from collections import OrderedDict, deque
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias, TypeGuard

from torch import Tensor, nn

from gradcam_hooks.network.buffers import Buffers

__all__ = ["Contents"]

_Container: TypeAlias = "dict[Any, object] | list[object] | set[object] | deque[object]"

_EVERY = frozenset(vars(nn.Module())) - {"_parameters", "_buffers", "_modules"}
"""The attributes that any module has, and that hold nothing of its own."""


class Contents:
    """What is in modules now, to be put back.

    Args:
        modules: each once.
        ours: the names of attributes that are changed by whoever keeps them.
    """

    def __init__(self, modules: Sequence[nn.Module], ours: Sequence[str]) -> None:
        self._modules = [_Kept(module, ours) for module in modules]
        self._buffers = Buffers(modules)

    def put_back(self) -> None:
        """All as it was."""
        written = self._buffers.put_back()
        for module in self._modules:
            module.put_back(written)


class _Kept:
    """What is in one module; there are many of them, and next to none has changed."""

    __slots__ = ("_containers", "_keys", "_now", "_ours", "_values", "_whole")

    def __init__(self, module: nn.Module, ours: Sequence[str]) -> None:
        self._ours = ours
        self._now: dict[str, object] = vars(module)
        self._keys, self._values = tuple(self._now), tuple(self._now.values())
        own = [self._now[name] for name in self._now.keys() - _EVERY]
        self._containers = [(one, _parts(one)) for one in own if _is_container(one)]
        self._whole = False

    def put_back(self, written: set[int]) -> None:
        """As it was, if there are other tensors in it, or its buffers are among ``written``."""
        refilled = [(one, was) for one, was in self._containers if not _same(_parts(one), was)]
        same = _same(self._now.values(), self._values)
        if same and not refilled and not written:
            return
        found = dict(zip(self._keys, self._values, strict=True))
        for name in self._ours:
            self._put_back(name, found)
        different = [name for name in {**self._now, **found} if self._differs(name, found)]
        held = [one.get(name) for name in different for one in (self._now, found)]
        held += [part for one, was in refilled for part in (_parts(one), was)]
        buffers = (part for _, was in self._containers for part in was)
        # An interruption may come before all is put back, and the tensors would not tell any more.
        self._whole |= any(map(_has_tensor, held)) or any(id(one) in written for one in buffers)
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


def _is_container(value: object) -> TypeGuard[_Container]:
    return type(value) in (dict, OrderedDict, list, set, deque)


def _has_tensor(value: object) -> bool:
    parts = _parts(value) if _is_container(value) else value if isinstance(value, tuple) else ()
    return any(isinstance(one, Tensor) for one in (value, *parts))


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
    elif isinstance(container, set):
        container.clear()
        container.update(parts)
    else:
        container.clear()
        container.extend(parts)
