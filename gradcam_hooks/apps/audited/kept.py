"""What an audit saw of each picture, kept in the folder of its results for the next one.

A picture is known again by its place, its size in bytes and its time of change; the network and all
that decides its map by a fingerprint, as the records of `explain` are. Maps are kept at the layer's
resolution in half precision. What cannot be read is not known, and is looked at again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gradcam_hooks.apps.batch.folder import Folder
from gradcam_hooks.apps.batch.job import Job
from gradcam_hooks.apps.batch.names import place_of
from gradcam_hooks.auditing.keeping import Part, joined
from gradcam_hooks.errors import ImageError

__all__ = ["Kept", "fingerprint"]

_FORM = 1
"""Of the files; one of another form is not known."""

_EACH = 512
"""Pictures of a file at least, but for the last."""

_SECONDS = 10.0
"""After so long what was seen since is written; a kill loses that and the batch under way."""

_UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)


class Kept:
    """The parts of one network and way to look at pictures; a `Keeping`.

    Args:
        out: the folder that was named for the results, which several runs may share; where one is
            at work there, what is seen meanwhile is kept later, or not at all.
        run: the fingerprint.
        paths: the audit's pictures, in the order of their numbers.
    """

    def __init__(self, out: Path, run: str, paths: Sequence[Path]) -> None:
        self._folder = Folder(out)
        self._start = f"audit/{run}-"
        self._pictures = [_stamp(path, out) for path in paths]
        self._forgotten = False
        self._waiting: list[Part] = []
        self._number = 0  # of the file of what waits, once it was written
        self._written = time.monotonic()

    def known(self) -> list[Part]:
        """What is kept of the pictures, and of none that changed."""
        if self._forgotten:
            return []
        wanted = {stamp: number for number, stamp in enumerate(self._pictures) if stamp[1]}
        found: list[Part] = []
        for name in self._names():
            try:
                part, stamps = _read(self._folder.path / name)
            except _UNREADABLE:
                continue
            own = {stamp: row for row, stamp in enumerate(stamps) if stamp in wanted}
            rows = list(own.values())
            if not rows or (found and not part.fits(found[0])):
                continue
            numbers = tuple(wanted[stamps[row]] for row in rows)
            for row in rows:
                del wanted[stamps[row]]
            facts = {key: fact[rows] for key, fact in part.facts.items()}
            words = tuple(part.words[row] for row in rows)
            found.append(replace(part, numbers=numbers, facts=facts, words=words))
        return found

    def keep(self, part: Part) -> None:
        """Keep a part, in a file that is written again until there is enough in it."""
        self._waiting.append(part)
        whole = sum(len(one.numbers) for one in self._waiting) >= _EACH
        late = time.monotonic() - self._written >= _SECONDS
        if (whole or late) and self.flush() and whole:
            self._waiting, self._number = [], 0

    def forget(self) -> None:
        """Remove what was kept."""
        self._forgotten = True
        self._waiting, self._number = [], 0
        with contextlib.suppress(ImageError), self._folder.held():
            self._folder.remove(self._names())

    def flush(self) -> bool:
        """Write what waits; whether that could be done."""
        if not self._waiting:
            return True
        self._written = time.monotonic()
        with contextlib.suppress(ImageError), self._folder.held():
            part = joined(self._waiting)
            if not self._number:
                taken = [int(Path(name).stem.rpartition("-")[2]) for name in self._names()]
                self._number = max(taken, default=0) + 1
            with self._folder.write(f"{self._start}{self._number:05d}.npz") as file:
                _write(file, part, [self._pictures[number] for number in part.numbers])
            return True
        return False

    def tidy(self, runs: Iterable[str]) -> None:
        """Remove what is kept of all but these fingerprints."""
        own = tuple(f"audit/{run}-" for run in runs)
        with contextlib.suppress(ImageError), self._folder.held():
            made = [name for name in self._folder.made() if name.startswith("audit/")]
            self._folder.remove(name for name in made if not name.startswith(own))

    def _names(self) -> list[str]:
        return sorted(name for name in self._folder.made() if name.startswith(self._start))


def fingerprint(job: Job, places: Path | None) -> str:
    """Sixteen hexadecimal digits that change with everything but the picture that decides a look.

    Args:
        job: the network, and how its maps are made.
        places: a file or a folder of boxes or masks.
    """
    marked = sorted(places.rglob("*")) if places is not None and places.is_dir() else [places]
    stamps = [_stamp(path, Path()) for path in marked if path is not None]
    settings = ["audit", _FORM, job.fingerprint(), stamps]
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]


def _stamp(path: Path, out: Path) -> tuple[str, str]:
    """A file's place, as seen from the results, and what changes when it does."""
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return place_of(path, out), ""  # reading it will tell why
    return place_of(path, out), f"{stat.st_size}-{stat.st_mtime_ns}"


def _write(path: Path, part: Part, stamps: Sequence[tuple[str, str]]) -> None:
    told = {
        "form": _FORM,
        "pictures": stamps,
        "words": part.words,
        "layers": part.layers,
        "finer": part.finer,
        "size": part.size,
    }
    arrays: dict[str, Any] = {f"fact {name}": one.numpy() for name, one in part.facts.items()}
    arrays["told"] = np.frombuffer(json.dumps(told).encode(), np.uint8)
    with path.open("wb") as file:
        np.savez(file, **arrays)


def _read(path: Path) -> tuple[Part, list[tuple[str, str]]]:
    """A part, and which pictures it is of; its numbers are its own rows.

    Raises:
        OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile, zlib.error: it is none.
    """
    with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
        told = json.loads(content["told"].tobytes())
        facts = {
            name.removeprefix("fact "): torch.from_numpy(content[name])
            for name in content.files
            if name.startswith("fact ")
        }
    stamps = [(str(place), str(stamp)) for place, stamp in told["pictures"]]
    counts = {len(told["words"]), *map(len, facts.values())}
    if told["form"] != _FORM or counts != {len(stamps)} or "maps" not in facts:
        raise ValueError("another form, or torn")
    height, width = map(int, told["size"])
    part = Part(
        tuple(range(len(stamps))), facts, tuple(map(str, told["words"])),
        tuple(map(str, told["layers"])), str(told["finer"]), (height, width),
    )  # fmt: skip
    return part, stamps
