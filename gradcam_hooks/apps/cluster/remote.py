"""A folder's pictures on a cluster: the batches of a run, read, explained and drawn by workers.

Each worker makes the run's job anew from the user's words, and does with a batch of pictures what
the command does with one; what comes back is written by the loop that writes everything else. Knows
the batch's own functions; workers are `pool`'s matter.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from gradcam_hooks.apps.batch import Job
from gradcam_hooks.apps.batch.explaining import explaining
from gradcam_hooks.apps.batch.outcomes import Broken, Outcome, packed
from gradcam_hooks.apps.batch.plan import Task
from gradcam_hooks.apps.batch.series import Chunks
from gradcam_hooks.apps.cluster.pool import Do, Pool
from gradcam_hooks.defaults import MAX_PIXELS
from gradcam_hooks.errors import ModelError
from gradcam_hooks.stream.feed import fed

__all__ = ["Remote", "check_print", "doing"]


@dataclass(frozen=True)
class Remote:
    """Where a run's pictures are explained, as `Series.go` takes it: the workers of a cluster.

    Attributes:
        make: makes the job, for a device; it is sent to the workers.
        pool: the workers.
        max_pixels: of a picture at most.
    """

    make: Callable[[str], Job]
    pool: Pool
    max_pixels: int = MAX_PIXELS

    def __call__(self, tasks: Sequence[Task], batch_size: int, fingerprint: str) -> Chunks:
        """What comes of pictures, in the order in which workers are done with them.

        Raises:
            ImportError, InputError: Ray is not there, the cluster cannot be joined, or too little
                of it is free.
            GradCamHooksError: the network does not suit what is asked of it.
        """
        make = partial(doing, self.make, batch_size, self.max_pixels, fingerprint)
        with closing(self.pool.map(make, tasks, batch_size)) as found:
            for chunk in found:
                yield [(tasks[number], outcome) for number, outcome in chunk]


def doing(
    make: Callable[[str], Job], batch_size: int, max_pixels: int, fingerprint: str, device: str
) -> Do:
    """On a worker: what has tasks explained and drawn, by the job that the command has.

    Args:
        make: makes the job.
        batch_size: how many pictures go through the network at once.
        max_pixels: of a picture at most.
        fingerprint: what the job's must be.
        device: what for.

    Raises:
        ModelError: it is another job.
        GradCamHooksError, ImportError, OSError: it cannot be made here.
    """
    job = make(device)
    check_print(job.fingerprint(), fingerprint)

    def do(tasks: Sequence[Task]) -> list[Outcome]:
        there = dict.fromkeys(task for task in tasks if os.path.lexists(task.path))
        reading = job.reading(max_pixels)
        with explaining(job, batch_size) as explain:
            read = [one for _, one in fed(there, reading, ahead=max(1, len(there)))]
            found = iter(explain(read))
            return [packed(next(found)) if task in there else _lost(task) for task in tasks]

    return do


def check_print(here: str, sent: str) -> None:
    """See that what a worker has made is what has sent it.

    Raises:
        ModelError: it is another.
    """
    if here != sent:
        raise ModelError(
            f"'{platform.node()}' has made another network of the same words than this machine, or "
            "has another version of this library: weights that are drawn by chance must be in a "
            "file (--weights), and all machines need the same files"
        )


def _lost(task: Task) -> Broken:
    return Broken(
        f"'{task.path}' is not there on '{platform.node()}': all machines need the same pictures "
        "under the same paths"
    )
