"""Chunks: their size, what is done when memory gives out, and that nothing is done twice."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gradcam_hooks.runs.chunks import in_chunks, size_for


def test_the_parts_are_joined_in_order() -> None:
    seen: list[tuple[int, int]] = []
    told: list[int] = []

    def run(part: slice) -> Tensor:
        seen.append((part.start, part.stop))
        return torch.arange(part.start, part.stop)

    assert in_chunks(7, run, size=3, done=told.append).tolist() == list(range(7))
    assert seen == [(0, 3), (3, 6), (6, 7)]
    assert told == [3, 6, 7]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
    ],
    ids=["cuda", "cpu"],
)
def test_where_memory_gives_out_chunks_are_halved_and_taken_up_from_there(
    error: RuntimeError,
) -> None:
    seen: list[tuple[int, int]] = []

    def run(part: slice) -> Tensor:
        seen.append((part.start, part.stop))
        if part.start >= 4 and part.stop - part.start > 1:
            raise error
        return torch.arange(part.start, part.stop)

    assert in_chunks(8, run, size=4).tolist() == list(range(8))
    # The first chunk is done once; then 4, 2 and 1 at a time, and it stays at 1.
    assert seen == [(0, 4), (4, 8), (4, 6), (4, 5), (5, 6), (6, 7), (7, 8)]


def test_what_does_not_fit_one_at_a_time_is_raised_and_so_is_any_other_error() -> None:
    def full(part: slice) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.OutOfMemoryError):
        in_chunks(4, full, size=4)
    calls = []

    def broken(part: slice) -> Tensor:
        calls.append(part)
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        in_chunks(4, broken, size=4)
    assert len(calls) == 1


def test_the_size_fits_the_free_memory() -> None:
    device = torch.device("cpu")
    assert size_for(1, device) == 256
    assert size_for(1 << 60, device) == 1
    assert 1 <= size_for(1 << 26, device) <= 256
