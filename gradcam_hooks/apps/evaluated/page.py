"""The page of an evaluation: the recommendation, the table, the curves, and the extremes.

One file that runs no script and asks for nothing outside itself; a content security policy says
so. Names and labels are somebody else's words and travel as text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from gradcam_hooks.apps.report.standing import assets, source_hash, thumbnail, writable
from gradcam_hooks.evaluating.evaluation import Evaluation, told
from gradcam_hooks.evaluating.wording import FAITHFUL
from gradcam_hooks.results.facts import class_word, label_of
from gradcam_hooks.results.templates import templates

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Draw", "render"]

Draw = Callable[[int], "Image.Image | None"]
"""The picture of a number with its map drawn on it; None where it cannot be read any more."""

_STYLES = (
    "report/assets/base.css",
    "report/assets/findings.css",
    "evaluated/assets/evaluate.css",
)
_SIDE, _SHOWN, _LINES = 200, 6, 4
_WIDE, _HIGH, _MARGIN = 460, 260, 36
_BAR = 160


def render(found: Evaluation, draw: Draw, terms: Sequence[tuple[str, str]] = ()) -> str:
    """The page.

    Args:
        found: what is told.
        draw: draws a picture with the map of `Evaluation.shown`.
        terms: what the run was, as terms and words.
    """
    from markupsafe import Markup

    style = assets(*_STYLES)
    good, bad = _extremes(found)
    return (
        templates()
        .get_template("apps/evaluated/assets/evaluate.html")
        .render(
            found=found,
            tone=_tone(found),
            text=writable(found.recommendation),
            warnings=[writable(one) for one in found.warnings if one != FAITHFUL],
            faithful=FAITHFUL,
            remarks=[writable(one) for one in found.remarks],
            heads=[(one.name, one.metric.title, _arrow(found, one.name)) for one in found.measures],
            lines=[_line(line, len(found.rows)) for line in found.table],
            metrics=[
                {**one, "tau": told(one["tau"], 2)}
                for one in found.metrics
                if one["tau"] is not None
            ],
            charts=[_chart(found, name) for name in found.curves],
            shown=writable(found.shown.name),
            good=[_figure(found, at, draw) for at in good],
            bad=[_figure(found, at, draw) for at in bad],
            bar=_BAR,
            wide=_WIDE,
            high=_HIGH,
            margin=_MARGIN,
            terms=[(term, writable(words)) for term, words in terms],
            style=Markup(style),  # the package's own
            style_hash=source_hash(style),
        )
    )


def _tone(found: Evaluation) -> str:
    """How the finding looks: good, doubtful where the maps lie beside the objects, or bad."""
    if found.best is None:
        return "suspect"
    place = found.located.get(found.best.key)
    return "clear" if place is None or place.on_it else "doubt"


def _arrow(found: Evaluation, name: str) -> str:
    row = next(one.metric for one in found.measures if one.name == name)
    return "higher is better" if row.higher_is_better else "lower is better"


def _line(line: dict[str, object], rows: int) -> dict[str, object]:
    """A row of the table, its numbers as words and its interval as a bar."""
    cells: dict[str, object] = {
        name: told(value, 3) if isinstance(value, float) or value is None else value
        for name, value in line.items()
    }
    scale = _BAR / (rows + 1)
    ends = [line[name] for name in ("rank_low", "rank", "rank_high")]
    low, middle, high = (one if isinstance(one, float) else math.nan for one in ends)
    if math.isnan(low):
        low = high = middle
    bar = None
    if not math.isnan(middle):
        bar = [round(scale * one, 1) for one in (low, middle, max(high - low, 0.1))]
    weights = line["hangs_on_weights"]
    beats = line["beats_baselines"]
    return {
        **cells,
        "row": writable(str(line["row"])),
        "rank": told(line["rank"], 1),
        "span": f"{told(line['rank_low'], 1)} to {told(line['rank_high'], 1)}",
        "bar": bar,
        "weights": "" if weights is None else "change" if weights else "stay the same",
        "beats": "" if beats is None else "yes" if beats else "no",
        "cost": writable(str(line["cost"])),
    }


def _chart(found: Evaluation, name: str) -> dict[str, object]:
    """The mean curves of the best rows and of the baselines, as polylines."""
    ways = [found.shown.key]
    order = sorted(found.rows, key=lambda row: found.judged.standings[row.key].rank)
    for row in order:
        if row.kind == "method" and row.key not in ways and len(ways) < _LINES:
            ways.append(row.key)
    ways += [row.key for row in found.rows if row.kind == "baseline"]
    index = {row.key: at for at, row in enumerate(found.rows)}
    curves = found.curves[name]
    known = curves[[index[key] for key in ways]]
    top = float(known[~known.isnan()].max()) if bool((~known.isnan()).any()) else 1.0
    low = min(0.0, float(known[~known.isnan()].min())) if bool((~known.isnan()).any()) else 0.0
    return {
        "title": next(one.metric.title for one in found.measures if one.name == name),
        "claims": next(one.metric.claims for one in found.measures if one.name == name),
        "low": f"{low:.2g}",
        "top": f"{top:.2g}",
        "lines": [
            {
                "name": writable(found.rows[index[key]].name),
                "baseline": found.rows[index[key]].kind == "baseline",
                "points": _points(curves[index[key]], low, top),
            }
            for key in ways
            if not bool(curves[index[key]].isnan().all())
        ],
    }


def _points(curve: Tensor, low: float, top: float) -> str:
    width, height = _WIDE - 2 * _MARGIN, _HIGH - 2 * _MARGIN
    span = max(top - low, 1e-12)
    return " ".join(
        f"{_MARGIN + width * at / (len(curve) - 1):.1f},"
        f"{_HIGH - _MARGIN - height * (value - low) / span:.1f}"
        for at, value in enumerate(curve.tolist())
    )


def _extremes(found: Evaluation) -> tuple[list[int], list[int]]:
    """The pictures on which the way that is shown ranks best and worst, by their places."""
    at = next(i for i, row in enumerate(found.rows) if row.key == found.shown.key)
    ranks = found.judged.ranks[at]
    order = [int(one) for one in ranks.argsort(stable=True) if not bool(ranks[one].isnan())]
    half = min(_SHOWN, len(order) // 2)
    return order[:half] if half else order[:1], order[len(order) - half :][::-1] if half else []


def _figure(found: Evaluation, at: int, draw: Draw) -> dict[str, str]:
    number = found.plan.numbers[at]
    drawn = draw(number)
    row = next(i for i, one in enumerate(found.rows) if one.key == found.shown.key)
    answer = found.answers[at]
    said = "" if answer < 0 else f"{class_word(answer, label_of(answer, found.labels))}, "
    return {
        "image": "" if drawn is None else thumbnail(drawn, _SIDE),
        "name": writable(found.names[number] if found.names else f"picture {number}"),
        "said": writable(f"{said}{found.scores[at]:.2f}"),
        "rank": f"mean rank {float(found.judged.ranks[row, at]):.1f}",
    }
