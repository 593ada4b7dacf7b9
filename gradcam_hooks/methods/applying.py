"""A method applied to a run: its signed maps at the layers, and where nothing came to them.

A rule is asked of each layer's activation and gradient, for many targets at once; a procedure runs
the network as it likes. Knows runs and methods; no finished map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gradcam_hooks.errors import LayerError, MethodError
from gradcam_hooks.layout.survey import reaches
from gradcam_hooks.maps import perhaps
from gradcam_hooks.methods.registry import Found, Method, Rule
from gradcam_hooks.methods.returned import checked_raws, checked_rule
from gradcam_hooks.network.modules import describe
from gradcam_hooks.runs.run import NoPath, Run, TappedLayer
from gradcam_hooks.runs.samplers import Sampler

__all__ = ["OnePosition", "signed_maps"]


class OnePosition(NoPath):
    """The gradient comes, but to no more than one position; another way to run changes nothing."""

    def __init__(self, label: str) -> None:
        super().__init__(f"the gradient comes to one position of {describe(label)} only.")


def signed_maps(
    row: Method,
    parameters: Mapping[str, object],
    run: Run,
    sampler: Sampler | None = None,
    *,
    reach: bool = False,
) -> tuple[Run, list[Tensor], Tensor]:
    """Each layer's signed maps, and whether its gradient was zero, ``(batch[, targets])``.

    The run is the same, unless the method found other things than targets to make maps of, or
    of several layers one was to be taken.

    Args:
        row: the method.
        parameters: its own options.
        run: the run, with a path from the scores to the layers where the method asks for one.
        sampler: what asks a rule at several versions of the image; None to ask it once.
        reach: whether of the layers the first is meant to more than one position of which a
            gradient comes.

    Raises:
        NoPath: no path leads from the scores to a layer.
        OnePosition: where ``reach`` is asked, and there is none.
    """
    if row.rule is not None:
        rule = _framewise(checked_rule(row.rule, parameters), run)
        if sampler is not None:
            return run, *_told_zero(sampler.raws(run, rule), run)
        if row.needs_gradients:
            return _by_gradients(rule, run, reach=reach)
        return run, *_by_activations(rule, run)
    assert row.procedure is not None  # a method has one or the other
    found = row.procedure(run, **parameters)
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


def _by_gradients(rule: Rule, run: Run, *, reach: bool) -> tuple[Run, list[Tensor], Tensor]:
    scores, passed = run.scores, run.passed
    if not scores.requires_grad:
        raise NoPath(run.lost())
    many = scores.ndim == 2
    meant = list(run.layers)

    def use() -> list[tuple[Tensor, Tensor]]:
        if reach:
            meant[:] = _reached(run, meant)
        looked = []
        with torch.set_grad_enabled(passed.way == "graph"):
            for layer in meant:
                gradient = layer.gradient()
                if gradient is None:
                    raise NoPath(run.lost())
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
    return replace(run, layers=meant), raws, torch.stack(zeros).all(0)


def _reached(run: Run, layers: Sequence[TappedLayer]) -> list[TappedLayer]:
    """The calls of the first layer to more than one position of which the gradient came."""
    given: dict[str, list[tuple[TappedLayer, Tensor | None]]] = {}
    for layer in layers:
        given.setdefault(layer.name, []).append((layer, layer.gradient()))
    came = [calls for calls in given.values() if all(one is not None for _, one in calls)]
    if not came:
        raise NoPath(run.lost())
    for calls in came:
        if all(reaches(gradient, run.scores.ndim) for _, gradient in calls):
            return [layer for layer, _ in calls]
    raise OnePosition(layers[0].label)


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
    if perhaps(zero):  # only a map of zeros can come of a gradient of zeros
        zero &= gradient.flatten(lead).eq(0).all(-1)
    return raw, zero


def _of_each(rule: Rule, activation: Tensor, gradient: Tensor) -> Tensor:
    """One layer's maps for many targets, which lead the gradient's axes."""
    try:
        maps: Tensor = torch.vmap(rule, in_dims=(None, 0))(activation, gradient)
    except MethodError:  # vmap takes no rule that branches on a value, or that leaves torch
        maps = torch.stack([rule(activation, one) for one in gradient])
    return maps
