"""Writes what is made of `gradcam_hooks.METHODS`: scripts/methods_doc.py

That is docs/methods.md for people, and gradcam_hooks/explainers/named.pyi, the classes' signatures
for type checkers. A test says when either is out of date. Run it with the project's own Python:
.venv/bin/python.
"""

from __future__ import annotations

import inspect
from pathlib import Path

from gradcam_hooks import METHODS
from gradcam_hooks.methods import Method

_ROOT = Path(__file__).parent.parent
PAGE = _ROOT / "docs" / "methods.md"
STUB = _ROOT / "gradcam_hooks" / "explainers" / "named.pyi"

_HEAD = """\
# The methods

Made by `scripts/methods_doc.py` from `gradcam_hooks.METHODS`; `gradcam-hooks methods NAME` prints
the same.

Each is asked for by its name, `gh.explain(model, x, method="layercam")`, or by its class,
`gh.LayerCAM(model, "layer4")`, with its options by keyword. Raw maps keep their sign; the ReLU that
papers put behind the sum is taken when the map is finished. *Cost* is in forward (F) and backward
(B) passes; K channels, P positions, N samples, L layers; a *tail* is the layers behind the named
one. Several layers are fused by `fuse=`: `mean`, `max`, RefineCAM's `product`, LayerCAM's `tanh`,
Poly-CAM's `lnorm`. A method that is a formula of activation and gradient also goes with
`sampler=gh.Noise()`, `gh.Integrate()` or `gh.Augment()`, and with `differentiable=True`.

A formula of your own is a function, `gh.explain(model, x, method=lambda a, g: (a * g).sum(1))`, of
an activation and its gradient, `(batch, channels, *space)` both, that returns `(batch, *space)`.
`@gh.method(paper="...")` above it puts it into this table, where it is asked for by its name, and
`gh.explainer_class` makes its class; its arguments behind the first two are its options.
"""

_STUB = """\
# The classes that named.py makes, for type checkers. Written by scripts/methods_doc.py.

from typing import Literal

from torch import nn
from typing_extensions import Unpack

from gradcam_hooks.explainers.explainer import Explainer, Options
from gradcam_hooks.models import LoadedModel
from gradcam_hooks.network.modules import LayerSpec

"""


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *map(_section, METHODS.values())])


def stub() -> str:
    """The whole stub."""
    order = sorted((row.cls for row in METHODS.values()), key=lambda one: (not one.isupper(), one))
    names = "".join(f'    "{name}",\n' for name in order)
    return f"{_STUB}__all__ = [\n{names}]\n" + "".join(map(_class, METHODS.values()))


def _section(row: Method) -> str:
    places = {"layer": "the named layer", "attention": "all attention", "input": "the input"}
    options = ", ".join(f"`{name}={value!r}`" for name, value in row.options.items())
    classes = "tells classes apart" if row.class_specific else "one map for all classes"
    lines = [
        f"## {row.title}",
        "",
        f"`{row.name}`, `gh.{row.cls}`. {row.formula[:1].upper()}{row.formula[1:]}.",
        "",
        f"- paper: {row.paper}",
        f"- cost: {row.passes}; looks at {places[row.looks]}; {classes}",
        *([f"- options: {options}"] if options else []),
        *([f"- elsewhere: {row.deviations}"] if row.deviations else []),
        "",
    ]
    return "\n".join(lines)


def _class(row: Method) -> str:
    hints = inspect.get_annotations(row.function, eval_str=True)
    own = [
        f"{name}: {inspect.formatannotation(hints[name])} = {one.default!r}".replace("'", '"')
        for name, one in row.parameters.items()
    ]
    given = [
        "self",
        "model: nn.Module | LoadedModel",
        'layer: LayerSpec = "auto"',
        *(["*", *own] if own else []),
        "**options: Unpack[Options]",
    ]
    inside = f"        {', '.join(given)}\n"
    if len(inside) > 101:
        inside = "".join(f"        {one},\n" for one in given)
    return (
        f"\nclass {row.cls}(Explainer):  # {row.home}\n"
        f"    def __init__(\n{inside}    ) -> None: ...\n"
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    STUB.write_text(stub(), encoding="utf-8")
