"""Records: what is known of one picture, as a line of JSON.

`record_of` takes it out of an explanation; the line can be read back. This file knows
explanations and JSON: no picture file, no folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, TypeVar

from gradcam_hooks.apps.batch.plain import read_plain
from gradcam_hooks.results.diagnosis import Diagnosis
from gradcam_hooks.results.explanation import Explanation
from gradcam_hooks.results.facts import class_word, prediction

__all__ = ["Record", "record_of", "record_of_all"]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Record:
    """What is known of one picture: a line of `results.jsonl`.

    Where several targets were asked, `target`, `target_label`, `score`, `diagnosis`,
    `diagnosis_message`, `trust` and `trust_reasons` are lists, the highest score first. Where
    several methods were, these and `method` are lists with an entry for each map, method by method.
    Where several layers were, `layer` is a list. Numbers that are not finite are None.

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
        method: the method's name.
        diagnosis: a word on the map; "ok" where nothing is wrong with it.
        diagnosis_message: the likely cause and the next step.
        trust: what `check` said of the map, "trust", "doubt" or "do not trust"; None: not asked.
        trust_reasons: why, in sentences.
        overlay: the picture with the map, relative to the folder of `results.jsonl`, with "/".
        geometry: which part of the picture the network saw; `Geometry.from_dict` takes it.
        run: a fingerprint of everything but the picture that decides the result.
        stamp: the picture's size in bytes and time of change, so that a changed one is done again.
        place: the picture, as seen from the folder of `results.jsonl`, which tells it from others.
        sizes: bytes of the overlay and of its card, so that a torn or foreign one is made again.
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
    trust: str | list[str | None] | None = None
    trust_reasons: str | list[str] | None = None
    overlay: str | None = None
    geometry: dict[str, list[int] | list[float]] | None = None
    run: str = ""
    stamp: str = ""
    place: str = ""
    sizes: list[int] | None = None
    truth: str | None = None
    right: bool | None = None

    def line(self) -> str:
        r"""The record as one line of JSON, in ASCII.

        >>> Record("cat.jpg", predicted=281).line()[:46]
        '{"file": "cat.jpg", "error": null, "predicted"'
        """
        return json.dumps(vars(self), allow_nan=False) + "\n"

    @property
    def said(self) -> str:
        """The predicted class in words, "-" where there is none."""
        return class_word(self.predicted, self.label)

    @property
    def explained(self) -> str:
        """The classes that were explained, in words, each once."""
        numbers: list[int | None] = _listed(self.target)
        labels = _listed(self.target_label)
        return ", ".join(dict.fromkeys(map(class_word, numbers, labels)))

    @property
    def foreseen(self) -> bool:
        """Whether the predicted class alone was explained."""
        numbers: list[int | None] = _listed(self.target)
        return set(numbers) == {self.predicted}

    @property
    def diagnoses(self) -> list[Diagnosis]:
        """A word on each map, with the message behind it."""
        messages = [one or "" for one in _listed(self.diagnosis_message)]
        return list(map(Diagnosis, [one or "ok" for one in _listed(self.diagnosis)], messages))

    @property
    def methods(self) -> list[str]:
        """The method of each map; "" of each where one alone was asked."""
        return self.method if isinstance(self.method, list) else [""] * len(self.diagnoses)

    @classmethod
    def read(cls, line: str) -> Record:
        """The record of a line.

        Raises:
            ValueError: it is torn, edited, or another program's; says how.
        """
        record = read_plain(cls, line)
        way = PurePosixPath(record.overlay or "overlays/")
        if way.parts[0] != "overlays" or ".." in way.parts or "\\" in str(way):
            raise ValueError(f"overlay is {record.overlay!r}, which is not in overlays/")
        return record


def record_of_all(several: Sequence[Explanation]) -> Record:
    """The record of one picture that was explained by several methods."""
    first, *_ = records = [record_of(one) for one in several]
    if len(records) == 1:
        return first

    def column(name: str) -> Any:
        return [value for one in records for value in _listed(getattr(one, name))]

    names = ["target", "target_label", "score", "diagnosis", "diagnosis_message"]
    if any(one.trust is not None for one in records):
        names += ["trust", "trust_reasons"]
    counts = [len(one.diagnoses) for one in records]
    methods = [
        str(one.method) for one, count in zip(records, counts, strict=True) for _ in range(count)
    ]
    return replace(first, method=methods, **{name: column(name) for name in names})


def record_of(explained: Explanation) -> Record:
    """The record of an explanation of one picture, still without the picture; its batch is one."""
    (row,) = explained.facts()
    said = None
    if explained.logits is not None:
        many = explained.multi_label
        said = prediction(explained.logits[0], explained.labels, multi_label=many)
    told = [one.plain() for one in row]
    classes = told if explained.target is not None else []  # else there is no class to tell

    def column(name: str, of: list[dict[str, object]] = told) -> Any:
        """A fact of each map; of a single map that of it alone."""
        values = [one[name] for one in of]
        return values if explained.scores.ndim == 2 else (values or [None])[0]

    layers = list(explained.layers)
    return Record(
        predicted=None if said is None else said.number,
        label=None if said is None else said.label,
        probability=None if said is None else said.probability,
        target=column("target", classes),
        target_label=column("label", classes),
        score=column("score"),
        layer=layers[0] if len(layers) == 1 else layers,
        layouts=list(explained.layouts),
        method=explained.method,
        diagnosis=column("diagnosis"),
        diagnosis_message=column("message"),
        trust=column("trust", told if explained.trust is not None else []),
        trust_reasons=column("why", told if explained.trust is not None else []),
    )


def _listed(value: _T | list[_T] | list[_T | None] | None) -> list[_T | None]:
    return [*value] if isinstance(value, list) else [value]
