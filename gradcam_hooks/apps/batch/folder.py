"""A folder of results: what in it is ours, and one run at a time.

What runs have made in a folder is listed in `.gradcam_hooks/made.json`, before it is made. What
is not listed there is somebody else's: it is never written over, never removed, and nothing is
written through a link. Files are made in `.gradcam_hooks/parts` and renamed into their place;
what a killed run has left there the next one sweeps away. This file knows files; not what is in
them.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG

from gradcam_hooks.apps.batch.lock import locked
from gradcam_hooks.errors import ImageError

__all__ = ["Folder", "naming"]


class Folder:
    """A folder of results. Making one changes nothing.

    Args:
        path: the folder, there or not; it may be a link to one.

    Attributes:
        path: as it was given.
        own: the folder in it that holds the list of what was made, the lock, the journal of a
            run at work, and files that are not whole yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.own = path / ".gradcam_hooks"
        self._marker = self.own / "made.json"
        self._parts = self.own / "parts"
        self._held = 0
        self._made: dict[str, None] = {}
        self._root: str | None = None
        self._run: str | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the only run that is at work here; whoever is may enter again.

        The folder is made if it is not there, and goes again where nothing was claimed.

        Raises:
            ImageError: another run is at work here, or what it has made is not known.
            OSError: the folder cannot be made.
        """
        with ExitStack() as stack:
            if not self._held:
                stack.callback(self._leave, self._missing())
                self.path.mkdir(parents=True, exist_ok=True)
                self._check_own()
                self.own.mkdir(exist_ok=True)
                stack.enter_context(locked(self.own / "lock"))
                shutil.rmtree(self._parts, ignore_errors=True)  # of killed runs
                self._read()
            self._held += 1
            try:
                yield
            finally:
                self._held -= 1

    def made(self) -> frozenset[str]:
        """What runs have made here, by name below the folder, with "/".

        Raises:
            ImageError: the list of it cannot be read.
        """
        if not self._held:
            self._check_own()
            self._read()
        return frozenset(self._made)

    def root(self) -> str | None:
        """The folder of the first run's pictures, as seen from here; None before that run.

        Raises:
            ImageError: as `made`.
        """
        self.made()
        return self._root

    def run(self) -> str | None:
        """The fingerprint of what the folder is of, where records alone do not tell it.

        Raises:
            ImageError: as `made`.
        """
        self.made()
        return self._run

    def claim(self, names: Iterable[str], root: str | None = None, run: str | None = None) -> None:
        """List names as ours, before anything of that name is written; to be called while held.

        Args:
            names: of files, below the folder, with "/".
            root: the folder of this run's pictures, as seen from here; the first run's stays.
            run: a fingerprint of what the folder is of.

        Raises:
            ImageError: as `check`.
        """
        if not self._held:
            raise ValueError("claim() is for whoever is in held()")
        names = dict.fromkeys(names)
        self.check(names)
        self._made |= names
        self._root = self._root if self._root is not None else root
        self._run = run if run is not None else self._run
        content = {
            "made by": "gradcam-hooks",
            "root": self._root,
            "run": self._run,
            "made": list(self._made),
        }
        with self._part(self._marker) as part:
            part.write_text(json.dumps(content, indent=0), encoding="ascii")

    def check(self, names: Iterable[str]) -> None:
        """See that files of these names may be made.

        Raises:
            ImageError: something that is not ours bears one of the names, or a link leads away.
        """
        made = self.made()
        for name in names:
            self._check_way(name)
            if name not in made and os.path.lexists(self.path / name):
                raise ImageError(
                    f"'{self.path / name}' is there already, and no run of this command made it: "
                    "nothing is written. Name another folder (--out), or move it away"
                )

    @contextmanager
    def write(self, name: str) -> Iterator[Path]:
        """A path to write to, which becomes the file of that name when the block ends well.

        Raises:
            ImageError: what bears the name is not ours, or is no file.
            OSError: the system refuses.
        """
        if name not in self._made:
            self.claim([name])
        self._check_way(name)
        final = self.path / name
        final.parent.mkdir(parents=True, exist_ok=True)
        with self._part(final) as part:
            yield part

    def remove(self, names: Iterable[str]) -> None:
        """Remove the files of these names that are ours."""
        for name in self._made.keys() & set(names):
            with contextlib.suppress(OSError):
                (self.path / name).unlink()

    @contextmanager
    def _part(self, final: Path) -> Iterator[Path]:
        self._parts.mkdir(exist_ok=True)
        part = self._parts / f"{secrets.token_hex(8)}{final.suffix}"
        with naming(final):
            try:
                yield part
                part.replace(final)
            finally:
                part.unlink(missing_ok=True)

    def _read(self) -> None:
        try:
            content = json.loads(self._marker.read_text(encoding="ascii"))
            root, made = content["root"], dict.fromkeys(content["made"])
            run = content.get("run")
            if not all(isinstance(word, str | None) for word in (root, run)):
                raise TypeError("it is another program's")
            if not all(isinstance(name, str) for name in made):
                raise TypeError("it is another program's")
        except FileNotFoundError:
            root, run, made = None, None, {}
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise ImageError(
                f"'{self._marker}' should list what runs have made here, and cannot be read "
                f"({type(error).__name__}: {error}); name another folder (--out)"
            ) from error
        self._root, self._run, self._made = root, run, made

    def _check_own(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise FileExistsError(errno.EEXIST, "is no folder", str(self.path))
        for name in ("made.json", "lock", "journal.jsonl", "parts/any"):
            self._check_way(f"{self.own.name}/{name}")

    def _check_way(self, name: str) -> None:
        """A name leads through folders to a file, as far as there is anything, and no link."""
        file = Path(name)
        for step in (*list(file.parents)[-2::-1], file):
            path = self.path / step
            try:
                mode = path.lstat().st_mode
            except (FileNotFoundError, NotADirectoryError):
                return
            if not (S_ISREG(mode) if step == file else S_ISDIR(mode)):
                what = next(
                    (word for is_one, word in _KINDS.items() if is_one(mode)), "a device or a pipe"
                )
                raise ImageError(
                    f"'{path}' is {what}, where the results need a "
                    f"{'file' if step == file else 'folder'} of their own: nothing is written. "
                    "Name another folder (--out), or move it away"
                )

    def _missing(self) -> list[Path]:
        """The folders that are still to be made, the deepest first."""
        missing = []
        for folder in (self.path, *self.path.parents):
            if os.path.lexists(folder):
                break
            missing.append(folder)
        return missing

    def _leave(self, new: list[Path]) -> None:
        """What `held` has made goes again where nothing was claimed."""
        with contextlib.suppress(OSError):
            self._parts.rmdir()
        if not self._marker.exists():
            for folder in (self.own, *new):
                with contextlib.suppress(OSError):
                    folder.rmdir()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give the system's errors, such as a full disk's, the file's name where they lack one."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


_KINDS = {S_ISLNK: "a link", S_ISDIR: "a folder", S_ISREG: "a file"}
