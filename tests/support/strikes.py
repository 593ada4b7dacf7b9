"""Ctrl-C at a chosen moment: after the n-th step at which Python would let a signal in."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

TraceFunction = Callable[[FrameType, str, Any], Any]


class Strike:
    """Raises KeyboardInterrupt once, where a function is entered or a built-in one has returned.

    Those are the moments at which CPython runs the handlers of signals (and where a loop goes
    back, which is no other moment for what is changed). Not where a generator goes on, for that may
    be its end, and what strikes there Python drops. It is raised in the frame and at the
    instruction at which a handler would raise it.

    Args:
        at: after how many such moments; beyond the last nothing is raised.
    """

    def __init__(self, at: int) -> None:
        self.at = at
        self.moments = 0
        self.where = ""

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        ends = event == "call" and frame.f_code.co_flags & inspect.CO_GENERATOR
        if event not in ("call", "c_return") or ends:
            return
        self.moments += 1
        if self.moments == self.at:
            name = getattr(argument, "__qualname__", "")
            self.where = f"{frame.f_code.co_filename}:{frame.f_lineno} {event} {name}"
            raise KeyboardInterrupt

    def during(self, work: Callable[[], object]) -> bool:
        """Whether it came out of ``work``."""
        before = sys.getprofile()
        try:
            sys.setprofile(self)
            work()
        except KeyboardInterrupt:
            return True
        finally:
            sys.setprofile(before)
        return False


class ByteStrike:
    """The same ahead of the n-th bytecode, wherever that is: harder than any signal strikes.

    In what runs while an object is deleted Python drops it, and tells it of `sys.unraisablehook`.

    Args:
        at: ahead of which bytecode; beyond the last nothing is raised.
        error: what is raised.
    """

    def __init__(self, at: int, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.at, self.error = at, error
        self.moments = 0
        self.where = ""

    def _entered(self, frame: FrameType, event: str, argument: object) -> TraceFunction:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._step

    def _step(self, frame: FrameType, event: str, argument: object) -> TraceFunction:
        if event == "opcode":
            self.moments += 1
            if self.moments == self.at:
                self.where = f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_lasti}"
                raise self.error("from a bytecode")
        return self._step

    def during(self, work: Callable[[], object]) -> bool:
        """Whether it came out of ``work``."""
        before, told = sys.gettrace(), sys.unraisablehook
        try:
            sys.unraisablehook = lambda _: None
            sys.settrace(self._entered)
            work()
        except self.error:
            return True
        finally:
            sys.settrace(before)
            sys.unraisablehook = told
        return False
