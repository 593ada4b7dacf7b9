"""Several networks side by side: the same pictures through each of them, onto one page.

Each network's results lie in a folder of its name below the run's own, as a run of that network
alone would leave them; the page joins them picture by picture. It knows series and reports; what
is compared (two checkpoints, two architectures) it need not know.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gradcam_hooks.apps.batch import Folder, Job, Record, Series
from gradcam_hooks.apps.report import Entry, Look, entries_of, terms_of, write_report
from gradcam_hooks.errors import InputError

__all__ = [
    "check_names",
    "entries_beside",
    "page_beside",
    "terms_beside",
    "together",
]

_NAME = re.compile(r"[^\W_][\w .()=,+-]{0,79}")
_OURS = frozenset({"maps", "overlays", "pictures", "report_pages"})


def check_names(names: Sequence[str]) -> None:
    """See that what the networks are called can be folders beside the report.

    Raises:
        InputError: one cannot.
    """
    for name in names:
        taken = name.casefold() in _OURS or re.fullmatch(r"run-\d+", name.casefold())
        if taken or name.endswith((" ", ".")) or not _NAME.fullmatch(name):
            raise InputError(
                f"networks are named by a word or two, which become folders, and {name!r} cannot "
                "be one: letters, digits, spaces and .()=,+-_, and none of "
                f"{', '.join(sorted(_OURS))} or run-2"
            )
    if len({name.casefold() for name in names}) < len(names):
        raise InputError(f"each network needs a name of its own, and {list(names)} came")


def together(prints: Mapping[str, str]) -> str:
    """The fingerprint of several networks' runs together, by the names of these."""
    return hashlib.sha256(repr(sorted(prints.items())).encode()).hexdigest()[:16]


def page_beside(
    home: Folder,
    series: Mapping[str, Series],
    found: Mapping[str, Sequence[Record]],
    command: str = "",
) -> list[Path]:
    """Write the page on which each picture stands with the maps of all networks; its pages."""
    several = {name: entries_of(one.shown(), one.folder.path) for name, one in series.items()}
    jobs = {name: one.job for name, one in series.items()}
    first = next(iter(jobs.values()))
    method = first.method if isinstance(first.method, str) else ", ".join(first.method)
    return write_report(
        home,
        entries_beside(several),
        terms_beside(jobs, found, command),
        Look(subtitle=f"{' beside '.join(series)}, {method}", style=first.style),
    )


def entries_beside(several: Mapping[str, Sequence[Entry]]) -> list[Entry]:
    """One entry for each picture, with the maps of all networks, by the networks' names.

    What stands at its head is the first network's that has a result.
    """
    rows: dict[str, dict[str, Entry]] = {}
    for name, entries in several.items():
        for entry in entries:
            rows.setdefault(entry.record.place or entry.name, {})[name] = entry
    return [_joined(row) for row in rows.values()]


def _joined(row: Mapping[str, Entry]) -> Entry:
    sources = tuple(
        replace(source, title=name, record=entry.record)
        for name, entry in row.items()
        for source in entry.sources
    )
    best = next((one for one in row.values() if one.record.error is None), next(iter(row.values())))
    return replace(best, sources=sources, networks={n: one.record for n, one in row.items()})


def terms_beside(
    jobs: Mapping[str, Job], found: Mapping[str, Sequence[Record]], command: str
) -> list[tuple[str, str]]:
    """What the runs were: what they have in common once, what they have not with their names."""
    each = {name: dict(terms_of(job, found[name], command)) for name, job in jobs.items()}
    terms: list[tuple[str, str]] = []
    for term in dict.fromkeys(term for told in each.values() for term in told):
        words = {name: told[term] for name, told in each.items() if term in told}
        alike = len(words) == len(each) and (len(set(words.values())) == 1 or term == "Written")
        told = "; ".join(f"{name}: {one}" for name, one in words.items())
        terms.append((term, next(iter(words.values())) if alike else told))
    return terms
