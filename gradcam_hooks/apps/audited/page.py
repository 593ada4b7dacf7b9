"""The page of an audit: the finding, its strategies, their proof, and where all pictures lie.

One file that asks for nothing outside itself and runs its own script alone; a content security
policy says so. Names and labels are somebody else's words and travel as text. Without the script
all but the map of the pictures and their list is there.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from gradcam_hooks.apps.audited.drawing import Draw, Drawing
from gradcam_hooks.apps.audited.plain import name_of
from gradcam_hooks.apps.audited.sprites import sprites_of
from gradcam_hooks.apps.report.page import safe_json
from gradcam_hooks.apps.report.standing import assets, data_uri, source_hash, thumbnail, writable
from gradcam_hooks.auditing.figures import (
    Cell,
    confusion,
    of_classes,
    overlap_of,
    plane,
    unlike,
    wrong_and_sure,
)
from gradcam_hooks.auditing.strategies import Audit, Q, Strategy
from gradcam_hooks.images.colors import colorize, to_uint8
from gradcam_hooks.results.templates import templates

__all__ = ["render"]

_STYLES = ("report/assets/base.css", "report/assets/findings.css", "audited/assets/audit.css")
_SIDE, _SHOWN, _WRONG = 200, 8, 12
_CLASSES, _PAIRS = 12, 24
"""Classes of a table of what was taken for what at most, and of more the pairs in a list."""


def render(
    audit: Audit,
    drawing: Drawing,
    terms: Sequence[tuple[str, str]] = (),
    report: str | None = None,
) -> str:
    """The page.

    Args:
        audit: what is told.
        drawing: draws the pictures.
        terms: what the run was, as terms and words.
        report: where a report of the same pictures is, as seen from the page.
    """
    from markupsafe import Markup

    style = assets(*_STYLES)
    script = f"(() => {{\n{assets('audited/assets/audit.js')}\n}})();"

    def figure(number: int) -> dict[str, str]:
        return _figure(audit, drawing.overlay, number)

    cells = confusion(audit)
    return (
        templates()
        .get_template("apps/audited/assets/audit.html")
        .render(
            audit=audit,
            text=writable(audit.text),
            strategies=[_strategy(audit, one, drawing) for one in audit.strategies],
            unlike=[figure(number) for number in unlike(audit)[:_WRONG]],
            matrix=_matrix(audit, cells),
            pairs=[_cell(audit, cell) for cell in cells[:_PAIRS]],
            wrong=[
                {**figure(number), "truth": writable(audit.label((audit.truths or ())[number]))}
                for number in wrong_and_sure(audit)[:_WRONG]
            ],
            against=None if audit.against is None else _against(audit, drawing),
            classes=[(writable(audit.label(one.number)), one) for one in of_classes(audit)],
            agreement="" if audit.agreement is None else writable(audit.agreement.text),
            choices=_choices(audit),
            report=report,
            data=Markup(safe_json(_data(audit, drawing.thumb, report))),
            terms=[(term, writable(words)) for term, words in terms],
            style=Markup(style),  # the package's own, as the script is
            style_hash=source_hash(style),
            script=Markup(script),
            script_hash=source_hash(script),
        )
    )


def _strategy(audit: Audit, one: Strategy, drawing: Drawing) -> dict[str, object]:
    """A strategy with its pictures, and what in them the network looks at."""

    def row(numbers: Sequence[int], draw: Draw) -> list[dict[str, str]]:
        return [_figure(audit, draw, number) for number in numbers]

    middle = one.middle[:_SHOWN]
    return {
        "one": one,
        "text": writable(one.text),
        "place": _png(one.place),
        "crops": [figure for figure in row(middle, drawing.crop) if figure["image"]],
        "middle": row(middle, drawing.overlay),
        "edge": row(_edge(one), drawing.overlay),
        "proof": [*_proof(one), *_objects(audit, one)],
    }


def _figure(audit: Audit, draw: Draw, number: int) -> dict[str, str]:
    drawn = draw(number)
    return {
        "image": "" if drawn is None else thumbnail(drawn, _SIDE),
        "name": writable(name_of(audit, number)),
        "said": f"{writable(audit.label(audit.answers[number]))}, {audit.chances[number]:.2f}",
    }


def _against(audit: Audit, drawing: Drawing) -> dict[str, object]:
    """The second network beside the first: pairs of pictures, and its own finding."""
    found = audit.against
    assert found is not None

    def pairs(numbers: Sequence[int]) -> list[tuple[dict[str, str], dict[str, str]]]:
        return [
            (_figure(audit, drawing.overlay, number), _figure(found.audit, drawing.other, number))
            for number in numbers[:_SHOWN]
        ]

    return {
        "text": writable(found.text),
        "finding": writable(found.audit.text),
        "suspect": bool(found.audit.suspects),
        "place": _png(found.place) if found.extra else "",
        "kind": "extra right answers" if found.audit.truths is not None else "other answers",
        "extra": pairs(found.extra),
        "elsewhere": pairs(found.elsewhere),
        "lost": pairs(found.lost),
    }


def _edge(one: Strategy) -> list[int]:
    return [number for number in one.edge[:_SHOWN] if number not in one.middle[:_SHOWN]]


def _proof(one: Strategy) -> list[tuple[str, str]]:
    """The interventions' figures, a line each."""
    proof, lines = one.proof, []
    if proof.tried:
        lines += [
            (f"answers changed by covering the region ({proof.tried})", proof.covered),
            ("by covering as much elsewhere", proof.covered_elsewhere),
        ]
    if proof.put:
        lines += [
            ("of other pictures it is put onto, became its class", proof.pasted),
            ("of a random part of the same pictures", proof.pasted_elsewhere),
            ("of regions of the class's other pictures", proof.pasted_others),
        ]
    if proof.q_left <= Q:
        lines += [
            ("sure of another answer, once the region is covered", proof.left),
            ("surer than of the class's others, covered", proof.surer),
        ]
    told = [(words, f"{share:.0%}") for words, share in lines if not math.isnan(share)]
    if proof.tried:
        told.append(("false discovery rate, covering", f"{proof.q_covered:.2g}"))
    if not math.isnan(proof.more):
        told.append(("false discovery rate, against the class's others", f"{proof.q_pasted:.2g}"))
    return told


def _objects(audit: Audit, one: Strategy) -> list[tuple[str, str]]:
    """How far its maps lie on the objects, and the other pictures' maps, a line each."""
    inside = set(one.members)
    others = [number for number in range(len(audit)) if number not in inside]
    lines = []
    for words, members in (("of the map on the object", one.members), ("of the others'", others)):
        found = overlap_of(audit, members)
        if found is not None:
            lines.append((f"{words} ({found.told:,} told)", f"{found.inside:.0%}"))
            lines.append(
                ("IoU; the object's share of the picture", f"{found.iou:.2f}; {found.area:.0%}")
            )
    return lines


def _matrix(audit: Audit, cells: Sequence[Cell]) -> dict[str, object] | None:
    """A row for each true class, a column for each that was said; None of too many for a table."""
    held = {(cell.truth, cell.answer): cell for cell in cells}
    truths = sorted({truth for truth, _ in held})
    said = sorted({answer for _, answer in held})
    if not cells or max(len(truths), len(said)) > _CLASSES:
        return None
    return {
        "said": [writable(audit.label(answer)) for answer in said],
        "rows": [
            (
                writable(audit.label(truth)),
                [
                    _cell(audit, held[truth, answer]) if (truth, answer) in held else None
                    for answer in said
                ],
            )
            for truth in truths
        ],
    }


def _cell(audit: Audit, cell: Cell) -> dict[str, object]:
    return {
        "truth": writable(audit.label(cell.truth)),
        "answer": writable(audit.label(cell.answer)),
        "numbers": (cell.truth, cell.answer),
        "count": len(cell.members),
        "right": cell.truth == cell.answer,
        "place": _png(cell.place),
    }


def _choices(audit: Audit) -> dict[str, list[tuple[int, str, int]]]:
    """What may be filtered by: number, words and how many there are."""

    def counted(numbers: Sequence[int]) -> list[tuple[int, str, int]]:
        counts = Counter(numbers)
        return [
            (number, "not known" if number < 0 else writable(audit.label(number)), counts[number])
            for number in sorted(counts)
        ]

    return {
        "class": counted(audit.answers),
        "truth": [] if audit.truths is None else counted(audit.truths),
    }


def _data(audit: Audit, thumb: Draw, report: str | None) -> dict[str, object]:
    """What the script knows of every picture: a list for each fact, in the pictures' order."""
    count = len(audit)
    own: dict[int, int] = {}
    for place, one in reversed(list(enumerate(audit.strategies))):
        own.update(dict.fromkeys(one.members, place))
    flat = plane(audit)
    truths = audit.truths or (-1,) * count
    classes = sorted({*audit.answers, *truths} - {-1})
    sprites = sprites_of(count, thumb)
    return {
        "x": [round(one, 4) for one in flat[:, 0].tolist()],
        "y": [round(one, 4) for one in flat[:, 1].tolist()],
        "strategy": [own.get(number, -1) for number in range(count)],
        "answer": audit.answers,
        "truth": truths,
        "chance": [round(one, 4) for one in audit.chances],
        "names": [writable(name_of(audit, number)) for number in range(count)],
        "labels": {number: writable(audit.label(number)) for number in classes},
        "order": {number: place for place, number in enumerate(classes)},
        "tiles": sprites.tiles,
        "sprites": sprites.plain(),
        "report": report,
    }


def _png(place: Tensor) -> str:
    """A mean place as a picture of 8 x 8 pixels, which the page enlarges."""
    from PIL import Image

    grid = place.numpy().astype(np.float32)
    scaled = grid / max(float(grid.max()), 1e-12)
    return data_uri(Image.fromarray(to_uint8(colorize(scaled))), "PNG")
