"""What modules hold, kept and put back: their buffers, their attributes, their lists and dicts.

A pass may leave tensors in a module: a weight that a hook computed, the last attention, a cache, a
running mean. Such a module is put back whole, with the numbers and flags that say what its tensors
are good for. One in which a pass only counted, or noted that it is set up, is as after any other
pass. Attributes go by identity, buffers by value as well. Knows modules; not what they are.
"""

from __future__ import annotations

import operator
from collections import OrderedDict, deque
from collections.abc import Sequence
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
    """What is in one module."""

    def __init__(self, module: nn.Module, ours: Sequence[str]) -> None:
        self._ours = ours
        self._now: dict[str, object] = vars(module)
        self._found = dict(self._now)
        own = [self._found[name] for name in self._found.keys() - _EVERY]
        self._containers = [(one, _parts(one)) for one in own if _is_container(one)]
        self._buffers = {id(one) for one in module._buffers.values() if one is not None}
        self._whole = False

    def put_back(self, written: set[int]) -> None:
        """As it was, if there are other tensors in it, or these buffers were ``written`` to."""
        for name in self._ours:
            self._put_back(name)
        different: list[str] = []
        if not _same(_parts(self._now), _parts(self._found)):
            different += [name for name in {**self._now, **self._found} if self._differs(name)]
        refilled = [(one, was) for one, was in self._containers if not _same(_parts(one), was)]
        held = [one.get(name) for name in different for one in (self._now, self._found)]
        held += [part for one, was in refilled for part in (_parts(one), was)]
        # An interruption may come before all is put back, and the tensors would not tell any more.
        self._whole |= not self._buffers.isdisjoint(written) or any(map(_has_tensor, held))
        if self._whole:
            for name in different:
                self._put_back(name)
            for one, was in refilled:
                _refill(one, was)

    def _differs(self, name: str) -> bool:
        return self._now.get(name, _NOTHING) is not self._found.get(name, _NOTHING)

    def _put_back(self, name: str) -> None:
        if name in self._found:
            if self._differs(name):
                self._now[name] = self._found[name]
        else:
            self._now.pop(name, None)


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


def _same(parts: tuple[object, ...], others: tuple[object, ...]) -> bool:
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
