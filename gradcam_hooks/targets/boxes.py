"""The score, or a side, of one box of a detector, found by its overlap and its class.

A frozen callable from a detector's output to one score per image. The candidates come before
non-maximum suppression where the model returns its raw head, and as returned where it does not.
Which kind of head it is stands in `heads`. Knows tensors only: no layer, no map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from gradcam_hooks.errors import TargetError
from gradcam_hooks.targets.checks import legal, whole
from gradcam_hooks.targets.heads import Candidates, Head, candidates

__all__ = ["Box", "Part"]

Part = Literal["score", "x1", "y1", "x2", "y2"]

_XYXY = tuple[float, float, float, float]


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
        label: the class's number; by default each candidate's most probable class. torchvision's
            count from 1, its 0 is the background.
        index: the candidate's number, in place of a box.
        part: ``"score"``, or a side: ``"x1"``, ``"y1"``, ``"x2"`` or ``"y2"``, in pixels.
        size: ``(height, width)`` of the input, needed for a ``box`` with DETR-like outputs, which
            give fractions of the picture (a side is then a fraction where no size is given).
        head: what kind of head it is where that cannot be told: ``"yolov8"`` is (4 + classes, N),
            ``"yolov5"`` is (N, 5 + classes), ``"detr"`` a softmax whose last class is "no object",
            ``"deformable-detr"`` a sigmoid for each class.
        iou: the least overlap that is still the box that was asked for.

    Raises:
        TargetError: no candidate matches, with the nearest there is; or an argument is not legal.
        OutputError: the output is none of these, with its structure.

    >>> detections = [{"boxes": torch.tensor([[0.0, 0, 4, 4], [10, 10, 20, 20]]),
    ...                "labels": torch.tensor([1, 2]), "scores": torch.tensor([0.75, 0.5])}]
    >>> Box((11, 10, 20, 20))(detections)
    tensor([0.5000])
    """

    box: Sequence[float] | Sequence[Sequence[float]] | Tensor | np.ndarray | None = None
    label: int | None = None
    index: int | None = None
    part: Part = "score"
    size: tuple[int, int] | None = None
    head: Head | None = None
    iou: float = 0.5

    def __post_init__(self) -> None:
        for name in ("label", "index"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, whole(getattr(self, name), f"Box({name}=)"))
        for name, kind in (("part", Part), ("head", Head)):
            value = getattr(self, name)
            if value not in get_args(kind) and not (name == "head" and value is None):
                ways = ", ".join(map(repr, get_args(kind)))
                raise TargetError(f"Box({name}=) is one of {ways}, not {value!r}.")
        if self.size is not None:
            size = tuple(self.size) if isinstance(self.size, Sequence) else ()
            if len(size) != 2 or 0 in size:
                raise TargetError(f"Box(size=) is (height, width) in pixels, not {self.size!r}.")
            size = tuple(whole(one, "each number of Box(size=)") for one in size)
            object.__setattr__(self, "size", size)
        if type(self.iou) not in (int, float) or not 0 < self.iou <= 1:
            raise TargetError(f"Box(iou=) is above 0 and at most 1, not {self.iou!r}.")
        if self.box is not None:
            if self.index is not None:
                raise TargetError("Box takes box= or index=, not both.")
            object.__setattr__(self, "box", _boxes(self.box))

    def __repr__(self) -> str:
        said = [] if self.box is None else [repr(self.box)]
        options = {name: getattr(self, name) for name in vars(self) if name != "box"}
        said += [f"{name}={it!r}" for name, it in options.items() if it != getattr(Box, name)]
        return f"Box({', '.join(said)})"

    def __call__(self, output: object) -> Tensor:
        """The output of a detector to ``(batch,)``."""
        images = candidates(output, self.label, self.head, self.size, pixels=self.box is not None)
        wanted = self._wanted(len(images))
        scores = []
        for number, (readings, box) in enumerate(zip(images, wanted, strict=True)):
            picked = {self._pick(one, box, number): one for one in reversed(readings)}
            if len(picked) > 1:
                raise TargetError(
                    "a softmax whose last class is 'no object' and a sigmoid for each class fit "
                    f"this output alike, and {self} is another choice in each: "
                    f"{' and '.join(f'query {row} for class {c}' for row, c in reversed(picked))}. "
                    "Pass head='detr' for the former, head='deformable-detr' for the latter."
                )
            (((row, _), one),) = picked.items()
            side = ("x1", "y1", "x2", "y2")
            part = one.scores if self.part == "score" else one.boxes[:, side.index(self.part)]
            scores.append(part[row])
        return torch.stack(scores)

    def _wanted(self, batch: int) -> Sequence[_XYXY | None]:
        if self.box is None:
            return [None] * batch
        boxes: list[_XYXY] = list(self.box) if _many(self.box) else [self.box]  # type: ignore[arg-type, list-item]
        if len(boxes) not in (1, batch):
            raise TargetError(f"{len(boxes)} boxes came for a batch of {batch}; one, or one each.")
        return boxes * batch if len(boxes) == 1 else boxes

    def _pick(self, one: Candidates, wanted: _XYXY | None, image: int) -> tuple[int, int]:
        """The number of the candidate and of its class."""
        count = len(one.boxes)
        if not count:
            raise TargetError(
                f"the detector returned no box for image {image}. Lower its threshold "
                "(torchvision: box_score_thresh= of the R-CNNs, score_thresh= of the others)."
            )
        if self.index is not None:
            legal(self.index, count, "box")
            own = int(one.classes[self.index])
            if self.label not in (None, own):
                raise TargetError(
                    f"box {self.index} of image {image} is of class {own}, not {self.label}."
                )
            return self.index, own
        chances = one.chances
        if self.label is not None and one.labels is not None and not bool((chances > 0).any()):
            found = ", ".join(map(str, sorted(set(one.labels.tolist()))))
            raise TargetError(
                f"no box of class {self.label} was returned for image {image}; the classes found "
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
            of = "" if self.label is None else f" of class {self.label}"
            raise TargetError(
                f"no box{of} in image {image} overlaps {tuple(wanted)} by an IoU of {self.iou} or "
                f"more; of {count} candidates the nearest is number {nearest}, ({corner}), with "
                f"{float(overlap[nearest]):.2f}. Boxes are (x1, y1, x2, y2) in pixels of the "
                "input. Pass that box, its index=, or a lower iou=."
            )
        return best, int(one.classes[best])


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
