"""Results on disk: a record for each picture, kept while a run lasts and taken up after it.

`results.jsonl` holds the latest word on each picture that any run has explained there, and is
written whole. While a run lasts, each picture's line goes to a journal, so that a run that is
killed loses nothing it had finished; before a picture's overlay is touched a line there says so,
as what was known of it may be true no longer. The next run reads both. This file knows lines and
files: no model, no picture.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from gradcam_hooks.apps.batch.folder import Folder, naming
from gradcam_hooks.apps.batch.records import Record
from gradcam_hooks.errors import ImageError

__all__ = ["RESULTS", "Results"]

RESULTS = "results.jsonl"


class Results:
    """The results in a folder: `results.jsonl`, and its journal while a run lasts."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.path = folder.path / RESULTS
        self.journal = folder.own / "journal.jsonl"
        self._open: IO[str] | None = None

    def state(self) -> tuple[object, ...]:
        """What changes when another run has been at work here."""
        found = []
        for path in (self.path, self.journal):
            with contextlib.suppress(OSError):
                stat = path.stat()
                found.append((path, stat.st_ino, stat.st_mtime_ns, stat.st_size))
        return tuple(found)

    def known(self) -> dict[str, Record]:
        """What earlier runs have found, by the picture's place; the latest word on each.

        Raises:
            ImageError: a line of `results.jsonl` is no record.
        """
        records: dict[str, Record] = {}
        if RESULTS not in self.folder.made():
            return records
        for number, line in enumerate(_lines(self.path), 1):
            if not line.strip():
                continue
            try:
                record = Record.read(line)
            except ValueError as error:
                raise ImageError(
                    f"'{self.path}', line {number}, is no record of a picture: {error}. Mend the "
                    "line or take it out, or name another folder (--out)"
                ) from error
            records[record.place] = record
        for line in _lines(self.journal):
            if (touched := _touched(line)) is not None:
                records.pop(touched, None)
                continue
            try:
                record = Record.read(line)
            except ValueError:
                continue  # torn when the run was killed
            records[record.place] = record
        return records

    def begin(self, known: Iterable[Record]) -> None:
        """Open the journal behind what is known."""
        self._write(known)
        with naming(self.journal):
            self._open = self.journal.open("w", encoding="ascii")

    def touch(self, place: str) -> None:
        """Say that a picture's overlay is about to be made: what is known of it holds no longer."""
        self._put(json.dumps({"touched": place}) + "\n")

    def append(self, record: Record) -> None:
        """Add a line to the journal; from here on it outlives this process."""
        self._put(record.line())

    def sync(self) -> None:
        """Have the journal's lines on the disk, so that they outlive a power cut too."""
        if self._open is not None:
            with naming(self.journal):
                os.fsync(self._open.fileno())

    def finish(self, records: Iterable[Record]) -> None:
        """Write `results.jsonl` whole, and only then remove the journal."""
        journal, self._open = self._open, None
        if journal is not None:
            with naming(self.journal):  # a line that found no room is tried once more
                journal.close()
        self._write(records)
        self.journal.unlink(missing_ok=True)

    def _put(self, line: str) -> None:
        if self._open is None:
            raise ValueError("the journal is not open: call begin() first")
        with naming(self.journal):
            self._open.write(line)
            self._open.flush()

    def _write(self, records: Iterable[Record]) -> None:
        with self.folder.write(RESULTS) as part, part.open("w", encoding="ascii") as file:
            file.writelines(record.line() for record in records)
            file.flush()
            os.fsync(file.fileno())


def _lines(path: Path) -> list[str]:
    if not path.is_file():  # a pipe of that name would be waited for
        return []
    return path.read_text(encoding="ascii", errors="replace").splitlines()


def _touched(line: str) -> str | None:
    """The place in a line of `Results.touch`."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    place = content.get("touched") if isinstance(content, dict) else None
    return place if isinstance(place, str) else None
