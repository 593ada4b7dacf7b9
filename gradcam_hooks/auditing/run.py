"""The audit: what a network looks at across a data set, and what in it is a shortcut.

One look at every picture, groups of pictures by where and at what the network looks, and trials
that prove or clear each group. Here the rooms' files meet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gradcam_hooks.auditing import clusters
from gradcam_hooks.auditing.features import SIDE, concentration
from gradcam_hooks.auditing.looking import Seen, answering, see
from gradcam_hooks.auditing.pictures import pictures_of
from gradcam_hooks.auditing.strategies import Audit, Proof, Strategy, told, where
from gradcam_hooks.auditing.trials import Group, drawn, judged, tried
from gradcam_hooks.checks import check_count
from gradcam_hooks.errors import InputError
from gradcam_hooks.explainers import explainer
from gradcam_hooks.images.given import Prepare, PrepareSpec, as_prepare
from gradcam_hooks.methods import method_of
from gradcam_hooks.models import LoadedModel
from gradcam_hooks.models.labels import labels_of
from gradcam_hooks.models.presets import own_preprocess
from gradcam_hooks.network.modules import LayerSpec, unwrap
from gradcam_hooks.results.facts import class_word, label_of
from gradcam_hooks.targets import Target

__all__ = ["audit"]

LEAST = 4
"""Pictures of a strategy at least."""

_CLASS = 16
"""Pictures of a class at least, for strategies to be looked for among them alone."""

_SHOWN = 8


def audit(
    model: nn.Module | LoadedModel,
    images: object,
    /,
    layer: LayerSpec = "auto",
    *,
    target: Target = None,
    method: object = "gradcam",
    truths: Sequence[object] | None = None,
    labels: Sequence[str] | None = None,
    preprocess: PrepareSpec | None = None,
    trials: int = 400,
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
        labels: the classes' names.
        preprocess: how pictures become inputs, as for `Explainer`.
        trials: pictures at most whose regions are covered and put elsewhere; each costs 11 passes.
        batch_size: how many go through the network at once.
        seed: of what is drawn by chance: the same seed gives the same audit.
        options: `Explainer`'s, and the method's own.

    Returns:
        An `Audit`: its ``.text`` is the finding, its ``.strategies`` the groups.

    Raises:
        InputError: there are no pictures, or the network says no class.
        GradCamHooksError: as `explain` raises.
    """
    check_count(trials, "trials")
    check_count(batch_size, "batch_size")
    if isinstance(model, LoadedModel):
        labels, preprocess = labels or model.labels, preprocess or model.preprocess
        model = model.model
    if isinstance(model, nn.Module):
        model = unwrap(model)
    network, prepare = model, None if preprocess is None else as_prepare(preprocess)

    def made_ready() -> Prepare:
        return prepare or own_preprocess(network)[0]

    pictures = pictures_of(images, made_ready)
    names = tuple(labels or pictures.classes or labels_of(network) or ()) or None
    known = _truths(truths if truths is not None else pictures.truths, pictures.count, names)
    generator = torch.Generator().manual_seed(seed)
    seen = see(network, pictures, layer, method, target, options, batch_size)
    groups = _groups(seen, generator)
    with explainer(method, network, layer, **options) as explain:  # type: ignore[arg-type]
        answer = answering(explain, batch_size)
        chosen = drawn(groups, seen.answers, trials, generator)
        outcome = tried(chosen, seen.boxes, seen.answers, pictures.inputs, answer, generator)
    verdicts = judged(groups, outcome, seen.answers, seen.places, generator)
    strategies = _strategies(seen, groups, verdicts, known, names)
    power = _power(seen, len(chosen))
    return Audit(
        strategies=strategies,
        text=_finding(strategies, len(seen), power),
        answers=tuple(seen.answers.tolist()),
        chances=tuple(seen.chances.tolist()),
        truths=known,
        labels=names,
        names=pictures.names,
        layers=seen.layers,
        method=method_of(method).name,  # type: ignore[arg-type]
        words=seen.words,
        places=seen.places,
        maps=seen.maps,
        boxes=seen.boxes,
        size=seen.size,
        power=power,
    )


def _truths(
    given: Sequence[object] | None, count: int, names: Sequence[str] | None
) -> tuple[int, ...] | None:
    """The number of the true class of each picture; -1 where it is no class of the network."""
    if given is None:
        return None
    several = [one.item() if isinstance(one, Tensor) else one for one in given]
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
    return tuple(found)


def _groups(seen: Seen, generator: torch.Generator) -> list[Group]:
    """All groups that are to be judged: of all pictures by place, of each class by both."""
    blank = seen.places.sum(1) <= 0
    every = (~blank).nonzero()[:, 0]
    found = _split(seen, every, None, ("place",), generator)
    counts = Counter(seen.answers[every].tolist())
    for answer, count in sorted(counts.items()):
        if count >= _CLASS and count < len(every):
            here = every[seen.answers[every] == answer]
            found += _split(seen, here, answer, ("place", "look"), generator)
    return found


def _split(
    seen: Seen,
    numbers: Tensor,
    among: int | None,
    kinds: Sequence[str],
    generator: torch.Generator,
) -> list[Group]:
    if len(numbers) < LEAST:
        return []
    found = [Group(numbers, "place", among, whole=True)]
    for kind in kinds:
        points = seen.places[numbers].sqrt() if kind == "place" else seen.looks
        if points is None:
            continue
        points = points if kind == "place" else points[numbers]
        own, leaves = clusters.grouped(points, generator)
        if len(leaves) < 2:
            continue
        for group, left in enumerate(leaves):
            members = numbers[own == group]
            if len(members) >= LEAST:
                found.append(Group(members, kind, among, left))
    return found


def _strategies(
    seen: Seen,
    groups: Sequence[Group],
    verdicts: Sequence[tuple[Proof, bool]],
    truths: tuple[int, ...] | None,
    labels: Sequence[str] | None,
) -> tuple[Strategy, ...]:
    """The suspect groups, each picture in one; and what else there is of all pictures by place."""
    order = sorted(range(len(groups)), key=lambda i: (-len(groups[i].members), i))
    taken: set[int] = set()
    kept: list[int] = []
    for i in order:
        members = set(groups[i].members.tolist())
        if verdicts[i][1] and len(members & taken) <= len(members) / 2:
            kept.append(i)
            taken |= members
    overall = [i for i in order if groups[i].among is None and not verdicts[i][1]]
    plain = [i for i in overall if not groups[i].whole] or overall
    if kept and groups[kept[0]].whole and groups[kept[0]].among is None:
        plain = []
    return tuple(_strategy(seen, groups[i], *verdicts[i], truths, labels) for i in (*kept, *plain))


def _strategy(
    seen: Seen,
    group: Group,
    proof: Proof,
    suspect: bool,
    truths: tuple[int, ...] | None,
    labels: Sequence[str] | None,
) -> Strategy:
    members = group.members
    places = seen.places[members]
    mean = places.mean(0)
    points = seen.looks[members] if group.by == "look" and seen.looks is not None else places.sqrt()
    far = (points - points.mean(0)).norm(dim=1).argsort(stable=True)
    near = members[far].tolist()
    answers = dict(Counter(seen.answers[members].tolist()).most_common())
    inside, outside = _accuracies(seen.answers, members, truths)
    together = concentration(places)
    looks_at = _looks_at(group.by, where(mean) if together >= 0.5 else None)
    names = [class_word(one, label_of(one, labels)) for one in answers]
    return Strategy(
        members=tuple(members.tolist()),
        share=len(members) / len(seen),
        by="look" if group.by == "look" else "place",
        among=group.among,
        suspect=suspect,
        text=told(len(members), len(seen), looks_at, proof, names),
        proof=proof,
        answers=answers,
        accuracy=inside,
        accuracy_outside=outside,
        place=mean.view(SIDE, SIDE),
        concentration=together,
        leaves=group.leaves,
        middle=tuple(near[:_SHOWN]),
        edge=tuple(near[::-1][:_SHOWN]),
    )


def _looks_at(by: str, place: str | None) -> str:
    """What the pictures of a group have in common, in words; ``place`` where it is one."""
    if by == "place":
        return "look at no one place" if place is None else f"look at the {place}"
    at = "" if place is None else f" at the {place}"
    return f"look at something{at} that the others of their class do not show"


def _accuracies(
    answers: Tensor, members: Tensor, truths: tuple[int, ...] | None
) -> tuple[float | None, float | None]:
    if truths is None:
        return None, None
    known = torch.tensor(truths)
    right, judged = answers == known, known >= 0
    inside = torch.zeros(len(answers), dtype=torch.bool)
    inside[members] = True
    shares = []
    for side in (inside, ~inside):
        here = side & judged
        shares.append(float(right[here].float().mean()) if bool(here.any()) else None)
    return shares[0], shares[1]


def _finding(strategies: Sequence[Strategy], count: int, power: str) -> str:
    suspects = [one for one in strategies if one.suspect]
    if not suspects:
        return f"Nothing suspect was found in {count:,} pictures. {power}"
    return " ".join(f"Suspect: {one.text}" for one in suspects)


def _power(seen: Seen, tested: int) -> str:
    """What would have been missed, in words."""
    counts = [count for count in Counter(seen.answers.tolist()).values() if count >= _CLASS]
    among = f", or {LEAST / max(counts):.1%} of the largest class" if counts else ""
    share = min(1.0, LEAST / len(seen))
    return (
        f"A strategy in fewer than {LEAST} of the pictures ({share:.1%}{among}) would have been "
        "missed, one that every picture of a class shares at changing places, and one "
        f"that decides fewer than half of the answers; {tested} pictures were tried."
    )
