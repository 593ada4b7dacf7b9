"""Blocks that leave nothing behind, though an interruption may strike between any two steps.

A ``with`` statement alone does not see to that: Ctrl-C may strike in ``__enter__``, once something
was changed, or in ``__exit__``, before it was put back. So a `Block` is written down in the call
that surrounds it before it changes anything, and that call undoes whatever is still written down.
It does so twice, for one stroke cannot keep it from both, and undoing what is undone does nothing.

Knows nothing of what is changed.
"""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable
from traceback import walk_tb
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["LOCKS", "Block", "lock", "surrounded", "undo_all"]

_T = TypeVar("_T")

LOCKS: list[Any] = []
"""The library's own locks, none of which is held where a call has ended."""


def lock() -> Any:
    """A reentrant lock that an interruption between the last steps of a ``with`` leaves free."""
    made = threading.RLock()
    LOCKS.append(made)
    return made


class Block(ABC):
    """A change for as long as a ``with`` block is open."""

    @abstractmethod
    def do(self) -> None:
        """Make the change."""

    @abstractmethod
    def undo(self) -> None:
        """Put back what was changed so far; to be done as often as one likes, at any time."""

    def __enter__(self) -> Self:
        if _HERE.open is not None:
            _HERE.open[self] = None
        try:
            self.do()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.undo()
        if _HERE.open is not None:
            _HERE.open.pop(self, None)


class _Here(threading.local):
    open: dict[Block, None] | None = None
    """The blocks that are open in this thread's call, the innermost last."""


_HERE = _Here()


def surrounded(block: Block, work: Callable[[], _T]) -> _T:
    """What ``work`` returns, done in ``block``; all blocks in it are undone however it ends.

    >>> class Told(Block):
    ...     def do(self): print("do")
    ...     def undo(self): print("undo")
    >>> surrounded(Told(), lambda: "done")
    do
    undo
    undo
    'done'
    """
    outer, inner = _HERE.open, dict[Block, None]()
    try:
        try:
            _HERE.open = inner
            block.do()
            return work()
        except BaseException as error:
            _close_generators(error)
            raise
        finally:
            _end(block, inner, outer)
    finally:
        _end(block, inner, outer)


def _end(block: Block, inner: dict[Block, None], outer: dict[Block, None] | None) -> None:
    try:
        undo_all((block, *inner))
    finally:  # also where the second time is struck, which takes the locks once more
        _HERE.open = outer
        if outer is None:
            for one in LOCKS:
                while one._is_owned():
                    one.release()


def _close_generators(error: BaseException) -> None:
    """Leave the blocks made of generators that ``error`` struck on their way in or out.

    Torch has such blocks. A generator that hangs in a traceback is closed when that is dropped,
    and would put back then what it had found.
    """
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        if frame.f_code.co_filename == contextlib.__file__:
            generator = getattr(frame.f_locals.get("self"), "gen", None)
            if isinstance(generator, Generator):
                with contextlib.suppress(Exception):
                    generator.close()


def undo_all(blocks: Iterable[Block]) -> None:
    """Undo blocks, the last first; an error in one does not keep the others from it."""
    with contextlib.ExitStack() as stack:
        for block in blocks:
            stack.callback(block.undo)
