"""The audit: what a network looks at across a data set, and what in it is a shortcut.

One look at every picture, groups of pictures by where and at what the network looks, and trials
that prove or clear each group. Here the rooms' files meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradcam_hooks.auditing.against import MOST_TRIED, compared, extra
from gradcam_hooks.auditing.agreement import agreement_of
from gradcam_hooks.auditing.grouping import LEAST, groups_of
from gradcam_hooks.auditing.keeping import Keeping
from gradcam_hooks.auditing.looking import Look, LookAt, Seen, answering, parts_of, see
from gradcam_hooks.auditing.objects import objects_of
from gradcam_hooks.auditing.pictures import Pictures, pictures_of
from gradcam_hooks.auditing.strategies import Audit
from gradcam_hooks.auditing.telling import finding, power_of, strategies_of
from gradcam_hooks.auditing.trials import Trials, drawn, judged, tried
from gradcam_hooks.checks import check_count, check_seed
from gradcam_hooks.errors import InputError
from gradcam_hooks.explainers import explainer
from gradcam_hooks.images.given import Prepare, PrepareSpec, as_prepare
from gradcam_hooks.methods import method_of
from gradcam_hooks.models import LoadedModel
from gradcam_hooks.models.labels import labels_of
from gradcam_hooks.models.presets import own_preprocess
from gradcam_hooks.network.modules import LayerSpec, unwrap
from gradcam_hooks.targets import Target

__all__ = ["Aside", "Ask", "audit", "audited", "look_of"]


def audit(
    model: nn.Module | LoadedModel,
    images: object,
    /,
    layer: LayerSpec = "auto",
    *,
    target: Target = None,
    method: object = "gradcam",
    truths: Sequence[object] | None = None,
    boxes: object = None,
    masks: object = None,
    labels: Sequence[str] | None = None,
    preprocess: PrepareSpec | None = None,
    against: nn.Module | LoadedModel | None = None,
    trials: int = 400,
    agreement: int = 96,
    batch_size: int = 64,
    seed: int = 0,
    **options: Any,
) -> Audit:
    """What a network looks at across many pictures, and whether that is a shortcut.

    The maps of all pictures are grouped by where they look and by what is there. A group is
    suspect where its regions decide: covering them changes the answers, and put onto pictures of
    other classes they overrule what is there, more than the regions of the class's other pictures
    do. Where every picture, or every picture of a class, looks at one place off the centre, that
    place is tried too.

    Args:
        model: any network that says a class, or what `load_model` gave.
        images: a tensor ``(pictures, channels, height, width)`` ready for the network; a folder,
            or a list of pictures; or a data set of tensors or pictures, or of pairs of one and
            its class.
        layer: as for `explain`.
        target: what is explained; by default the class that the network says.
        method: as for `explain`.
        truths: the true class of each picture, by number or label; by default the data set's.
        boxes: of the objects, as for `evaluate`: how far the maps lie on them is told.
        masks: the same as masks.
        labels: the classes' names.
        preprocess: how pictures become inputs, as for `Explainer`.
        against: a second network, audited on the same pictures in the same way: where the two
            look elsewhere, and what its extra right answers look at, is the result's ``.against``.
        trials: pictures at most whose regions are covered and put elsewhere; each costs 11 passes.
        agreement: pictures at most on which up to three quick methods are asked as well, for how
            far their maps agree; each costs a forward and a backward pass for each method. 0: none.
        batch_size: how many go through the network at once.
        seed: of what is drawn by chance: the same seed gives the same audit.
        options: `Explainer`'s, and the method's own.

    Returns:
        An `Audit`: its ``.text`` is the finding, its ``.strategies`` the groups.

    Raises:
        InputError: there are no pictures, or the network says no class.
        GradCamHooksError: as `explain` raises.
    """
    look = Look(layer, method, target, options, batch_size)
    ask = Ask(images, look, truths, (boxes, masks), labels, preprocess, trials, agreement, seed)
    return audited(model, against, ask)


@dataclass(frozen=True, eq=False)
class Ask:
    """What `audit` is asked, of any network; ``places`` are its ``boxes`` and ``masks``."""

    images: object
    look: Look
    truths: Sequence[object] | None
    places: tuple[object, object]
    labels: Sequence[str] | None
    preprocess: PrepareSpec | None
    trials: int
    agreement: int
    seed: int

    def __post_init__(self) -> None:
        check_count(self.trials, "trials")
        check_count(self.agreement, "agreement", least=0)
        check_count(self.look.batch_size, "batch_size")
        check_seed(self.seed)


@dataclass(frozen=True, eq=False)
class Aside:
    """What an audit of one network has beside the network.

    Attributes:
        keeping: what keeps what was seen of a picture, so that it is not looked at again.
        look_at: looks at pictures elsewhere than here.
    """

    keeping: Keeping | None = None
    look_at: LookAt | None = None


def audited(
    model: nn.Module | LoadedModel,
    against: nn.Module | LoadedModel | None,
    ask: Ask,
    aside: Aside | None = None,
    aside_against: Aside | None = None,
) -> Audit:
    """The audit; see `audit`.

    Args:
        model: the network.
        against: the second one.
        ask: the rest of what `audit` takes.
        aside: where pictures are looked at, and what keeps what was seen.
        aside_against: the same for the second network.
    """
    first = _audited(model, ask, aside or Aside())
    if against is None:
        return first.audit
    second = _audited(against, ask, aside_against or Aside())
    members = extra(first.audit, second.audit)
    answered = None
    if len(members) >= LEAST:
        answered = _tried(second, ask, members[:MOST_TRIED])
    return replace(first.audit, against=compared(first.audit, second.audit, answered))


def look_of(model: nn.Module | LoadedModel, ask: Ask) -> LookAt:
    """What looks at the pictures of an audit, by their numbers; here, or on another machine."""
    return _asking(model, ask).look_at


@dataclass(frozen=True, eq=False)
class _Asking:
    """What is asked of one network, with all that it takes.

    Attributes:
        network: itself.
        pictures: by their numbers.
        look: how they are looked at.
        names: the classes'.
    """

    network: nn.Module
    pictures: Pictures
    look: Look
    names: tuple[str, ...] | None

    @property
    def look_at(self) -> LookAt:
        return partial(parts_of, self.network, self.pictures, self.look)


def _asking(model: nn.Module | LoadedModel, ask: Ask) -> _Asking:
    labels, preprocess = ask.labels, ask.preprocess
    if isinstance(model, LoadedModel):
        labels, preprocess = labels or model.labels, preprocess or model.preprocess
        model = model.model
    network = unwrap(model) if isinstance(model, nn.Module) else model
    prepare = None if preprocess is None else as_prepare(preprocess)

    def made_ready() -> Prepare:
        return prepare or own_preprocess(network)[0]

    pictures = pictures_of(ask.images, made_ready)
    names = tuple(labels or pictures.classes or labels_of(network) or ()) or None
    objects = objects_of(*ask.places, pictures, ask.images, made_ready)
    return _Asking(network, pictures, replace(ask.look, objects=objects), names)


@dataclass(frozen=True, eq=False)
class _Done:
    """An audit, and what it was made with."""

    audit: Audit
    asking: _Asking
    seen: Seen


def _audited(model: nn.Module | LoadedModel, ask: Ask, aside: Aside) -> _Done:
    """The audit of one network."""
    asking = _asking(model, ask)
    network, pictures, names = asking.network, asking.pictures, asking.names
    truths = ask.truths if ask.truths is not None else pictures.truths
    known = _truths(truths, pictures.count, names)
    generator = torch.Generator().manual_seed(ask.seed)
    seen = see(pictures.count, aside.look_at or asking.look_at, aside.keeping)
    groups = groups_of(seen, generator)
    chosen = drawn(groups, seen.answers, ask.trials, generator)
    outcome = _asked(asking, seen, chosen, generator)
    looks = seen.looks if seen.details is None else seen.details
    verdicts = judged(groups, outcome, seen.answers, seen.places, looks, generator)
    strategies = strategies_of(seen, groups, verdicts, known, names)
    power = power_of(seen, groups, len(chosen))
    audit = Audit(
        strategies=strategies,
        text=finding(strategies, len(seen), power),
        answers=tuple(seen.answers.tolist()),
        chances=tuple(seen.chances.tolist()),
        truths=known,
        labels=names,
        names=pictures.names,
        layers=seen.layers,
        method=method_of(asking.look.method).name,  # type: ignore[arg-type]
        words=seen.words,
        places=seen.places,
        maps=seen.maps,
        boxes=seen.boxes,
        size=seen.size,
        power=power,
        on_objects=seen.on_objects,
        agreement=agreement_of(network, pictures, seen, asking.look, ask.agreement, ask.seed),
    )
    return _Done(audit, asking, seen)


def _asked(
    asking: _Asking, seen: Seen, chosen: Sequence[int], generator: torch.Generator
) -> Trials:
    """What covering the regions of these pictures and putting them onto others does."""
    look = asking.look
    with explainer(look.method, asking.network, look.layer, **look.options) as explain:  # type: ignore[arg-type]
        answer = answering(explain, look.batch_size)
        return tried(chosen, seen.boxes, seen.answers, asking.pictures.inputs, answer, generator)


def _tried(done: _Done, ask: Ask, members: Sequence[int]) -> Trials:
    generator = torch.Generator().manual_seed(ask.seed)
    return _asked(done.asking, done.seen, sorted(members), generator)


def _truths(
    given: Sequence[object] | None, count: int, names: Sequence[str] | None
) -> tuple[int, ...] | None:
    """The number of the true class of each picture; -1 where it is no class of the network."""
    if given is None:
        return None
    several = [one.item() if isinstance(one, Tensor | np.generic) else one for one in given]
    if len(several) != count:
        raise InputError(
            f"truths= are one class for each of the {count} pictures, and {len(several)} came."
        )
    numbers = {name: number for number, name in enumerate(names or ())}
    found = []
    for one in several:
        if isinstance(one, str):
            found.append(numbers.get(one, -1))
        elif isinstance(one, int) and not isinstance(one, bool):
            found.append(one)
        else:
            raise InputError(f"a true class is a number or a label, not {one!r}.")
    words = [one for one in several if isinstance(one, str)]
    if words and max(found) < 0:
        told = f"those are {', '.join(names[:5])}" if names else "it has no labels; pass labels="
        raise InputError(
            f"none of the true classes, such as {words[0]!r}, is a label of the network: {told}."
        )
    return tuple(found)
