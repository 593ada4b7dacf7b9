"""The page: controls on the left, the picture on the right, the numbers below it.

What is asked goes to a `Viewer`, what it says comes from `words`; here they meet, as components of
Gradio and as what happens where one of them is used. This file knows Gradio, and imports it when a
page is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

from gradcam_hooks.apps.serve import words
from gradcam_hooks.apps.serve.viewer import Choice, Opened, Seen, Viewer
from gradcam_hooks.errors import GradCamHooksError
from gradcam_hooks.images.colors import COLORMAPS
from gradcam_hooks.results.drawing import Style

if TYPE_CHECKING:
    from typing import TypeAlias

    from gradio import Blocks, Progress
    from gradio.components import Component

    Told: TypeAlias = dict[Component, object]

__all__ = ["OLD", "build"]

OLD = 3600
"""A picture that was dropped longer ago, in seconds, is deleted."""


def build(viewer: Viewer, style: Style) -> Blocks:
    """The page, not yet served."""
    import gradio as gr

    with gr.Blocks(
        title=f"{words.network(viewer.loaded)}: what did it look at?",
        analytics_enabled=False,
        delete_cache=(600, OLD),
        fill_width=True,
    ) as blocks:
        gr.HTML(words.heading(viewer.loaded), elem_id="head")
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                asks = _controls(viewer, style)
            with gr.Column(scale=4, min_width=320, elem_id="shows"):
                shows = _results(style)
        kept = {name: gr.State(None, time_to_live=OLD) for name in ("opened", "seen")}
        _connect(_Answers(viewer, SimpleNamespace(**asks, **shows, **kept)))
    made: Blocks = blocks
    return made


def _controls(viewer: Viewer, style: Style) -> dict[str, Any]:
    """What is asked, from top to bottom."""
    import gradio as gr

    return {
        "file": gr.File(label="Picture", file_count="single", height=120, elem_id="picture-file"),
        "examples": gr.Radio(
            choices=[(path.name, str(at)) for at, path in enumerate(viewer.examples)],
            label="Or one of these",
            visible=bool(viewer.examples),
            elem_id="examples",
        ),
        "guesses": gr.Radio(
            choices=[], label="The network's best guesses", visible=False, elem_id="guesses"
        ),
        "other": gr.Textbox(
            label="Another class",
            placeholder="number or label, then Enter",
            max_lines=1,
            visible=False,
            elem_id="other",
        ),
        "layer": gr.Dropdown(
            choices=[(words.layer_words(row), row.name) for row in viewer.layers],
            value=viewer.recommended,
            label="Layer",
            elem_id="layer",
        ),
        "method": gr.Dropdown(
            choices=[(words.method_words(row), row.name) for row in viewer.methods],
            value="gradcam",
            label="Method",
            elem_id="method",
        ),
        "formula": gr.HTML(words.formula("gradcam"), elem_id="formula"),
        "alpha": gr.Slider(0, 1, style.alpha, step=0.05, label="Opacity", elem_id="alpha"),
        "colormap": gr.Dropdown(
            choices=list(COLORMAPS),
            value=str(style.colormap),
            label="Colour map",
            elem_id="colormap",
        ),
    }


def _results(style: Style) -> dict[str, Any]:
    """What is told, from top to bottom."""
    import gradio as gr

    def picture(label: str, name: str, scale: int) -> gr.Image:
        return gr.Image(
            label=label,
            format="png",
            interactive=False,
            height="min(34rem, 70vh)",
            buttons=["download", "fullscreen"],
            elem_id=name,
            scale=scale,
            min_width=200,
        )

    trouble = gr.HTML("", elem_id="trouble")
    with gr.Row():
        shown = picture("The map on the picture", "map", 3)
        original = picture("The picture", "original", 1)
    return {
        "trouble": trouble,
        "map": shown,
        "original": original,
        "bar": gr.HTML(words.bar(style.colormap), elem_id="bar"),
        "numbers": gr.HTML("", elem_id="numbers"),
    }


@dataclass(frozen=True)
class _Answers:
    """What the page's components, by their names, are told where something is dropped or chosen."""

    viewer: Viewer
    parts: SimpleNamespace

    def nothing(self, error: str = "") -> Told:
        """No map: an old one beside a new choice would be taken for its map."""
        import gradio as gr

        return {
            self.parts.trouble: words.message(error),
            self.parts.map: gr.Image(value=None),
            self.parts.numbers: "",
            self.parts.seen: None,
        }

    def look(self, opened: Opened, choice: Choice, style: Style, progress: Progress) -> Told:
        """The map that was chosen."""
        import gradio as gr

        def step(done: int, total: int) -> None:
            progress((done, total), desc="passes")

        try:
            seen = self.viewer.look(opened, choice, step)
            drawn = seen.explained.overlay(style=style)
        except GradCamHooksError as error:
            return self.nothing(str(error))
        return {
            self.parts.trouble: "",
            self.parts.formula: words.formula(choice.method, self.viewer.forward, seen.seconds),
            self.parts.map: gr.Image(value=drawn, alt_text=words.alternative(seen)),
            self.parts.numbers: words.numbers(seen),
            self.parts.seen: seen,
        }

    def dropped(
        self, path: str | Path | None, choice: Choice, style: Style, progress: Progress
    ) -> Told:
        """The guesses of a new picture, and the map of the first."""
        import gradio as gr

        parts = self.parts
        away: Told = {
            parts.original: gr.Image(value=None),
            parts.guesses: gr.Radio(choices=[], value=None, visible=False),
            parts.other: gr.Textbox(value="", visible=False),
            parts.opened: None,
        }
        if path is None:
            return self.nothing() | away
        try:
            opened = self.viewer.open(path)
        except GradCamHooksError as error:
            return self.nothing(str(error)) | away
        buttons = [(words.guess_words(one), str(one.number)) for one in opened.guesses]
        first = buttons[0][1] if buttons else None
        told = self.look(opened, choice, style, progress)
        seen = told[parts.seen]
        bare = seen.explained.overlay(alpha=0) if isinstance(seen, Seen) else None
        return told | {
            parts.original: gr.Image(value=bare),
            parts.guesses: gr.Radio(choices=buttons, value=first, visible=bool(buttons)),
            parts.other: gr.Textbox(value="", visible=bool(buttons)),
            parts.opened: opened,
        }

    def asked(
        self,
        by: Literal["guess", "typed", "other"],
        opened: Opened | None,
        guess: str | None,
        other: str,
        choice: Choice,
        style: Style,
        progress: Progress,
    ) -> Told:
        """Where a guess was pressed, a class was typed, or something else was chosen."""
        import gradio as gr

        told: Told = {self.parts.formula: words.formula(choice.method, self.viewer.forward)}
        if by == "guess":
            other = told[self.parts.other] = ""
        elif by == "typed":
            guess = None
            told[self.parts.guesses] = gr.Radio(value=None)
        if opened is None:
            return told
        target = other or guess or ""
        return told | self.look(opened, replace(choice, target=target), style, progress)


def _pictures(answers: _Answers) -> tuple[Callable[..., Told], Callable[..., Told]]:
    """What happens where a picture is dropped, and where an example is taken."""
    import gradio as gr

    parts = answers.parts

    def dropped(
        path: str | None,
        example: str | None,
        layer: str,
        method: str,
        alpha: float,
        colormap: str,
        progress: Progress = gr.Progress(),  # noqa: B008  (how Gradio is asked for one)
    ) -> Told:
        if path is None and example is not None:  # it went because an example came
            return {parts.trouble: ""}
        style = Style(alpha=alpha, colormap=colormap)
        told = answers.dropped(path, Choice(layer, method), style, progress)
        return told | {parts.examples: gr.Radio(value=None)}

    def taken(
        example: str,
        layer: str,
        method: str,
        alpha: float,
        colormap: str,
        progress: Progress = gr.Progress(),  # noqa: B008
    ) -> Told:
        path = answers.viewer.examples[int(example)]
        style = Style(alpha=alpha, colormap=colormap)
        return answers.dropped(path, Choice(layer, method), style, progress) | {parts.file: None}

    return dropped, taken


def _connect(answers: _Answers) -> None:
    """Say what happens where something is dropped, chosen or moved."""
    import gradio as gr

    parts = answers.parts

    def asking(by: Literal["guess", "typed", "other"]) -> Callable[..., Told]:
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
            style = Style(alpha=alpha, colormap=colormap)
            choice = Choice(layer, method)
            return answers.asked(by, opened, guess, other, choice, style, progress)

        return asked

    def redrawn(seen: Seen | None, alpha: float, colormap: str) -> tuple[object, str]:
        drawn = seen and seen.explained.overlay(alpha=alpha, colormap=colormap)
        return drawn, words.bar(colormap)

    style: list[Component] = [parts.alpha, parts.colormap]
    how = [parts.layer, parts.method, *style]
    told = [parts.trouble, parts.map, parts.numbers, parts.seen, parts.guesses, parts.other]
    told.append(parts.formula)
    asks = [parts.opened, parts.guesses, parts.other, *how]
    new = [*told, parts.original, parts.opened]
    dropped, taken = _pictures(answers)
    _on([parts.file.change], dropped, [parts.file, parts.examples, *how], [*new, parts.examples])
    _on([parts.examples.input], taken, [parts.examples, *how], [*new, parts.file])
    _on([parts.guesses.input], asking("guess"), asks, told)
    _on([parts.other.submit], asking("typed"), asks, told)
    # A list tells of an input twice, of a change once; nobody but the user changes these.
    _on([parts.layer.change, parts.method.change], asking("other"), asks, told)
    slid = [parts.alpha.change, parts.colormap.change]
    _on(slid, redrawn, [parts.seen, *style], [parts.map, parts.bar], progress="hidden")


def _on(
    triggers: Sequence[Callable[..., object]],
    answer: Callable[..., object],
    inputs: list[Component],
    outputs: list[Component],
    *,
    progress: Literal["full", "hidden"] = "full",
) -> None:
    """Let an answer fill the outputs; what is asked meanwhile is asked again, as it is last."""
    import gradio as gr

    gr.on(
        triggers,
        answer,
        inputs,
        outputs,
        show_progress=progress,
        show_progress_on=next(one for one in outputs if one.elem_id == "map"),
        trigger_mode="always_last",
        api_visibility="private",
    )
