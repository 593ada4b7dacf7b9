"""How an explanation is made again: what a result carries of its explainer, but for the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from weakref import ref

from gradcam_hooks.answer import Question
from gradcam_hooks.network.hooks import Call
from gradcam_hooks.network.inputs import Inputs
from gradcam_hooks.network.places import ImageSpec
from gradcam_hooks.results.checked import Again
from gradcam_hooks.results.explanation import Explanation
from gradcam_hooks.targets import Target

__all__ = ["again_of"]


def again_of(
    kind: Callable[..., Callable[..., Explanation]],
    question: Question,
    image: ImageSpec,
    call: Call,
    made: tuple[Explanation, Inputs, Target],
) -> Explanation:
    """The explanation with the way back to it: its method and options, at the layers it is of.

    Args:
        kind: the method's class.
        question: the options of its explainer.
        image: which input the map lies on, as the user said.
        call: which call of the layer, as the user said.
        made: the explanation, of what, and what was asked.
    """
    explanation, inputs, target = made
    asked, names = question.asked, dict[str, None]()
    for label in explanation.layers if question.row.looks == "layer" else ():
        name, _, number = label.partition("#")
        names[name] = None
        if call is None and number:
            call = int(number)
    options = {
        "layer": [*names] or "auto",
        "output": asked.output,
        "layout": asked.layout,
        "fuse": question.fuse,
        "axes": inputs.axes,
        "call": call,
        "labels": asked.labels,
        "multi_label": asked.multi_label,
        "image": image,
        "sampler": question.sampler,
        **question.parameters,
    }
    explainer = partial(kind, **options)
    again = Again(ref(asked.model), explainer, inputs, target, asked.output)
    return replace(explanation, again=again)
