"""From measured parts to an `Evaluation`: the numbers joined, judged, and put into words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gradcam_hooks.evaluating.asking import Part, Question
from gradcam_hooks.evaluating.budget import Plan
from gradcam_hooks.evaluating.evaluation import Evaluation
from gradcam_hooks.evaluating.judging import judged
from gradcam_hooks.evaluating.statistics import exceeds
from gradcam_hooks.evaluating.ways import Way
from gradcam_hooks.evaluating.wording import Located, Told, recommended, told_of_metrics, warned

__all__ = ["told_of"]


def told_of(
    question: Question,
    plan: Plan,
    done: Sequence[Part],
    left_out: Mapping[str, str],
    labels: tuple[str, ...] | None,
    names: tuple[str, ...] | None,
) -> Evaluation:
    """The evaluation of measured parts.

    Args:
        question: what was asked.
        plan: which pictures were measured.
        done: the parts, in the plan's order.
        left_out: ways that do not work, with the reason.
        labels: the classes' names.
        names: the pictures' files.
    """
    rows, measures = question.rows, list(question.measures)
    values = {one.name: _joined(done, [row.key for row in rows], one.name) for one in measures}
    found = judged(rows, measures, values, question.seed)
    passes, seconds = (_mean(done, word, rows) for word in ("passes", "seconds"))
    located = _located(question, done, values)
    odd = [
        number
        for part in done
        for number, score in zip(part.numbers, part.scores, strict=True)
        if not math.isfinite(score)
    ]
    told = Told(rows, measures, found, values, len(plan.numbers) - len(odd), passes, located)
    advice, warnings = recommended(told), warned(told)
    remarks = [
        *_odd(odd, names),
        *told_of_metrics(told),
        *(f"{key} was left out: {why}" for key, why in left_out.items()),
        plan.text,
    ]
    return Evaluation(
        recommendation=advice,
        text=" ".join([advice, *warnings]),
        warnings=tuple(warnings),
        remarks=tuple(remarks),
        plan=plan,
        rows=tuple(rows),
        measures=tuple(measures),
        values=values,
        curves=_curves(done, [row.key for row in rows]),
        judged=found,
        seconds=seconds,
        passes=passes,
        located=located,
        answers=tuple(one for part in done for one in part.answers),
        scores=tuple(one for part in done for one in part.scores),
        labels=labels,
        names=names,
    )


def _odd(numbers: Sequence[int], names: tuple[str, ...] | None) -> list[str]:
    """Which pictures count for nothing, since the network's score of them is no number."""
    if not numbers:
        return []
    name = f"'{names[numbers[0]]}'" if names else f"picture {numbers[0]}"
    return [
        f"The score of {len(numbers):,} of these pictures, such as {name}, is NaN or infinite; "
        "they do not count."
    ]


def _joined(done: Sequence[Part], keys: Sequence[str], metric: str) -> Tensor:
    """A metric's numbers of each row on each picture, ``(rows, pictures)``."""
    rows = [
        [
            one
            for part in done
            for one in part.values[key].get(metric, [math.nan] * len(part.numbers))
        ]
        for key in keys
    ]
    return torch.tensor(rows, dtype=torch.float64)


def _mean(done: Sequence[Part], word: str, rows: Sequence[Way]) -> dict[str, float]:
    """What each row's maps took for a picture, the mean over parts."""
    found: dict[str, float] = {}
    for row in rows:
        key = row.key
        pairs = [(getattr(part, word).get(key), len(part.numbers)) for part in done]
        known = [(value, count) for value, count in pairs if value is not None]
        total = sum(count for _, count in known)
        if total:
            found[key] = sum(value * count for value, count in known) / total
    return found


def _curves(done: Sequence[Part], keys: Sequence[str]) -> dict[str, Tensor]:
    """The mean curve of each row, by metric; NaN for a row that has none."""
    names = dict.fromkeys(name for part in done for own in part.curves.values() for name in own)
    found = {}
    for name in names:
        rows = [
            [curve for part in done for curve in part.curves[key].get(name, [])] for key in keys
        ]
        points = max(len(curve) for own in rows for curve in own)
        nothing = torch.full((points,), math.nan, dtype=torch.float64)
        found[name] = torch.stack(
            [torch.tensor(own, dtype=torch.float64).nanmean(0) if own else nothing for own in rows]
        )
    return found


def _located(
    question: Question, done: Sequence[Part], values: Mapping[str, Tensor]
) -> dict[str, Located]:
    """Whether each row's maps lie on the objects, where that was measured."""
    if "energy_pointing_game" not in values or not any(part.even for part in done):
        return {}
    even = torch.tensor([one for part in done for one in part.even], dtype=torch.float64)
    found = {}
    for row, inside in zip(question.rows, values["energy_pointing_game"], strict=True):
        known = ~inside.isnan() & ~even.isnan()
        if bool(known.any()):
            chance = torch.Generator().manual_seed(question.seed)
            p = exceeds((inside - even)[known], chance)
            found[row.key] = Located(float(inside[known].mean()), float(even[known].mean()), p)
    return found
