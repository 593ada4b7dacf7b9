"""One page of the report: the template filled with entries, styles and script.

The page asks for nothing outside itself: a content security policy forbids it, and names its own
script and styles by their hash. File names and labels are hostile input: they travel as JSON in
which no tag can begin, and the script puts them into the page as text alone. This file knows the
template and what goes into it; `write` knows files.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from gradcam_hooks.apps.report.standing import assets, source_hash, writable
from gradcam_hooks.images.colors import to_uint8
from gradcam_hooks.images.palettes import COLORMAPS, Colormap, colour_table
from gradcam_hooks.results.drawing import Style
from gradcam_hooks.results.templates import templates

__all__ = ["Look", "Page", "render", "safe_json"]

_SCRIPTS = ("data.js", "draw.js", "gallery.js", "finding.js", "viewer.js", "matrix.js", "main.js")
_STYLES = ("base.css", "controls.css", "gallery.css", "matrix.css", "viewer.css", "sizes.css")


@dataclass(frozen=True)
class Look:
    """How the report looks when it is opened.

    Attributes:
        title: stands at its head.
        subtitle: stands below.
        style: the map's weight and colours in the overlay.
    """

    title: str = "What the network looked at"
    subtitle: str = ""
    style: Style = field(default_factory=Style)


@dataclass(frozen=True)
class Page:
    """A page among its sisters.

    Attributes:
        items: its entries as plain data, in order.
        number: its number, from 1.
        links: where each page is, relative to this one.
        counts: words on the whole run, such as ("8", "pictures").
        elsewhere: what the other pages hold, as their numbers and items, for this one to search.
    """

    items: Sequence[dict[str, object]]
    number: int
    links: Sequence[str]
    counts: Sequence[tuple[str, str]]
    elsewhere: Sequence[tuple[int, dict[str, object]]] = ()


def safe_json(content: object) -> str:
    r"""JSON that can stand in a `<script>`: ASCII, and no tag or comment can begin in it.

    >>> safe_json("</script>\u2028&")
    '"\\u003c/script\\u003e\\u2028\\u0026"'
    """
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def render(
    page: Page,
    payloads: Iterable[dict[str, object]],
    look: Look,
    terms: Sequence[tuple[str, str]],
) -> Iterator[str]:
    """The page in pieces, so that the pictures of all entries never lie in memory together.

    Args:
        page: what is shown.
        payloads: the bytes of each entry's pictures, in the order of the items.
        look: how it looks when it is opened.
        terms: what the run was, as terms and words.
    """
    from markupsafe import Markup

    script = "(() => {\n" + assets(*(f"report/assets/{name}" for name in _SCRIPTS)) + "\n})();"
    style = assets(*(f"report/assets/{name}" for name in _STYLES))
    data = {
        "items": page.items,
        "links": page.links,
        "elsewhere": page.elsewhere,
        "alpha": look.style.alpha,
        "opacity": look.style.opacity,
        "colormap": str(look.style.colormap),
        "tables": _tables(look.style.colormap),
    }
    template = templates().get_template("apps/report/assets/report.html")
    # What is marked as safe is the package's own, or JSON made safe.
    return template.generate(
        page=page,
        look=replace(look, title=writable(look.title), subtitle=writable(look.subtitle)),
        terms=[(term, writable(words)) for term, words in terms],
        data=Markup(safe_json(data)),
        payloads=(Markup(safe_json(one)) for one in payloads),
        script=Markup(script),
        script_hash=source_hash(script),
        style=Markup(style),
        style_hash=source_hash(style),
        colormaps=_tables(look.style.colormap),
    )


@cache
def _tables(own: Colormap) -> dict[str, str]:
    """The 256 colours of each colour map, RGB in base64, the run's own among them."""
    return {
        str(one): base64.b64encode(to_uint8(colour_table(one)).tobytes()).decode()
        for one in dict.fromkeys((*COLORMAPS, own))
    }
