"""How many layers are read with nothing said: right, refused, or silently wrong, and by whom.

The networks are those of `tests.support.light_zoo`, each with two elements in its batch and with
one; the axes of their layers are known from their architecture or by construction. A reading is
right where every cell of the map lies where it should.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context

import torch

from tests.support.light_judge import Judged, judged
from tests.support.light_zoo import NETS

__all__ = ["NETWORKS", "Readings", "count_readings", "read_all"]

NETWORKS = [net.name for net in NETS]


@dataclass(frozen=True)
class Readings:
    """How many readings there are of each kind.

    Attributes:
        maps: layers that have a map to read.
        right: of these those that are read right.
        refused: those that are refused.
        wrong: the readings that are silently wrong, of layers that have no map too.
        others: layers without a map: pooled, shuffled, weights of an attention.
        rules: of those read, by rules alone.
        verified: by rules that the network was asked to confirm.
        probe: by the network.
        passes: the most passes that one took.
    """

    maps: int
    right: int
    refused: int
    wrong: tuple[str, ...]
    others: int
    rules: int
    verified: int
    probe: int
    passes: int


def _read(name: str) -> list[Judged]:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable()
    net = next(net for net in NETS if net.name == name)
    if not any(one.is_floating_point() and one.ndim > 1 for one in net.inputs()):
        return []  # words are no picture
    return [*judged(net), *judged(net, 1)]


def read_all(names: Sequence[str], processes: int) -> Iterator[list[Judged]]:
    """The readings of each of these networks, as they come."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(_read, name) for name in names]):
            yield future.result()


def count_readings(every: Sequence[Judged]) -> Readings:
    """Their counts."""
    maps = [one for one in every if one.map]
    read = [one for one in every if one.by]
    rules = [one for one in read if one.by == "rules"]
    return Readings(
        maps=len(maps),
        right=sum(one.word == "right" for one in maps),
        refused=sum(one.word == "refused" for one in maps),
        wrong=tuple(
            f"{one.net}, {one.layer}: {one.said}" for one in every if one.word == "WRONG"
        ),
        others=len(every) - len(maps),
        rules=sum(not one.passes for one in rules),
        verified=sum(one.passes > 0 for one in rules),
        probe=len(read) - len(rules),
        passes=max((one.passes for one in read), default=0),
    )  # fmt: skip
