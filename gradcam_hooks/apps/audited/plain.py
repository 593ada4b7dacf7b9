"""An audit as plain data: for JSON, and a row of a table for each picture."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

from gradcam_hooks.auditing.agreement import Agreement
from gradcam_hooks.auditing.figures import (
    confusion,
    of_classes,
    overlap_of,
    unlike,
    wrong_and_sure,
)
from gradcam_hooks.auditing.strategies import Against, Audit, Strategy

__all__ = ["HEAD", "head", "name_of", "plain", "rows"]

HEAD = ("picture", "file", "answer", "probability", "truth", "right", "strategy", "suspect", "map")

_OBJECTS = ("on the object", "iou", "object's area")
_AGREEMENT = ("methods agree",)
_AGAINST = ("answer of the second", "right of the second", "overlap")


def head(audit: Audit) -> tuple[str, ...]:
    """The columns of the table: with objects, other methods or a second network more of them."""
    return (
        *HEAD,
        *(_OBJECTS if audit.on_objects is not None else ()),
        *(_AGREEMENT if audit.agreement is not None else ()),
        *(_AGAINST if audit.against is not None else ()),
    )


def name_of(audit: Audit, number: int) -> str:
    """A picture's file, or its number where it is no file."""
    return audit.names[number] if audit.names is not None else f"picture {number}"


def plain(audit: Audit) -> dict[str, object]:
    """All that is told, as what JSON knows: numbers that are none are null."""
    told = _of_one(audit)
    return told if audit.against is None else {**told, "against": _against(audit.against)}


def _against(found: Against) -> dict[str, object]:
    """The second network beside the first."""
    return {
        "text": found.text,
        "by_chance": _number(found.by_chance),
        "overlaps": [_number(one) for one in found.overlaps],
        "elsewhere": list(found.elsewhere),
        "extra": list(found.extra),
        "lost": list(found.lost),
        "place": found.place.tolist(),
        "proof": _finite(dataclasses.asdict(found.proof)),
        "suspect": found.suspect,
        "second": _of_one(found.audit),
    }


def _number(one: float) -> float | None:
    return one if math.isfinite(one) else None


def _of_one(audit: Audit) -> dict[str, object]:
    return {
        "finding": audit.text,
        "power": audit.power,
        "pictures": len(audit),
        "accuracy": audit.accuracy,
        "method": audit.method,
        "layers": list(audit.layers),
        "objects": _objects(audit, range(len(audit))),
        "agreement": None if audit.agreement is None else _agreement(audit.agreement),
        "strategies": [_strategy(audit, one) for one in audit.strategies],
        "classes": [
            {"label": audit.label(one.number), **_finite(dataclasses.asdict(one))}
            for one in of_classes(audit)
        ],
        "confusion": [
            {
                "truth": audit.label(cell.truth),
                "answer": audit.label(cell.answer),
                "pictures": len(cell.members),
                "place": cell.place.tolist(),
            }
            for cell in confusion(audit)
        ],
        "wrong_and_sure": list(wrong_and_sure(audit)[:100]),
        "unlike": list(unlike(audit)[:100]),
    }


def _objects(audit: Audit, members: Sequence[int]) -> dict[str, object] | None:
    """How far the maps of these pictures lie on their objects, where some are told."""
    found = overlap_of(audit, members)
    return None if found is None else dataclasses.asdict(found)


def _agreement(found: Agreement) -> dict[str, object]:
    return {
        "text": found.text,
        "methods": list(found.methods),
        "pictures": list(found.numbers),
        "pairs": [
            {"methods": list(pair), "correlation": _number(value)}
            for pair, value in found.pairs.items()
        ],
        "left_out": dict(found.left_out),
    }


def _strategy(audit: Audit, one: Strategy) -> dict[str, object]:
    return {
        "suspect": one.suspect,
        "text": one.text,
        "share": one.share,
        "by": one.by,
        "among": None if one.among is None else audit.label(one.among),
        "answers": {audit.label(number): count for number, count in one.answers.items()},
        "accuracy": one.accuracy,
        "accuracy_outside": one.accuracy_outside,
        "concentration": one.concentration,
        "objects": _objects(audit, one.members),
        "proof": _finite(dataclasses.asdict(one.proof)),
        "place": one.place.tolist(),
        "members": list(one.members),
    }


def _finite(numbers: dict[str, object]) -> dict[str, object]:
    return {
        key: None if isinstance(one, float) and not math.isfinite(one) else one
        for key, one in numbers.items()
    }


def rows(audit: Audit) -> Iterator[tuple[object, ...]]:
    """A row for each picture, under `head`; strategies are numbered from 1, as on the page."""
    own: dict[int, int] = {}
    for place, one in reversed(list(enumerate(audit.strategies, 1))):
        own.update(dict.fromkeys(one.members, place))
    alike = {} if audit.agreement is None else audit.agreement.each()
    for number, (answer, chance) in enumerate(zip(audit.answers, audit.chances, strict=True)):
        truth = -1 if audit.truths is None else audit.truths[number]
        strategy = own.get(number)
        yield (
            number,
            name_of(audit, number),
            audit.label(answer),
            f"{chance:.6f}",
            audit.label(truth) if truth >= 0 else "",
            str(truth == answer).lower() if truth >= 0 else "",
            strategy or "",
            str(bool(strategy and audit.strategies[strategy - 1].suspect)).lower(),
            audit.words[number],
            *_on_object(audit, number),
            *(() if audit.agreement is None else (_rounded(alike.get(number, math.nan)),)),
            *_beside(audit, number),
        )


def _on_object(audit: Audit, number: int) -> tuple[str, ...]:
    found = audit.on_objects
    if found is None:
        return ()
    return tuple(_rounded(float(one[number])) for one in (found.inside, found.iou, found.area))


def _rounded(one: float) -> str:
    return f"{one:.3f}" if math.isfinite(one) else ""


def _beside(audit: Audit, number: int) -> tuple[object, ...]:
    """What the second network says of a picture, where there are two."""
    if audit.against is None:
        return ()
    second, overlap = audit.against.audit, audit.against.overlaps[number]
    truth, answer = -1 if second.truths is None else second.truths[number], second.answers[number]
    return (
        second.label(answer),
        str(truth == answer).lower() if truth >= 0 else "",
        _rounded(overlap),
    )
