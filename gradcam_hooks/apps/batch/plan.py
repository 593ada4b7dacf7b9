"""The plan: what is to be done for each picture of a run, and what earlier runs have done.

A picture keeps the overlay's name that an earlier run gave it; a new one is given a name that no
other picture of the folder has. This file knows records and the folder of the results: no model,
no pixel.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradcam_hooks.apps.batch.folder import Folder
from gradcam_hooks.apps.batch.names import (
    absolute,
    card_name,
    folded,
    overlay_names,
    place_of,
    shared_folder,
    volume_name,
)
from gradcam_hooks.apps.batch.records import Record
from gradcam_hooks.errors import ImageError
from gradcam_hooks.images.nifti import has_nibabel
from gradcam_hooks.images.volumes import is_scan

__all__ = ["Plan", "Task", "plan_of", "sizes_of"]


@dataclass(frozen=True)
class Task:
    """A picture, and where its overlay goes."""

    path: Path
    place: str
    overlay: str
    stamp: str

    @property
    def volume(self) -> str | None:
        """Where the map of a scan goes as NIfTI; None of any other picture."""
        return volume_name(self.overlay) if is_scan(self.path) and has_nibabel() else None


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        tasks: each picture of the run, in order.
        root: the folder of the first run's pictures, as a place.
    """

    tasks: tuple[Task, ...]
    root: str

    def names(self) -> list[str]:
        """The files that the run may write for its pictures."""
        overlays = [task.overlay for task in self.tasks]
        volumes = [task.volume for task in self.tasks if task.volume is not None]
        return [*overlays, *map(card_name, overlays), *volumes]


def plan_of(
    pictures: Sequence[Path], folder: Folder, known: Mapping[str, Record], suffix: str = ".png"
) -> Plan:
    """The plan for some pictures, whose overlays have this suffix.

    Raises:
        ImageError: an overlay would overwrite one of the pictures.
    """
    out = folder.path
    places = [place_of(path, out) for path in pictures]
    paths = [absolute(path) for path in pictures]
    given = {place: known[place].overlay for place in places if place in known}
    given = {place: name for place, name in given.items() if (name or "").endswith(suffix)}
    new = [i for i, place in enumerate(places) if given.get(place) is None]
    root = folder.root()
    if root is None:
        root = place_of(shared_folder(paths), out) if paths else ""
    others = [record.overlay for record in known.values() if record.overlay is not None]
    fresh = overlay_names(
        [paths[i] for i in new], absolute(out / root), frozenset(map(folded, others)), suffix
    )
    overlays = [given.get(place) for place in places]
    for i, name in zip(new, fresh, strict=True):
        overlays[i] = name
    found = [_stat(path) for path in pictures]
    tasks = tuple(
        Task(path, place, str(overlay), f"{stat.st_size}-{stat.st_mtime_ns}" if stat else "")
        for path, place, overlay, stat in zip(pictures, places, overlays, found, strict=True)
    )
    plan = Plan(tasks, root)
    own = {(stat.st_dev, stat.st_ino) for stat in found if stat}
    for name in plan.names():
        if (there := _stat(out / name)) and (there.st_dev, there.st_ino) in own:
            raise ImageError(
                f"'{out / name}' is one of the pictures, and would be overwritten by its own "
                "overlay; name another folder for the results (--out)"
            )
    return plan


def sizes_of(folder: Folder, overlay: str) -> list[int] | None:
    """Bytes of an overlay and of its card; None where one of them is no file."""
    paths = [folder.path / name for name in (overlay, card_name(overlay))]
    return [path.lstat().st_size for path in paths] if all(map(_is_file, paths)) else None


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (OSError, ValueError):
        return None  # of a picture, reading it will tell why
