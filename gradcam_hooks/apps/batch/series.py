"""A folder through an explainer: the one loop that the command, the demo and the cluster share.

A `Series` is a job on a list of pictures, and a folder for its results. It loads in chunks,
explains, draws an overlay for each picture, keeps its maps as data and writes a record. A broken
picture is recorded and the others are done; what an earlier run finished is not done again. This
file knows no terminal: it hands each record to a callback.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from gradcam_hooks.apps.batch.cards import card_name, card_of
from gradcam_hooks.apps.batch.job import Job
from gradcam_hooks.apps.batch.records import Record, record_of
from gradcam_hooks.apps.batch.results import Results
from gradcam_hooks.apps.batch.truths import judged
from gradcam_hooks.checks import check_count
from gradcam_hooks.errors import GradCamHooksError, ImageError, InputError, ModelError
from gradcam_hooks.explainers import Explainer
from gradcam_hooks.images import load_image
from gradcam_hooks.images.pictures import Picture
from gradcam_hooks.results.comparison import Comparison
from gradcam_hooks.results.explanation import Explanation

__all__ = ["Series", "overlay_names"]

_WORKERS = 2
"""Pictures read or drawn at once; drawing takes 100 bytes a pixel, which is why there are few."""


_Answer = Explanation | Comparison | Exception
"""What came of one picture: how it is explained, in one way or several; or what was raised."""


@dataclass(frozen=True)
class _Task:
    """A picture that is still to do."""

    path: Path
    overlay: str
    stamp: str


@dataclass(frozen=True)
class _Ready:
    """A picture that was read and made ready."""

    task: _Task
    picture: Picture
    pixels: Tensor


class Series:
    """A job on a list of pictures, with a folder for its results.

    Making one reads what earlier runs have left in the folder, and changes nothing.

    Args:
        job: what to do.
        pictures: the pictures, in the order in which they are to stand in the results.
        out: the folder for `results.jsonl`, `overlays/` and `maps/`.
        again: do everything again, whatever earlier runs have done.
        truths: the true class of each picture, by its path, where it is known.

    Attributes:
        kept: what an earlier run has done already, in the order of the pictures.
        total: the number of pictures.

    Raises:
        ImageError: an overlay would overwrite one of the pictures.
    """

    def __init__(
        self,
        job: Job,
        pictures: Sequence[Path],
        out: Path,
        *,
        again: bool = False,
        truths: Mapping[str, str] | None = None,
    ) -> None:
        self.job = job
        self._truths = truths or {}
        self.out = out
        self.total = len(pictures)
        self._results = Results(out)
        self._print = job.fingerprint()
        names = overlay_names(pictures)
        own = {path.resolve() for path in pictures}
        for name in [*names, *map(card_name, names)]:
            if (out / name).resolve() in own:
                raise ImageError(
                    f"'{out / name}' is one of the pictures, and would be overwritten by its own "
                    "overlay; name another folder for the results (--out)"
                )
        tasks = [
            _Task(path, name, _stamp(path)) for path, name in zip(pictures, names, strict=True)
        ]
        known = {} if again else self._results.known()
        self._records: dict[str, Record] = {}
        for task in tasks:
            record = known.get(str(task.path))
            if record is not None and self._still_true(record, task):
                self._records[record.file] = self._judged(record)
        self.kept = list(self._records.values())
        self._order = [str(task.path) for task in tasks]
        self._todo = [task for task in tasks if str(task.path) not in self._records]
        self._begun = False

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
            OSError: the results cannot be written.
        """
        check_count(batch_size, "the batch size", error=InputError)
        broken: list[Record] = []  # held back until it is clear that the job itself is sound

        def put(record: Record) -> None:
            self._records[record.file] = record
            self._results.append(record)
            if progress is not None:
                progress(record)

        try:
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
                    for record in pool.map(self._draw, ready, explained):
                        put(record)
                    self._results.sync()
            self._begin()
            for record in broken:
                put(record)
        finally:
            if self._begun:
                self._results.finish(self._in_order())
        return self._in_order()

    def _opened(self) -> AbstractContextManager[Explainer | None]:
        """The explainer that serves all pictures; none where methods are compared."""
        return nullcontext() if self.job.compares else self.job.explainer()

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._results.begin(self.kept)

    def _in_order(self) -> list[Record]:
        return [self._records[file] for file in self._order if file in self._records]

    def _still_true(self, record: Record, task: _Task) -> bool:
        return (
            record.error is None
            and (record.run, record.stamp) == (self._print, task.stamp)
            and record.overlay == task.overlay
            and (self.out / task.overlay).is_file()
            and (self.out / card_name(task.overlay)).is_file()
        )

    def _judged(self, record: Record) -> Record:
        return judged(record, self._truths.get(record.file), self.job.loaded.labels)

    def _failed(self, task: _Task, reason: str) -> Record:
        failed = Record(str(task.path), error=reason, run=self._print, stamp=task.stamp)
        return self._judged(failed)

    def _read(self, task: _Task) -> _Ready | Record:
        try:
            image = load_image(task.path)
            pixels, geometry = self.job.prepare(image)
        except GradCamHooksError as error:
            return self._failed(task, str(error))
        except Exception as error:  # of odd proportions, torchvision and Pillow raise anything
            return self._failed(task, f"cannot be made ready: {type(error).__name__}: {error}")
        return _Ready(task, Picture(image, geometry), pixels)

    def _explain(self, opened: Explainer | None, ready: Sequence[_Ready]) -> list[_Answer]:
        """The explanation of each picture, or what the network raised at it alone."""
        if not ready:
            return []
        singles: list[_Answer]
        if opened is None:
            singles = [self._compare(one) for one in ready]
        else:
            explained = self._attempt(opened, ready)
            if isinstance(explained, Explanation):
                return list(explained)
            singles = [explained]
            if len(ready) > 1:  # one of them may be the cause, or they are too many for the memory
                singles = [self._attempt(opened, [one]) for one in ready]
        failure = singles[0]
        never = not self._begun and all(isinstance(one, Exception) for one in singles)
        if isinstance(failure, Exception) and never:
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
        except GradCamHooksError:
            raise  # the layer's or the target's, which no other picture will change
        except Exception as error:  # the network is the user's code
            return error.with_traceback(None)  # its frames would keep the chunk's memory
        return explanation.on(tuple(one.picture for one in ready))

    def _compare(self, ready: _Ready) -> Comparison | Exception:
        try:
            return self.job.compare(ready.picture.image)
        except GradCamHooksError:
            raise  # no method at all can explain this network
        except Exception as error:  # the network is the user's code
            return error.with_traceback(None)

    def _draw(self, ready: _Ready, explained: _Answer) -> Record:
        task = ready.task
        if isinstance(explained, Exception):
            return self._failed(
                task, f"the network fails on it: {type(explained).__name__}: {explained}"
            )
        try:
            if isinstance(explained, Comparison):
                explained.save(self.out / task.overlay)
                every = explained.explanations
            else:
                explained.save(self.out / task.overlay, style=self.job.style)
                every = (explained,)
            card = card_of(every, ready.picture.image)
            card.write(self.out / card_name(task.overlay))
            record = record_of(every[0])
            if len(every) > 1:
                record = replace(record, method=[one.method for one in every])
        except InputError:
            raise  # the maps have no height and width, which is no picture's fault
        except Exception as error:  # no space, no memory, a name that is too long
            return self._failed(task, f"its overlay cannot be drawn: {error}")
        done = replace(
            record,
            file=str(task.path),
            overlay=task.overlay,
            geometry=ready.picture.geometry.to_dict(),
            run=self._print,
            stamp=task.stamp,
        )
        return self._judged(done)


def overlay_names(pictures: Sequence[Path]) -> list[str]:
    """Where each picture's overlay goes, relative to the folder of the results, with "/".

    The folders below the common parent of all pictures are kept. Where two pictures differ in
    their suffix alone, they keep it.

    >>> overlay_names([Path("a/cat.jpg"), Path("a/b/cat.jpg"), Path("a/b/cat.png")])
    ['overlays/cat.png', 'overlays/b/cat.jpg.png', 'overlays/b/cat.png.png']
    """
    if not pictures:
        return []
    paths = [Path(os.path.abspath(path)) for path in pictures]  # noqa: PTH100  (keeps links)
    root = os.path.commonpath([path.parent for path in paths])
    below = [path.relative_to(root) for path in paths]
    full: set[int] = set()
    while True:
        names = [
            (path.with_name(path.name + ".png") if i in full else path.with_suffix(".png"))
            for i, path in enumerate(below)
        ]
        # Some file systems take Cat.png and cat.png for one file.
        folded = [str(name).casefold() for name in names]
        count = Counter(folded)
        clashing = {i for i, name in enumerate(folded) if count[name] > 1} - full
        if not clashing:
            return [f"overlays/{name.as_posix()}" for name in names]
        full |= clashing


def _stamp(path: Path) -> str:
    try:
        stat = path.stat()
    except OSError:
        return ""  # reading it will tell why
    return f"{stat.st_size}-{stat.st_mtime_ns}"
