"""What may be concluded from the columns, in words; every number in them is one of the columns'."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Iterator, Sequence

from trust_table import Column, Row
from trust_ways import LIBRARIES

from gradcam_hooks.evaluating.controls import BASELINES
from gradcam_hooks.evaluating.statistics import kendall

__all__ = ["MAY_NOT", "absent", "words"]

MAY_NOT = (
    "What may not be concluded: that a method which does well here does so on another network. "
    "The networks of shapes are small and the pictures simple; the network of photographs is one, "
    "and its photographs are few, some of them crops of the same. A star says that a way beats "
    "the best baseline on these pictures, not that its map is right. Ways without a star may be "
    "good ones that were asked of too few pictures, the dear ones first. GridPG believes that the "
    "network finds the class in its own cell; DiFull's truth needs no belief, and is exact only "
    "at the layer's own resolution."
)


def words(found: Sequence[Column]) -> list[str]:
    """A paragraph for each conclusion that these columns allow or forbid, in the order of tiers."""
    said = []
    for say in (_exact, _negative, _agnostic, _grid, _tris, _faithful, _blur, _contradictions):
        said += say(found)
    return [*said, MAY_NOT]


def absent(found: Sequence[Column]) -> list[str]:
    """A line for each way that gave nothing somewhere, with where and why."""
    reasons: dict[tuple[str, str], dict[str, str]] = {}
    for one in found:
        for way, reason in one.missing.items():
            kind = re.sub(r"[^a-zA-Z ]+|\bstages\b", "", reason)[:60]
            reasons.setdefault((way, kind), {})[f"{one.tier} {one.heading}"] = _plain(reason)
    return [
        f"{way}: {next(iter(where.values()))} (in {len(where)}, the first {next(iter(where))})"
        for (way, _), where in reasons.items()
    ]


def _plain(reason: str) -> str:
    return reason.partition(". ")[0].replace("|", "/")[:150]


def _of(found: Sequence[Column], tier: str, setting: str = "") -> list[Column]:
    return [
        one for one in found if one.tier == tier and (not setting or setting in one.heading.split())
    ]


def _exact(found: Sequence[Column]) -> list[str]:
    cells = _of(found, "T1", "di_full")
    if not cells:
        return []
    ways = _everywhere(cells, lambda row, _: row.whole > 0 and row.whole + row.none > 1 - 1e-9)
    leaking = _everywhere(cells, lambda row, _: row.whole + row.none < 1 - 1e-9)
    blank = max((one.rows[way].none for one in cells for way in ways if way in one.rows), default=0)
    return [
        f"DiFull, whose truth is exact: in all {len(cells)} columns every map lies whole in its "
        f"cell for {_listed(ways)} (or is nowhere positive, which counts 0: up to {blank:.0%} of a "
        f"column's). In every column some map leaks for {_listed(leaking)}."
    ]


def _negative(found: Sequence[Column]) -> list[str]:
    """Methods that change where a constant is taken off the logits."""
    pairs = []
    for one in _of(found, "T1", "grid_pg-"):
        same = one.heading.replace("grid_pg-", "grid_pg")
        pairs += [(other, one) for other in found if other.tier == "T1" and other.heading == same]
    if not pairs:
        return []
    moved: dict[str, list[tuple[float, float]]] = {}
    for plain, lowered in pairs:
        for way, row in plain.rows.items():
            after = lowered.rows.get(way)
            if after is not None and after.count == row.count and abs(after.mean - row.mean) > 0.02:
                moved.setdefault(way, []).append((row.median, after.median))
    told = [
        f"{way} ({statistics.mean(a for a, _ in many):.2f} before, "
        f"{statistics.mean(b for _, b in many):.2f} after)"
        for way, many in sorted(moved.items())
    ]
    text = (
        "Taking a constant off all logits, so that the explained one is negative, changes nothing "
        "that the network looks at. It changes GridPG by more than 0.02 for "
        f"{_listed(told) if told else 'no way'}."
    )
    after_it = [one for _, one in pairs]
    own, peer = (_mean(after_it, way) for way in ("ablationcam", "ablationcam (grad-cam)"))
    if not math.isnan(own + peer):
        text += f" Ablation-CAM has there {own:.2f} of its map in the cell, grad-cam's {peer:.2f}."
    return [text]


def _agnostic(found: Sequence[Column]) -> list[str]:
    told = []
    for grid, chance in (("2x2", 1 / 4), ("3x3", 1 / 9)):
        cells = [one for one in _of(found, "T1", "grid_pg") if grid in one.heading]
        value = _mean(cells, "eigencam")
        if not math.isnan(value):
            stars = sum(one.rows["eigencam"].beyond for one in cells if "eigencam" in one.rows)
            told.append(
                f"{value:.2f} where chance is {chance:.2f} (beyond the best baseline in {stars} of "
                f"{len(cells)} columns)"
            )
    return (
        [f"Eigen-CAM, which knows no class, has in GridPG {', and '.join(told)}."] if told else []
    )


def _grid(found: Sequence[Column]) -> list[str]:
    said = []
    cells = _of(found, "T1")
    for kind in dict.fromkeys(one.heading.split()[0] for one in cells):
        own = [one for one in _of(found, "T1", "grid_pg") if one.heading.startswith(f"{kind} last")]
        if not own:
            continue
        beyond = _everywhere(own, lambda row, _: row.beyond)
        told = []
        for one in own:
            alike = sum(one.rows[way].best > 0.05 for way in _asked(one))
            told.append(
                f"{_size(one)} {one.best} ({one.rows[one.best].median:.2f}; {alike} of "
                f"{len(list(_asked(one)))} ways do not differ from it beyond chance)"
            )
        said.append(
            f"GridPG at the last layer of {kind}: the best is in {', and in '.join(told)}. Better "
            f"than every baseline, beyond chance, in each: {_listed(beyond)}."
        )
    return said


def _tris(found: Sequence[Column]) -> list[str]:
    learned = [one for one in _of(found, "T2") if one.about.get("accuracy", 0) >= 0.8]
    if not learned:
        return []
    every = _of(found, "T2")
    text = (
        f"XAI-TRIS: the CNN is right in four pictures of five in {len(learned)} of {len(every)} "
        "columns."
    )
    for measure in ("precision", "emd"):
        cells = [one for one in learned if one.measure == measure]
        counts = _counts(cells, lambda row, _: row.beyond)
        text += (
            f" By {measure} the ways that beat the best baseline most often do so in "
            f"{_leaders(counts)} of {len(cells)}."
        )
    return [text]


def _faithful(found: Sequence[Column]) -> list[str]:
    new = {"IDSDS", "F-Fidelity", "single deletion", "top part"}
    cells = [one for one in found if one.tier in ("T3", "T4") and one.measure in new]
    told = [
        f"{one.measure} ({one.heading}) {one.best} {one.rows[one.best].median:.2f} against "
        f"{one.rows[one.baseline].median:.2f} of {one.baseline}"
        for one in cells
        if one.best and one.baseline
    ]
    return (
        ["Faithfulness in distribution, the best and the best baseline: " + "; ".join(told) + "."]
        if told
        else []
    )


def _blur(found: Sequence[Column]) -> list[str]:
    rewarded = []
    for measure in dict.fromkeys(one.measure for one in found):
        asked, better = map(
            sum, zip(*(one.prefers_blur for one in found if one.measure == measure), strict=True)
        )
        if asked and better > asked / 2:
            rewarded.append(f"{measure} ({better} of {asked})")
    if not rewarded:
        return ["No measure likes most maps better under a blur."]
    return [
        "These measures like most maps better under a blur than as they are, and so say nothing of "
        f"sharp ones: {', '.join(rewarded)}."
    ]


def _contradictions(found: Sequence[Column]) -> list[str]:
    """How far the orders of our methods by different measures agree."""
    picked: dict[str, Column] = {}
    for one in found:
        grid = one.tier == "T1" and one.heading.startswith("residual last") and "2x2" in one.heading
        if grid and "grid_pg" in one.heading.split():
            picked["GridPG"] = one
        if grid and "di_full" in one.heading.split():
            picked["DiFull"] = one
        if one.tier in ("T4", "T5") and one.heading == "residual last":
            picked[one.measure] = one
    taus = [
        (tau, first, second)
        for i, first in enumerate(picked)
        for second in list(picked)[i + 1 :]
        if not math.isnan(tau := _tau(picked[first], picked[second]))
    ]
    if not taus:
        return []
    low, high = min(taus), max(taus)
    against = sum(tau < 0 for tau, *_ in taus)
    return [
        f"The measures contradict each other: of {len(taus)} pairs of them {against} order our "
        f"methods on the same kind of network the other way round (Kendall's tau below 0), most of "
        f"all {low[1]} and {low[2]} ({low[0]:.2f}); {high[1]} and {high[2]} agree most "
        f"({high[0]:.2f})."
    ]


def _tau(one: Column, other: Column) -> float:
    ways = [way for way in one.rows if way in other.rows and "(" not in way]
    sides = [
        [column.rows[way].mean * (1 if column.higher else -1) for way in ways]
        for column in (one, other)
    ]
    return kendall(*sides)


def _mean(cells: Sequence[Column], way: str) -> float:
    medians = [one.rows[way].median for one in cells if way in one.rows]
    return statistics.mean(medians) if medians else math.nan


def _counts(cells: Sequence[Column], true: Callable[[Row, Column], bool]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for one in cells:
        for way in _asked(one):
            counts[way] = counts.get(way, 0) + true(one.rows[way], one)
    return counts


def _everywhere(cells: Sequence[Column], true: Callable[[Row, Column], bool]) -> list[str]:
    """The ways of which it is true in every one of these columns that has them, half at least."""
    held, asked = _counts(cells, true), _counts(cells, lambda row, _: True)
    return [way for way, many in asked.items() if held[way] == many and 2 * many >= len(cells)]


def _asked(one: Column) -> Iterator[str]:
    return (way for way in one.rows if way not in BASELINES)


def _leaders(counts: dict[str, int]) -> str:
    most = sorted(counts, key=lambda way: -counts[way])[:4]
    return ", ".join(f"{counts[way]} ({way})" for way in most)


def _size(one: Column) -> str:
    return one.heading.split()[-1]


def _listed(ways: Sequence[str]) -> str:
    """Ways with the libraries that have them behind, or a word for none."""
    folded: dict[str, list[str]] = {}
    for way in ways:
        name, _, source = way.partition(" (")
        known = source.removesuffix(")") in LIBRARIES
        folded.setdefault(name if known else way, []).extend([source.removesuffix(")")] * known)
    told = [f"{one} (also {', '.join(more)})" if more else one for one, more in folded.items()]
    return ", ".join(told) if told else "none"
