"""What an evaluation found: the table, the recommendation in words, and how it was come by.

A frozen value; numbers and words, no network.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from gradcam_hooks.evaluating.budget import Plan
from gradcam_hooks.evaluating.judging import Judged
from gradcam_hooks.evaluating.measures import Measure
from gradcam_hooks.evaluating.ways import Way
from gradcam_hooks.evaluating.wording import Located

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

__all__ = ["Evaluation", "told"]

_NARROW, _CELL = 75, 11
"""Columns of a terminal that a row takes without metrics, and each metric."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Which explanation of a network can be trusted, on these pictures.

    Attributes:
        recommendation: which layer and method to take, or that no map should be believed.
        text: that, and what must be known beside it.
        warnings: sentences of what the recommended maps do not say.
        remarks: sentences of where the metrics contradict each other, and what was left out.
        plan: which pictures were measured, and how it was chosen.
        rows: methods at layers, each with its blurred control, and the baselines.
        measures: the metrics, each with its card and what it is for.
        values: by metric a number of each row on each picture, ``(rows, pictures)``; NaN where
            there is none.
        curves: by metric the mean curve of each row, ``(rows, points)``.
        judged: ranks, tests and contradictions.
        seconds: by row what its maps take for a picture, on this machine.
        passes: by row how many forward passes.
        located: by row whether its maps lie on the objects, where these are known.
        answers: the class that the network says of each picture; -1 where that is not asked.
        scores: the probability, or the score, of what is explained.
        labels: the classes' names, where they are known.
        names: the pictures' files, where they are files.
    """

    recommendation: str
    text: str
    warnings: tuple[str, ...]
    remarks: tuple[str, ...]
    plan: Plan
    rows: tuple[Way, ...] = field(repr=False)
    measures: tuple[Measure, ...] = field(repr=False)
    values: Mapping[str, Tensor] = field(repr=False)
    curves: Mapping[str, Tensor] = field(repr=False)
    judged: Judged = field(repr=False)
    seconds: Mapping[str, float] = field(repr=False)
    passes: Mapping[str, float] = field(repr=False)
    located: Mapping[str, Located] = field(repr=False)
    answers: tuple[int, ...] = field(repr=False)
    scores: tuple[float, ...] = field(repr=False)
    labels: tuple[str, ...] | None = field(default=None, repr=False)
    names: tuple[str, ...] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        """How many pictures were measured."""
        return len(self.plan.numbers)

    def __repr__(self) -> str:
        return f"Evaluation({len(self.rows)} rows, {len(self)} pictures: {self.recommendation})"

    @property
    def best(self) -> Way | None:
        """The way that is recommended; None where nothing is."""
        return next((row for row in self.rows if row.key == self.judged.best), None)

    @property
    def shown(self) -> Way:
        """The way whose maps are looked at: the recommended one, else the first of the methods."""
        methods = [row for row in self.rows if row.kind == "method"]
        return self.best or min(methods, key=lambda row: _last(self._rank(row)))

    @property
    def table(self) -> list[dict[str, object]]:
        """A dict for each row, the best mean rank first, as ``pandas.DataFrame`` takes it.

        ``row``, ``method``, ``layer``, ``kind`` ("method", "baseline", "control"), ``rank`` with
        ``rank_low`` and ``rank_high``, ``beats_baselines`` with its adjusted ``p_beats``,
        ``p_alike``, ``hangs_on_weights``, the mean of each metric by its name with ``_stderr``
        behind it, ``cost``, ``passes``, ``seconds``. None where there is no number.
        """
        order = sorted(range(len(self.rows)), key=lambda i: (_last(self._rank(self.rows[i])), i))
        return [self._row(i) for i in order]

    def _rank(self, row: Way) -> float:
        return self.judged.standings[row.key].rank

    def _row(self, i: int) -> dict[str, object]:
        row = self.rows[i]
        own = self.judged.standings[row.key]
        is_method = row.kind == "method"
        found: dict[str, object] = {
            "row": row.name,
            "method": row.method.name,
            "layer": row.layer if row.kind != "baseline" else "",
            "kind": row.kind,
            "recommended": row.key == self.judged.best,
            "rank": _number(own.rank),
            "rank_low": _number(own.low),
            "rank_high": _number(own.high),
            "beats_baselines": own.better_than_baselines if is_method else None,
            "p_beats": _number(own.beats),
            "p_alike": _number(own.alike),
            "hangs_on_weights": own.hangs,
        }
        for measure in self.measures:
            values = self.values[measure.name][i]
            known = values[~values.isnan()]
            found[measure.name] = _number(float(known.mean())) if len(known) else None
            spread = float(known.std()) / math.sqrt(len(known)) if len(known) > 1 else math.nan
            found[f"{measure.name}_stderr"] = _number(spread)
        options = ", ".join(f"{name}={value!r}" for name, value in row.options.items())
        return {
            **found,
            "cost": row.method.passes,
            "options": options,
            "passes": _number(self.passes.get(row.key, math.nan)),
            "seconds": _number(self.seconds.get(row.key, math.nan)),
        }

    @property
    def metrics(self) -> list[dict[str, object]]:
        """A dict for each metric: whether it ranks, its tau with the mean rank, what games it."""
        found: list[dict[str, object]] = []
        for one in self.measures:
            said = self.judged.verdicts.get(one.name)
            first = None if said is None else next(r.name for r in self.rows if r.key == said.best)
            found.append(
                {
                    "metric": one.name,
                    "title": one.metric.title,
                    "for": one.group,
                    "better": "higher" if one.metric.higher_is_better else "lower",
                    "ranks": one.ranks,
                    "tau": None if said is None else _number(said.tau),
                    "puts_first": first,
                    "prefers_blur": None if said is None else said.prefers_blur,
                    "blurred_better": None if said is None else said.blurred,
                    "claims": one.metric.claims,
                    "gamed": one.metric.gamed,
                }
            )
        return found

    def plain(self) -> dict[str, object]:
        """All that is told, as what JSON knows."""
        return {
            "recommendation": self.recommendation,
            "warnings": list(self.warnings),
            "remarks": list(self.remarks),
            "plan": self.plan.text,
            "pictures": [
                {
                    "number": number,
                    "file": self.names[number] if self.names else None,
                    "answer": answer,
                    "score": _number(score),
                }
                for number, answer, score in zip(
                    self.plan.numbers, self.answers, self.scores, strict=True
                )
            ],
            "table": self.table,
            "metrics": self.metrics,
            "contradictions": [
                {"metrics": [a, b], "tau": tau} for a, b, tau in self.judged.contradictions
            ],
            "values": {
                name: {
                    row.key: [_number(one) for one in values[i].tolist()]
                    for i, row in enumerate(self.rows)
                }
                for name, values in self.values.items()
            },
        }

    def to_json(self, indent: int | None = 1) -> str:
        """`plain` as JSON."""
        return json.dumps(self.plain(), indent=indent, allow_nan=False)

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """The table, the recommended row marked; where there is no room without the metrics."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        shown = [one for one in self.measures if one.ranks]
        shown = shown if options.max_width >= _NARROW + _CELL * len(shown) else []
        made = Table(box=SIMPLE_HEAD, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
        heads = ["", "rank", "95 %", *(one.metric.title for one in shown)]
        for place, head in enumerate([*heads, "weights anew", "beats baselines"]):
            made.add_column(head, overflow="fold", justify="right" if place else "left")
        for line in self.table:
            style = "" if line["kind"] == "method" else "dim"
            cells = [
                str(line["row"]),
                told(line["rank"], 1),
                f"{told(line['rank_low'], 1)}–{told(line['rank_high'], 1)}",
                *(told(line[one.name], 3) for one in shown),
                _word(line["hangs_on_weights"], "change", "STAY"),
                _word(line["beats_baselines"], "yes", "no"),
            ]
            made.add_row(*map(Text, cells), style="bold green" if line["recommended"] else style)
        yield made

    def __str__(self) -> str:
        from rich.console import Console

        page = io.StringIO()
        Console(file=page, width=160, color_system=None).print(self)
        return f"{page.getvalue().rstrip()}\n\n{self.text}"

    def _repr_html_(self) -> str:
        from gradcam_hooks.results.templates import filled

        lines = [{name: _cell(value) for name, value in line.items()} for line in self.table]
        shown = [(one.name, one.metric.title) for one in self.measures if one.ranks]
        return filled("evaluating/notebook.html", "page", self.text, lines, shown)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _last(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _word(value: object, yes: str, no: str) -> str:
    return "" if value is None else yes if value else no


def _cell(value: object) -> object:
    return told(value, 3) if isinstance(value, float) or value is None else value


def told(value: object, digits: int) -> str:
    """A number of the table in a cell, a dash where there is none."""
    return f"{value:.{digits}f}" if isinstance(value, float) else "–"
