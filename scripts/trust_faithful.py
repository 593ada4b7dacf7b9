"""T4: faithfulness, in distribution and out of it, on the networks of T1.

IDSDS and F-Fidelity are asked of networks that were trained further on images with holes of the
kind that is asked, so that such images are none that they never saw. Beside them stand those that
older papers tell: insertion, deletion, ROAD, Average Drop, Increase, Gain, coherency, complexity,
ADCC, ARCC, infidelity and sparseness, of the same maps of the network as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn
from trust_grids import Plan, photographed, trained
from trust_networks import KINDS, Staged, fit, kept
from trust_pictures import CLASSES, shapes
from trust_units import Found, Unit, seed_of
from trust_ways import Way, maps_of, ways

import gradcam_hooks as gh
from gradcam_hooks import metrics
from gradcam_hooks.evaluating.controls import blurred
from gradcam_hooks.maps import finish

__all__ = ["dotted", "faithful_units", "holed", "sure_shapes"]

_SHARES = (0.2, 0.5, 0.8)


def holed(images: Tensor, generator: torch.Generator) -> Tensor:
    """The batch without some of its 4 by 4 patches, of each image up to half of them."""
    count, side = len(images), images.shape[2] // 4
    share = 0.5 * torch.rand(count, 1, 1, 1, generator=generator)
    kept_ = torch.rand(count, 1, 4, 4, generator=generator) >= share
    return images * kept_.repeat_interleave(side, 2).repeat_interleave(side, 3)


def dotted(images: Tensor, generator: torch.Generator) -> Tensor:
    """The batch without random positions, of each image up to a tenth of them."""
    share = 0.1 * torch.rand(len(images), 1, 1, 1, generator=generator)
    drawn = torch.rand(len(images), 1, *images.shape[2:], generator=generator)
    return images * (drawn >= share)


def sure_shapes(net: nn.Module, count: int, seed: int) -> tuple[Tensor, list[int]]:
    """Pictures of shapes that the network names, the surest of each class in turn."""
    images, labels = shapes(384, 1000 + seed)
    with torch.no_grad():
        sure = net(images).softmax(1)[range(len(labels)), labels]
    rows: list[int] = []
    for label in range(CLASSES):
        own = (labels == label).nonzero()[:, 0]
        rows += own[sure[own].argsort(descending=True)][: -(-count // CLASSES)].tolist()
    rows = sorted(rows, key=lambda row: (-float(sure[row] > 0.5), row % 48, row))[:count]
    return images[rows], labels[rows].tolist()


def faithful_units(plan: Plan, seeds: tuple[int, ...], counts: tuple[int, int]) -> list[Unit]:
    """The units of T4; ``counts`` of pictures, and of how many dear ways are asked."""
    found = []
    for kind in (*plan.kinds, *(["real"] if plan.real[0] else [])):
        for seed in seeds[:1] if kind == "real" else seeds:
            many = (plan.real[0], 0) if kind == "real" else counts
            key = f"T4 {kind} seed={seed} {many} {plan.epochs} {','.join(plan.methods)}"
            work = partial(_real if kind == "real" else _measured, plan, kind, seed, many)
            found.append(Unit("T4", f"{kind} last", seed, key, work))
    return found


@cache
def _further(folder: Path, kind: str, seed: int, epochs: int, how: str) -> Staged:
    """The network of T1, trained further on images with holes."""
    plan = Plan(folder, (seed,), (kind,), (0, 0), (0, 0), (), epochs=epochs)
    vary = holed if how == "holed" else dotted

    def train(net: Staged) -> None:
        net.load_state_dict(trained(plan, kind, seed).state_dict())
        images, labels = shapes(4096, 0)
        fit(net, images, labels, epochs=1, seed=seed, rate=1e-3, vary=vary)

    return kept(folder, f"{kind}-{seed}-{epochs}-{how}", lambda: KINDS[kind](CLASSES), train, seed)


def _measured(plan: Plan, kind: str, seed: int, counts: tuple[int, int]) -> Found:
    net = trained(plan, kind, seed)
    patches = _further(plan.folder, kind, seed, plan.epochs, "holed")
    points = _further(plan.folder, kind, seed, plan.epochs, "dotted")
    images, classes = sure_shapes(net, counts[0], seed)
    found = Found()
    for way in ways(plan.methods):
        count = counts[1] if way.dear else counts[0]
        if not count:
            continue
        given, own = images[:count], classes[:count]
        maps = maps_of(way, net, net.layer("last"), given, own, seed)
        tuned = maps_of(way, patches, patches.layer("last"), given, own, seed)
        if isinstance(maps, str) or isinstance(tuned, str):
            found.missing[way.name] = str(maps if isinstance(maps, str) else tuned)
            continue
        again = partial(_again, way, net, given, own, seed)
        every = {way.name: (maps, tuned, again)}
        if way.source == "ours":
            both = (blurred(maps.relu(), 2), blurred(tuned.relu(), 2))
            smooth = partial(_smooth, again)
            every[f"{way.name} blurred"] = (*both, smooth)
        for name, (plain, after, repeat) in every.items():
            values = _old(net, given, own, plain, repeat)
            values |= _new(patches, points, given, own, plain, after)
            for measure, numbers in values.items():
                found.add(measure, name, numbers.values.tolist(), counts[0])
    return found


def _again(
    way: Way, net: Staged, images: Tensor, classes: list[int], seed: int, maps: Tensor
) -> Tensor:
    """The maps of what the maps leave of the images; none where the way fails on these."""
    left = metrics.masked(images, maps)
    found = maps_of(way, net, net.layer("last"), left, classes, seed)
    return torch.zeros_like(maps) if isinstance(found, str) else finish(found, images.shape[2:])


def _smooth(again: Callable[[Tensor], Tensor], maps: Tensor) -> Tensor:
    return blurred(again(maps), 2)


def _old(
    net: nn.Module,
    images: Tensor,
    classes: list[int],
    raw: Tensor,
    again: Callable[[Tensor], Tensor],
) -> dict[str, metrics.Measured]:
    """What older papers tell, of probabilities."""
    score = metrics.scored(net, images, gh.Probability(classes))
    logit = metrics.scored(net, images, torch.tensor(classes))
    maps = finish(raw, images.shape[2:])
    repeated = again(maps)
    return {
        "insertion": metrics.insertion(score, images, raw, steps=16),
        "deletion grey": metrics.deletion(score, images, raw, steps=16),
        "deletion blur": metrics.deletion(score, images, raw, fill="blur", steps=16),
        "ROAD": metrics.road(score, images, raw, shares=_SHARES),
        "average drop": metrics.average_drop(score, images, maps),
        "increase": metrics.increase(score, images, maps),
        "gain": metrics.gain(score, images, maps),
        "coherency": metrics.coherency(maps, repeated),
        "complexity": metrics.complexity(maps),
        "ADCC": metrics.adcc(score, images, maps, repeated),
        "ARCC": metrics.arcc(score, images, maps, repeated, shares=_SHARES),
        "infidelity": metrics.infidelity(logit, images, raw, samples=16),
        "sparseness": metrics.sparseness(maps),
    }


def _new(
    patches: nn.Module,
    points: nn.Module,
    images: Tensor,
    classes: list[int],
    raw: Tensor,
    after: Tensor,
) -> dict[str, metrics.Measured]:
    """In distribution: of the networks that were trained further."""
    target = torch.tensor(classes)
    one, other = (metrics.scored(net, images, target) for net in (patches, points))
    return {
        "IDSDS": metrics.idsds(one, images, after),
        "F-Fidelity": metrics.f_fidelity(other, images, raw, shares=_SHARES, samples=6),
    }


def _real(plan: Plan, kind: str, seed: int, counts: tuple[int, int]) -> Found:
    """On photographs: the network is not trained further, and some metrics are left out."""
    net, images, classes, sure = photographed(counts[0])
    found = Found(about={"sure": sure})
    score = metrics.scored(net, images, gh.Probability(classes))
    for way in ways(plan.methods, peers=False):
        if way.dear:
            continue
        maps = maps_of(way, net, net.layer("last"), images, classes, seed_of(way.method))
        if isinstance(maps, str):
            found.missing[way.name] = maps
            continue
        every = {way.name: maps}
        if way.source == "ours":
            every[f"{way.name} blurred"] = blurred(maps.relu(), 2)
        for name, raw in every.items():
            values = {
                "insertion": metrics.insertion(score, images, raw, steps=8),
                "deletion grey": metrics.deletion(score, images, raw, steps=8),
                "single deletion, not trained": metrics.idsds(score, images, raw, patches=3),
            }
            for measure, numbers in values.items():
                found.add(measure, name, numbers.values.tolist(), counts[0])
    return found
