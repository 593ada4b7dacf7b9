"""Units of the benchmark: each is measured once and kept as a line, so that a run can be taken up.

A unit's key says all that its numbers hang on: a line of another key is another unit. What was
half written when a run was killed is measured again. Knows files and numbers; no network.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Found", "Store", "Unit", "seed_of"]


@dataclass
class Found:
    """What one unit found.

    Attributes:
        values: by measure and way a number for each picture, in the order of the pictures; NaN
            where a way was not asked of that picture, or its map has no such number.
        missing: why a way gave nothing, by way.
        about: what else the tables tell, such as an accuracy.
    """

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    about: dict[str, float] = field(default_factory=dict)

    def add(self, measure: str, way: str, values: Sequence[float], count: int) -> None:
        """Numbers of a way, filled up with NaN to the count of pictures."""
        plain = [round(float(one), 6) for one in values]
        plain += [math.nan] * (count - len(plain))
        self.values.setdefault(measure, {})[way] = plain

    def as_json(self) -> dict[str, object]:
        """Plain data, NaN as null."""
        values = {
            measure: {
                way: [None if math.isnan(one) else one for one in row] for way, row in ways.items()
            }
            for measure, ways in self.values.items()
        }
        return {"values": values, "missing": self.missing, "about": self.about}

    @classmethod
    def from_json(cls, data: Mapping[str, dict[str, dict[str, list[float | None]]]]) -> Found:
        """What `as_json` gave."""
        values = {
            measure: {
                way: [math.nan if one is None else one for one in row] for way, row in ways.items()
            }
            for measure, ways in data["values"].items()
        }
        return cls(values, dict(data["missing"]), dict(data["about"]))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Unit:
    """A piece of the benchmark.

    Attributes:
        tier: ``"T1"`` to ``"T5"``.
        column: under which heading its numbers are gathered.
        seed: of the networks and pictures; the seeds of a column are one sample.
        key: all that its numbers hang on.
        work: measures it.
    """

    tier: str
    column: str
    seed: int
    key: str
    work: Callable[[], Found]


class Store:
    """The lines of one folder, of all its files; a process writes into one of its own.

    Args:
        folder: is made where it is not there.
        own: the name of the file that is written, without its suffix; ``"units"`` ahead.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     one = Found(about={"n": 1})
    ...     first = Store(Path(folder)).once("a", lambda: one)
    ...     Store(Path(folder)).once("a", lambda: 1 / 0).about
    {'n': 1}
    """

    def __init__(self, folder: Path, own: str = "units") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{own}.jsonl"
        self.known: dict[str, Found] = {}
        self._torn = False
        for path in sorted(folder.glob("units*.jsonl")):
            text = path.read_text(encoding="utf-8")
            for line in text.splitlines():
                try:
                    data = json.loads(line)
                except json.JSONDecodeError:  # half written when a run was killed
                    continue
                self.known[data["key"]] = Found.from_json(data)
            if path == self.path:
                self._torn = bool(text) and not text.endswith("\n")

    def once(self, key: str, work: Callable[[], Found]) -> Found:
        """What is known of this unit, or what its work finds, which is known from then on."""
        if key not in self.known:
            found = work()
            line = json.dumps({"key": key, **found.as_json()}, sort_keys=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write("\n" * self._torn + line + "\n")
                file.flush()
                os.fsync(file.fileno())
            self._torn = False
            self.known[key] = Found.from_json(json.loads(line))
        return self.known[key]


def seed_of(*words: object) -> int:
    """A seed that hangs on these words alone, the same in every process.

    >>> seed_of("T1", 0) == seed_of("T1", 0) != seed_of("T1", 1)
    True
    """
    return zlib.crc32(" ".join(map(str, words)).encode())
