"""The random numbers that all share: torch's, Python's and NumPy's, put back if no other drew.

The library draws from generators of its own; a network may draw from the global ones, which all
threads share. What it drew is put back where every other thread was idle: else numbers of theirs
would come twice. Knows generators and threads.
"""

from __future__ import annotations

import pickle
import random
import sys
import threading
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Chance"]


class Chance:
    """The state of every global generator now."""

    def __init__(self) -> None:
        self._threads = _others()
        self._states = _states()

    def put_back(self) -> None:
        """Each as it was, unless another thread has done anything since."""
        now = _states()
        if _told(now) == _told(self._states) or _others() != self._threads:
            return
        on_cpu, *on_cuda = self._states[0]
        torch.set_rng_state(on_cpu)
        for device, state in enumerate(on_cuda):
            torch.cuda.set_rng_state(state, device)
        random.setstate(self._states[1])  # type: ignore[arg-type]  # as it came
        np.random.set_state(self._states[2])


_States = tuple[list[Tensor], object, dict[str, Any]]


def _states() -> _States:
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = range(torch.cuda.device_count() if started else 0)
    on_cuda = [torch.cuda.get_rng_state(device) for device in devices]
    numpy = np.random.get_state(legacy=False)
    return [torch.get_rng_state(), *on_cuda], random.getstate(), numpy


def _told(states: _States) -> tuple[bytes, object, bytes]:
    """The same, to be compared."""
    return b"".join(one.numpy().tobytes() for one in states[0]), states[1], pickle.dumps(states[2])


def _others() -> dict[int, object]:
    """Every other thread with the time it has computed; one that cannot be told equals nothing."""
    me, found = threading.get_ident(), dict[int, object]()
    for thread in threading.enumerate():
        if thread.ident != me:
            found[id(thread)] = _computed(thread.native_id)
    return found


def _computed(native: int | None) -> object:
    """The nanoseconds that a thread has had a processor."""
    if native is None or sys.platform != "linux":
        return object()
    try:
        return time.clock_gettime_ns(~native << 3 | 6)  # Linux's number of a thread's clock
    except OSError:  # it has ended
        return object()
