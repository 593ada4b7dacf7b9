"""The report's files: one page, or a first page and a folder of the others.

All pages are written whole or none is, and of what is there only our own is replaced. A page holds
`MOST` pictures at most, and less than `LARGEST` bytes of them. This file knows entries and files;
what is in a page is `page`'s.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from gradcam_hooks.apps.batch.folder import Folder
from gradcam_hooks.apps.report.entries import Entry
from gradcam_hooks.apps.report.page import Look, Page, render

__all__ = ["LARGEST", "MOST", "write_report"]

MOST = 2000
"""Pictures on a page at most."""

LARGEST = 90_000_000
"""Bytes of pictures and maps on a page at most, which leaves it under 100 MB."""

_FIRST, _FOLDER = "report.html", "report_pages"
_SOUGHT = ("name", "predicted", "label", "probability", "truth", "right", "networks")


def write_report(
    folder: Folder,
    entries: Sequence[Entry],
    terms: Sequence[tuple[str, str]] = (),
    look: Look | None = None,
    *,
    most: int = MOST,
    largest: int = LARGEST,
) -> list[Path]:
    """Write the report, whole or not at all.

    Args:
        folder: gets `report.html` and, where one page is not enough, `report_pages/2.html`, ...;
            pages of ours that an earlier, longer report has left there are removed.
        entries: the pictures, in order.
        terms: what the run was, as terms and words.
        look: how the report looks when it is opened.
        most: pictures on a page at most.
        largest: bytes of pictures and maps on a page at most.

    Returns:
        The pages.

    Raises:
        ImageError: the maps of an entry cannot be read, or another's file is in a page's place.
        OSError: a page cannot be written.
    """
    look = look or Look()
    items: list[dict[str, object]] = []
    weights: list[int] = []
    for entry in entries:
        cards = entry.cards()
        items.append(entry.described(cards))
        weights.append(sum(len(c.image) + sum(len(p.heat.values) for p in c.panels) for c in cards))
    cuts = [*_cuts(weights, most, largest), len(items)]
    names = [_FIRST, *(f"{_FOLDER}/{number}.html" for number in range(2, len(cuts)))]
    counts = _counts(entries, items)
    parts = [slice(*cut) for cut in itertools.pairwise(cuts)]
    sought = [(i, _sought(item)) for i, these in enumerate(parts, 1) for item in items[these]]
    with folder.held():
        folder.claim(names)
        with ExitStack() as stack:  # the pages take their places when the last of them is written
            files = [stack.enter_context(folder.write(name)) for name in names]
            for i, (path, these) in enumerate(zip(files, parts, strict=True)):
                others = [*sought[: these.start], *sought[these.stop :]]
                page = Page(items[these], i + 1, _links(len(names), i), counts, others)
                payloads = (entry.bytes_of(entry.cards()) for entry in entries[these])
                with path.open("w", encoding="utf-8", newline="\n") as file:
                    file.writelines(render(page, payloads, look, terms))
        pages = {name for name in folder.made() if name.startswith(f"{_FOLDER}/")}
        folder.remove(pages - set(names))
    return [folder.path / name for name in names]


def _sought(item: dict[str, object]) -> dict[str, object]:
    """What of an item can be searched for, for the pages that do not show it."""
    panels = item["panels"] if isinstance(item["panels"], list) else []
    words = dict.fromkeys(panel["diagnosis"] for panel in panels)
    return {
        **{key: item[key] for key in _SOUGHT},
        "error": None if item["error"] is None else "",
        "panels": [{"diagnosis": word} for word in words],
    }


def _cuts(weights: Sequence[int], most: int, largest: int) -> list[int]:
    """Where each page begins.

    >>> _cuts([5, 5, 5, 1, 1, 1], 3, 10)
    [0, 2, 5]
    """
    cuts, here = [0], 0
    for i, weight in enumerate(weights):
        if i > cuts[-1] and (i - cuts[-1] >= most or here + weight > largest):
            cuts.append(i)
            here = 0
        here += weight
    return cuts


def _links(count: int, here: int) -> list[str]:
    """Where each page lies, as seen from one of them.

    >>> _links(3, 0), _links(3, 1)[:2]
    (['report.html', 'report_pages/2.html', 'report_pages/3.html'], ['../report.html', '2.html'])
    """
    first, others = (f"../{_FIRST}", "") if here else (_FIRST, f"{_FOLDER}/")
    return [first, *(f"{others}{number}.html" for number in range(2, count + 1))]


def _counts(entries: Sequence[Entry], items: Sequence[dict[str, object]]) -> list[tuple[str, str]]:
    """What there is to say of the whole run, as numbers and words."""
    broken = sum(entry.record.error is not None for entry in entries)
    doubtful = sum(
        any(panel["diagnosis"] != "ok" for panel in panels)
        for item in items
        if isinstance(panels := item["panels"], list)
    )
    return [
        (f"{len(entries):,}", "picture" if len(entries) == 1 else "pictures"),
        *_rights(entries),
        *([(f"{doubtful:,}", "with a doubtful map")] if doubtful else []),
        *([(f"{broken:,}", "broken")] if broken else []),
    ]


def _rights(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """How many are predicted right, by each network where there are several."""
    each: dict[str, Counter[bool | None]] = {}
    for entry in entries:
        for name, record in (entry.networks or {"": entry.record}).items():
            each.setdefault(name, Counter())[record.right] += 1
    told = []
    for name, rights in each.items():
        if judged := rights[True] + rights[False]:
            by = f" by {name}" if name else ""
            told.append((f"{rights[True]:,} of {judged:,}", f"predicted right{by}"))
    differ = sum(len({one.predicted for one in e.networks.values()}) > 1 for e in entries)
    return [*told, *([(f"{differ:,}", "told differently")] if len(each) > 1 else [])]
