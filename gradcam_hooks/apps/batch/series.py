"""A folder through an explainer: the one loop that the command, the demo and the report share.

A `Series` is a job on a list of pictures, and a folder for its results. Pictures are read ahead,
explained in batches, and drawn and written while the next batch is explained; each gets a record.
A broken picture is recorded and the others are done; what an earlier run finished is not done
again. This file knows no terminal: it hands each record to a callback.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from gradcam_hooks.apps.batch.drawn import draw
from gradcam_hooks.apps.batch.folder import Folder
from gradcam_hooks.apps.batch.job import Job
from gradcam_hooks.apps.batch.plan import Task, plan_of, sizes_of
from gradcam_hooks.apps.batch.reading import Ready
from gradcam_hooks.apps.batch.records import Record, record_of_all
from gradcam_hooks.apps.batch.results import RESULTS, Results
from gradcam_hooks.apps.batch.truths import judged
from gradcam_hooks.checks import check_count
from gradcam_hooks.defaults import MAX_PIXELS
from gradcam_hooks.errors import GradCamHooksError, InputError, ModelError
from gradcam_hooks.explainers import Explainer
from gradcam_hooks.images.volumes import ScanPicture, is_scan
from gradcam_hooks.results.comparison import Comparison
from gradcam_hooks.results.explanation import Explanation
from gradcam_hooks.stream.batches import Batches, fatal_for
from gradcam_hooks.stream.feed import auto_workers, fed

__all__ = ["ALWAYS", "Series"]

_DRAWERS = 2
"""Pictures drawn at once; drawing takes 90 bytes a pixel, which is why there are few."""

_AHEAD = 2
"""Batches that are read ahead of the network."""

_LARGE = 12_000_000
"""Pixels from which on pictures are drawn one after the other."""

ALWAYS = (RESULTS, "report.html")
"""What every run writes, beside the files of its pictures."""

_Due = Record | Future[Record]
"""A record, or one that comes when its picture is drawn."""

_Answer = Explanation | Comparison | Exception
"""What came of one picture: how it is explained, in one way or several; or what was raised."""


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
        self._one_large = threading.Lock()
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
                self._go(batch_size, workers, progress)
            finally:
                if self._begun:
                    self._results.finish(self.all().values())
        return [self._records[task.place] for task in self._plan.tasks]

    def _go(
        self, batch_size: int, workers: int | None, progress: Callable[[Record], None] | None
    ) -> None:
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

        if self.job.target == "on":  # each picture has as many as it has
            batch_size = 1
        with self._opened() as opened, self._read(batch_size, workers) as read, _pool() as pool:
            batches = Batches(
                lambda inputs, rows: self._attempt(opened, inputs, [ready[row] for row in rows]),
                batch_size,
                fatal_for(self.job.target),
            )
            try:
                while chunk := list(itertools.islice(read, batch_size)):
                    ready = [one for _, one in chunk if isinstance(one, Ready)]
                    explained = iter(self._explain(batches if opened else None, ready))
                    if ready:
                        self._begin()
                    self._touch(ready)
                    waiting.append(deque())
                    for task, one in chunk:
                        waiting[-1].append(
                            pool.submit(self._draw, one, next(explained))
                            if isinstance(one, Ready)
                            else self._failed(task, str(one))
                        )
                    settle(1)
                self._begin()
                settle(0)
            except BaseException:
                self._save(itertools.chain(*waiting))
                raise

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

    @contextmanager
    def _read(
        self, batch_size: int, workers: int | None
    ) -> Iterator[Iterator[tuple[Task, Ready | Exception]]]:
        """The pictures that are still to be done, read ahead."""
        if workers is None:
            # A scan is large, and read faster than it is sent from one process to another.
            scans = any(is_scan(task.path) for task in self._todo)
            workers = 0 if scans else auto_workers(len(self._todo))
        reading = self.job.reading(self._max_pixels)
        read = fed(self._todo, reading, ahead=_AHEAD * batch_size, workers=workers)
        try:
            yield read
        finally:
            read.close()

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

    def _touch(self, ready: Iterable[Ready]) -> None:
        """What is known of these is true no longer."""
        for one in ready:
            self._known.pop(one.task.place, None)
            self._results.touch(one.task.place)

    def _opened(self) -> AbstractContextManager[Explainer | None]:
        """The explainer that serves all pictures; none where methods are compared."""
        return nullcontext() if self.job.compares else self.job.explainer()

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

    def _explain(self, batches: Batches | None, ready: Sequence[Ready]) -> list[_Answer]:
        """The explanation of each picture, or what the network raised at it alone."""
        if not ready:
            return []
        found: list[_Answer] = (
            [self._compare(one) for one in ready]
            if batches is None
            else [*batches([one.pixels for one in ready])]
        )
        failure = found[0]
        never = not self._begun and all(isinstance(one, Exception) for one in found)
        if isinstance(failure, Exception) and never:
            if isinstance(failure, GradCamHooksError):
                raise failure
            shape = (1, *ready[0].pixels.shape)
            raise ModelError(
                f"the network fails on '{ready[0].task.path}' as an input of shape {shape}: "
                f"{type(failure).__name__}: {failure}"
            ) from failure
        return found

    def _attempt(
        self, opened: Explainer | None, inputs: Tensor, ready: Sequence[Ready]
    ) -> Explanation:
        assert opened is not None  # where methods are compared there are no batches
        like = next(self.job.loaded.model.parameters(), torch.empty(0))
        explanation = opened(inputs.to(like), target=self.job.target)
        if self.job.check:
            explanation = explanation.check().explanation
        told = (words for one in ready for words in one.told)
        self.notes.update(dict.fromkeys((*explanation.notes, *told)))
        return explanation.on(tuple(one.picture for one in ready))

    def _compare(self, ready: Ready) -> Comparison | Exception:
        try:
            picture = ready.picture
            return self.job.compare(
                picture.scan if isinstance(picture, ScanPicture) else picture.image
            )
        except GradCamHooksError:
            raise  # no method at all can explain this network
        except Exception as error:  # the network is the user's code
            return error.with_traceback(None)

    def _draw(self, ready: Ready, explained: _Answer) -> Record:
        task = ready.task
        if isinstance(explained, GradCamHooksError):
            return self._failed(task, str(explained))
        if isinstance(explained, Exception):
            return self._failed(
                task, f"the network fails on it: {type(explained).__name__}: {explained}"
            )
        large = ready.picture.image.width * ready.picture.image.height > _LARGE
        try:
            with self._one_large if large else nullcontext():
                every = draw(self.folder, task, ready.picture.image, explained, self.job.style)
            record = record_of_all(every)
        except InputError:
            raise  # the maps have no height and width, which is no picture's fault
        except Exception as error:  # no space, no memory, a name that is too long
            return self._failed(task, f"its overlay cannot be drawn: {error}")
        done = replace(
            record,
            file=str(task.path),
            overlay=task.overlay,
            geometry=ready.geometry,
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
