"""Runs: which folder the results of a run go to, so that none takes the place of another's.

Runs with the same options share the folder that was named. One with others, or of another
network, gets a folder of its own in it: `run-2`, `run-3`, ...; `latest.html` beside them opens the
report that was written last. This file knows folders and records; no model, no picture.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from gradcam_hooks.apps.batch.folder import Folder
from gradcam_hooks.apps.batch.results import Results
from gradcam_hooks.errors import ImageError

__all__ = ["first_home", "home_of", "searched", "tell_latest"]

_LATEST = "latest.html"
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url={0}">
<title>The latest report</title>
<p>The latest report: <a href="{0}">{0}</a></p>
</html>
"""


@contextmanager
def home_of(
    out: Path, fingerprint: str, inner: Mapping[str, str] | None = None
) -> Iterator[Folder]:
    """The folder for a run's results, held: the one that was named, or one of its own in it.

    Args:
        out: the folder that was named.
        fingerprint: of all that decides the results, as `Job.fingerprint`.
        inner: where it has a folder for each of several networks, their fingerprints by its name.

    Raises:
        ImageError: another run is at work there, or what is there cannot be read.
    """

    def suits(folder: Folder) -> bool:
        parts = {Folder(folder.path / name): run for name, run in (inner or {}).items()}
        return all(_suits(one, run) for one, run in {folder: fingerprint, **parts}.items())

    with first_home(out, suits) as folder:
        folder.check(f"{name}/.gradcam_hooks/any" for name in inner or ())
        yield folder


@contextmanager
def first_home(out: Path, suits: Callable[[Folder], bool]) -> Iterator[Folder]:
    """The first folder that suits, held: the one that was named, or one of its own in it.

    Args:
        out: the folder that was named.
        suits: whether nothing would be lost there; asked of a folder that is new as well.

    Raises:
        ImageError: another run is at work there, or what is there cannot be read.
    """
    for folder in _candidates(out):
        if suits(folder):
            with folder.held():
                if suits(folder):  # another run may have ended there meanwhile
                    yield folder
                    return


def _candidates(out: Path) -> Iterator[Folder]:
    """The folder that was named, and those in it that are ours or may be made."""
    yield Folder(out)
    for number in itertools.count(2):
        folder = Folder(out / f"run-{number}")
        _sweep(folder)
        ours = folder.path.is_dir() and not folder.path.is_symlink()
        if not os.path.lexists(folder.path) or (ours and folder.made()):
            yield folder


def _sweep(folder: Folder) -> None:
    """Remove a folder in which a run was killed before it made anything, and nobody is at work."""
    with contextlib.suppress(ImageError, OSError):
        if [*folder.path.iterdir()] == [folder.own] and not folder.path.is_symlink():
            with folder.held():
                pass  # what is there of a killed run goes
            folder.path.rmdir()


def _suits(folder: Folder, fingerprint: str) -> bool:
    """Whether nothing that is there with other options would be lost."""
    known = Results(folder).known().values()
    if runs := {record.run for record in known if record.error is None}:
        return runs == {fingerprint}
    return folder.run() in (None, fingerprint) or bool(known)  # of broken pictures alone


def tell_latest(out: Path, home: Folder, page: Path) -> None:
    """Where a folder holds several runs, let `latest.html` open a page of the last one.

    Args:
        out: the folder that was named.
        home: the run's own.
        page: the page, in the run's own folder.
    """
    root = home if home.path == out else Folder(out)
    # Where it is somebody else's, or the other run is still at work, it stays as it is.
    with contextlib.suppress(ImageError), root.held():
        if root is not home or _LATEST in root.made():
            with root.write(_LATEST) as part:
                way = page.relative_to(out).as_posix()
                part.write_text(_PAGE.format(way), encoding="ascii", newline="\n")


def searched(paths: Sequence[str | os.PathLike[str]], out: Path) -> list[Path]:
    """What a search for pictures must leave out: the results, or what of them is among these.

    >>> [path.as_posix() for path in searched([Path("photos")], Path("photos/results"))]
    ['photos/results']
    >>> [path.as_posix() for path in searched([Path("photos")], Path("photos"))]
    ['photos/overlays']
    """
    real = os.path.realpath(out)
    if not any(os.path.realpath(path) == real for path in paths):
        return [out]
    runs = [marker.parent for marker in out.glob("*/.gradcam_hooks")] if out.is_dir() else []
    return [out / "overlays", *runs]
