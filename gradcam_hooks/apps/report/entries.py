"""Entries: what the report shows of each picture, and where its maps are.

An entry is a record with the cards that hold its maps: one card as a rule, several where runs are
shown side by side. `described` is an entry as plain data for the page. This file knows records and
cards: no page, no browser.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gradcam_hooks.apps.batch.cards import Card
from gradcam_hooks.apps.batch.names import absolute, below, card_name, shared_folder
from gradcam_hooks.apps.batch.records import Record

__all__ = ["Entry", "Source", "entries_of"]


@dataclass(frozen=True)
class Source:
    """A card's file, and what sets its maps apart from the other cards' of the same picture.

    Attributes:
        card: the file.
        title: stands over its maps.
        record: what its network said, where it is not the one of the entry's record.
    """

    card: Path
    title: str = ""
    record: Record | None = None


@dataclass(frozen=True)
class Entry:
    """A picture of the report.

    Attributes:
        record: what is known of it.
        name: its path below the folder that all pictures share.
        sources: where its maps are; none where it is broken.
        networks: where several networks are shown side by side what each said, by its name.
    """

    record: Record
    name: str
    sources: tuple[Source, ...]
    networks: Mapping[str, Record] = field(default_factory=dict)

    def cards(self) -> list[Card]:
        """The cards of all sources, read from their files.

        Raises:
            ImageError: a file is missing or is no card.
        """
        return [Card.read(source.card) for source in self.sources]

    def described(self, cards: Sequence[Card]) -> dict[str, object]:
        """The entry as plain data, without the bytes of pictures and maps."""
        record = self.record
        panels = [
            {
                "title": source.title,
                "said": _said(source.record),
                "right": None if source.record is None else source.record.right,
                **panel.facts,
                "height": panel.heat.height,
                "width": panel.heat.width,
                "low": panel.heat.low,
                "high": panel.heat.high,
            }
            for source, card in zip(self.sources, cards, strict=True)
            for panel in card.panels
        ]
        return {
            "name": self.name,
            "error": record.error,
            "predicted": record.predicted,
            "label": record.label,
            "probability": record.probability,
            "truth": record.truth,
            "right": record.right,
            "geometry": record.geometry,
            "size": [cards[0].height, cards[0].width] if cards else None,
            "panels": panels,
            "networks": [
                {
                    "name": name,
                    "predicted": one.predicted,
                    "label": one.label,
                    "probability": one.probability,
                    "right": one.right,
                    "error": one.error,
                }
                for name, one in self.networks.items()
            ],
        }

    def bytes_of(self, cards: Sequence[Card]) -> dict[str, object]:
        """The picture and its maps in base64, in the order of the panels."""
        return {
            "image": cards[0].image if cards else None,
            "maps": [panel.heat.values for card in cards for panel in card.panels],
        }


def _said(record: Record | None) -> str:
    """What a network said, beside its maps."""
    if record is None or record.predicted is None:
        return ""
    sure = "" if record.probability is None else f", {record.probability:.2f}"
    return f"{record.said}{sure}"


def entries_of(records: Sequence[Record], out: Path) -> list[Entry]:
    """The entries of a run, by its records and the folder of its results.

    >>> [entry.name for entry in entries_of([Record("a/b/1.png"), Record("a/2.png")], Path("out"))]
    ['b/1.png', '2.png']
    """
    if not records:
        return []
    paths = [absolute(out / record.place if record.place else record.file) for record in records]
    root = shared_folder(paths)
    return [
        Entry(
            record,
            below(path, root).as_posix(),
            () if record.overlay is None else (Source(out / card_name(record.overlay)),),
        )
        for record, path in zip(records, paths, strict=True)
    ]
