"""The page: controls on the left, the picture on the right, the numbers below it.

What is asked goes to a `Viewer`, what it says comes from `words`; here they meet, as components of
Gradio and as what happens where one of them is used. This file knows Gradio, and imports it when a
page is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gradcam_hooks.apps.serve import words
from gradcam_hooks.apps.serve.viewer import Choice, Opened, Seen, Viewer
from gradcam_hooks.errors import GradCamHooksError
from gradcam_hooks.images.colors import COLORMAPS
from gradcam_hooks.results.drawing import Style

if TYPE_CHECKING:
    from typing import TypeAlias

    from gradio import Blocks, Progress
    from gradio.components import (
        HTML,
        Component,
        Dropdown,
        File,
        Image,
        Radio,
        Slider,
        State,
        Textbox,
    )

    Told: TypeAlias = dict[Component, object]

__all__ = ["OLD", "build"]

OLD = 3600
"""A picture that was dropped longer ago, in seconds, is deleted."""


@dataclass(frozen=True)
class _Parts:
    """The components of the page that are asked or told something."""

    file: File
    guesses: Radio
    other: Textbox
    layer: Dropdown
    method: Dropdown
    formula: HTML
    alpha: Slider
    colormap: Dropdown
    trouble: HTML
    map: Image
    numbers: HTML
    opened: State
    seen: State


def build(viewer: Viewer, style: Style) -> Blocks:
    """The page, not yet served."""
    import gradio as gr

    name = viewer.loaded.name
    with gr.Blocks(
        title=f"{name}: what did it look at?",
        analytics_enabled=False,
        delete_cache=(600, OLD),
        fill_width=True,
    ) as blocks:
        gr.HTML(words.heading(viewer.loaded), elem_id="head")
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                file = gr.File(
                    label="Picture", file_count="single", height=120, elem_id="picture-file"
                )
                guesses = gr.Radio(
                    choices=[], label="The network's best guesses", visible=False, elem_id="guesses"
                )
                other = gr.Textbox(
                    label="Another class",
                    placeholder="number or label, then Enter",
                    max_lines=1,
                    visible=False,
                    elem_id="other",
                )
                layer = gr.Dropdown(
                    choices=[(words.layer_words(row), row.name) for row in viewer.layers],
                    value=viewer.recommended,
                    label="Layer",
                    elem_id="layer",
                )
                method = gr.Dropdown(
                    choices=[(words.method_words(row), row.name) for row in viewer.methods],
                    value="gradcam",
                    label="Method",
                    elem_id="method",
                )
                formula = gr.HTML(words.formula("gradcam"), elem_id="formula")
                opacity = gr.Slider(0, 1, style.alpha, step=0.05, label="Opacity", elem_id="alpha")
                colours = gr.Dropdown(
                    choices=list(COLORMAPS),
                    value=style.colormap,
                    label="Colour map",
                    elem_id="colormap",
                )
            with gr.Column(scale=4, min_width=320):
                trouble = gr.HTML("", elem_id="trouble")
                shown = gr.Image(
                    label="The map on the picture",
                    format="png",
                    interactive=False,
                    height="min(34rem, 70vh)",
                    buttons=["download", "fullscreen"],
                    elem_id="map",
                )
                numbers = gr.HTML("", elem_id="numbers")
        parts = _Parts(
            file, guesses, other, layer, method, formula, opacity, colours, trouble, shown,
            numbers,
            gr.State(None, time_to_live=OLD),
            gr.State(None, time_to_live=OLD),
        )  # fmt: skip
        _connect(viewer, parts)
    made: Blocks = blocks
    return made


def _connect(viewer: Viewer, parts: _Parts) -> None:
    """Say what happens where something is dropped, chosen or moved."""
    import gradio as gr

    def nothing(error: str = "") -> Told:
        """No map: an old one beside a new choice would be taken for its map."""
        return {
            parts.trouble: words.message(error),
            parts.map: gr.Image(value=None),
            parts.numbers: "",
            parts.seen: None,
        }

    def look(
        opened: Opened, asked: Choice, alpha: float, colormap: str, progress: Progress
    ) -> Told:
        def step(done: int, total: int) -> None:
            progress((done, total), desc="passes")

        try:
            seen = viewer.look(opened, asked, step)
            drawn = seen.explained.overlay(alpha=alpha, colormap=colormap)
        except GradCamHooksError as error:
            return nothing(str(error))
        return {
            parts.trouble: "",
            parts.map: gr.Image(value=drawn, alt_text=words.alternative(seen)),
            parts.numbers: words.numbers(seen),
            parts.seen: seen,
        }

    def dropped(
        path: str | None,
        layer: str,
        method: str,
        alpha: float,
        colormap: str,
        progress: Progress = gr.Progress(),  # noqa: B008  (how Gradio is asked for one)
    ) -> Told:
        away: Told = {
            parts.guesses: gr.Radio(choices=[], value=None, visible=False),
            parts.other: gr.Textbox(value="", visible=False),
            parts.opened: None,
        }
        if path is None:
            return nothing() | away
        try:
            opened = viewer.open(path)
        except GradCamHooksError as error:
            return nothing(str(error)) | away
        buttons = [(words.guess_words(one), str(one.target)) for one in opened.guesses]
        first = buttons[0][1] if buttons else None
        return look(opened, Choice(layer, method), alpha, colormap, progress) | {
            parts.guesses: gr.Radio(choices=buttons, value=first, visible=bool(buttons)),
            parts.other: gr.Textbox(value="", visible=bool(buttons)),
            parts.opened: opened,
        }

    def asking(by: Literal["guess", "typed", "other"]) -> Callable[..., Told]:
        """What answers a guess that was pressed, a class that was typed, or another choice."""

        def asked(
            opened: Opened | None,
            guess: str | None,
            other: str,
            layer: str,
            method: str,
            alpha: float,
            colormap: str,
            progress: Progress = gr.Progress(),  # noqa: B008
        ) -> Told:
            told: Told = {parts.formula: words.formula(method)}
            if by == "guess":
                other = told[parts.other] = ""
            elif by == "typed":
                guess = None
                told[parts.guesses] = gr.Radio(value=None)
            if opened is None:
                return told
            ask = Choice(layer, method, other or guess or "")
            return told | look(opened, ask, alpha, colormap, progress)

        return asked

    def redrawn(seen: Seen | None, alpha: float, colormap: str) -> object:
        return seen and seen.explained.overlay(alpha=alpha, colormap=colormap)

    def on(
        triggers: Sequence[Callable[..., object]],
        answer: Callable[..., object],
        inputs: list[Component],
        outputs: list[Component],
        *,
        quietly: bool = False,
    ) -> None:
        gr.on(
            triggers,
            answer,
            inputs,
            outputs,
            show_progress="hidden" if quietly else "full",
            show_progress_on=parts.map,
            # What is asked while an answer is on its way is asked again, with the last choice.
            trigger_mode="always_last",
            api_visibility="private",
        )

    style: list[Component] = [parts.alpha, parts.colormap]
    how = [parts.layer, parts.method, *style]
    answers = [parts.trouble, parts.map, parts.numbers, parts.seen, parts.guesses, parts.other]
    asks = [parts.opened, parts.guesses, parts.other, *how]
    told = [*answers, parts.formula]
    on([parts.file.change], dropped, [parts.file, *how], [*answers, parts.opened])
    on([parts.guesses.input], asking("guess"), asks, told)
    on([parts.other.submit], asking("typed"), asks, told)
    on([parts.layer.input, parts.method.input], asking("other"), asks, told)
    slid = [parts.alpha.change, parts.colormap.input]
    on(slid, redrawn, [parts.seen, *style], [parts.map], quietly=True)
