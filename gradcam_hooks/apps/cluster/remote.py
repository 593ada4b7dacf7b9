"""A folder's pictures on a cluster: the batches of a run, read, explained and drawn by workers.

Each worker makes the run's job anew from the user's words, and does with a batch of pictures what
the command does with one; what comes back is written by the loop that writes everything else. Knows
the batch's own functions; how Ray is reached is `machines`' matter.
"""

from __future__ import annotations

import importlib
import logging
import math
import os
import pickle
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradcam_hooks.apps.batch import Job
from gradcam_hooks.apps.batch.explaining import explaining
from gradcam_hooks.apps.batch.outcomes import Broken, Outcome, packed
from gradcam_hooks.apps.batch.plan import Task
from gradcam_hooks.apps.batch.series import Chunks
from gradcam_hooks.apps.cluster.machines import check_free, connected
from gradcam_hooks.defaults import MAX_PIXELS
from gradcam_hooks.errors import DeviceError, GradCamHooksError, ModelError
from gradcam_hooks.stream.feed import fed, pickled

__all__ = ["Asked", "Remote", "Worker", "check_device", "outcomes_of"]

_BLOCKS = 2_000
"""Blocks at most that the pictures of a run are in: what is under way is one for each worker."""


def check_device(word: str) -> None:
    """See that the word of ``--device`` is one for workers, to whom Ray gives their GPUs.

    Raises:
        DeviceError: it is not.
    """
    if word not in ("auto", "cpu", "cuda"):
        raise DeviceError(
            "with --cluster each worker has the GPU that Ray gives it: --device is auto, cpu or "
            f"cuda; got {word!r}"
        )


@dataclass(frozen=True)
class Remote:
    """Where a run's pictures are explained, as `Series.go` takes it: the workers of a cluster.

    Attributes:
        make: makes the job, for a device; it is sent to the workers.
        address: of the cluster, as `check_address` takes it.
        device: "auto", "cpu" or "cuda".
        workers: how many there are; None for as many as there is room and use for.
        max_pixels: of a picture at most.
    """

    make: Callable[[str], Job]
    address: str
    device: str = "auto"
    workers: int | None = None
    max_pixels: int = MAX_PIXELS

    def __call__(self, tasks: Sequence[Task], batch_size: int, fingerprint: str) -> Chunks:
        """What comes of pictures, in the order in which workers are done with them.

        Raises:
            ImportError, InputError: Ray is not there, the cluster cannot be joined, or too little
                of it is free.
            GradCamHooksError: the network does not suit what is asked of it.
        """
        if not tasks:
            return
        with connected(self.address) as ray, _silent(ray):
            gpus = self._gpus(ray)
            workers = self.workers or self._room(ray, gpus, math.ceil(len(tasks) / batch_size))
            check_free(ray, workers, workers * gpus, 0, "--workers")
            size = batch_size * math.ceil(len(tasks) / batch_size / _BLOCKS)
            rows = [{"number": i, "task": pickle.dumps(task)} for i, task in enumerate(tasks)]
            device = "cuda" if gpus else "cpu"
            asked = Asked(self.make, device, batch_size, self.max_pixels, fingerprint, Path.cwd())
            found = ray.data.from_items(rows, override_num_blocks=math.ceil(len(tasks) / size))
            found = found.map_batches(
                Worker,
                fn_constructor_kwargs={"asked": asked},
                batch_size=batch_size,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(size=workers),
                num_cpus=1,
                num_gpus=gpus or None,
                udf_modifying_row_count=False,
            )
            blocks = found.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
            for block in blocks:
                yield outcomes_of(block, tasks)

    def _gpus(self, ray: Any) -> int:
        """GPUs of a worker.

        Raises:
            DeviceError: there are none, and they were asked for.
        """
        there = ray.cluster_resources().get("GPU", 0)
        if self.device == "cuda" and not there:
            raise DeviceError("--device cuda, and no machine of the cluster has a GPU")
        return int(self.device != "cpu" and there > 0)

    def _room(self, ray: Any, gpus: int, batches: int) -> int:
        """How many workers there are room and use for; one where there is no room."""
        free = ray.available_resources()
        most = int(free.get("GPU" if gpus else "CPU", 0))
        return max(1, min(batches, most if gpus else most - 1))


@dataclass(frozen=True)
class Asked:
    """What is asked of a worker.

    Attributes:
        make: makes the job.
        device: what for.
        batch_size: how many pictures go through the network at once.
        max_pixels: of a picture at most.
        fingerprint: what the job's must be.
        home: the folder in which the command was called.
    """

    make: Callable[[str], Job]
    device: str
    batch_size: int
    max_pixels: int
    fingerprint: str
    home: Path


class Worker:
    """A job made anew, which explains batches of tasks; what Ray calls a callable class."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._job: Job | Exception
        try:
            self._job = _made(asked)
        except (GradCamHooksError, ImportError, OSError) as error:  # which the user can mend
            self._job = error

    def __call__(self, rows: Any) -> Any:
        """The rows, a table of Arrow, with what came of each in the place of its task."""
        pa: Any = importlib.import_module("pyarrow")  # which Ray brings, without types
        tasks = [pickle.loads(one) for one in rows.column("task").to_pylist()]
        try:
            found = [pickled(one) for one in self._found(tasks)]
        except (GradCamHooksError, ImportError) as error:  # no picture's fault
            found = [pickled(error)] * len(tasks)
        return rows.drop_columns(["task"]).append_column("outcome", pa.array(found, pa.binary()))

    def _found(self, tasks: Sequence[Task]) -> list[Outcome]:
        if isinstance(self._job, Exception):
            raise self._job
        there = dict.fromkeys(task for task in tasks if os.path.lexists(task.path))
        reading = self._job.reading(self._asked.max_pixels)
        with explaining(self._job, self._asked.batch_size) as explain:
            read = [one for _, one in fed(there, reading, ahead=max(1, len(there)))]
            found = iter(explain(read))
            return [packed(next(found)) if task in there else _lost(task) for task in tasks]


def _made(asked: Asked) -> Job:
    """The job, the same as the one that has sent us.

    Raises:
        ModelError: it is another.
        GradCamHooksError, ImportError, OSError: it cannot be made here.
    """
    try:
        os.chdir(asked.home)
    except OSError as error:
        raise ModelError(
            f"on '{platform.node()}' there is no folder '{asked.home}', in which the command was "
            "called: all machines need the same folders under the same paths"
        ) from error
    job = asked.make(asked.device)
    if job.fingerprint() != asked.fingerprint:
        raise ModelError(
            f"'{platform.node()}' has made another network of the same words than this machine, or "
            "has another version of this library: weights that are drawn by chance must be in a "
            "file (--weights), and all machines need the same files"
        )
    return job


def _lost(task: Task) -> Broken:
    return Broken(
        f"'{task.path}' is not there on '{platform.node()}': all machines need the same pictures "
        "under the same paths"
    )


def outcomes_of(rows: Any, tasks: Sequence[Task]) -> list[tuple[Task, Outcome]]:
    """What came of pictures, of the rows that a worker has given back.

    Raises:
        GradCamHooksError: what it met, which is no picture's fault.
    """
    found = []
    numbers, blobs = (rows.column(name).to_pylist() for name in ("number", "outcome"))
    for number, blob in zip(numbers, blobs, strict=True):
        outcome = pickle.loads(blob)
        if isinstance(outcome, Exception):
            raise outcome
        found.append((tasks[number], outcome))
    return found


@contextmanager
def _silent(ray: Any) -> Iterator[None]:
    """Ray Data without its bars and lines, which the command has of its own."""
    context, logger = ray.data.DataContext.get_current(), logging.getLogger("ray.data")
    before = context.enable_progress_bars, logger.level
    context.enable_progress_bars = False
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        context.enable_progress_bars = before[0]
        logger.setLevel(before[1])
