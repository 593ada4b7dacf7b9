"""One look at every picture: its map, what lies under it, and what the network says.

Maps are kept at the layer's own resolution in half precision, so that a hundred thousand fit in
memory. Here the library is asked for explanations; nothing is judged.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from gradcam_hooks.auditing.features import boxes_of, looks, places
from gradcam_hooks.auditing.keeping import Keeping, Part, joined
from gradcam_hooks.auditing.objects import Objects, OnObjects, measured
from gradcam_hooks.auditing.pictures import Pictures, not_finite
from gradcam_hooks.errors import InputError
from gradcam_hooks.explainers import Explainer, explainer
from gradcam_hooks.methods import Method, method_of
from gradcam_hooks.models import LoadedModel
from gradcam_hooks.network.hooking import hooked
from gradcam_hooks.network.modules import LayerSpec, hookable
from gradcam_hooks.network.outputs import choose, class_logits, probabilities
from gradcam_hooks.network.state import untouched
from gradcam_hooks.results.explanation import Explanation
from gradcam_hooks.targets import Target

__all__ = ["Look", "LookAt", "Seen", "answering", "parts_of", "positive", "see"]

Answer = Callable[[Tensor], Tensor]
"""From inputs to the probabilities of the classes, ``(batch, classes)``."""

LookAt = Callable[[Sequence[int]], Iterator[Part]]
"""From the numbers of pictures to what is seen of them, some at a time, in any order."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What is known of every picture after one look; the first axis of all is the pictures'.

    Attributes:
        maps: the positive part of each map at the layer's resolution, half precision, the
            largest value 1.
        places: where each looks (`features.places`).
        looks: what is there (`features.looks`); None where the layer cannot be read.
        details: the same by a layer before, which keeps more of what a thing looks like; None
            where there is none (`earlier`).
        boxes: the box around the peak of each, in pixels of the input.
        answers: the class that the network says.
        chances: how probable it says that is.
        on_objects: how far each map lies on its object; None where objects were not given.
        words: the diagnosis of each map.
        size: height and width of the input.
        layers: what was explained, by dotted name.
    """

    maps: Tensor
    places: Tensor
    looks: Tensor | None
    details: Tensor | None
    boxes: Tensor
    answers: Tensor
    chances: Tensor
    on_objects: OnObjects | None
    words: tuple[str, ...]
    size: tuple[int, int]
    layers: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.answers)


@dataclass(frozen=True, eq=False)
class Look:
    """How pictures are looked at.

    Attributes:
        layer: as for `explain`.
        method: as for `explain`.
        target: as for `explain`.
        options: `Explainer`'s, and the method's own.
        batch_size: pictures that go through the network at once.
        objects: where the objects are, where that is known.
        workers: processes that read pictures; None for as many as there is use for.
    """

    layer: LayerSpec
    method: object
    target: Target
    options: Mapping[str, object]
    batch_size: int
    objects: Objects | None = None
    workers: int | None = None


def see(count: int, look_at: LookAt, keeping: Keeping | None = None) -> Seen:
    """Look at every picture once, but for those of which it is kept what was seen.

    Args:
        count: how many there are.
        look_at: looks at pictures (`parts_of`), here or elsewhere.
        keeping: what keeps what was seen.

    Raises:
        InputError: the network gives no logits of classes, or no finite ones, or its maps are no
            pictures.
        GradCamHooksError: as `Explainer` raises.
    """
    parts = [] if keeping is None else keeping.known()
    known = {number for part in parts for number in part.numbers}
    missing = [number for number in range(count) if number not in known]
    for part in look_at(missing):
        if keeping is not None:
            if known and not part.fits(parts[0]):
                keeping.forget()
                return see(count, look_at, keeping)
            keeping.keep(part)
        parts.append(part)
    whole = joined(parts)
    facts = whole.facts
    return Seen(
        maps=facts["maps"],
        places=facts["places"],
        looks=facts["looks"].float() if "looks" in facts else None,
        details=facts["details"].float() if "details" in facts else None,
        boxes=facts["boxes"],
        answers=facts["answers"],
        chances=facts["chances"],
        on_objects=OnObjects(*facts["objects"].T) if "objects" in facts else None,
        words=whole.words,
        size=whole.size,
        layers=whole.layers,
    )


def parts_of(
    model: nn.Module | LoadedModel, pictures: Pictures, look: Look, missing: Sequence[int]
) -> Iterator[Part]:
    """Batch after batch of these pictures, looked at.

    Raises:
        InputError, GradCamHooksError: as `see`.
    """
    if not missing:
        return
    row = method_of(look.method)  # type: ignore[arg-type]  # it says what it takes
    kept: list[tuple[Tensor, Tensor]] = []
    asked, beside = _watched(row, kept), row.rule is None or "sampler" in look.options
    earlier: dict[str, nn.Module] = {}
    passed: list[Tensor] = []
    odd: list[int] = []

    def keep(name: str, output: object) -> None:
        if isinstance(output, Tensor):
            passed.append(output.detach())

    batches = pictures.batches(missing, look.batch_size, look.workers)
    with explainer(asked, model, look.layer, **look.options) as explain, closing(batches):
        for turn, (numbers, inputs) in enumerate(batches):
            masks = look.objects and look.objects(numbers, _size(inputs))
            kept.clear()
            ready = inputs.to(_like(explain.model))
            if not turn:
                earlier = {} if beside else _earlier(explain, ready[:1], look.target)
            with hooked(earlier, keep):
                explained = explain(ready, target=look.target)
            raw = _raw(explained)
            looked = None if beside else _looked(kept, raw)
            facts = _facts(explained, raw, looked, passed, masks)
            passed.clear()
            fine = raw.isfinite().flatten(1).all(1).cpu() & facts["chances"].isfinite()
            if not bool(fine.all()):
                odd += [numbers[row] for row in (~fine).nonzero()[:, 0].tolist()]
                continue
            words = tuple(map(str, explained.diagnosis))
            finer = next(iter(earlier), "")
            yield Part(tuple(numbers), facts, words, explained.layers, finer, _size(explained.maps))
    if odd:
        raise InputError(not_finite(pictures, odd))


def positive(
    model: nn.Module | LoadedModel, pictures: Pictures, look: Look, numbers: Sequence[int]
) -> Tensor:
    """The positive part of the maps of some pictures, at the layer's resolution; no more of them.

    Raises:
        GradCamHooksError: as `see`.
    """
    found, batches = [], pictures.batches(numbers, look.batch_size, look.workers)
    ways = explainer(look.method, model, look.layer, **look.options)  # type: ignore[arg-type]
    with ways as explain, closing(batches):
        for _, inputs in batches:
            explained = explain(inputs.to(_like(explain.model)), target=look.target)
            found.append(_raw(explained).relu().cpu())
    return torch.cat(found)


def _size(inputs: Tensor) -> tuple[int, int]:
    return inputs.shape[-2], inputs.shape[-1]


def _watched(row: Method, kept: list[tuple[Tensor, Tensor]]) -> Method | Callable[..., Tensor]:
    """The method, whose rule also keeps what it was given; a procedure as it is."""
    rule = row.rule
    if rule is None:
        return row

    @functools.wraps(rule)
    def watched(activation: Tensor, gradient: Tensor, **options: object) -> Tensor:
        raw: Tensor = rule(activation, gradient, **options)
        kept.append((activation.detach(), raw.detach()))
        return raw

    return Method(
        name=row.name,
        cls=row.cls,
        title=row.title,
        rule=watched,
        needs_gradients=row.needs_gradients,
        class_specific=row.class_specific,
        fuse=row.fuse,
    )


def _looked(kept: list[tuple[Tensor, Tensor]], raw: Tensor) -> Tensor | None:
    """What lies under the maps: of the last activation that the rule was asked for."""
    if not kept:
        return None
    activation = kept[-1][0]
    fits = activation.ndim == 4 and (len(activation), *activation.shape[2:]) == raw.shape
    return looks(activation, raw).half().cpu() if fits else None


def _raw(explained: Explanation) -> Tensor:
    """The raw map of each picture at the last layer named, ``(batch, height, width)``."""
    raw = explained.raw[-1] if isinstance(explained.raw, tuple) else explained.raw
    if raw.ndim != 3 or explained.scores.ndim != 1 or explained.maps.ndim != 3:
        raise InputError(
            "an audit needs one map (height, width) of each picture, and these are of shape "
            f"{tuple(raw.shape)}. Ask for one target of each, and for pictures."
        )
    return raw.float()


def _facts(
    explained: Explanation,
    raw: Tensor,
    looked: Tensor | None,
    passed: Sequence[Tensor],
    masks: Tensor | None,
) -> dict[str, Tensor]:
    if explained.logits is None:
        raise InputError(
            "an audit is of a network that says a class, and no logits (batch, classes) were found "
            "in what this one returns. output= says where they are."
        )
    chances = _both(probabilities(explained.logits, multi_label=explained.multi_label))
    sure, said = chances.max(1)
    top = raw.relu().flatten(1).amax(1).clamp_min(torch.finfo(raw.dtype).tiny)
    found = {
        "maps": (raw.relu() / top[:, None, None]).half().cpu(),
        "places": places(raw).cpu(),
        "boxes": boxes_of(explained.maps.float()).cpu(),
        "answers": said.cpu(),
        "chances": sure.float().cpu(),
    }
    if passed and len(passed[-1]) == len(raw):
        size = passed[-1].shape[-2:]
        wide = functional.interpolate(raw.relu()[:, None].to(passed[-1]), size, mode="bilinear")
        found["details"] = looks(passed[-1], wide[:, 0]).half().cpu()
    if masks is not None:
        found["objects"] = measured(explained.maps.float().cpu(), masks.cpu())
    return found if looked is None else {**found, "looks": looked}


def _earlier(explain: Explainer, one: Tensor, target: Target) -> dict[str, nn.Module]:
    """The layer before the explained one that tells what things look like, by its name; or none.

    The last that is twice as fine as the map, or else the one midway between the first as fine as
    it and the explained one.
    """
    explained = explain(one, target=target)
    high, wide = _raw(explained).shape[-2:]
    ran: dict[str, tuple[int, int]] = {}

    def note(name: str, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.is_floating_point():
            ran.setdefault(name, (output.shape[-2], output.shape[-1]))

    modules = hookable(explain.model)
    with hooked(modules, note):
        untouched(explain.model, lambda: explain.model(one))
    before = list(ran)
    if explained.layers[-1] in ran:
        before = before[: before.index(explained.layers[-1])]
    even = [n for n in before if ran[n][0] * wide == ran[n][1] * high and ran[n][0] >= high]
    fine = [name for name in even if ran[name][0] == 2 * high]
    if not even:
        return {}
    name = fine[-1] if fine else even[(len(even) + 1) // 2 if len(even) > 1 else 0]
    return {name: modules[name]}


def _both(chances: Tensor) -> Tensor:
    """Of a single logit the chance of both classes."""
    return torch.cat([1 - chances, chances], 1) if chances.shape[1] == 1 else chances


def _like(model: nn.Module) -> Tensor:
    return next(model.parameters(), torch.empty(0)).detach()


def answering(explain: Explainer, batch_size: int) -> Answer:
    """What asks the network for its answers and for no map, leaving it as it was found."""
    model, asked = explain.model, explain._question.asked

    def answer(inputs: Tensor) -> Tensor:
        found = []
        for start in range(0, len(inputs), batch_size):
            part = inputs[start : start + batch_size]

            def work(part: Tensor = part) -> Tensor:
                logits = class_logits(choose(model(part.to(_like(model))), asked.output), len(part))
                assert logits is not None  # the first look has found them
                return _both(probabilities(logits, multi_label=asked.multi_label)).cpu()

            found.append(untouched(model, work))
        return torch.cat(found)

    return answer
