"""What one explanation changes of what belongs to all threads, held as long as any needs it so.

A module's training flag is the module's own, a switch of cuDNN the process's. Two explanations at
once would each put back what they found, and the second find what the first had changed. So the
first of them changes it, the others hold it as it is, and the last puts it back. Nobody waits.
In a process that is forked meanwhile the other threads are gone, and what they held is put back.

Knows neither modules nor switches.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from threading import get_ident
from typing import Generic, TypeVar

from gradcam_hooks.network.blocks import Block, lock

__all__ = ["Held"]

_K = TypeVar("_K", bound=Hashable)
_T = TypeVar("_T")


@dataclass(eq=False)
class _Hold:
    keys: frozenset[Hashable]
    change: Block
    holders: dict[Block, int] = field(default_factory=dict)
    """Each with its thread."""
    made: bool = False


_LOCK = lock()
_HOLDS: list[_Hold] = []


class Held(Block, Generic[_K, _T]):
    """While open, in any thread, ``things`` are as ``change`` makes them.

    Args:
        things: by a key that is theirs for as long as they are held.
        change: the block in which those that nobody holds yet are changed.
    """

    def __init__(self, things: Mapping[_K, _T], change: Callable[[list[_T]], Block]) -> None:
        self._things, self._change = things, change

    def do(self) -> None:
        """Hold what is held, and change the rest."""
        with _LOCK:
            mine = [hold for hold in _HOLDS if not hold.keys.isdisjoint(self._things)]
            taken = frozenset[Hashable]().union(*(hold.keys for hold in mine))
            free = {key: thing for key, thing in self._things.items() if key not in taken}
            if free:
                mine.append(_Hold(frozenset(free), self._change(list(free.values()))))
            for hold in mine:
                hold.holders[self] = get_ident()
                if hold not in _HOLDS:
                    _HOLDS.append(hold)
                if not hold.made:  # an interruption may have left the first one's half way
                    hold.change.do()
                    hold.made = True

    def undo(self) -> None:
        """Let go; what nobody holds is put back."""
        with _LOCK:
            for hold in reversed(tuple(_HOLDS)):
                hold.holders.pop(self, None)
                if not hold.holders:  # an interruption leaves it to the second attempt
                    _put_back(hold)
                    _HOLDS.remove(hold)


def _put_back(hold: _Hold) -> None:
    try:
        hold.change.undo()
    except Exception:  # no memory, for once
        try:
            hold.change.undo()
        except Exception:
            _HOLDS.remove(hold)
            raise


def _forked() -> None:
    """What threads of the parent process held, which are none here, is put back."""
    for hold in reversed(tuple(_HOLDS)):
        for holder, thread in tuple(hold.holders.items()):
            if thread != get_ident():
                hold.holders.pop(holder)
        if not hold.holders:
            _put_back(hold)
            _HOLDS.remove(hold)
    _LOCK.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_forked)
