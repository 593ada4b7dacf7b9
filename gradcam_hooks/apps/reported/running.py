"""A run with its report: one network's, or several beside one another, in a folder of its own.

What the command and `gh.report` share. It joins `batch` and `report`; of a terminal it knows
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradcam_hooks.apps.batch import Folder, Job, Record, Series
from gradcam_hooks.apps.batch.runs import home_of, tell_latest
from gradcam_hooks.apps.batch.series import Elsewhere
from gradcam_hooks.apps.report import Look, entries_of, terms_of, write_report
from gradcam_hooks.apps.reported.beside import check_names, page_beside, together

__all__ = ["Running", "page_of", "running"]


@dataclass(frozen=True)
class Running:
    """A run whose folder is held.

    Attributes:
        out: the folder that was named.
        home: the run's own, the same or one in it.
        series: what each network has to do, by its name; of one network by "".
        run: the fingerprint of all.
    """

    out: Path
    home: Folder
    series: Mapping[str, Series]
    run: str

    @property
    def beside(self) -> bool:
        """Whether there are several networks."""
        return len(self.series) > 1

    def go(
        self,
        name: str,
        batch_size: int = 8,
        progress: Callable[[Record], None] | None = None,
        workers: int | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> list[Record]:
        """Do what one network has to do, as `Series.go`."""

        def told(record: Record) -> None:
            if self.beside and self.home.run() is None:
                # From the first picture on; a network that cannot be explained claims nothing.
                self.home.claim(["report.html"], run=self.run)
            if progress is not None:
                progress(record)

        return self.series[name].go(
            batch_size=batch_size, workers=workers, progress=told, elsewhere=elsewhere
        )

    def write(self, found: Mapping[str, Sequence[Record]], command: str = "") -> list[Path]:
        """Write the report of all that is in the folder; its pages."""
        if self.beside:
            self.home.claim(["report.html"], run=self.run)
            pages = page_beside(self.home, self.series, found, command)
        else:
            ((name, series),) = self.series.items()
            pages = page_of(series, found[name], command)
        tell_latest(self.out, self.home, pages[0])
        return pages


@contextmanager
def running(
    jobs: Mapping[str, Job], pictures: Sequence[Path], out: Path, **options: Any
) -> Iterator[Running]:
    """Choose and hold the folder of a run.

    Args:
        jobs: what is asked of each network, by its name.
        pictures: the pictures.
        out: the folder that was named.
        options: as `Series` takes them.

    Raises:
        ImageError: another run is at work there, or what is there is not ours or cannot be read.
        InputError: the networks' names cannot be folders.
    """
    prints = {name: job.fingerprint() for name, job in jobs.items()}
    if several := len(jobs) > 1:
        check_names(list(jobs))
    run = together(prints) if several else next(iter(prints.values()))
    with home_of(out, run, prints if several else None) as home:
        series = {}
        for name, job in jobs.items():
            folder = Folder(home.path / name) if several else home
            series[name] = Series(job, pictures, folder, fingerprint=prints[name], **options)
        yield Running(out, home, series, run)


def page_of(series: Series, records: Sequence[Record], command: str = "") -> list[Path]:
    """Write the report of all that is in the folder of one network's run; its pages."""
    method = series.job.method
    told = method if isinstance(method, str) else ", ".join(method)
    every = series.shown()
    others = len(every) - len(records)
    return write_report(
        series.folder,
        entries_of(every, series.folder.path),
        terms_of(series.job, list(records), command, others=others),
        Look(subtitle=f"{series.job.loaded.name}, {told}", style=series.job.style),
    )
