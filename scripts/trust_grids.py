"""T1: GridPG, DiFull and DiPart, where the truth is a cell of a grid by construction.

Raw maps at the layer's own resolution. In ``grid_pg-`` the classes' logits are lowered by a
constant, so that the explained one is negative: nothing else changes, and no map should.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn
from trust_networks import KINDS, Staged, fit, kept, real
from trust_pictures import CLASSES, photographs, shapes
from trust_units import Found, Unit, seed_of
from trust_ways import Way, maps_of, ways

from gradcam_hooks import metrics
from gradcam_hooks.evaluating.controls import blurred

__all__ = ["SETTINGS", "Plan", "grid_units", "of_shapes", "photographed", "trained"]

SETTINGS = ("grid_pg", "grid_pg-", "di_part", "di_full")
_EPOCHS = {"residual": 2, "vgg": 2, "vit": 3}
_RATES = {"residual": 4e-3, "vgg": 4e-3, "vit": 3e-3}
_PICTURES = 4096
_DEAR_SEEDS = 1
"""Of how many seeds dear ways are asked."""

_LOWER = 1000.0
"""By which logits are lowered."""


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        folder: where networks are kept.
        seeds: of networks and pictures.
        kinds: of networks trained here.
        grids: of each unit, and how many of them dear ways are asked of, at the last layer, where
            a grid has 2 by 2 cells; of larger ones neither they nor other libraries are asked.
        real: the same of the network trained on photographs, of the first seed, half as many
            larger ones; 0 leaves it out.
        sizes: how many cells along each axis.
        methods: which, or all.
        epochs: of training, instead of each kind's own.
    """

    folder: Path
    seeds: tuple[int, ...]
    kinds: tuple[str, ...]
    grids: tuple[int, int]
    real: tuple[int, int]
    sizes: tuple[int, ...]
    methods: tuple[str, ...] = ()
    epochs: int = 0


@dataclass(frozen=True)
class _Drawn:
    """Grids, the class of each cell, the cell that is asked of, and how sure the network is."""

    images: Tensor
    labels: Tensor
    cells: list[int]
    sure: float


class _Lowered(nn.Module):
    """Logits less a constant."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.head(features)
        return logits - _LOWER


def trained(plan: Plan, kind: str, seed: int, *, shuffled: bool = False) -> Staged:
    """A network of shapes, kept in the plan's folder; ``shuffled``, of labels without meaning."""
    return _trained(plan.folder, kind, seed, plan.epochs or _EPOCHS[kind], shuffled)


@cache
def _trained(folder: Path, kind: str, seed: int, epochs: int, shuffled: bool) -> Staged:
    def train(net: Staged) -> None:
        images, labels = shapes(_PICTURES, 0)
        if shuffled:
            order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
            labels = labels[order]
        fit(net, images, labels, epochs=epochs, seed=seed, rate=_RATES[kind])

    name = f"{kind}-{seed}-{epochs}{'-shuffled' * shuffled}"
    return kept(folder, name, lambda: KINDS[kind](CLASSES), train, seed_of(kind, seed))


def grid_units(plan: Plan) -> list[Unit]:
    """The units of T1."""
    asked = list(itertools.product(plan.seeds, plan.kinds, plan.sizes))
    if plan.real[0]:
        asked += [(plan.seeds[0], "real", grid) for grid in plan.sizes]
    return [
        _unit(plan, kind, seed, grid, layer, setting)
        for seed, kind, grid in asked
        for layer in ("last", "middle")
        for setting in SETTINGS
        if _is_asked(kind, grid, layer, setting)
    ]


def _is_asked(kind: str, grid: int, layer: str, setting: str) -> bool:
    """Whether a setting is: the fault of the sign once, large photographs where it matters most."""
    if kind == "real" and grid > 2:
        return layer == "last" and setting in ("grid_pg", "di_full")
    return setting != "grid_pg-" or layer == "last"


def _unit(plan: Plan, kind: str, seed: int, grid: int, layer: str, setting: str) -> Unit:
    cheap, dear = plan.real if kind == "real" else plan.grids
    few = kind == "real" or grid > 2 or layer == "middle"
    if few or seed not in plan.seeds[:_DEAR_SEEDS]:
        dear = 0
    if kind == "real" and grid > 2:
        cheap = (cheap + 1) // 2
    counts = cheap, dear
    column = f"{kind} {layer} {setting} {grid}x{grid}"
    key = f"T1 {column} seed={seed} {counts} {plan.epochs} {','.join(plan.methods)}"
    return Unit(
        "T1", column, seed, key, partial(_measured, plan, kind, seed, grid, layer, setting, counts)
    )


def _measured(
    plan: Plan,
    kind: str,
    seed: int,
    grid: int,
    layer: str,
    setting: str,
    counts: tuple[int, int],
) -> Found:
    net = _real() if kind == "real" else trained(plan, kind, seed)
    chance = random.Random(seed_of("grids", kind, seed, grid))
    if kind == "real":
        drawn = _of_photographs(net, counts[0], grid, chance)
    else:
        drawn = of_shapes(net, counts[0], grid, chance, seed)
    front, head = net.split(layer)
    plain = "grid_pg" if setting == "grid_pg-" else setting
    head = _Lowered(head) if setting == "grid_pg-" else head
    model = metrics.Gridded(front, head, grid, plain).eval()  # type: ignore[arg-type]
    own = drawn.labels[range(len(drawn.cells)), drawn.cells].tolist()
    classes = int(_classes_of(head, front, drawn.images[:1]))
    asked = own
    if plain != "grid_pg":
        asked = [cell * classes + label for cell, label in zip(drawn.cells, own, strict=True)]
    found = Found(about={"sure": drawn.sure})
    peers = grid == 2 and (kind != "real" or plain == setting.strip("-") == "grid_pg")
    for way in ways(plan.methods, peers=peers and not (kind == "real" and layer == "middle")):
        count = counts[1] if way.dear or (kind == "real" and _is_slow(way, plain)) else counts[0]
        if not count:
            continue
        share = partial(_share, plain, drawn.cells[:count], grid)
        _measure(found, way, model, drawn.images[:count], asked[:count], share, counts[0])
    return found


def _is_slow(way: Way, setting: str) -> bool:
    """Whether the large network takes minutes for it, or more memory than there is."""
    own = way.source == "ours" and setting == "grid_pg"
    return way.method in ("integratedgradcam", "smoothgradcam++") or (
        way.method == "ablationcam" and not own
    )


def _measure(
    found: Found,
    way: Way,
    model: nn.Module,
    images: Tensor,
    asked: list[int],
    share: partial[list[float]],
    count: int,
) -> None:
    maps = maps_of(way, model, "features_of_grid", images, asked, seed_of(way.method, count))
    if isinstance(maps, str):
        found.missing[way.name] = maps
        return
    found.add("share", way.name, share(maps), count)
    if way.source == "ours":
        found.add("share", f"{way.name} blurred", share(blurred(maps.relu(), 2)), count)


def _share(setting: str, cells: list[int], grid: int, maps: Tensor) -> list[float]:
    measure = getattr(metrics, setting)
    values: list[float] = measure(maps, torch.tensor(cells), grid=grid).values.tolist()
    return values


def _classes_of(head: nn.Module, front: nn.Module, image: Tensor) -> int:
    with torch.no_grad():
        return int(head(front(image)).shape[1])


def of_shapes(net: Staged, count: int, grid: int, chance: random.Random, seed: int) -> _Drawn:
    """Grids of drawn shapes; the class of the cell that is asked of stands in no other cell."""
    images, labels = shapes(384, 1000 + seed)
    with torch.no_grad():
        sure = net(images).softmax(1)[range(len(labels)), labels]
    pools = []
    for label in range(CLASSES):
        rows = (labels == label).nonzero()[:, 0]
        order = rows[sure[rows].argsort(descending=True)].tolist()
        enough = [row for row in order if sure[row] >= 0.99]
        pools.append(enough if len(enough) >= 3 else order[:3])
    chosen = []
    cells = []
    for _ in range(count):
        own = chance.randrange(CLASSES)
        others = [label for label in range(CLASSES) if label != own]
        rest = chance.sample(others * 2, grid**2 - 1) if grid > 2 else chance.sample(others, 3)
        at = chance.randrange(grid**2)
        every = [*rest[:at], own, *rest[at:]]
        chosen += [chance.choice(pools[label]) for label in every]
        cells.append(at)
    least = float(sure[chosen].min())
    return _Drawn(metrics.grids(images[chosen], grid), labels[chosen].view(count, -1), cells, least)


@cache
def _real() -> Staged:
    return real()


@cache
def _photographs() -> tuple[Tensor, Tensor, Tensor]:
    """Photographs, what the network says of each, and how sure it is."""
    images = torch.stack([image for _, image in photographs()])
    with torch.no_grad():
        sure, labels = _real()(images).softmax(1).max(1)
    return images, labels, sure


def _of_photographs(net: Staged, count: int, grid: int, chance: random.Random) -> _Drawn:
    """Grids of photographs: one that the network is sure of, and others of something else."""
    images, labels, sure = _photographs()
    good = (sure >= 0.5).nonzero()[:, 0].tolist()
    with torch.no_grad():
        every = net(images).softmax(1)
    chosen: list[int] = []
    cells = []
    for _ in range(count):
        own = chance.choice(good)
        others = _others(every[:, int(labels[own])], own)
        rest = chance.sample(others * grid, grid**2 - 1)
        at = chance.randrange(grid**2)
        chosen += [*rest[:at], own, *rest[at:]]
        cells.append(at)
    least = float(sure[good].min())
    return _Drawn(metrics.grids(images[chosen], grid), labels[chosen].view(count, -1), cells, least)


def _others(said: Tensor, own: int) -> list[int]:
    """Pictures of which the network does not say that class."""
    return [row for row in (said < 0.01).nonzero()[:, 0].tolist() if row != own]


def photographed(count: int) -> tuple[Staged, Tensor, list[int], float]:
    """The real network, photographs that it is sure of, what it says of each, and how sure.

    Of a subject that is there twice the surer one.
    """
    images, labels, sure = _photographs()
    best = {int(labels[row]): row for row in sure.argsort().tolist()}
    rows = sorted(best.values(), key=lambda row: -float(sure[row]))[:count]
    return _real(), images[rows], labels[rows].tolist(), float(sure[rows].min())
