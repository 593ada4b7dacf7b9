"""A folder through an explainer: the one loop that the command, the demo and the report share.

A `Series` is a job on a list of pictures, and a folder for its results. Pictures are read ahead,
explained in batches, and drawn and written while the next batch is explained; each gets a record.
A broken picture is recorded and the others are done; what an earlier run finished is not done
again. This file knows no terminal: it hands each record to a callback.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from gradcam_hooks.apps.batch.explaining import explaining
from gradcam_hooks.apps.batch.folder import Folder
from gradcam_hooks.apps.batch.job import Job
from gradcam_hooks.apps.batch.outcomes import Broken, Explained, Failed, Outcome, Packed, undrawn
from gradcam_hooks.apps.batch.plan import Task, plan_of, sizes_of
from gradcam_hooks.apps.batch.records import Record
from gradcam_hooks.apps.batch.results import RESULTS, Results
from gradcam_hooks.apps.batch.truths import judged
from gradcam_hooks.checks import check_count
from gradcam_hooks.defaults import MAX_PIXELS
from gradcam_hooks.errors import InputError
from gradcam_hooks.images.volumes import is_scan
from gradcam_hooks.stream.feed import auto_workers, fed

__all__ = ["ALWAYS", "Chunks", "Elsewhere", "Series"]

_DRAWERS = 2
"""Pictures drawn at once; drawing takes 90 bytes a pixel, which is why there are few."""

_AHEAD = 2
"""Batches that are read ahead of the network."""

ALWAYS = (RESULTS, "report.html")
"""What every run writes, beside the files of its pictures."""

_Due = Record | Future[Record]
"""A record, or one that comes when its picture is drawn."""

Chunks: TypeAlias = Generator[list[tuple[Task, Outcome]], None, None]
"""What came of pictures, some at a time, each once."""

Elsewhere: TypeAlias = Callable[[Sequence[Task], int, str], Chunks]
"""Has pictures read and explained, so many at once, by the job of this fingerprint."""


class Series:
    """A job on a list of pictures, with a folder for its results.

    Making one reads what earlier runs have left in the folder, and changes nothing. What they
    found of other pictures stays as it is.

    Args:
        job: what to do.
        pictures: the pictures, in the order in which they are to stand in the results.
        out: the folder for `results.jsonl`, `overlays/` and `maps/`, or its path.
        again: do everything again, whatever earlier runs have done.
        truths: the true class of each picture, by its path, where it is known.
        max_pixels: of a picture at most.
        fingerprint: the job's, where it is known already.

    Attributes:
        folder: the folder, to be held while there is something else to write than `go` does.
        kept: what an earlier run has done already, in the order of the pictures.
        replaced: how many of the pictures an earlier run has explained with other options.
        total: the number of pictures.
        notes: what the explanations had to say beside their maps, each sentence once.

    Raises:
        ImageError: an overlay would overwrite one of the pictures, or what earlier runs have
            left cannot be read.
    """

    def __init__(
        self,
        job: Job,
        pictures: Sequence[Path],
        out: Path | Folder,
        *,
        again: bool = False,
        truths: Mapping[str, str] | None = None,
        max_pixels: int = MAX_PIXELS,
        fingerprint: str | None = None,
    ) -> None:
        self.job = job
        self.folder = out if isinstance(out, Folder) else Folder(out)
        self.total = len(pictures)
        self.notes: dict[str, None] = {}
        self._pictures, self._again, self._truths = pictures, again, truths or {}
        self._results = Results(self.folder)
        self._print = fingerprint or job.fingerprint()
        self._max_pixels = max_pixels
        self._begun = False
        self._look()

    def _look(self) -> None:
        """See what earlier runs have done, and plan the rest."""
        self._seen = self._results.state()
        self._known = known = self._results.known()
        self._plan = plan_of(self._pictures, self.folder, known, self.job.suffix)
        self._records = {
            task.place: self._judged(known[task.place])
            for task in self._plan.tasks
            if not self._again and self._still_true(known.get(task.place), task)
        }
        self.kept = list(self._records.values())
        self.replaced = sum(
            record.error is None and record.run != self._print
            for task in self._plan.tasks
            if (record := known.get(task.place)) is not None
        )
        self._todo = [task for task in self._plan.tasks if task.place not in self._records]

    def go(
        self,
        *,
        batch_size: int = 8,
        workers: int | None = None,
        progress: Callable[[Record], None] | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> list[Record]:
        """Do what is still to do, and write the results.

        A picture that cannot be read, explained or drawn is recorded with the reason. However
        this ends, also by KeyboardInterrupt, `results.jsonl` holds what was done by then; where
        nothing was, everything is left as it was found.

        Args:
            batch_size: how many pictures go through the network at once; halved where memory
                gives out.
            workers: processes that read pictures; 0 for threads of this one, None for as many as
                this machine has use for.
            progress: called with each new record.
            elsewhere: has the pictures read and explained, where that is not to be done here.

        Returns:
            The records of all pictures, in their order, those kept from earlier runs included.

        Raises:
            GradCamHooksError: the layer, the target or the method does not suit the network.
            ImageError: another run is at work in the folder, or something stands there that no
                run has made.
            OSError: the results cannot be written.
        """
        check_count(batch_size, "the batch size", error=InputError)
        with self.folder.held():
            if self._seen != self._results.state():  # a run has ended since
                self._look()
            self.folder.check([*self._plan.names(), *ALWAYS])
            try:
                if elsewhere is None:
                    chunks = self._here(batch_size, workers)
                else:
                    chunks = elsewhere(self._todo, batch_size, self._print)
                self._go(chunks, progress)
            finally:
                if self._begun:
                    self._results.finish(self.all().values())
        return [self._records[task.place] for task in self._plan.tasks]

    def _go(self, chunks: Chunks, progress: Callable[[Record], None] | None) -> None:
        # A batch's records wait until the next batch went through the network, and broken ones
        # until it is clear that the job itself is sound.
        waiting: deque[deque[_Due]] = deque()

        def settle(most: int) -> None:
            while self._begun and len(waiting) > most:
                while waiting[0]:
                    record = self._put(waiting[0].popleft())
                    if progress is not None:
                        progress(record)
                waiting.popleft()
                self._results.sync()

        with closing(chunks), _pool() as pool:
            try:
                for chunk in chunks:
                    self._sound(chunk)
                    waiting.append(deque(self._due(pool, *one) for one in chunk))
                    settle(1)
                self._begin()
                settle(0)
            except BaseException:
                self._save(itertools.chain(*waiting))
                raise

    def _here(self, batch_size: int, workers: int | None) -> Chunks:
        """What comes of the pictures that are still to be done, by this process, in order."""
        if workers is None:
            # A scan is large, and read faster than it is sent from one process to another.
            scans = any(is_scan(task.path) for task in self._todo)
            workers = 0 if scans else auto_workers(len(self._todo))
        if self.job.target == "on":  # each picture has as many as it has
            batch_size = 1
        reading = self.job.reading(self._max_pixels)
        with explaining(self.job, batch_size) as explain:
            read = fed(self._todo, reading, ahead=_AHEAD * batch_size, workers=workers)
            with closing(read):
                while chunk := list(itertools.islice(read, batch_size)):
                    found = explain([one for _, one in chunk])
                    yield [(task, one) for (task, _), one in zip(chunk, found, strict=True)]

    def _sound(self, chunk: Sequence[tuple[Task, Outcome]]) -> None:
        """From the first picture on that the network answered the run has begun.

        Raises:
            GradCamHooksError: it fails on all of the first ones.
        """
        ran = [(task, one) for task, one in chunk if not isinstance(one, Broken)]
        failed = [(task, one) for task, one in ran if isinstance(one, Failed)]
        if failed and len(failed) == len(ran) and not self._begun:
            task, first = failed[0]
            raise first.raised(task.path)
        if ran:
            self._begin()
        for task, _ in ran:  # what is known of these is true no longer
            self._known.pop(task.place, None)
            self._results.touch(task.place)

    def _due(self, pool: ThreadPoolExecutor, task: Task, outcome: Outcome) -> _Due:
        if isinstance(outcome, Broken | Failed):
            return self._failed(task, outcome.reason)
        self.notes.update(dict.fromkeys(outcome.notes))
        return pool.submit(self._written, task, outcome)

    def _put(self, due: _Due) -> Record:
        record = due.result() if isinstance(due, Future) else due
        self._records[record.place] = record
        self._results.append(record)
        return record

    def _save(self, waiting: Iterable[_Due]) -> None:
        """Keep what was explained when the run was stopped: its drawing takes a moment."""
        for due in waiting if self._begun else ():
            with suppress(Exception):  # what stopped the run may stop this as well
                self._put(due)

    def all(self) -> dict[str, Record]:
        """What is known of every picture of the folder by now, by its place.

        Those of other runs come first, then those of this one, in order.
        """
        known = dict(self._known)
        own = [known.pop(task.place, None) for task in self._plan.tasks]
        for task, earlier in zip(self._plan.tasks, own, strict=True):
            record = self._records.get(task.place, earlier)
            if record is not None:
                known[task.place] = record
        return known

    @property
    def done(self) -> int:
        """How many of the pictures have a record by now."""
        return len(self._records)

    def shown(self) -> list[Record]:
        """The records of all pictures, for a report; of what is no longer as it was left, that."""
        lost = "its overlay or its maps are not as the run left them; explain it again"
        return [
            record
            if record.overlay is None or record.sizes == sizes_of(self.folder, record.overlay)
            else replace(record, overlay=None, error=lost)
            for record in self.all().values()
        ]

    def _begin(self) -> None:
        if not self._begun:
            self.folder.claim([*self._plan.names(), *ALWAYS], self._plan.root)
            self._begun = True
            self._results.begin(self.all().values())

    def _still_true(self, record: Record | None, task: Task) -> bool:
        return (
            record is not None
            and record.error is None
            and (record.run, record.stamp) == (self._print, task.stamp)
            and record.sizes is not None
            and record.sizes == sizes_of(self.folder, task.overlay)
        )

    def _judged(self, record: Record) -> Record:
        return judged(record, self._truths.get(record.file), self.job.loaded.labels)

    def _failed(self, task: Task, reason: str) -> Record:
        failed = Record(
            str(task.path), error=reason, run=self._print, stamp=task.stamp, place=task.place
        )
        return self._judged(failed)

    def _written(self, task: Task, outcome: Explained | Packed) -> Record:
        try:
            record = outcome.put(self.folder.write)
        except InputError:
            raise  # the maps have no height and width, which is no picture's fault
        except Exception as error:  # no space, no memory, a name that is too long
            return self._failed(task, undrawn(error).reason)
        done = replace(
            record,
            file=str(task.path),
            overlay=task.overlay,
            run=self._print,
            stamp=task.stamp,
            place=task.place,
            sizes=sizes_of(self.folder, task.overlay),
        )
        return self._judged(done)


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    """Threads that draw; where the run is stopped what they have not begun is left."""
    pool = ThreadPoolExecutor(_DRAWERS, thread_name_prefix="gradcam-hooks-draw")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
