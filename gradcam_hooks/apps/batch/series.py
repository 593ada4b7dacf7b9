"""A folder through an explainer: the one loop that the command, the demo and the cluster share.

A `Series` is a job on a list of pictures, and a folder for its results. It loads in chunks,
explains, draws an overlay for each picture, keeps its maps as data and writes a record. A broken
picture is recorded and the others are done; what an earlier run finished is not done again. This
file knows no terminal: it hands each record to a callback.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from gradcam_hooks.apps.batch.cards import card_of
from gradcam_hooks.apps.batch.folder import Folder
from gradcam_hooks.apps.batch.job import Job
from gradcam_hooks.apps.batch.names import card_name
from gradcam_hooks.apps.batch.plan import Task, plan_of, sizes_of
from gradcam_hooks.apps.batch.records import Record, record_of_all
from gradcam_hooks.apps.batch.results import RESULTS, Results
from gradcam_hooks.apps.batch.truths import judged
from gradcam_hooks.checks import check_count
from gradcam_hooks.defaults import MAX_PIXELS
from gradcam_hooks.errors import GradCamHooksError, InputError, ModelError, TargetError
from gradcam_hooks.explainers import Explainer
from gradcam_hooks.images.given import Pictured
from gradcam_hooks.images.given import ready as made_ready
from gradcam_hooks.images.volumes import ScanPicture
from gradcam_hooks.results.comparison import Comparison
from gradcam_hooks.results.explanation import Explanation

__all__ = ["ALWAYS", "Series"]

_WORKERS = 2
"""Pictures read or drawn at once; drawing takes 90 bytes a pixel, which is why there are few."""

_LARGE = 12_000_000
"""Pixels from which on pictures are drawn one after the other."""

ALWAYS = (RESULTS, "report.html")
"""What every run writes, beside the files of its pictures."""

_Answer = Explanation | Comparison | Exception
"""What came of one picture: how it is explained, in one way or several; or what was raised."""


@dataclass(frozen=True)
class _Ready:
    """A picture that was read and made ready."""

    task: Task
    picture: Pictured
    pixels: Tensor


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
        self._plan = plan_of(self._pictures, self.folder, known)
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
        self, *, batch_size: int = 8, progress: Callable[[Record], None] | None = None
    ) -> list[Record]:
        """Do what is still to do, and write the results.

        A picture that cannot be read, explained or drawn is recorded with the reason. However
        this ends, also by KeyboardInterrupt, `results.jsonl` holds what was done by then; where
        nothing was, everything is left as it was found.

        Args:
            batch_size: how many pictures go through the network at once.
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
                self._go(batch_size, progress)
            finally:
                if self._begun:
                    self._results.finish(self.all().values())
        return [self._records[task.place] for task in self._plan.tasks]

    def _go(self, batch_size: int, progress: Callable[[Record], None] | None) -> None:
        broken: list[Record] = []  # held back until it is clear that the job itself is sound

        def put(record: Record) -> None:
            self._records[record.place] = record
            self._results.append(record)
            if progress is not None:
                progress(record)

        if self.job.target == "on":  # each picture has as many as it has
            batch_size = 1
        with self._opened() as opened, ThreadPoolExecutor(_WORKERS) as pool:
            for start in range(0, len(self._todo), batch_size):
                read = list(pool.map(self._read, self._todo[start : start + batch_size]))
                ready = [one for one in read if isinstance(one, _Ready)]
                broken += [one for one in read if isinstance(one, Record)]
                explained = self._explain(opened, ready)
                if ready:
                    self._begin()
                while broken and self._begun:
                    put(broken.pop(0))
                self._touch(ready)
                for record in pool.map(self._draw, ready, explained):
                    put(record)
                self._results.sync()
        self._begin()
        for record in broken:
            put(record)

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

    def shown(self) -> list[Record]:
        """The records of all pictures, for a report; of what is no longer as it was left, that."""
        lost = "its overlay or its maps are not as the run left them; explain it again"
        return [
            record
            if record.overlay is None or record.sizes == sizes_of(self.folder, record.overlay)
            else replace(record, overlay=None, error=lost)
            for record in self.all().values()
        ]

    def _touch(self, ready: Iterable[_Ready]) -> None:
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

    def _read(self, task: Task) -> _Ready | Record:
        try:
            prepare, view = self.job.prepare, self.job.view
            pixels, picture = made_ready(task.path, prepare, view, self._max_pixels)
        except GradCamHooksError as error:
            return self._failed(task, str(error))
        except ImportError as error:
            return self._failed(task, str(error))
        except Exception as error:  # of odd proportions, torchvision and Pillow raise anything
            return self._failed(task, f"cannot be made ready: {type(error).__name__}: {error}")
        return _Ready(task, picture, pixels)

    def _explain(self, opened: Explainer | None, ready: Sequence[_Ready]) -> list[_Answer]:
        """The explanation of each picture, or what the network raised at it alone."""
        if not ready:
            return []
        singles: list[_Answer]
        if opened is None:
            singles = [self._compare(one) for one in ready]
        else:
            alike = len({one.pixels.shape for one in ready}) == 1
            explained = self._attempt(opened, ready) if alike else InputError("of several sizes")
            if isinstance(explained, Explanation):
                return list(explained)
            singles = [explained]
            if len(ready) > 1:  # one of them may be the cause, or they are too many for the memory
                singles = [self._attempt(opened, [one]) for one in ready]
        failure = singles[0]
        never = not self._begun and all(isinstance(one, Exception) for one in singles)
        if isinstance(failure, Exception) and never:
            if isinstance(failure, GradCamHooksError):
                raise failure
            shape = (1, *ready[0].pixels.shape)
            raise ModelError(
                f"the network fails on '{ready[0].task.path}' as an input of shape {shape}: "
                f"{type(failure).__name__}: {failure}"
            ) from failure
        return singles

    def _attempt(self, opened: Explainer, ready: Sequence[_Ready]) -> Explanation | Exception:
        like = next(self.job.loaded.model.parameters(), torch.empty(0))
        pixels = torch.stack([one.pixels for one in ready]).to(like)
        try:
            explanation = opened(pixels, target=self.job.target)
        except GradCamHooksError as error:
            # A region, a box or labels that are on may be in another picture.
            picked = self.job.target == "on" or callable(self.job.target)
            if picked and isinstance(error, TargetError):
                return error
            raise  # the layer's or the target's, which no other picture will change
        except Exception as error:  # the network is the user's code
            return error.with_traceback(None)  # its frames would keep the chunk's memory
        if self.job.check:
            explanation = explanation.check().explanation
        told = (words for one in ready for words in one.picture.told)
        self.notes.update(dict.fromkeys((*explanation.notes, *told)))
        return explanation.on(tuple(one.picture for one in ready))

    def _compare(self, ready: _Ready) -> Comparison | Exception:
        try:
            picture = ready.picture
            return self.job.compare(
                picture.scan if isinstance(picture, ScanPicture) else picture.image
            )
        except GradCamHooksError:
            raise  # no method at all can explain this network
        except Exception as error:  # the network is the user's code
            return error.with_traceback(None)

    def _draw(self, ready: _Ready, explained: _Answer) -> Record:
        task = ready.task
        if isinstance(explained, GradCamHooksError):
            return self._failed(task, str(explained))
        if isinstance(explained, Exception):
            return self._failed(
                task, f"the network fails on it: {type(explained).__name__}: {explained}"
            )
        image = ready.picture.image
        large = image.width * image.height > _LARGE
        try:
            with self._one_large if large else nullcontext():
                with self.folder.write(task.overlay) as part:
                    if isinstance(explained, Comparison):
                        explained.save(part)
                        every = explained.explanations
                    else:
                        explained.save(part, style=self.job.style)
                        every = (explained,)
                with self.folder.write(card_name(task.overlay)) as part:
                    card_of(every, image).write(part)
                if task.volume is not None:
                    with self.folder.write(task.volume) as part:
                        named = part.with_name(f"{part.name}.nii.gz")  # which says the format
                        every[0].save(named)
                        named.replace(part)
            record = record_of_all(every)
        except InputError:
            raise  # the maps have no height and width, which is no picture's fault
        except Exception as error:  # no space, no memory, a name that is too long
            return self._failed(task, f"its overlay cannot be drawn: {error}")
        done = replace(
            record,
            file=str(task.path),
            overlay=task.overlay,
            geometry=None
            if isinstance(ready.picture, ScanPicture)
            else ready.picture.geometry.to_dict(),
            run=self._print,
            stamp=task.stamp,
            place=task.place,
            sizes=sizes_of(self.folder, task.overlay),
        )
        return self._judged(done)
