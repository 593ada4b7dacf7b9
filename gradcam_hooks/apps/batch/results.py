"""Results on disk: a record for each picture, kept while a run lasts and taken up after it.

`results.jsonl` is written whole, in the order of the pictures. While a run lasts, each picture's
line goes to a journal beside it, so that a run that is killed loses nothing it had finished. The
next run reads both. This file knows lines and files: no model, no picture.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from gradcam_hooks.apps.batch.records import Record
from gradcam_hooks.images.files import write_whole

__all__ = ["Results"]


class Results:
    """The results in a folder: `results.jsonl`, and its journal while a run lasts."""

    def __init__(self, out: Path) -> None:
        self.path = out / "results.jsonl"
        self.journal = out / "results.jsonl.part"
        self._open: IO[str] | None = None

    def known(self) -> dict[str, Record]:
        """What earlier runs have found, by the picture's file; the latest word on each."""
        records: dict[str, Record] = {}
        for path in (self.path, self.journal):
            if not path.exists():
                continue
            for line in path.read_text(encoding="ascii", errors="replace").splitlines():
                record = Record.read(line)
                if record is not None:
                    records[record.file] = record
        return records

    def begin(self, kept: Iterable[Record]) -> None:
        """Open the journal; of what earlier runs found, only `kept` is still true from here on.

        To be called before the first picture of an earlier run is overwritten: a run that is
        killed must not leave a line behind that tells of a picture which is no longer there.
        """
        self._write(kept)
        self._open = self.journal.open("w", encoding="ascii")

    def append(self, record: Record) -> None:
        """Add a line to the journal; from here on it outlives this process."""
        if self._open is None:
            raise ValueError("the journal is not open: call begin() first")
        self._open.write(record.line())
        self._open.flush()

    def sync(self) -> None:
        """Have the journal's lines on the disk, so that they outlive a power cut too."""
        if self._open is not None:
            os.fsync(self._open.fileno())

    def finish(self, records: Iterable[Record]) -> None:
        """Write `results.jsonl` whole, and only then remove the journal."""
        if self._open is not None:
            self._open.close()
            self._open = None
        self._write(records)
        self.journal.unlink(missing_ok=True)

    def _write(self, records: Iterable[Record]) -> None:
        with write_whole(self.path) as part:
            part.write_text("".join(record.line() for record in records), encoding="ascii")
