"""What a detector returned, read as candidates: boxes, scores and how probable each is.

Three kinds: torchvision's detections, DETR-like queries, and raw YOLO heads of two layouts. Which
layout a YOLO head has is told by its values (scores are in [0, 1], boxes are in pixels); where
they do not tell, it must be said. Knows tensors and containers only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gradcam_hooks.errors import OutputError, TargetError
from gradcam_hooks.network.outputs import described
from gradcam_hooks.network.tree import children, tensors
from gradcam_hooks.targets.checks import detections, legal

__all__ = ["Candidates", "Head", "candidates"]

Head = Literal["yolov8", "yolov5", "detr", "deformable-detr"]

_SOFTMAX = (
    "DetrObjectDetectionOutput",
    "TableTransformerObjectDetectionOutput",
    "YolosObjectDetectionOutput",
)
"""transformers' outputs whose last class is "no object"; its other detectors use a sigmoid."""


@dataclass(frozen=True)
class Candidates:
    """The candidates of one image.

    Attributes:
        boxes: ``(n, 4)``, x1 y1 x2 y2, in the graph.
        scores: ``(n,)``, the scores that can be explained, in the graph.
        chances: ``(n,)``, the probability of the class asked for, or of the best; detached.
        classes: ``(n,)``, the class that this is the score of.
        labels: ``(n,)``, the class of each where the detector gives only one; else None.
    """

    boxes: Tensor
    scores: Tensor
    chances: Tensor
    classes: Tensor
    labels: Tensor | None = None


def candidates(
    output: object,
    label: int | None,
    head: Head | None,
    size: tuple[int, int] | None,
    *,
    pixels: bool,
) -> list[tuple[Candidates, ...]]:
    """The candidates of each image; more than one reading of them where that is not decided.

    Args:
        output: what the detector returned.
        label: the class asked for; None for the best of each candidate.
        head: the kind of head, where the user said it.
        size: the input's (height, width), where the user said it.
        pixels: whether boxes are compared in pixels.

    Raises:
        OutputError: the output is of no kind that is known, or of two.
        TargetError: the class is out of range, or ``head`` or ``size`` does not fit the output.
    """
    found = detections(output)
    if found is not None:
        if head is not None:
            raise TargetError(
                f"head={head!r} is for raw heads, and this model returns finished detections "
                "(boxes, labels, scores). Leave head= out."
            )
        return [(_detected(one, label),) for one in found]
    parts = dict(children(output))
    logits = parts.get("logits", parts.get("pred_logits"))
    boxes = parts.get("pred_boxes")
    if isinstance(logits, Tensor) and isinstance(boxes, Tensor):
        if head in ("yolov8", "yolov5"):
            raise TargetError(f"head={head!r} does not fit an output of queries and pred_boxes.")
        if logits.ndim != 3 or boxes.shape != (*logits.shape[:2], 4):
            raise OutputError(_unknown(output))
        return _queries(type(output).__name__, logits, boxes, label, head, size, pixels=pixels)
    raw = _raw(output)
    if raw is None or raw.ndim != 3 or min(raw.shape) == 0 or not raw.is_floating_point():
        raise OutputError(_unknown(output))
    if head in ("detr", "deformable-detr"):
        raise TargetError(
            f"head={head!r} needs logits and pred_boxes, but the output is\n{described(output)}"
        )
    return _yolo(raw, label, head)


def _detected(one: Mapping[str, Tensor], label: int | None) -> Candidates:
    scores, labels = one["scores"], one["labels"]
    chances = scores.detach()
    if label is not None:
        chances = chances * labels.eq(label)
    return Candidates(one["boxes"], scores, chances, labels, labels)


def _queries(
    kind: str,
    logits: Tensor,
    boxes: Tensor,
    label: int | None,
    head: Head | None,
    size: tuple[int, int] | None,
    *,
    pixels: bool,
) -> list[tuple[Candidates, ...]]:
    if pixels and size is None:
        raise TargetError(
            "this output's boxes are fractions of the picture, and a box is in pixels: pass the "
            "input's size too, Box(..., size=(height, width))."
        )
    height, width = size or (1, 1)
    corners = _corners(boxes) * boxes.new_tensor([width, height, width, height])
    if head is None and kind in _SOFTMAX:
        head = "detr"
    elif head is None and kind.endswith("ObjectDetectionOutput"):
        head = "deformable-detr"
    probabilities = []
    if head in ("detr", None):
        probabilities.append(logits.detach().softmax(-1)[..., :-1])
    if head in ("deformable-detr", None):
        probabilities.append(logits.detach().sigmoid())
    if label is not None:
        legal(label, probabilities[-1].shape[-1])
        if label >= probabilities[0].shape[-1]:  # the last class, which a softmax has for nothing
            raise TargetError(
                f"class {label} is the last of this output, which is 'no object' in a DETR. Pass "
                "head='deformable-detr' if it is a class like the others here."
            )
    readings = [_dense(corners, logits, chances, label) for chances in probabilities]
    return list(zip(*readings, strict=True))


def _dense(boxes: Tensor, scores: Tensor, chances: Tensor, label: int | None) -> list[Candidates]:
    """``(batch, n, 4)``, ``(batch, n, classes)`` twice: for each image the class's, or the best."""
    classes = (
        chances.argmax(-1) if label is None else torch.full_like(chances[..., 0], label).long()
    )
    scores = scores.gather(-1, classes[..., None])[..., 0]
    chances = chances.gather(-1, classes[..., None])[..., 0]
    rows = zip(boxes, scores, chances, classes, strict=True)
    return [Candidates(*row) for row in rows]


def _corners(boxes: Tensor) -> Tensor:
    """From centers and extents, ``(..., 4)`` both."""
    from torchvision.ops import box_convert

    corners: Tensor = box_convert(boxes, "cxcywh", "xyxy")
    return corners


def _raw(output: object) -> Tensor | None:
    """The tensor of a raw head: the output, its first part, or the only one with three axes."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Sequence) and output and isinstance(output[0], Tensor):
        return output[0]
    found = [t for t in tensors(output) if t.ndim == 3 and t.is_floating_point()]
    return found[0] if len(found) == 1 else None


def _yolo(raw: Tensor, label: int | None, head: Head | None) -> list[tuple[Candidates, ...]]:
    readings: dict[Head, tuple[Tensor, Tensor]] = {}  # (batch, n, 4), (batch, n, scores)
    if head != "yolov5" and raw.shape[1] > 4:
        turned = raw.transpose(1, 2)
        readings["yolov8"] = (turned[..., :4], turned[..., 4:])
    if head != "yolov8" and raw.shape[2] > 5:
        readings["yolov5"] = (raw[..., :4], raw[..., 4:])
    fitting = {name: one for name, one in readings.items() if head or _plausible(*one)}
    if head and fitting and (wild := _beyond_scores(fitting[head][1])):
        raise OutputError(
            f"head={head!r} reads {raw.shape[1 if head == 'yolov8' else 2]} numbers of each "
            f"candidate, and {wild} behind the box {'is' if wild == 1 else 'are'} no score, which "
            "lie in [0, 1]. A head of poses or masks has more than classes there: cut it, as in "
            "output=lambda y: y[:, :5] for one class; of logits take output=lambda y: "
            "torch.cat([y[:, :4], y[:, 4:].sigmoid()], 1)."
        )
    if len(fitting) != 1:
        fit = "both readings fit" if fitting else "neither reading fits"
        if head:
            fit = f"head={head!r} does not fit it"
        raise OutputError(
            f"{_unknown(raw)}\nAs a raw YOLO head it is (4 + classes={raw.shape[1] - 4}, "
            f"N={raw.shape[2]}) or (N={raw.shape[1]}, 5 + classes={raw.shape[2] - 5}), and {fit}: "
            "scores are in [0, 1] and boxes are x, y, width, height in pixels. "
            "Say which, Box(head='yolov8') for the former or 'yolov5' for the latter, or pass "
            "output= to choose another part."
        )
    ((name, (boxes, scores)),) = fitting.items()
    if name == "yolov5":
        scores = scores[..., :1] * scores[..., 1:]
    if label is not None:
        legal(label, scores.shape[-1])
    return [(one,) for one in _dense(_corners(boxes), scores, scores.detach(), label)]


def _beyond_scores(scores: Tensor) -> int:
    """How many columns of ``(batch, n, scores)`` hold what can be no probability."""
    return int(((scores < 0) | (scores > 1)).any(0).any(0).sum())


def _plausible(boxes: Tensor, scores: Tensor) -> bool:
    """Whether the values can be what a reading says they are."""
    extent = boxes[..., 2:]
    return bool(
        (scores >= 0).all() and (scores <= 1).all() and (extent >= 0).all() and (extent > 1).any()
    )


def _unknown(output: object) -> str:
    return (
        "a box is asked for, and the model's output is none of a detector's that are known: a "
        "list of dicts with boxes, scores and labels (torchvision), logits with pred_boxes "
        "(DETR), a tensor (batch, 4 + classes, N) or (batch, N, 5 + classes) (YOLO). It is\n"
        f"{described(output)}\nPass output= to choose a part, or as target= a function that takes "
        "the output and returns one score per image."
    )
