"""From a run to its explanation: score -> backward pass -> rule or procedure -> maps.

Each arrow is a function of a room above; here they only meet. It is handed open taps and inputs
that are ready, and gives back an `Explanation`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gradcam_hooks.errors import InputError, LayerError, LayoutError
from gradcam_hooks.layout.auto import finer_than, reached
from gradcam_hooks.layout.placement import Placement
from gradcam_hooks.layout.survey import reaches
from gradcam_hooks.layout.table import first_non_finite
from gradcam_hooks.maps import finish_telling, fuse, perhaps
from gradcam_hooks.methods import Method
from gradcam_hooks.methods.applying import OnePosition, signed_maps
from gradcam_hooks.models.labels import IMAGENET, IMAGENET_HINT
from gradcam_hooks.network.final_softmax import (
    PROBABILITY_HINT,
    FinalSoftmax,
    final_softmax,
    warn_of_probabilities,
)
from gradcam_hooks.network.gradient_path import Tracing, left_torch, path_end
from gradcam_hooks.network.hooks import WRITES, Taps
from gradcam_hooks.network.inputs import Inputs
from gradcam_hooks.network.modules import describe
from gradcam_hooks.network.outputs import choose, class_logits, detached, find_logits
from gradcam_hooks.network.switches import EXACT_PRODUCTS, switched
from gradcam_hooks.network.tap import Way
from gradcam_hooks.results.diagnosis import Diagnosis, Signs, diagnose, is_coarse, signs
from gradcam_hooks.results.explanation import Explanation
from gradcam_hooks.runs.belonging import output_axes
from gradcam_hooks.runs.run import Asked, NoPath, Run, look, summed
from gradcam_hooks.runs.samplers import Sampler
from gradcam_hooks.runs.saturation import saturated
from gradcam_hooks.targets import Target, select

__all__ = ["Question", "answer"]


@dataclass(frozen=True)
class Question:
    """What is made of every pass of one explainer; the options of `Explainer`.

    Attributes:
        asked: what is asked of the network.
        row: what the method is.
        fuse: how the maps of several layers become one.
        parameters: the method's own options.
        differentiable: whether the maps stay in the graph.
        sampler: what asks the rule at several versions of the image; None to ask it once.
    """

    asked: Asked
    row: Method
    fuse: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    differentiable: bool = False
    sampler: Sampler | None = None

    @property
    def one_of_several(self) -> bool:
        """Whether the gradients of the pass that makes the map tell which layer they reach."""
        return self.row.rule is not None and self.row.needs_gradients and self.sampler is None


def answer(
    question: Question,
    taps: Taps,
    inputs: Inputs,
    target: Target,
    *,
    reach: bool = False,
) -> Explanation:
    """Run the model and explain it.

    Args:
        question: what is asked, by an explainer.
        taps: the layers, opened.
        inputs: what goes into the model.
        target: what is explained.
        reach: whether of the layers the first is meant to more than one position of which the
            gradient comes; of several only where `one_of_several`.

    Raises:
        NoPath: no path leads from the score to a layer; or, where ``reach`` is asked, the
            gradient comes to no more than one position of it.

    Call it with the model's state looked after (`untouched`) and gradients off.
    """
    run, raws, zero = _found(question, taps, inputs, target, reach=reach)
    row, scores = question.row, run.scores
    probability = _probability(run) if row.needs_gradients and row.class_specific else None
    if probability is not None:
        warn_of_probabilities(probability)
    maps, blank = _finished(question, run, raws)
    causes = _Causes(question, run, inputs, target)
    flat = [raw.detach().flatten(0, scores.ndim - 1) for raw in raws]
    rounded = saturated(run, probability) if row.needs_gradients else torch.zeros_like(zero)
    found = signs(
        flat,
        zero.flatten(),
        blank.flatten(),
        scores.detach().flatten(),
        saturated=rounded.flatten(),
    )
    words = diagnose(found, causes.hints(found, probability))
    return Explanation(
        maps=maps,
        raw=raws[0] if len(raws) == 1 else tuple(raws),
        scores=scores if question.differentiable else scores.detach(),
        target=run.selected.index,
        output=run.passed.output if question.differentiable else detached(run.passed.output),
        layers=tuple(layer.label for layer in run.layers) or (row.looks,),
        method=row.name,
        layouts=tuple(layer.reading.told for layer in run.layers) or (_space(raws[0], scores),),
        diagnosis=_shaped(words, scores.shape),
        labels=run.asked.labels,
        notes=(*run.notes, *_side_told(run), *_names_told(run)),
        logits=class_logits(run.chosen, run.batch),
        multi_label=run.asked.multi_label,
        image=run.image,
        place=_place(question, run),
        along=output_axes(run),
    )


def _found(
    question: Question, taps: Taps, inputs: Inputs, target: Target, *, reach: bool
) -> tuple[Run, list[Tensor], Tensor]:
    """A run, in the first way that leads from the score to the layers, and its `signed_maps`."""
    row = question.row
    if reach and not question.one_of_several:
        _check_reach(question.asked, taps, inputs, target)
    fresh = row.procedure is not None or question.sampler is not None
    for way in _ways(question):
        run = _looked(question.asked, taps, inputs, target, way, fresh=fresh)
        if reach and taps.call in (None, -1) and run.inputs.place != inputs.place:
            label = describe(run.layers[0].label)
            raise LayoutError(
                f"layer {label} sees another input than the image. Say which input is meant, "
                "image=..., or which call, call=0, 1, ..., or name another layer."
            )
        try:
            with switched(EXACT_PRODUCTS), _uncast(run.scores):
                return signed_maps(
                    question.row, question.parameters, run, question.sampler, reach=reach
                )
        except OnePosition:
            raise
        except NoPath as error:
            if run.passed.wrote and not fresh:
                raise InputError(WRITES) from error
            if run.passed.way != "cut":
                raise error if reach else _found_out(run, error) from None
    raise AssertionError("there is always a last way")


def _looked(
    asked: Asked, taps: Taps, inputs: Inputs, target: Target, way: Way, *, fresh: bool
) -> Run:
    """The run; where the network leaves torch, and no gradient can flow, it says so."""
    try:
        return look(asked, taps, inputs, target, way, fresh=fresh)
    except RuntimeError as error:
        module = left_torch(error, asked.model)
        if not module:
            raise
        end = f"The gradient path ends in {module}, which leaves torch (numpy())."
        raise NoPath(
            f"no gradient can flow. {end} Name a layer behind it, or let it compute in torch.",
            end,
        ) from error


def _finished(question: Question, run: Run, raws: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The maps in [0, 1] at the input's size, and which of them are blank."""
    size, scores = run.size, run.scores
    if question.fuse == "lnorm" and len(raws) > 1 and run.place is not None:
        raise LayerError(
            "fuse='lnorm' compares layers at their own resolution, and this network does not see "
            "the pictures as they are: it crops, pads or turns them. Take another: fuse='product'."
        )
    place = _place(question, run)
    with (
        switched(EXACT_PRODUCTS),
        _uncast(scores),
        torch.set_grad_enabled(question.differentiable),
    ):
        finished = [finish_telling(raw, size, place, _precision(run)) for raw in raws]
        maps = fuse([one for one, _ in finished], question.fuse, len(size), raws)
    blank = torch.stack([blank for _, blank in finished]).all(0)
    if len(finished) > 1:  # maps that cancel each other leave nothing either
        blank |= maps.detach().flatten(scores.ndim).amax(-1) <= 0
    broken = ~scores.detach().isfinite()
    if perhaps(broken):  # what is explained is no number: whatever the map shows, it is not why
        maps = maps.masked_fill(broken.view(*broken.shape, *[1] * len(size)), 0)
        blank |= broken
    return maps, blank


def _place(question: Question, run: Run) -> Placement | None:
    """Where the layer's map lies on the input; a map of the input lies on it as it is."""
    return None if question.row.looks == "input" else run.place


@dataclass(frozen=True)
class _Causes:
    """Why maps are blank or coarse: worth another pass that finds it."""

    question: Question
    run: Run
    inputs: Inputs
    target: Target

    def hints(self, found: Sequence[Signs], squashed: FinalSoftmax | None) -> dict[str, str]:
        """By the word of a diagnosis, what is known of this model beyond its message."""
        asked, hints = self.question.asked, dict[str, str]()
        if all(one.coarse for one in found) and self.question.row.looks == "layer":
            finer = finer_than(asked.model, self.inputs, is_coarse)
            hints["coarse"] = f"{finer!r} is finer." if finer else ""
        hints["saturated"] = PROBABILITY_HINT.format(kind=squashed) if squashed else ""
        if not any(one.blank for one in found):
            return hints
        if not all(one.finite for one in found):
            bad = first_non_finite(asked.model, self.inputs)
            hints["non-finite"] = f"The first module to give one is {bad}." if bad else ""
        if any(one.zero for one in found):
            score = summed(asked, self.target, self.inputs.batch)
            works = next(reached(asked.model, self.inputs, score), None)
            told = PROBABILITY_HINT.format(kind=squashed) if squashed else ""
            hints["zero-gradient"] = f"{told} It reaches {works.name!r}." if works else told
        return hints


def _probability(run: Run) -> FinalSoftmax | None:
    """The softmax or sigmoid that the model ends in, where a class is explained."""
    return None if run.selected.index is None else final_softmax(find_logits(run.chosen))


def _side_told(run: Run) -> list[str]:
    """What is to be said where one output is below zero, and nobody said what it stands for."""
    sides = run.selected.sides
    if run.target is not None or run.asked.labels or sides is None or bool(sides.all()):
        return []
    return [
        "This network has one output, which was taken for the logit of two classes: where it is "
        "negative, what speaks against it was explained. Where it is a quantity, "
        "target=Regression() explains what makes it large; labels=[...] names "
        "the two classes, or the one quantity."
    ]


def _names_told(run: Run) -> list[str]:
    """What is to be said of names: none for a thousand classes, or not one for each class."""
    if run.selected.index is None:
        return []
    logits = class_logits(run.chosen, run.batch)
    if run.asked.labels:
        count = len(run.asked.labels)
        classes = count if logits is None else logits.shape[1]
        if classes in (count, 1):
            return []
        return [
            f"{count} labels are given, and the network has {classes} classes: from where the two "
            "lists part, a name is another class's."
        ]
    return [IMAGENET_HINT] if logits is not None and logits.shape[1] == IMAGENET else []


def _precision(run: Run) -> torch.dtype:
    """What the network computed in: a method may go on in a finer one, on the same rounding."""
    kinds = [layer.tap.activation.dtype for layer in run.layers] or [run.scores.dtype]
    return torch.float64 if all(one == torch.float64 for one in kinds) else torch.float32


def _found_out(run: Run, error: NoPath) -> NoPath:
    """The same error with the place where the path ends."""
    lost = next((layer.name for layer in run.layers if layer.tap.gradient is None), None)
    if lost is None:
        return error

    def chosen(output: object) -> object:
        return choose(output, run.asked.output)

    def score(chosen: object) -> Tensor:
        return select(run.settled, chosen, run.batch, run.asked.labels).scores

    end = path_end(Tracing(run.model, run.inputs, chosen, score), lost)
    return NoPath(run.lost(end), end) if end else error


def _space(raw: Tensor, scores: Tensor) -> str:
    return "x".join(map(str, raw.shape[scores.ndim :]))


def _ways(question: Question) -> tuple[Way, ...]:
    """How to run the model, in the order in which to try."""
    if question.differentiable:
        return ("graph",)
    if question.row.needs_gradients and question.row.looks == "layer":
        return ("cut", "uncut")
    return ("forward",)


def _check_reach(
    asked: Asked,
    taps: Taps,
    inputs: Inputs,
    target: Target,
) -> None:
    """Raise `NoPath` where the gradient comes to no more than one position of a layer."""
    ways: tuple[Way, ...] = ("cut", "uncut")
    for way in ways:
        run = look(asked, taps, inputs, target, way, fresh=True)
        try:
            gradients = run.gradients(run.scores)
        except NoPath:
            if run.passed.way != "cut":
                raise
        else:
            for layer, gradient in zip(run.layers, gradients, strict=True):
                if not reaches(gradient):
                    raise OnePosition(layer.label)
            return


def _uncast(scores: Tensor) -> torch.autocast:
    """Autocast is the model's matter and not the map's."""
    return torch.autocast(scores.device.type, enabled=False)


def _shaped(
    words: list[Diagnosis], shape: torch.Size
) -> tuple[Diagnosis, ...] | tuple[tuple[Diagnosis, ...], ...]:
    if len(shape) == 1:
        return tuple(words)
    step = shape[1]
    return tuple(tuple(words[start : start + step]) for start in range(0, len(words), step))
