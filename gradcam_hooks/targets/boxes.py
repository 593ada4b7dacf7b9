"""The score, or a side, of one box of a detector, found by its overlap and its class.

A frozen callable from a detector's output to one score per image. The candidates come before
non-maximum suppression where the model returns its raw head, and as returned where it does not.
Which kind of head it is stands in `heads`. Knows tensors only: no layer, no map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor

from gradcam_hooks.checks import check_one_of, check_range
from gradcam_hooks.errors import TargetError
from gradcam_hooks.network.tree import children
from gradcam_hooks.targets.checks import labelled, legal, number, numbered, whole
from gradcam_hooks.targets.detectors import Candidates, Head, candidates

__all__ = ["Box", "Part"]

Part = Literal["score", "x1", "y1", "x2", "y2"]
Missing = Literal["error", "lowest"]

_XYXY = tuple[float, float, float, float]
_Image = tuple[int, tuple[Candidates, ...], _XYXY | None]


class _NoMatchError(TargetError):
    """The detector gave nothing that is the box asked for."""


@dataclass(frozen=True)
class Box:
    """One box of a detector: how sure it is, or where one of its sides is.

    Of the candidates that overlap ``box`` by at least ``iou``, the one with the largest
    ``IoU * probability of the class``; without a box, the most probable candidate; with an
    ``index``, that one. What is explained is its score as the model gives it, in the graph:

    - a raw YOLO head ``(batch, 4 + classes, N)``: the class's score; ``(batch, N, 5 + classes)``:
      objectness times the class's score. All ``N`` candidates, before non-maximum suppression.
    - DETR-like ``logits (batch, queries, classes)`` with ``pred_boxes``: the class's logit. All
      queries; there is no suppression.
    - torchvision's detectors (R-CNNs, RetinaNet, SSD, FCOS): the ``scores`` of the detections.
      What they return is after suppression and thresholds, so a box that they dropped cannot be
      asked for: lower ``score_thresh`` and raise ``nms_thresh`` for more of them.

    Args:
        box: ``(x1, y1, x2, y2)`` in pixels of the input (the picture handed to the model), for all
            images, or a sequence of one such box for each.
        label: the class's number, or its label where the explainer knows the labels, or a sequence
            of one for each image; by default each candidate's most probable class. torchvision's
            count from 1, its 0 is the background.
        index: the candidate's number, in place of a box.
        part: ``"score"``, or a side: ``"x1"``, ``"y1"``, ``"x2"`` or ``"y2"``, in pixels.
        size: ``(height, width)`` of the input, needed for a ``box`` with DETR-like outputs, which
            give fractions of the picture (a side is then a fraction where no size is given).
        head: what kind of head it is where that cannot be told: ``"yolov8"`` is (4 + classes, N),
            ``"yolov5"`` is (N, 5 + classes), ``"detr"`` a softmax whose last class is "no object",
            ``"deformable-detr"`` a sigmoid for each class.
        iou: the least overlap that is still the box that was asked for.
        missing: what to do where no candidate matches: ``"error"``, or ``"lowest"`` for the lowest
            score there is (0 of finished detections), as it is asked of a disturbed picture in
            which the detector may lose the box.

    Raises:
        TargetError: no candidate matches, with the nearest there is; or an argument is not legal.
        OutputError: the output is none of these, with its structure.

    >>> detections = [{"boxes": torch.tensor([[0.0, 0, 4, 4], [10, 10, 20, 20]]),
    ...                "labels": torch.tensor([1, 2]), "scores": torch.tensor([0.75, 0.5])}]
    >>> Box((11, 10, 20, 20))(detections)
    tensor([0.5000])
    """

    box: Sequence[float] | Sequence[Sequence[float]] | Tensor | np.ndarray | None = None
    label: int | str | Sequence[int | str] | None = None
    index: int | None = None
    part: Part = "score"
    size: tuple[int, int] | None = None
    head: Head | None = None
    iou: float = 0.5
    missing: Missing = "error"

    def __post_init__(self) -> None:
        if self.index is not None:
            object.__setattr__(self, "index", whole(self.index, "Box(index=)"))
        object.__setattr__(self, "label", _classes(self.label))
        for name, kind in (("part", Part), ("head", Head), ("missing", Missing)):
            value = getattr(self, name)
            if value is not None or name != "head":
                check_one_of(value, f"Box({name}=)", get_args(kind), error=TargetError)
        if self.size is not None:
            size = tuple(self.size) if isinstance(self.size, Sequence) else ()
            if len(size) != 2 or 0 in size:
                raise TargetError(f"Box(size=) is (height, width) in pixels, not {self.size!r}.")
            size = tuple(whole(one, "each number of Box(size=)") for one in size)
            object.__setattr__(self, "size", size)
        check_range(self.iou, "Box(iou=)", 0, 1, error=TargetError)
        if self.box is not None:
            if self.index is not None:
                raise TargetError("Box takes box= or index=, not both.")
            object.__setattr__(self, "box", _boxes(self.box))

    def __repr__(self) -> str:
        said = [] if self.box is None else [repr(self.box)]
        options = {name: getattr(self, name) for name in vars(self) if name != "box"}
        said += [f"{name}={it!r}" for name, it in options.items() if it != getattr(Box, name)]
        return f"Box({', '.join(said)})"

    def labelled(self, labels: Sequence[str] | None) -> Box:
        """The same with numbers in the place of labels."""
        given = self.label if isinstance(self.label, tuple) else (self.label,)
        known = [labelled(one, labels) if isinstance(one, str) else one for one in given]
        return replace(self, label=known if isinstance(self.label, tuple) else known[0])

    def settled(self, output: object) -> Box:
        """The box, and its class, that this one finds in ``output``; ``missing="lowest"``.

        An ``index`` among all that a raw head gives stays, and means the same of any output.
        """
        found = [self._find(*image) for image in self._images(output)]
        known = replace(self, label=tuple(one[2] for one in found), missing="lowest")
        if self.index is not None and found[0][0].labels is None:
            return known
        boxes = [one.boxes[row].tolist() for one, row, _ in found]
        parts = dict(children(output))
        if "pred_boxes" in parts:
            # Fractions of the picture stay so; of two readings that agree, either is right.
            several = any(len(readings) > 1 for _, readings, _ in self._images(output))
            head: Head | None = "detr" if several else self.head
            known = replace(known, size=self.size or (1, 1), head=head)
        return replace(known, box=boxes, index=None)

    def __call__(self, output: object) -> Tensor:
        """The output of a detector to ``(batch,)``."""
        scores = []
        for number_, readings, box in self._images(output):
            try:
                one, row, _ = self._find(number_, readings, box)
            except _NoMatchError:
                if self.missing == "error" or self.part != "score":
                    raise
                one = readings[0]
                scores.append(one.scores.sum() * 0 if one.labels is not None else one.scores.min())
                continue
            side = ("x1", "y1", "x2", "y2")
            part = one.scores if self.part == "score" else one.boxes[:, side.index(self.part)]
            scores.append(part[row])
        return torch.stack(scores)

    def _images(self, output: object) -> Sequence[_Image]:
        """Each image's number, the readings of its candidates, and the box asked for."""

        def read(label: int | None) -> list[tuple[Candidates, ...]]:
            return candidates(output, label, self.head, self.size, pixels=self.box is not None)

        if not isinstance(self.label, tuple):
            label = self._label(0)
            images = read(None if label is None else number(label))
        else:
            numbers = [number(one) for one in self.label]
            by_class = {one: read(one) for one in set(numbers)}
            batch = len(by_class[numbers[0]])
            if len(numbers) not in (1, batch):
                raise TargetError(
                    f"{len(numbers)} classes came for a batch of {batch}; one, or one each."
                )
            numbers = numbers * batch if len(numbers) == 1 else numbers
            images = [by_class[one][image] for image, one in enumerate(numbers)]
        wanted = self._wanted(len(images))
        return [(i, *pair) for i, pair in enumerate(zip(images, wanted, strict=True))]

    def _find(
        self, image: int, readings: tuple[Candidates, ...], box: _XYXY | None
    ) -> tuple[Candidates, int, int]:
        """The candidates of an image, and the number and the class of the one that is meant."""
        picked = {self._pick(one, box, image): one for one in reversed(readings)}
        if len(picked) > 1:
            raise TargetError(
                "a softmax whose last class is 'no object' and a sigmoid for each class fit "
                f"this output alike, and {self} is another choice in each: "
                f"{' and '.join(f'query {row} for class {c}' for row, c in reversed(picked))}. "
                "Pass head='detr' for the former, head='deformable-detr' for the latter."
            )
        (((row, label), one),) = picked.items()
        return one, row, label

    def _wanted(self, batch: int) -> Sequence[_XYXY | None]:
        if self.box is None:
            return [None] * batch
        boxes: list[_XYXY] = list(self.box) if _many(self.box) else [self.box]  # type: ignore[arg-type, list-item]
        if len(boxes) not in (1, batch):
            raise TargetError(f"{len(boxes)} boxes came for a batch of {batch}; one, or one each.")
        return boxes * batch if len(boxes) == 1 else boxes

    def _label(self, image: int) -> int | str | None:
        label = cast("int | str | tuple[int | str, ...] | None", self.label)
        return label[image if len(label) > 1 else 0] if isinstance(label, tuple) else label

    def _pick(self, one: Candidates, wanted: _XYXY | None, image: int) -> tuple[int, int]:
        """The number of the candidate and of its class."""
        count, label = len(one.boxes), self._label(image)
        if not count:
            raise _NoMatchError(
                f"the detector returned no box for image {image}. Lower its threshold "
                "(torchvision: box_score_thresh= of the R-CNNs, score_thresh= of the others)."
            )
        if self.index is not None:
            legal(self.index, count, "box")
            own = int(one.classes[self.index])
            if label not in (None, own):
                raise TargetError(
                    f"box {self.index} of image {image} is of class {own}, not {label}."
                )
            return self.index, own
        chances = one.chances
        if label is not None and one.labels is not None and not bool((chances > 0).any()):
            found = ", ".join(map(str, sorted(set(one.labels.tolist()))))
            raise _NoMatchError(
                f"no box of class {label} was returned for image {image}; the classes found "
                f"are {found}. torchvision's detectors return what is left after suppression: "
                "lower their score threshold for more."
            )
        if wanted is None:
            best = int(chances.argmax())
            return best, int(one.classes[best])
        from torchvision.ops import box_iou

        boxes = one.boxes.detach()
        overlap = box_iou(boxes.new_tensor([wanted]), boxes)[0].nan_to_num(0)
        match = torch.where(overlap >= self.iou, overlap * chances, -1)
        best = int(match.argmax())
        if match[best] <= 0:
            # Of another class no box is the nearest.
            allowed = torch.where(chances > 0, overlap, -1)
            nearest = int(allowed.argmax())
            corner = ", ".join(f"{side:.1f}" for side in boxes[nearest].tolist())
            of = "" if label is None else f" of class {label}"
            raise _NoMatchError(
                f"no box{of} in image {image} overlaps {tuple(wanted)} by an IoU of {self.iou} or "
                f"more; of {count} candidates the nearest is number {nearest}, ({corner}), with "
                f"{float(overlap[nearest]):.2f}. Boxes are (x1, y1, x2, y2) in pixels of the "
                "input. Pass that box, its index=, or a lower iou=."
            )
        return best, int(one.classes[best])


def _classes(label: object) -> int | str | tuple[int | str, ...] | None:
    if label is None or isinstance(label, str) or not isinstance(label, Sequence):
        return None if label is None else numbered(label, "Box(label=)")
    if not label:
        raise TargetError("Box(label=) is a class, or a sequence of one for each image, not none.")
    return tuple(numbered(one, "each of Box(label=)") for one in label)


def _many(box: object) -> bool:
    return isinstance(box, Sequence) and isinstance(box[0], Sequence)


def _boxes(box: object) -> _XYXY | tuple[_XYXY, ...]:
    """The box, or the boxes, as tuples of floats."""
    try:
        given = torch.as_tensor(box, dtype=torch.float64).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TargetError(f"a box is four numbers (x1, y1, x2, y2), not {box!r}.") from error
    if given.ndim not in (1, 2) or given.shape[-1] != 4 or not len(given):
        raise TargetError(
            f"a box is four numbers (x1, y1, x2, y2), or one such for each image, not something "
            f"of shape {tuple(given.shape)}."
        )
    rows: list[_XYXY] = [tuple(row) for row in given.view(-1, 4).tolist()]
    for x1, y1, x2, y2 in rows:
        if not (x1 < x2 and y1 < y2):
            raise TargetError(
                f"a box is (x1, y1, x2, y2) with x1 < x2 and y1 < y2, not {(x1, y1, x2, y2)}. "
                "Of (x, y, width, height) make (x, y, x + width, y + height)."
            )
    return rows[0] if given.ndim == 1 else tuple(rows)
