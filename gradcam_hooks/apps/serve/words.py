"""Words: what the page says of layers, methods, guesses and maps, as text and as HTML.

The HTML stands in `words.html`. This file knows explanations; nothing of Gradio.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gradcam_hooks.apps.serve.viewer import Seen
from gradcam_hooks.images.colors import colorize, to_uint8
from gradcam_hooks.images.palettes import Colormap
from gradcam_hooks.layout.table import LayerRow
from gradcam_hooks.methods import METHODS, Method
from gradcam_hooks.models import LoadedModel
from gradcam_hooks.results.facts import Prediction, class_word
from gradcam_hooks.results.templates import filled

__all__ = [
    "alternative",
    "bar",
    "formula",
    "guess_words",
    "heading",
    "layer_words",
    "message",
    "method_words",
    "network",
    "numbers",
    "percent",
]

_HTML = "apps/serve/words.html"
_COST = "F a forward, B a backward pass; K channels, P positions, N samples"


def percent(probability: float | None) -> str:
    """A probability for people; "-" where there is none.

    >>> percent(0.9731), percent(0.00004), percent(0.99996), percent(None)
    ('97.3 %', '< 0.1 %', '> 99.9 %', '-')
    """
    if probability is None:
        return "-"
    if 0 < probability < 0.001:
        return "< 0.1 %"
    return "> 99.9 %" if 0.9995 <= probability < 1 else f"{100 * probability:.1f} %"


def guess_words(guess: Prediction) -> str:
    """A class and its probability, for a button.

    >>> guess_words(Prediction(4, "star", 0.9731))
    'star  97.3 %'
    """
    return f"{class_word(guess.number, guess.label)}  {percent(guess.probability)}"


def heading(loaded: LoadedModel) -> str:
    """The page's heading, as HTML; of a file of weights its name, without its folder."""
    return filled(_HTML, "heading", network(loaded), Path(loaded.weights).name)


def network(loaded: LoadedModel) -> str:
    """The network's name; of a file of the user's own without its folder.

    >>> from gradcam_hooks.models import load_model
    >>> from dataclasses import replace
    >>> known = load_model("squeezenet1_1", num_classes=2)
    >>> network(known), network(replace(known, name="/home/me/nets.py:build"))
    ('squeezenet1_1', 'nets.py:build')
    """
    return Path(loaded.name).name if ".py:" in loaded.name else loaded.name


def layer_words(row: LayerRow) -> str:
    """A layer for a list: its name, what is remarkable, its type and its shape."""
    shape = row.size.partition("x")[2]  # of one picture
    parts = [
        row.name,
        *(["recommended"] if row.recommended else []),
        *row.remarks,
        f"{row.type} {shape}",
    ]
    return " · ".join(parts)


def method_words(row: Method) -> str:
    """A method for a list: as its paper writes it, and what it costs."""
    return f"{row.title} · {row.passes}"


def formula(name: str, forward: float | None = None, took: float | None = None) -> str:
    """What a method does and what it costs, as HTML.

    Args:
        name: the method's.
        forward: how many seconds a forward pass takes here.
        took: how many the method took here.
    """
    here = [
        *([f"F is {_seconds(forward)} here"] if forward is not None else []),
        *([f"all of it took {_seconds(took)}"] if took is not None else []),
    ]
    return filled(_HTML, "formula", METHODS[name], _COST, ", ".join(here))


def bar(colormap: Colormap) -> str:
    """The colours from 0 to 1, as HTML.

    >>> "rgb(0 0 4) 0%" in bar("inferno")
    True
    """
    steps = np.linspace(0, 1, 17, dtype=np.float32)
    colours = to_uint8(colorize(steps, colormap)).reshape(-1, 3).tolist()
    stops = [
        f"rgb({' '.join(map(str, colour))}) {100 * step:.4g}%"
        for colour, step in zip(colours, steps.tolist(), strict=True)
    ]
    return filled(_HTML, "bar", ", ".join(stops))


def message(text: str) -> str:
    """What went wrong, as HTML; empty where nothing did."""
    return filled(_HTML, "message", text) if text else ""


def alternative(seen: Seen) -> str:
    """What the picture shows, for those who cannot see it."""
    first = seen.explained.facts()[0][0]
    return f"The picture with the {first.title} map of {first.subject} at {first.place}."


def numbers(seen: Seen) -> str:
    """The numbers of an explanation, as HTML: of each map, then of all."""
    row = seen.explained.facts()[0]
    maps = [
        (
            {
                "Explained": facts.subject,
                "Probability": percent(facts.probability),
                "Score": f"{facts.score:.4g}",
            }.items(),
            facts.diagnosis,
        )
        for facts in row
    ]
    rows = {
        "Method": row[0].title,
        "Layer": row[0].place,
        "Layout": "; ".join(row[0].layout),
        "Time": _seconds(seen.seconds),
    }
    return filled(_HTML, "numbers", maps, rows.items(), seen.notes)


def _seconds(seconds: float) -> str:
    """A duration for people.

    >>> _seconds(0.01234), _seconds(3.456), _seconds(75.2)
    ('12 ms', '3.5 s', '75 s')
    """
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
