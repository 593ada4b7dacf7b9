"""Many runs of a network in chunks that fit in memory.

The size of a chunk is taken from what memory is free, halved where the memory gives out, and the
work is taken up from there: what is done is done. Knows tensors and bytes; knows no network.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["in_chunks", "out_of_memory", "size_for"]

_MOST = 256
"""Variants at once: more of them fill caches and gain nothing."""

_SHARE = 0.25
"""How much of the free memory a chunk may take."""


def size_for(bytes_each: int, device: torch.device) -> int:
    """How many variants of ``bytes_each`` bytes to run at once on ``device``; 1 at least."""
    return max(1, min(_MOST, int(_SHARE * _free(device) / max(bytes_each, 1))))


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return int(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return 1 << 31  # a system that does not tell: two GiB is what any of them has


def in_chunks(
    count: int,
    run: Callable[[slice], Tensor],
    *,
    size: int,
    done: Callable[[int], None] | None = None,
) -> Tensor:
    """``run`` on each chunk of ``count`` things, joined along the first axis.

    Args:
        count: how many things there are.
        run: takes the slice of a chunk, returns one row for each thing in it.
        size: how many things in a chunk at first; halved where memory gives out.
        done: told how many things are done, after each chunk.

    Raises:
        torch.OutOfMemoryError, RuntimeError: not even one thing at a time fits.

    >>> in_chunks(5, lambda part: torch.arange(5)[part] * 2, size=2)
    tensor([0, 2, 4, 6, 8])
    """
    rows: list[Tensor] = []
    start = 0
    while start < count:
        part = slice(start, min(start + size, count))
        try:
            rows.append(run(part))
        except RuntimeError as error:
            if size == 1 or not out_of_memory(error):
                raise
        else:
            start = part.stop
            if done is not None:
                done(start)
            continue
        # Outside the handler, so that the error's frames hold no memory any more.
        size = max(1, size // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return torch.cat(rows)


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory gave out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return "can't allocate memory" in str(error) or "not enough memory" in str(error)
