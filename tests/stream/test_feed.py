"""What is read ahead: in order, no further than is said, and whatever becomes of who reads it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator

import pytest

from gradcam_hooks.errors import InputError
from gradcam_hooks.stream.feed import ReaderLostError, _forking, auto_workers, fed

posix = pytest.mark.skipif(os.name != "posix", reason="processes are killed as POSIX does")


class OwnError(Exception):
    """One that cannot be read back from another process."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def squared(number: int) -> int:
    if number == 3:
        raise ValueError("three")
    if number == 4:
        raise OwnError(1, 2)
    if number == 5 and multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2


@pytest.mark.parametrize(("workers", "threads"), [(0, 2), (0, 0), (2, 2)])
def test_in_order_with_errors_in_their_places(workers, threads):
    found = list(fed(range(5), squared, ahead=3, workers=workers, threads=threads))
    assert [source for source, _ in found] == [0, 1, 2, 3, 4]
    assert [one for _, one in found[:3]] == [0, 1, 4]
    assert isinstance(found[3][1], ValueError)
    assert isinstance(found[4][1], Exception)
    assert "1 and 2" in str(found[4][1])


@posix
def test_a_process_that_dies_takes_nothing_but_its_own_along():
    found = dict(fed([9, 5, *range(6, 12)], squared, ahead=4, workers=2))
    assert isinstance(found.pop(5), ReaderLostError)
    assert found == {one: one**2 for one in (9, *range(6, 12))}


@pytest.mark.parametrize("workers", [0, 2])
def test_no_more_is_asked_for_than_is_said_and_closing_ends_all(workers):
    asked = 0

    def sources() -> Iterator[int]:
        nonlocal asked
        while True:
            asked += 1
            yield 7

    before = multiprocessing.active_children()
    stream = fed(sources(), squared, ahead=4, workers=workers)
    for taken in range(1, 4):
        assert next(stream) == (7, 49)
        assert asked <= taken + 4 + workers
    stream.close()
    assert multiprocessing.active_children() == before


def test_few_things_need_no_processes_and_bad_counts_are_refused():
    assert auto_workers(10) == 0
    with pytest.raises(InputError, match=r"workers="):
        fed([1], squared, ahead=1, workers=-1)


def test_there_are_no_more_processes_than_things_that_are_read_ahead():
    before = multiprocessing.active_children()
    with contextlib.closing(fed(range(9), squared, ahead=2, workers=40)) as stream:
        assert next(stream) == (0, 0)
        assert len(multiprocessing.active_children()) - len(before) <= 2
    assert multiprocessing.active_children() == before


@posix
def test_ctrl_c_while_processes_are_made_waits_until_they_are():
    own = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, under nohup
    before = signal.getsignal(signal.SIGINT)
    steps = []

    def made() -> None:
        with _forking():
            os.kill(os.getpid(), signal.SIGINT)
            steps.append("made")
        steps.append("went on")

    try:
        with pytest.raises(KeyboardInterrupt):
            made()
        assert steps == ["made"]
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, own)
