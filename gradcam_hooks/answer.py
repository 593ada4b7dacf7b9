"""From a run to its explanation: score -> backward pass -> rule or procedure -> maps.

Each arrow is a function of a room above; here they only meet. It is handed open taps and inputs
that are ready, and gives back an `Explanation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from gradcam_hooks.errors import InputError, LayerError, LayoutError, MethodError
from gradcam_hooks.layout.auto import finer_than, reached
from gradcam_hooks.layout.survey import reaches
from gradcam_hooks.layout.table import first_non_finite
from gradcam_hooks.maps import finish_telling, fuse
from gradcam_hooks.methods import Found, Method, Rule
from gradcam_hooks.methods.returned import checked_raws, checked_rule
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
from gradcam_hooks.results.diagnosis import Diagnosis, diagnose, is_coarse
from gradcam_hooks.results.explanation import Explanation
from gradcam_hooks.runs.belonging import output_axes
from gradcam_hooks.runs.run import Asked, NoPath, Run, look, summed
from gradcam_hooks.runs.samplers import Sampler
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


class _OnePosition(NoPath):
    """The gradient comes, but to no more than one position; another way to run changes nothing."""


def answer(
    question: Question,
    taps: Taps,
    inputs: Inputs,
    target: Target,
    *,
    reach: bool = False,
) -> Explanation:
    """Run the model and explain it.

    Raises:
        NoPath: no path leads from the score to a layer; or, where ``reach`` is asked, the
            gradient comes to no more than one position of it.

    Call it with the model's state looked after (`untouched`) and gradients off.
    """
    asked, row = question.asked, question.row
    if reach and not (row.rule and row.needs_gradients):
        _check_reach(asked, taps, inputs, target)
    fresh = row.procedure is not None or question.sampler is not None
    for way in _ways(question):
        try:
            run = look(asked, taps, inputs, target, way, fresh=fresh)
        except RuntimeError as error:
            module = left_torch(error, asked.model)
            if not module:
                raise
            end = f"The gradient path ends in {module}, which leaves torch (numpy())."
            raise NoPath(
                f"no gradient can flow. {end} Name a layer behind it, or let it compute in torch.",
                end,
            ) from error
        if reach and taps.call in (None, -1) and run.inputs.place != inputs.place:
            label = describe(run.layers[0].label)
            raise LayoutError(
                f"layer {label} sees another input than the image. Say which input is meant, "
                "image=..., or which call, call=0, 1, ..., or name another layer."
            )
        try:
            with switched(EXACT_PRODUCTS), _uncast(run.scores):
                run, raws, zero = _raws(question, run, reach=reach)
        except _OnePosition:
            raise
        except NoPath as error:
            if run.passed.wrote and not fresh:
                raise InputError(WRITES) from error
            if run.passed.way != "cut":
                raise error if reach else _found_out(run, error) from None
        else:
            break
    size, scores = run.size, run.scores
    if question.fuse == "lnorm" and len(raws) > 1 and run.place is not None:
        raise LayerError(
            "fuse='lnorm' compares layers at their own resolution, and this network does not see "
            "the pictures as they are: it crops, pads or turns them. Take another: fuse='product'."
        )
    probability = _probability(run) if row.needs_gradients and row.class_specific else None
    if probability is not None:
        warn_of_probabilities(probability)
    place = None if row.looks == "input" else run.place  # a map of the input lies on it
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
    hints = {}
    if row.looks == "layer" and all(is_coarse(raw.shape[scores.ndim :]) for raw in raws):
        finer = finer_than(asked.model, inputs, is_coarse)
        hints["coarse"] = f"{finer!r} is finer." if finer else ""
    if bool(blank.any()):  # a blank map is worth another pass that finds the cause
        if not all(bool(raw.isfinite().all()) for raw in raws):
            bad = first_non_finite(asked.model, inputs)
            hints["non-finite"] = f"The first module to give one is {bad}." if bad else ""
        if bool(zero.any()):
            score = summed(asked, target, inputs.batch)
            works = next(reached(asked.model, inputs, score), None)
            told = PROBABILITY_HINT.format(kind=probability) if probability else ""
            hints["zero-gradient"] = f"{told} It reaches {works.name!r}." if works else told
    flat = [raw.detach().flatten(0, scores.ndim - 1) for raw in raws]
    words = diagnose(flat, zero.flatten(), blank.flatten(), hints)
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
        labels=asked.labels,
        notes=tuple(run.notes),
        logits=class_logits(run.chosen, run.batch),
        multi_label=asked.multi_label,
        image=run.image,
        along=output_axes(run),
    )


def _probability(run: Run) -> FinalSoftmax | None:
    """The softmax or sigmoid that the model ends in, where a class is explained."""
    return None if run.selected.index is None else final_softmax(find_logits(run.chosen))


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
                _check_reaches(layer.label, gradient, 1)
            return


def _check_reaches(label: str, gradient: Tensor, lead: int) -> None:
    if not reaches(gradient, lead):
        raise _OnePosition(f"the gradient comes to one position of {describe(label)} only.")


def _uncast(scores: Tensor) -> torch.autocast:
    """Autocast is the model's matter and not the map's."""
    return torch.autocast(scores.device.type, enabled=False)


def _raws(question: Question, run: Run, *, reach: bool) -> tuple[Run, list[Tensor], Tensor]:
    """Each layer's signed maps, and whether its gradient was zero, ``(batch[, targets])``.

    The run is the same, unless the method found other things than targets to make maps of.
    """
    row = question.row
    if row.rule is not None:
        rule = _framewise(checked_rule(row.rule, question.parameters), run)
        if question.sampler is not None:
            return run, *_told_zero(question.sampler.raws(run, rule), run)
        if row.needs_gradients:
            return run, *_by_gradients(rule, run, reach=reach)
        return run, *_by_activations(rule, run)
    assert row.procedure is not None  # a method has one or the other
    found = row.procedure(run, **question.parameters)
    found = checked_raws(row, run, found)
    if isinstance(found, Found):
        run, found = replace(run, selected=found.selected), found.raws
    raws = [raw.detach() for raw in found]
    if row.needs_gradients:
        return run, *_told_zero(raws, run)
    return (
        run,
        raws,
        torch.zeros_like(raws[0].flatten(run.scores.ndim)[..., 0], dtype=torch.bool),
    )


def _framewise(rule: Rule, run: Run) -> Rule:
    """The rule, taken of each frame where a network of pictures sees each for itself."""
    if not run.layers:
        return rule
    if len({layer.layout.apart for layer in run.layers}) > 1:
        raise LayerError(
            "some of these layers see frame for frame and others the whole clip: "
            f"{'; '.join(f'{layer.label}: {layer.layout}' for layer in run.layers)}. Name them one "
            "by one."
        )
    return run.layers[0].layout.framewise(rule)


def _told_zero(raws: list[Tensor], run: Run) -> tuple[list[Tensor], Tensor]:
    """Raw maps, and which of them are nothing but zeros as the gradient is."""
    lead = run.scores.ndim
    zero = torch.stack([raw.flatten(lead).eq(0).all(-1) for raw in raws]).all(0)
    if bool(zero.any()) and run.passed.way != "forward":
        # A map of zeros has other causes too, such as masks under which the score never rises.
        try:
            found = [run.gradients(column) for column in run.columns()]
        except NoPath:
            return raws, zero
        flat = [torch.stack([g.flatten(1).eq(0).all(1) for g in one]).all(0) for one in found]
        zero &= flat[0] if lead == 1 else torch.stack(flat, 1)
    return raws, zero


def _by_gradients(rule: Rule, run: Run, *, reach: bool) -> tuple[list[Tensor], Tensor]:
    scores, passed = run.scores, run.passed
    if not scores.requires_grad:
        raise NoPath(run.lost())
    many = scores.ndim == 2

    def use() -> list[tuple[Tensor, Tensor]]:
        looked = []
        with torch.set_grad_enabled(passed.way == "graph"):
            for layer in run.layers:
                gradient = layer.gradient()
                if gradient is None:
                    raise NoPath(run.lost())
                if reach:
                    _check_reaches(layer.label, gradient, scores.ndim)
                looked.append(_raw_map(rule, layer.activation(), gradient, scores.ndim))
        return looked

    if many:
        chunks = passed.backward_many(scores, use)
    else:
        passed.backward(scores)
        chunks = [use()]
    raws, zeros = [], []
    with torch.set_grad_enabled(passed.way == "graph"):
        for parts in zip(*chunks, strict=True):
            raw, zero = (torch.cat(part) for part in zip(*parts, strict=True))
            raws.append(raw.transpose(0, 1) if many else raw)
            zeros.append(zero.transpose(0, 1) if many else zero)
    return raws, torch.stack(zeros).all(0)


def _by_activations(rule: Rule, run: Run) -> tuple[list[Tensor], Tensor]:
    """The same for a rule that asks for no gradient, so that none is computed."""
    raws, targets = [], run.scores.shape[1:]
    for layer in run.layers:
        activation = layer.activation()
        raw = rule(activation, activation)
        if targets:  # one map serves them all
            raw = raw[:, None].expand(-1, *targets, *raw.shape[1:])
        raws.append(raw)
    return raws, torch.zeros_like(run.scores, dtype=torch.bool)


def _raw_map(rule: Rule, activation: Tensor, gradient: Tensor, lead: int) -> tuple[Tensor, Tensor]:
    """One layer's maps and whether its gradient is zero; where targets are many, they lead."""
    raw = rule(activation, gradient) if lead == 1 else _of_each(rule, activation, gradient)
    zero = raw.flatten(lead).eq(0).all(-1)
    if bool(zero.any()):  # only a map of zeros can come of a gradient of zeros
        zero &= gradient.flatten(lead).eq(0).all(-1)
    return raw, zero


def _of_each(rule: Rule, activation: Tensor, gradient: Tensor) -> Tensor:
    """One layer's maps for many targets, which lead the gradient's axes."""
    try:
        maps: Tensor = torch.vmap(rule, in_dims=(None, 0))(activation, gradient)
    except MethodError:  # vmap takes no rule that branches on a value, or that leaves torch
        maps = torch.stack([rule(activation, one) for one in gradient])
    return maps


def _shaped(
    words: list[Diagnosis], shape: torch.Size
) -> tuple[Diagnosis, ...] | tuple[tuple[Diagnosis, ...], ...]:
    if len(shape) == 1:
        return tuple(words)
    step = shape[1]
    return tuple(tuple(words[start : start + step]) for start in range(0, len(words), step))
