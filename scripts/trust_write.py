"""The benchmark's tables: markdown, JSON, and a page that needs a browser alone."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path

from trust_table import Column, Row
from trust_ways import LIBRARIES

import gradcam_hooks as gh
from gradcam_hooks.evaluating.controls import BASELINES
from gradcam_hooks.images import write_whole

__all__ = ["TIERS", "Table", "page", "tables", "write"]

TIERS = {
    "T1": "Truth by construction: the share of the map's positive values in the right cell",
    "T2": "XAI-TRIS: tetrominoes on noise",
    "T3": "Causal parts",
    "T4": "Faithfulness",
    "T5": "Sanity and cost",
}
_PARTS = {"precision": "precision at k", "emd": "1 less the earth mover's distance"}


@dataclass(frozen=True)
class Table:
    """Columns that are read side by side, under their names."""

    title: str
    columns: dict[str, Column]


def tables(found: Sequence[Column]) -> list[Table]:
    """The columns as people read them: T1 by network and layer, T2 by measure, others by unit."""
    made: dict[str, dict[str, Column]] = {}
    for one in found:
        words = one.heading.split()
        if one.tier == "T1":
            title, name = f"T1, {words[0]}, {words[1]} layer", " ".join(words[2:])
        elif one.tier == "T2":
            title, name = f"T2, {_PARTS[one.measure]}", one.heading
        else:
            title, name = f"{one.tier}, {one.heading} layer", one.measure
        made.setdefault(title, {})[name] = one
    return [Table(title, columns) for title, columns in made.items()]


def order(table: Table) -> list[str]:
    """The table's ways: each method of ours, the others' of its name behind it, baselines last."""
    there = {way for column in table.columns.values() for way in column.rows}
    every = [
        way
        for name in gh.METHODS
        for way in (name, *(f"{name} ({library})" for library in LIBRARIES))
    ]
    known = [way for way in every if way in there]
    return sorted(known, key=lambda way: way in BASELINES)


def cell(column: Column, way: str) -> str:
    """The median; bold for the best, a star for what beats the best baseline beyond chance."""
    row = column.rows.get(way)
    if row is None:
        return ""
    number = _short(row.median)
    return f"**{number}**" * (way == column.best) or number + "\\*" * row.beyond


def markdown(table: Table) -> str:
    """The table as markdown."""
    head = ["way", *table.columns]
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for way in order(table):
        cells = [cell(column, way) for column in table.columns.values()]
        lines.append(f"| {' | '.join([way, *cells])} |")
    lines.append(
        f"| {' | '.join(['*the blur is better in*', *map(_blur, table.columns.values())])} |"
    )
    lines.append(f"| {' | '.join(['*pictures*', *map(_pictures, table.columns.values())])} |")
    return f"### {table.title}\n\n" + "\n".join(lines) + "\n"


def _blur(column: Column) -> str:
    asked, better = column.prefers_blur
    return f"{better} of {asked}" if asked else ""


def _pictures(column: Column) -> str:
    counts = {row.count for row in column.rows.values()}
    return f"{max(counts)}" + (f", dear {min(counts)}" if len(counts) > 1 else "")


def _short(number: float) -> str:
    if math.isnan(number):
        return ""
    if abs(number) >= 100:
        return f"{number:.0f}"
    text = f"{number:.2f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def write(
    out: Path, found: Sequence[Column], words: Sequence[str], how: str, missing: Sequence[str]
) -> None:
    """``trust.md``, ``trust.json`` and ``trust.html`` in a folder.

    Args:
        out: the folder.
        found: all columns.
        words: what may be concluded, a paragraph each.
        how: when and by what command.
        missing: which ways gave nothing, and why.
    """
    made = tables(found)
    text = [how, "", *(f"- {one}" for one in words), ""]
    for tier, title in TIERS.items():
        own = [one for one in made if one.title.startswith(tier)]
        text += [f"## {tier}. {title}", "", *map(markdown, own)] if own else []
    text += ["## What is not there, and why", "", *(f"- {one}" for one in missing), ""]
    data = {"how": how, "words": list(words), "columns": [_plain(one) for one in found]}
    whole = {
        "trust.md": "\n".join(text),
        "trust.json": json.dumps(data, indent=1),
        "trust.html": page(made, words, how),
    }
    for name, content in whole.items():
        with write_whole(out / name) as part:
            part.write_text(content, encoding="utf-8")


def _plain(column: Column) -> dict[str, object]:
    data = asdict(column)
    data["rows"] = [_null(asdict(row)) for row in column.rows.values()]
    return data


def _null(row: dict[str, object]) -> dict[str, object]:
    return {
        name: None if isinstance(one, float) and math.isnan(one) else one
        for name, one in row.items()
    }


_STYLE = """
:root { color-scheme: light dark; --line: #8886; --dot: #2563eb; --base: #9a6700; --other: #777 }
@media (prefers-color-scheme: dark) { :root { --dot: #7aa7ff; --base: #e3b341; --other: #aaa } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: 13px }
th, td { padding: 1px 8px; text-align: right; border-bottom: 1px solid var(--line) }
th:first-child, td:first-child { text-align: left; white-space: nowrap }
svg { max-width: 100%; height: auto } svg text { font-size: 11px; fill: currentColor }
summary { cursor: pointer; margin: .3rem 0 }
"""


def page(made: Sequence[Table], words: Sequence[str], how: str) -> str:
    """One page without scripts: words, tables, and a plot of each column behind its name."""
    said = "".join(f"<li>{escape(one)}</li>" for one in words)
    body = "".join(_section(one) for one in made)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Which explanation can be trusted</title><style>{_STYLE}</style></head><body>"
        f"<main><h1>Which explanation can be trusted</h1><p>{escape(how)}</p><ul>{said}</ul>"
        "<p>Medians. Bold: the best mean. *: better than the best baseline, p ≤ 0.05 after Holm. "
        f"Plots: median and quartiles, baselines in another colour.</p>{body}</main></body></html>"
    )


def _section(table: Table) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in ["way", *table.columns])
    rows = []
    for way in order(table):
        cells = [cell(column, way).replace("\\", "") for column in table.columns.values()]
        marked = [
            f"<b>{one.strip('*')}</b>" if one.startswith("**") else escape(one) for one in cells
        ]
        rows.append("<tr>" + "".join(f"<td>{one}</td>" for one in [escape(way), *marked]) + "</tr>")
    plots = "".join(
        f"<details><summary>{escape(name)}</summary>{plot(column, order(table))}</details>"
        for name, column in table.columns.items()
    )
    return (
        f'<h2>{escape(table.title)}</h2><div class="wide"><table><tr>{head}</tr>{"".join(rows)}'
        f"</table></div>{plots}"
    )


def plot(column: Column, ways: Sequence[str]) -> str:
    """Median and quartiles of each way, the best on top."""
    rows = [column.rows[way] for way in ways if way in column.rows]
    rows.sort(key=lambda row: -row.median if column.higher else row.median)
    ends = [end for row in rows for end in (*row.quartiles, row.median)]
    low, high = min(ends), max(ends)
    span = (high - low) or 1.0
    drawn = [_mark(row, 18 * i + 14, low, span) for i, row in enumerate(rows)]
    height = 18 * len(rows) + 26
    foot = f'<text x="200" y="{height - 6}">{low:.3g}</text>'
    foot += f'<text x="700" y="{height - 6}" text-anchor="end">{high:.3g}</text>'
    label = escape(f"{column.heading} {column.measure}")
    return (
        f'<svg viewBox="0 0 720 {height}" width="720" role="img" aria-label="{label}">'
        f"{''.join(drawn)}{foot}</svg>"
    )


def _mark(row: Row, y: int, low: float, span: float) -> str:
    at = [200 + 500 * (one - low) / span for one in (*row.quartiles, row.median)]
    other = "--other" if "(" in row.way else "--dot"
    colour = "--base" if row.way in BASELINES else other
    return (
        f'<text x="190" y="{y + 4}" text-anchor="end">{escape(row.way)}</text>'
        f'<line x1="{at[0]:.1f}" x2="{at[1]:.1f}" y1="{y}" y2="{y}" stroke="var({colour})" '
        f'stroke-width="2"/><circle cx="{at[2]:.1f}" cy="{y}" r="4" fill="var({colour})"/>'
    )
