"""Ray Data's workers beside `explain_many` of one process, on the same photographs.

First it is seen that both say the same of every photograph. Then each has its turn, twice, with as
many threads as Ray gives a worker, so that what differs is the way there: tables of Arrow, a queue
and another process. A worker's start, which is of once, is told by itself.
"""

from __future__ import annotations

import importlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torchvision
from bench_pipeline import photographs
from rich.console import Console
from rich.table import Table

import gradcam_hooks as gh
from gradcam_hooks.apps.batch.records import record_of

LAYER = "layer4"
TOLERANCE = 1e-3
BATCH = 16


@dataclass(frozen=True)
class Pace:
    """What one way took.

    Attributes:
        start: seconds until the first batch was there.
        rate: photographs a second from then on.
    """

    start: float
    rate: float


@dataclass(frozen=True)
class Cluster:
    """The paces of one process, and of so many workers, in rounds; and the processors there."""

    pictures: int
    processors: int
    plain: list[Pace]
    workers: dict[int, list[Pace]]

    def ratio(self, workers: int) -> float:
        """The workers' throughput over that of one process: the median of the rounds."""
        rounds = zip(self.workers[workers], self.plain, strict=True)
        return median(one.rate / two.rate for one, two in rounds)


def network() -> gh.LoadedModel:
    torch.manual_seed(0)
    model = torchvision.models.resnet18().eval()
    return gh.LoadedModel(model, "resnet18", "random", None, gh.Preprocess(fit="crop"))


def by_itself(paths: list[Path], scores: dict[str, float]) -> Pace:
    """One process's pace, with the one thread that a worker has; and its scores."""
    torch.set_num_threads(1)
    start = first = time.perf_counter()
    stream = gh.explain_many(network(), paths, LAYER, batch_size=BATCH, workers=0)
    for number, (path, one) in enumerate(zip(paths, stream, strict=True), 1):
        assert isinstance(one, gh.Explanation)
        scores[str(path)] = float(str(record_of(one).score))
        if number == BATCH:
            first = time.perf_counter()
    return Pace(first - start, (len(paths) - BATCH) / (time.perf_counter() - first))


def by_workers(ray: Any, folder: Path, workers: int, scores: dict[str, float]) -> Pace:
    """The pace of workers; and their scores."""
    paths = sorted(map(str, folder.iterdir()))
    blocks = -(-len(paths) // BATCH)
    given = ray.data.read_binary_files(paths, include_paths=True, override_num_blocks=blocks)
    start = time.perf_counter()
    rows = gh.explain_dataset(given, model=network, layer=LAYER, batch_size=BATCH, workers=workers)
    times: list[tuple[float, int]] = []
    blocks_done: Any = rows.iter_batches(batch_size=None, batch_format="pyarrow")
    for block in blocks_done:
        told = (block.column(name).to_pylist() for name in ("path", "score"))
        scores |= zip(*told, strict=True)
        times.append((time.perf_counter(), len(block)))
    (first, some), (last, _) = times[0], times[-1]
    return Pace(first - start, (len(paths) - some) / (last - first))


@contextmanager
def started(processors: int) -> Iterator[Any]:
    """Ray on this machine, with so many processors by name."""
    ray: Any = importlib.import_module("ray")
    importlib.import_module("ray.data")
    ray.init(address="local", num_cpus=processors, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield ray
    finally:
        ray.shutdown()


def cluster(count: int, rounds: int = 3, most: int = 2) -> Cluster:
    """All ways in turn, round by round.

    Raises:
        SystemExit: they do not say the same.
    """
    plain: list[Pace] = []
    paces: dict[int, list[Pace]] = {workers: [] for workers in range(1, most + 1)}
    with tempfile.TemporaryDirectory() as home, started(most + 2) as ray:
        folder = Path(home)
        paths = photographs(folder, count)
        for _ in range(rounds):
            wanted: dict[str, float] = {}
            plain.append(by_itself(paths, wanted))
            for workers, found in paces.items():
                scores: dict[str, float] = {}
                found.append(by_workers(ray, folder, workers, scores))
                agree(wanted, scores)
    return Cluster(count, len(os.sched_getaffinity(0)), plain, paces)


def agree(wanted: dict[str, float], scores: dict[str, float]) -> None:
    """See that the same photographs have the same scores."""
    if wanted.keys() != scores.keys():
        raise SystemExit(f"{len(scores)} of {len(wanted)} photographs came back; nothing is told.")
    worst = max(abs(wanted[path] - scores[path]) for path in wanted)
    if not worst <= TOLERANCE * max(map(abs, wanted.values())):
        raise SystemExit(f"scores differ by {worst:.1e}; nothing is told.")


def cluster_section(quick: bool) -> object:
    """Ray's workers over one process, on the same photographs."""
    console, threads = Console(), torch.get_num_threads()
    with console.status("the cluster"):
        found = cluster(96 if quick else 192)
    torch.set_num_threads(threads)
    title = f"{found.pictures} photographs, ResNet-18, on {found.processors} processors"
    table = Table("", "until the first batch", "pictures a second", "of one process", title=title)
    ways = {"one process": found.plain}
    ways |= {f"{count} worker{'s' * (count > 1)}": one for count, one in found.workers.items()}
    for (name, paces), count in zip(ways.items(), (0, *found.workers), strict=True):
        starts, rates = ([f"{getattr(one, key):.1f}" for one in paces] for key in ("start", "rate"))
        ratio = f"{found.ratio(count):.2f}" if count else "1"
        table.add_row(name, f"{', '.join(starts)} s", ", ".join(rates), ratio)
    console.print(table)
    console.print("Rounds one after the other; a worker and one process have a thread each.")
    return found
