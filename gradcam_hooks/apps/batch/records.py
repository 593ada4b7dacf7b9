"""Records: what is known of one picture, as a line of JSON.

`record_of` takes it out of an explanation; the line can be read back. This file knows
explanations and JSON: no picture file, no folder.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace

from torch import Tensor

from gradcam_hooks.errors import OutputError
from gradcam_hooks.network.outputs import OutputSpec, choose, find_logits, probabilities
from gradcam_hooks.results.diagnosis import Diagnosis
from gradcam_hooks.results.explanation import Explanation

__all__ = ["Record", "record_of"]

_LATER = frozenset({"truth", "right"})
"""Fields that lines of earlier versions lack."""


@dataclass(frozen=True)
class Record:
    """What is known of one picture: a line of `results.jsonl`.

    Where several targets were asked, `target`, `target_label`, `score`, `diagnosis` and
    `diagnosis_message` are lists, the highest score first. Where several layers were, `layer` is
    a list. Numbers that are not finite are None.

    Attributes:
        file: the picture, as it was named.
        error: why there is no result; None where there is one.
        predicted: the predicted class. Of a single logit: 1 or 0 where two labels are known.
        label: its label, where labels are known.
        probability: its probability: softmax, or sigmoid of a single logit; None where the output
            is not `(batch, classes)`.
        target: the class that was explained.
        target_label: its label.
        score: the score that was explained.
        layer: the layer, by its dotted name.
        layouts: how each layer's axes were read.
        method: the method's name; a list where several were asked, of which the first is told.
        diagnosis: a word on the map; "ok" where nothing is wrong with it.
        diagnosis_message: the likely cause and the next step.
        overlay: the picture with the map, relative to the folder of `results.jsonl`, with "/".
        geometry: which part of the picture the network saw; `Geometry.from_dict` takes it.
        run: a fingerprint of everything but the picture that decides the result.
        stamp: the picture's size in bytes and time of change, so that a changed one is done again.
        truth: its true class, where that is known.
        right: whether the prediction is the true class; None where that cannot be said.
    """

    file: str = ""
    error: str | None = None
    predicted: int | None = None
    label: str | None = None
    probability: float | None = None
    target: int | list[int] | None = None
    target_label: str | list[str | None] | None = None
    score: float | list[float | None] | None = None
    layer: str | list[str] | None = None
    layouts: list[str] | None = None
    method: str | list[str] | None = None
    diagnosis: str | list[str] | None = None
    diagnosis_message: str | list[str] | None = None
    overlay: str | None = None
    geometry: dict[str, list[int] | list[float]] | None = None
    run: str = ""
    stamp: str = ""
    truth: str | None = None
    right: bool | None = None

    def line(self) -> str:
        r"""The record as one line of JSON, in ASCII.

        >>> Record("cat.jpg", predicted=281).line()[:46]
        '{"file": "cat.jpg", "error": null, "predicted"'
        """
        return json.dumps(asdict(self), allow_nan=False) + "\n"

    @classmethod
    def read(cls, line: str) -> Record | None:
        """The record of a line; None where the line is torn, or another program's."""
        try:
            content = json.loads(line)
        except ValueError:
            return None
        names = {field.name for field in fields(cls)}
        if not isinstance(content, dict) or not names - _LATER <= set(content) <= names:
            return None
        return cls(**content)


def record_of(explained: Explanation, output: OutputSpec = None) -> Record:
    """The record of an explanation of one picture, still without the picture.

    Args:
        explained: with a batch axis of one.
        output: which part of the model's output was explained.
    """
    logits = _logits(explained, output)
    labels = explained.labels
    binary = logits is not None and len(logits) == 1 and labels is not None and len(labels) == 2
    predicted, probability = (None, None) if logits is None else _prediction(logits, binary)
    # The one logit of a network with two labels speaks for the second of them.
    shift = 1 if binary else 0
    layers = list(explained.layers)
    record = Record(
        predicted=predicted,
        label=None if predicted is None else _label(labels, predicted),
        probability=probability,
        layer=layers[0] if len(layers) == 1 else layers,
        layouts=list(explained.layouts),
        method=explained.method,
    )
    numbers = [] if explained.target is None else explained.target[0].flatten().tolist()
    names = [_label(labels, number + shift) for number in numbers]
    scores = [_finite(score) for score in explained.scores[0].flatten().tolist()]
    words = explained.diagnosis[0]
    if isinstance(words, Diagnosis):
        return replace(
            record,
            target=numbers[0] if numbers else None,
            target_label=names[0] if names else None,
            score=scores[0],
            diagnosis=str(words),
            diagnosis_message=words.message,
        )
    return replace(
        record,
        target=numbers,
        target_label=names,
        score=scores,
        diagnosis=[str(one) for one in words],
        diagnosis_message=[one.message for one in words],
    )


def _logits(explained: Explanation, output: OutputSpec) -> Tensor | None:
    """The logits `(classes,)` of the picture, None where its output has none."""
    if output == "logits" and isinstance(explained.output, Tensor):
        output = None  # probabilities, whose logits were explained; they say the prediction
    try:
        logits = find_logits(choose(explained.output, output))
    except OutputError:  # a detector's, or a target function's own matter
        return None
    if logits.ndim != 2 or len(logits) != 1 or not logits.shape[1]:
        return None
    return logits[0].double().cpu()


def _prediction(logits: Tensor, binary: bool) -> tuple[int, float | None]:
    """The predicted class and its probability."""
    if len(logits) == 1:
        chance = float(logits.sigmoid())
        if not binary:
            return 0, _finite(chance)
        return (1, _finite(chance)) if chance >= 0.5 else (0, _finite(1 - chance))
    predicted = int(logits.argmax())
    return predicted, _finite(float(probabilities(logits[None])[0, predicted]))


def _label(labels: Sequence[str] | None, index: int) -> str | None:
    return labels[index] if labels is not None and index < len(labels) else None


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
