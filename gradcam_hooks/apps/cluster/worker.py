"""The worker: one network in one process, batches of rows in, the same rows explained out.

What it does with a batch is what the command does with one: it reads, prepares and explains by the
same functions, and says of each picture what a record says. Knows tables of Arrow, and nothing of
who runs it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gradcam_hooks.apps.batch.records import Record, record_of
from gradcam_hooks.errors import GradCamHooksError, InputError
from gradcam_hooks.explainers import Explainer, explainer
from gradcam_hooks.images.given import Pictured, Prepare, ready
from gradcam_hooks.models import LoadedModel
from gradcam_hooks.models.presets import own_preprocess
from gradcam_hooks.results.explanation import Explanation
from gradcam_hooks.stream.batches import Batches, fatal_for
from gradcam_hooks.stream.feed import fed

__all__ = ["COLUMNS", "Asked", "Worker", "check_column"]

COLUMNS = {
    "error": "string",
    "predicted": "int64",
    "label": "string",
    "probability": "float64",
    "target": "int64",
    "target_label": "string",
    "score": "float64",
    "layer": "string",
    "method": "string",
    "diagnosis": "string",
    "diagnosis_message": "string",
    "trust": "string",
}
"""What is said of each picture, as in a line of the command's `results.jsonl`, and of what type."""


@dataclass(frozen=True)
class Asked:
    """What is asked of every row; it is sent to the workers.

    Attributes:
        model: makes the network, once in each worker.
        image: the column that holds the pictures.
        target: as for `explain`.
        maps: whether rows have their maps.
        check: whether each map is checked.
        options: the method, the layer and the explainer's options.
    """

    model: Callable[[], nn.Module | LoadedModel]
    image: str
    target: Any = None
    maps: bool = True
    check: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


class Worker:
    """A network that explains batches of rows; what Ray calls a callable class."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        made = asked.model()
        inner = made.model if isinstance(made, LoadedModel) else made
        if torch.cuda.is_available():
            inner.to("cuda")
        options = dict(asked.options)
        self._explainer: Explainer = explainer(options.pop("method"), made, **options)
        known = self._explainer.preprocess
        self._prepare: Prepare = own_preprocess(inner)[0] if known is None else known
        self._like = next(inner.parameters(), torch.empty(0))

    def __call__(self, rows: Any) -> Any:
        """The rows, a table of Arrow, with what was found of each and without their pictures."""
        pa: Any = importlib.import_module("pyarrow")  # which Ray brings, without types
        check_column(self._asked.image, rows.column_names, maps=self._asked.maps)
        given = rows.column(self._asked.image).to_pylist()
        found = self._found(given)
        records = [_record(one) for one in found]
        for name, kind in COLUMNS.items():
            values = [_plain(name, getattr(one, name)) for one in records]
            rows = rows.append_column(name, pa.array(values, pa.type_for_alias(kind)))
        if self._asked.maps:
            maps = [None if isinstance(one, Exception) else one.maps[0].cpu() for one in found]
            blobs = [None if one is None else one.numpy().tobytes() for one in maps]
            shapes = [None if one is None else list(one.shape) for one in maps]
            rows = rows.append_column("map", pa.array(blobs, pa.binary()))
            rows = rows.append_column("map_shape", pa.array(shapes, pa.list_(pa.int64())))
        return rows.drop_columns([self._asked.image])

    def _found(self, given: Sequence[object]) -> list[Explanation | Exception]:
        stream = fed(given, self._read, ahead=max(1, len(given)))
        read = [one for _, one in stream]
        good = [one for one in read if not isinstance(one, Exception)]
        with self._explainer as opened:

            def explain(inputs: Tensor, rows: Sequence[int]) -> Explanation:
                result = opened(inputs.to(self._like), target=self._asked.target)
                if result.scores.ndim > 1:
                    raise InputError("a row has one map: take one target for each picture.")
                checked = result.check().explanation if self._asked.check else result
                return checked.on(tuple(good[row][1] for row in rows))

            batches = Batches(explain, max(1, len(good)), fatal_for(self._asked.target))
            done = iter(batches([pixels for pixels, _ in good]))
            return [one if isinstance(one, Exception) else next(done) for one in read]

    def _read(self, picture: object) -> tuple[Tensor, Pictured]:
        return ready(picture, self._prepare)


def check_column(image: str, columns: Sequence[str], *, maps: bool = False) -> None:
    """See that there is a column of pictures, and none in the place of what is found.

    Raises:
        InputError: there is no column of pictures, or one would be lost.
    """
    if image not in columns:
        raise InputError(
            f"image= is the column of pictures, and there is none {image!r}; there are "
            f"{', '.join(columns) or 'none'}."
        )
    taken = [one for one in columns if one in {*COLUMNS, *(("map", "map_shape") if maps else ())}]
    if taken:
        first = taken[0]
        raise InputError(
            f"the data set has columns that explanations have as well, and would lose them: "
            f"{', '.join(taken)}. Rename them: data.rename_columns({{{first!r}: 'own_{first}'}})."
        )


def _record(found: Explanation | Exception) -> Record:
    if isinstance(found, Explanation):
        return record_of(found)
    told = isinstance(found, GradCamHooksError)
    return Record(error=str(found) if told else f"{type(found).__name__}: {found}")


def _plain(name: str, value: Any) -> Any:
    return ", ".join(value) if name == "layer" and isinstance(value, list) else value
