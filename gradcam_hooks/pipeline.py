"""One explained forward pass: output -> target -> score -> backward pass -> rule -> maps.

Each arrow is a function of a room above; here they only meet. It is handed open taps and inputs
that are ready, and gives back an `Explanation`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradcam_hooks.canvas import Canvas, watched
from gradcam_hooks.errors import GradientError, LayerError
from gradcam_hooks.explanation import Diagnosis, Explanation, diagnose
from gradcam_hooks.hooks import Pass, Tap, Tapped, Taps
from gradcam_hooks.layouts import Layout, infer
from gradcam_hooks.maps import finish_telling, fuse
from gradcam_hooks.methods import METHODS, Rule
from gradcam_hooks.modules import describe, named
from gradcam_hooks.outputs import OutputSpec, choose, detached
from gradcam_hooks.survey import first_non_finite, reached, reaches
from gradcam_hooks.targets import Target, select

__all__ = ["NoPath", "Question", "answer"]


@dataclass(frozen=True)
class Question:
    """What is asked of every pass of one explainer; the options of `Explainer`."""

    model: nn.Module
    method: str
    output: OutputSpec
    layout: str | None
    fuse: str
    labels: tuple[str, ...] | None


class NoPath(GradientError):  # noqa: N818  (told to users as GradientError)
    """A layer from which no path leads to the score."""


@dataclass(frozen=True)
class _Layer:
    label: str
    tap: Tap
    layout: Layout

    def activation(self) -> Tensor:
        return self.layout.channels_first(_exact(self.tap.activation))

    def gradient(self) -> Tensor | None:
        """``(batch, channels, *space)``, with an axis of targets ahead where there are many."""
        gradient = self.tap.gradient
        return None if gradient is None else self.layout.channels_first(_exact(gradient))


def _exact(tensor: Tensor) -> Tensor:
    """In float32 at least: sums over thousands of positions do not fit half precision."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def answer(
    question: Question,
    taps: Taps,
    image: Tensor,
    args: Sequence[object],
    kwargs: Mapping[str, object],
    target: Target,
    *,
    reach: bool = False,
) -> Explanation:
    """Run the model once and explain it.

    Raises:
        NoPath: no path leads from the score to a layer; or, where ``reach`` is asked, the
            gradient comes to no more than one position of it.

    Call it with the model's state looked after (`untouched`) and gradients off.
    """
    found, modules = None, named(question.model)
    size, canvas = tuple(image.shape[2:]), None
    for cut in (True, False):
        with watched(question.model) if _listed(args) else _no_canvas() as canvases:
            current = taps.forward(args, kwargs, cut=cut)
        canvas = canvases[-1] if canvases else None
        space = size if canvas is None else canvas.size
        layers = [_read(one, question, len(image), space, modules) for one in current.select()]
        with torch.enable_grad():
            chosen = choose(current.output, question.output)
            selected = select(target, chosen, len(image), question.labels)
        scores = selected.scores
        with _full_precision(scores.device):
            method = METHODS[question.method]
            if method.needs_gradients or reach:
                found = _raw_maps(method.rule, current, scores, layers, reach=reach)
            else:
                found = _raw_maps_of_activations(method.rule, scores, layers)
        if found is not None or not current.cut:
            break
    if found is None:
        lost = [describe(layer.label) for layer in layers if layer.tap.gradient is None]
        raise NoPath(
            f"no gradient can flow from the score back to {', '.join(lost)}: it lies beside the "
            "path to the score, or somewhere after it the model or the target function leaves the "
            "graph (detach(), no_grad, argmax, round, numpy()). Name a layer that gradients reach; "
            "gradcam_hooks.layers(model, x) shows them."
        )
    raws, zero = found
    with _full_precision(scores.device):
        finished = [finish_telling(raw, size, canvas) for raw in raws]
        maps = fuse([one for one, _ in finished], question.fuse, len(size))
    blank = torch.stack([blank for _, blank in finished]).all(0)
    if len(finished) > 1:  # maps that cancel each other leave nothing either
        blank |= maps.flatten(scores.ndim).amax(-1) <= 0
    hints = {}
    if bool(blank.any()):  # a blank map is worth another pass that finds the cause
        if not all(bool(raw.isfinite().all()) for raw in raws):
            bad = first_non_finite(question.model, args, kwargs)
            hints["non-finite"] = f"The first module to give one is {bad}." if bad else ""
        if bool(zero.any()):
            works = reached(question.model, args, kwargs, image, question.output)
            hints["zero-gradient"] = f"It reaches {works[-1]!r}." if works else ""
    flat = [raw.flatten(0, scores.ndim - 1) for raw in raws]
    words = diagnose(flat, zero.flatten(), blank.flatten(), hints)
    return Explanation(
        maps=maps,
        raw=raws[0] if len(raws) == 1 else tuple(raws),
        scores=scores.detach(),
        target=selected.index,
        output=detached(current.output),
        layers=tuple(layer.label for layer in layers),
        method=question.method,
        layouts=tuple(str(layer.layout) for layer in layers),
        diagnosis=_shaped(words, scores.shape),
        labels=question.labels,
        image=image,
    )


def _no_canvas() -> AbstractContextManager[list[Canvas]]:
    return nullcontext([])


def _listed(args: Sequence[object]) -> bool:
    """Whether the pictures came as a list, as torchvision's detectors take them."""
    return bool(args) and isinstance(args[0], list | tuple)


def _read(
    tapped: Tapped,
    question: Question,
    batch: int,
    space: tuple[int, ...],
    modules: Mapping[str, nn.Module],
) -> _Layer:
    shape = tuple(tapped.tap.activation.shape)
    layout = infer(shape, space, tapped.name, modules, question.layout, batch=batch)
    if shape[layout.batch_axis] != batch:
        raise LayerError(
            f"layer {describe(tapped.name)} gives {shape}, where axis {layout.batch_axis} is not "
            f"the batch of {batch}. Name a layer that keeps the batch; "
            "gradcam_hooks.layers(model, x) lists those that ran."
        )
    return _Layer(tapped.label, tapped.tap, layout)


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Autocast and fast, coarse matrix products are the model's matter and not the map's."""
    precision = torch.get_float32_matmul_precision()
    try:
        if precision != "highest":
            torch.set_float32_matmul_precision("highest")
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        if precision != "highest":
            torch.set_float32_matmul_precision(precision)


def _raw_maps(
    rule: Rule, current: Pass, scores: Tensor, layers: Sequence[_Layer], *, reach: bool
) -> tuple[list[Tensor], Tensor] | None:
    """Each layer's signed maps, and whether its gradient was zero, ``(batch[, targets])``.

    None where no path leads from the score to one of the layers.
    """
    if not scores.requires_grad:
        return None
    many = scores.ndim == 2

    def look() -> list[tuple[Tensor, Tensor]] | None:
        looked = []
        for layer in layers:
            gradient = layer.gradient()
            if gradient is None:
                return None
            if reach and not reaches(gradient, scores.ndim):
                raise NoPath(f"the gradient comes to one position of {describe(layer.label)} only.")
            looked.append(_raw_map(rule, layer.activation(), gradient, scores.ndim))
        return looked

    if many:
        chunks = current.backward_many(scores, look)
    else:
        current.backward(scores)
        chunks = [look()]
    whole = [chunk for chunk in chunks if chunk is not None]
    if len(whole) < len(chunks):
        return None
    raws, zeros = [], []
    for parts in zip(*whole, strict=True):
        raw, zero = (torch.cat(part) for part in zip(*parts, strict=True))
        raws.append(raw.transpose(0, 1) if many else raw)
        zeros.append(zero.transpose(0, 1) if many else zero)
    return raws, torch.stack(zeros).all(0)


def _raw_maps_of_activations(
    rule: Rule, scores: Tensor, layers: Sequence[_Layer]
) -> tuple[list[Tensor], Tensor]:
    """The same for a rule that asks for no gradient, so that none is computed."""
    raws, targets = [], scores.shape[1:]
    for layer in layers:
        activation = layer.activation()
        raw = rule(activation, activation)
        if targets:  # one map serves them all
            raw = raw[:, None].expand(-1, *targets, *raw.shape[1:])
        raws.append(raw)
    return raws, torch.zeros_like(scores, dtype=torch.bool)


def _raw_map(rule: Rule, activation: Tensor, gradient: Tensor, lead: int) -> tuple[Tensor, Tensor]:
    """One layer's maps and whether its gradient is zero; where targets are many, they lead."""
    each = rule if lead == 1 else torch.vmap(rule, in_dims=(None, 0))
    raw = each(activation, gradient)
    zero = raw.flatten(lead).eq(0).all(-1)
    if bool(zero.any()):  # only a map of zeros can come of a gradient of zeros
        zero &= gradient.flatten(lead).eq(0).all(-1)
    return raw, zero


def _shaped(
    words: list[Diagnosis], shape: torch.Size
) -> tuple[Diagnosis, ...] | tuple[tuple[Diagnosis, ...], ...]:
    if len(shape) == 1:
        return tuple(words)
    step = shape[1]
    return tuple(tuple(words[start : start + step]) for start in range(0, len(words), step))
