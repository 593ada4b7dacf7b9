"""The page of an audit: the finding, its strategies, their proof, and where all pictures lie.

One file that runs no script and asks for nothing outside itself; a content security policy says
so. Names and labels are somebody else's words and travel as text.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
from collections.abc import Callable, Sequence
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from gradcam_hooks.apps.audited.plain import name_of
from gradcam_hooks.auditing.figures import confusion, of_classes, plane, wrong_and_sure
from gradcam_hooks.auditing.strategies import Audit, Strategy
from gradcam_hooks.images.colors import colorize, to_uint8
from gradcam_hooks.results.templates import templates

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["render"]

Draw = Callable[[int], "Image.Image | None"]
"""The picture of a number with its map drawn on it; None where it cannot be read any more."""

_SIDE, _MAP, _SHOWN, _CELLS, _WRONG = 200, 96, 8, 24, 12
_WIDE, _HIGH = 900, 560
_DOTS = 10_000


def render(
    audit: Audit,
    draw: Draw,
    terms: Sequence[tuple[str, str]] = (),
    other: Draw | None = None,
) -> str:
    """The page.

    Args:
        audit: what is told.
        draw: draws a picture.
        terms: what the run was, as terms and words.
        other: draws a picture with the second network's map, where there are two.
    """
    from markupsafe import Markup

    style = "\n".join(
        (resources.files("gradcam_hooks.apps") / name).read_text(encoding="utf-8")
        for name in ("report/assets/base.css", "audited/assets/audit.css")
    )
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    def figure(number: int) -> dict[str, str]:
        return _figure(audit, draw, number)

    cells = confusion(audit)[:_CELLS]
    return (
        templates()
        .get_template("apps/audited/assets/audit.html")
        .render(
            audit=audit,
            text=_writable(audit.text),
            strategies=[
                {
                    "one": one,
                    "text": _writable(one.text),
                    "place": _png(one.place),
                    "middle": [figure(number) for number in one.middle[:_SHOWN]],
                    "edge": [figure(number) for number in _edge(one)],
                    "proof": _proof(one),
                }
                for one in audit.strategies
            ],
            cells=[
                {
                    "truth": _writable(audit.label(cell.truth)),
                    "answer": _writable(audit.label(cell.answer)),
                    "count": len(cell.members),
                    "right": cell.truth == cell.answer,
                    "place": _png(cell.place),
                }
                for cell in cells
            ],
            wrong=[
                {**figure(number), "truth": _writable(audit.label((audit.truths or ())[number]))}
                for number in wrong_and_sure(audit)[:_WRONG]
            ],
            against=None if audit.against is None else _against(audit, draw, other),
            classes=[(_writable(audit.label(one.number)), one) for one in of_classes(audit)],
            dots=_dots(audit),
            wide=_WIDE,
            high=_HIGH,
            terms=[(term, _writable(words)) for term, words in terms],
            style=Markup(style),  # the package's own
            style_hash=f"sha256-{digest}",
        )
    )


def _figure(audit: Audit, draw: Draw | None, number: int) -> dict[str, str]:
    drawn = None if draw is None else draw(number)
    return {
        "image": "" if drawn is None else _jpeg(drawn),
        "name": _writable(name_of(audit, number)),
        "said": f"{_writable(audit.label(audit.answers[number]))}, {audit.chances[number]:.2f}",
    }


def _against(audit: Audit, draw: Draw, other: Draw | None) -> dict[str, object]:
    """The second network beside the first: pairs of pictures, and its own finding."""
    found = audit.against
    assert found is not None

    def pairs(numbers: Sequence[int]) -> list[tuple[dict[str, str], dict[str, str]]]:
        return [
            (_figure(audit, draw, number), _figure(found.audit, other, number))
            for number in numbers[:_SHOWN]
        ]

    return {
        "text": _writable(found.text),
        "finding": _writable(found.audit.text),
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
    told = [(words, f"{share:.0%}") for words, share in lines if not math.isnan(share)]
    if proof.tried:
        told.append(("false discovery rate, covering", f"{proof.q_covered:.2g}"))
    if not math.isnan(proof.more):
        told.append(("false discovery rate, against the class's others", f"{proof.q_pasted:.2g}"))
    return told


def _dots(audit: Audit) -> list[tuple[float, float, int, str]]:
    """Left, top, strategy and words of each picture's dot; of very many evenly some."""
    own: dict[int, int] = {}
    for place, one in reversed(list(enumerate(audit.strategies))):
        own.update(dict.fromkeys(one.members, place))
    flat = plane(audit).tolist()
    step = max(1, math.ceil(len(flat) / _DOTS))
    return [
        (
            round(12 + x * (_WIDE - 24), 1),
            round(12 + y * (_HIGH - 24), 1),
            own.get(number, -1) % 8 if number in own else 8,
            _writable(f"{name_of(audit, number)}: {audit.label(audit.answers[number])}"),
        )
        for number, (x, y) in list(enumerate(flat))[::step]
    ]


def _png(place: Tensor) -> str:
    """A mean place as a small picture."""
    from PIL import Image

    grid = place.numpy().astype(np.float32)
    scaled = grid / max(float(grid.max()), 1e-12)
    drawn = Image.fromarray(to_uint8(colorize(scaled)))
    return _uri(drawn.resize((_MAP, _MAP), Image.Resampling.NEAREST), "PNG")


def _jpeg(image: Image.Image) -> str:
    small = image.convert("RGB")
    small.thumbnail((_SIDE, _SIDE))
    return _uri(small, "JPEG")


def _uri(image: Image.Image, kind: str) -> str:
    file = io.BytesIO()
    image.save(file, format=kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def _writable(text: str) -> str:
    """A file's name may hold bytes that are no UTF-8; they are shown as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
