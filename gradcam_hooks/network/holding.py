"""What one explanation changes of what belongs to all threads, held as long as any needs it so.

A module's training flag is the module's own, a switch of cuDNN the process's. Two explanations at
once would each put back what they found, and the second find what the first had changed. So the
first of them changes it, the others hold it as it is, and the last puts it back. Nobody waits.

Knows neither modules nor switches.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import RLock
from typing import TypeVar

__all__ = ["held"]

_K = TypeVar("_K", bound=Hashable)
_T = TypeVar("_T")


@dataclass(eq=False)
class _Hold:
    keys: frozenset[Hashable]
    stack: ExitStack = field(default_factory=ExitStack)
    holders: int = 0


_LOCK = RLock()
_HOLDS: list[_Hold] = []


@contextmanager
def held(
    things: Mapping[_K, _T], change: Callable[[list[_T]], AbstractContextManager[object]]
) -> Iterator[None]:
    """While open, in any thread, ``things`` are as ``change`` makes them.

    Args:
        things: by a key that is theirs for as long as they are held.
        change: changes those that nobody holds yet, and puts them back when its block is left.
    """
    with _LOCK:
        mine = [hold for hold in _HOLDS if not hold.keys.isdisjoint(things)]
        taken = frozenset[Hashable]().union(*(hold.keys for hold in mine))
        free = {key: thing for key, thing in things.items() if key not in taken}
        if free:
            new = _Hold(frozenset(free))
            new.stack.enter_context(change(list(free.values())))
            _HOLDS.append(new)
            mine.append(new)
        for hold in mine:
            hold.holders += 1
    try:
        yield
    finally:
        with _LOCK:
            for hold in reversed(mine):
                hold.holders -= 1
                if not hold.holders:
                    _HOLDS.remove(hold)
                    hold.stack.close()
