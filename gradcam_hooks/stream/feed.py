"""The feed: what is read ahead of a network, in worker processes or threads, in order.

What processes read goes through their pipe and not through shared memory, which containers are
short of. One that dies (no memory, a decoder that crashes) takes nothing else down: what was not
handed over is read again, one at a time, and the one that ends a process a second time comes back
as an error in its place. (A DataLoader of PyTorch would raise in the midst of whatever this process
is at.) Knows processes and order; what is read, and how, is its caller's.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import pickle
import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import FrameType
from typing import Any, Generic, TypeVar

import torch

from gradcam_hooks.checks import check_count
from gradcam_hooks.errors import ImageError, InputError

__all__ = ["ReaderLostError", "auto_workers", "fed", "pickled"]

_S = TypeVar("_S")
_T = TypeVar("_T")

_THREADS = 2
"""Readers where there are no worker processes."""

_FEW = 64
"""Below so many things the start of processes is not worth it."""

_MOST = 4
"""Processes at most where nobody says how many: more of them read faster than a network asks."""


_LOST = "the process that read it was ended"


class ReaderLostError(ImageError):
    """The process that read it was ended by the system."""


def auto_workers(count: int | None) -> int:
    """How many worker processes to take for ``count`` things; None where that is not known.

    None of them on a machine of two cores or fewer, where the network takes all there are and
    threads do as well; nor where processes are not forked, and would run the user's script again.
    """
    cores = _cores()
    if cores <= 2 or not _forked() or (count is not None and count < _FEW):
        return 0
    return min(_MOST, cores // 2)


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS, nor on Windows
        return os.cpu_count() or 1


def fed(
    sources: Iterable[_S],
    read: Callable[[_S], _T],
    *,
    ahead: int,
    workers: int = 0,
    threads: int = _THREADS,
) -> Generator[tuple[_S, _T | Exception], None, None]:
    """Each source with what was read of it, in order, while others are read ahead.

    Args:
        sources: what to read; asked for only as far ahead as is said.
        read: reads one. What it raises comes back in the place of what it would have returned.
        ahead: how many are read, or have been read and not taken, at most.
        workers: processes that read; 0 for threads of this process. Where they cannot be made
            (``read`` cannot be sent to them) threads do it.
        threads: how many these are; 0 for none, so that each is read when it is asked for.

    Closing the generator ends the processes and the threads.
    """
    check_count(workers, "workers=", least=0, error=InputError)
    check_count(ahead, "what is read ahead", error=InputError)
    if workers and _can_be_sent(read):
        return _by_processes(_Handed(sources), read, ahead, workers)
    if threads:
        return _by_threads(sources, read, ahead, threads)
    return _by_asking(sources, read)


def _by_asking(
    sources: Iterable[_S], read: Callable[[_S], _T]
) -> Generator[tuple[_S, _T | Exception], None, None]:
    for one in sources:
        yield one, _attempt(read, one)


def _attempt(read: Callable[[_S], _T], source: _S) -> _T | Exception:
    try:
        return read(source)
    except Exception as error:  # of odd files Pillow raises anything, and so does a user's code
        return error.with_traceback(None)


def _by_threads(
    sources: Iterable[_S], read: Callable[[_S], _T], ahead: int, threads: int
) -> Generator[tuple[_S, _T | Exception], None, None]:
    waiting: deque[tuple[_S, Future[_T | Exception]]] = deque()
    rest = iter(sources)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="gradcam-hooks-read")
    try:
        while True:
            for one in itertools.islice(rest, ahead - len(waiting)):
                waiting.append((one, pool.submit(_attempt, read, one)))
            if not waiting:
                return
            source, future = waiting.popleft()
            yield source, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


class _Handed(Generic[_S]):
    """Sources as they are handed to the workers; those that were not handed back come again."""

    def __init__(self, sources: Iterable[_S]) -> None:
        self._rest = iter(sources)
        self._again: deque[_S] = deque()
        self.out: deque[_S] = deque()

    def __iter__(self) -> Iterator[_S]:
        return self

    def __next__(self) -> _S:
        one = self._again.popleft() if self._again else next(self._rest)
        self.out.append(one)
        return one

    def back(self) -> int:
        """What is out is to come again; how many these are."""
        count = len(self.out)
        self._again.extendleft(reversed(self.out))
        self.out.clear()
        return count

    def all(self) -> Iterator[_S]:
        """Those that are left, for another to hand out."""
        for one in self:
            self.out.pop()
            yield one


def _by_processes(
    handed: _Handed[_S], read: Callable[[_S], _T], ahead: int, workers: int
) -> Generator[tuple[_S, _T | Exception], None, None]:
    started = _forked()
    careful = 0  # how many are still to be read one at a time, since a worker died
    while True:
        alone = careful > 0
        running = _handed_back(handed, read, *((1, 1) if alone else (ahead, workers)))
        try:
            with contextlib.closing(running):
                for found in running:
                    started = True
                    yield handed.out.popleft(), found
                    careful -= 1
                    if alone and not careful:
                        break
                else:
                    return
        except BrokenProcessPool as died:
            if alone and started:
                careful -= 1
                yield handed.out.popleft(), ReaderLostError(f"{_LOST}: {died}")
            elif alone:  # none has read anything: they cannot be started here
                handed.back()
                yield from _by_threads(handed.all(), read, ahead, _THREADS)
                return
            else:
                careful = handed.back()


def _handed_back(
    handed: Iterator[_S], read: Callable[[_S], _T], ahead: int, workers: int
) -> Generator[_T | Exception, None, None]:
    """What the workers make of what they are handed.

    Raises:
        BrokenProcessPool: one of them ended that should not have.
    """
    waiting: deque[Future[bytes]] = deque()
    # All are forked at once, and no more have something to do than is read ahead.
    pool = ProcessPoolExecutor(min(workers, ahead), initializer=_start, initargs=(read,))
    try:
        while True:
            for one in itertools.islice(handed, ahead - len(waiting)):
                with _forking():
                    waiting.append(pool.submit(_packed, one))
            if not waiting:
                return
            found: _T | Exception = pickle.loads(waiting.popleft().result())
            yield found
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _forking() -> Iterator[None]:
    """Processes are made without Python's warnings, and Ctrl-C waits until they are.

    What a signal's handler raises in Python's own hooks behind a fork is dropped, and Ctrl-C with
    it; and a worker that is not yet deaf to it would end.
    """
    held: list[tuple[int, FrameType | None]] = []
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT) if main else None
    if callable(before):
        signal.signal(signal.SIGINT, lambda number, frame: held.append((number, frame)))
    try:
        with warnings.catch_warnings():
            # Python 3.12 warns of every fork beside threads; the workers touch none of ours.
            warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
            yield
    finally:
        if callable(before):
            signal.signal(signal.SIGINT, before)
            for one in held[:1]:
                before(*one)


_READ: list[Callable[[Any], object]] = []
"""In a worker: what it reads with."""


def _start(read: Callable[[Any], object]) -> None:
    """Make a worker of a process: one thread, deaf to Ctrl-C, and no longer there than we are."""
    # Ctrl-C reaches every process of a terminal; the one that asked for the workers ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _READ[:] = [read]
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _packed(source: object) -> bytes:
    """What a worker reads of a source, or the error, in bytes: in shared memory room is scarce."""
    return pickled(_attempt(_READ[0], source))


def pickled(found: object) -> bytes:
    """What was found, or the error, in bytes to be read back; else an error with words of it."""
    try:
        packed = pickle.dumps(found, protocol=pickle.HIGHEST_PROTOCOL)
        if isinstance(found, Exception):
            pickle.loads(packed)  # those with arguments of their own cannot be read back
    except Exception as error:
        told = found if isinstance(found, Exception) else error
        return pickle.dumps(RuntimeError(f"{type(told).__name__}: {told}"))
    return packed


def _forked() -> bool:
    """Whether workers are forked, and have all that this process has."""
    methods = multiprocessing.get_all_start_methods()
    return (multiprocessing.get_start_method(allow_none=True) or methods[0]) == "fork"


def _can_be_sent(read: object) -> bool:
    """Whether processes can be given what reads."""
    if _forked():
        return True
    try:
        pickle.dumps(read)
    except Exception:  # a lambda, an open file
        return False
    return True
