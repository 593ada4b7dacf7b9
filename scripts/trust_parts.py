"""T3: causal parts, by the protocol of FunnyBirds (Hesse et al. 2023, arXiv:2308.06248), in 2-D.

A creature is a body with five places around it, each with one of three parts; a class is a row of
parts. It is drawn again without a part, so that what the part does to the score is known, and the
network was trained on creatures that lack parts, so that such pictures are of its kind. Asked is
whether the map knew: the rank correlation of the map's sum in each part with the score's fall
without it, whether its highest part is the one that matters most, and how much of it lies on parts
at all, since body and ground tell nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from trust_networks import Staged, fit, kept, residual
from trust_units import Found, Unit, seed_of
from trust_ways import maps_of, ways

from gradcam_hooks.evaluating.controls import blurred
from gradcam_hooks.maps import resize
from gradcam_hooks.metrics.likeness import spearman

__all__ = ["PLACES", "SIDE", "Creatures", "drawn", "part_units", "rows_of_parts"]

SIDE, PLACES, CLASSES, VARIANTS = 48, 5, 8, 3
_RADIUS, _PART = 14, 5
_COLOURS = torch.tensor([[0.9, 0.25, 0.2], [0.2, 0.8, 0.3], [0.25, 0.4, 0.95]])


@dataclass(frozen=True)
class Creatures:
    """Pictures ``(n, 3, 48, 48)``, classes, and where each part is, ``(n, 5, 48, 48)``."""

    images: Tensor
    labels: Tensor
    masks: Tensor


def rows_of_parts() -> Tensor:
    """Which variant each class has at each place, ``(8, 5)``; two classes differ in three or more.

    >>> apart = (rows_of_parts()[:, None] != rows_of_parts()[None]).sum(2)
    >>> int(apart[~torch.eye(8, dtype=torch.bool)].min()) >= 3
    True
    """
    found: list[Tensor] = []
    chance = torch.Generator().manual_seed(0)
    while len(found) < CLASSES:
        row = torch.randint(VARIANTS, (PLACES,), generator=chance)
        if all(int((row != other).sum()) >= 3 for other in found):
            found.append(row)
    return torch.stack(found)


def drawn(labels: Tensor, present: Tensor, seed: int) -> Creatures:
    """Creatures of these classes; ``present`` says which parts they have, ``(n, 5)``.

    The same seed gives the same grounds and places, whatever parts are there.
    """
    count = len(labels)
    chance = torch.Generator().manual_seed(seed)
    coarse = 0.2 + 0.6 * torch.rand(count, 3, 6, 6, generator=chance)
    images = functional.interpolate(coarse, (SIDE, SIDE), mode="bilinear")
    images = images + 0.06 * (torch.rand(images.shape, generator=chance) - 0.5)
    centre = SIDE / 2 - 0.5 + 6 * (torch.rand(count, 2, generator=chance) - 0.5)
    turn = 0.5 * (torch.rand(count, generator=chance) - 0.5)
    row, column = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    at = torch.stack([row, column])[None]
    away = (at - centre[:, :, None, None]).square().sum(1).sqrt()
    images = torch.where((away < 8)[:, None], torch.tensor(0.5), images)
    variants, masks = rows_of_parts()[labels], []
    for place in range(PLACES):
        angle = turn + 2 * math.pi * place / PLACES
        middle = centre + _RADIUS * torch.stack([angle.sin(), angle.cos()], 1)
        inside = _shapes(at - middle[:, :, None, None], variants[:, place])
        inside = inside & present[:, place].view(-1, 1, 1)
        paint = _COLOURS[(variants[:, place] + place) % VARIANTS][:, :, None, None]
        images = torch.where(inside[:, None], paint, images)
        masks.append(inside)
    return Creatures((images - 0.5) / 0.25, labels, torch.stack(masks, 1))


def _shapes(away: Tensor, variants: Tensor) -> Tensor:
    """A disc, a square or a cross around the middle, ``(n, 48, 48)``."""
    down, right = away[:, 0].abs(), away[:, 1].abs()
    disc = (down**2 + right**2).sqrt() <= _PART
    square = torch.maximum(down, right) <= _PART - 1
    cross = (torch.minimum(down, right) <= 1.5) & (torch.maximum(down, right) <= _PART)
    each = torch.stack([disc, square, cross], 1)
    return each[torch.arange(len(variants)), variants]


def part_units(
    folder: Path,
    seeds: Sequence[int],
    counts: tuple[int, int],
    epochs: int,
    methods: tuple[str, ...] = (),
) -> list[Unit]:
    """The units of T3; the arguments are those of `trust_tris.tris_units`."""
    key = f"{counts} {epochs} {','.join(methods)}"
    return [
        Unit(
            "T3",
            f"residual {layer}",
            seed,
            f"T3 {layer} seed={seed} {key}",
            partial(_measured, folder, layer, seed, counts, epochs, methods),
        )
        for seed in seeds
        for layer in ("last", "middle")
    ]


@cache
def _trained(folder: Path, seed: int, epochs: int) -> Staged:
    def train(net: Staged) -> None:
        labels = torch.arange(4096) % CLASSES
        chance = torch.Generator().manual_seed(seed_of("present", seed))
        present = torch.rand(len(labels), PLACES, generator=chance) < 0.75
        creatures = drawn(labels, present, seed_of("creatures", seed))
        fit(net, creatures.images, labels, epochs=epochs, seed=seed)

    return kept(folder, f"parts-{seed}-{epochs}", lambda: residual(CLASSES), train, seed)


def _measured(
    folder: Path,
    layer: str,
    seed: int,
    counts: tuple[int, int],
    epochs: int,
    methods: tuple[str, ...],
) -> Found:
    net = _trained(folder, seed, epochs)
    labels = torch.arange(16 * CLASSES) % CLASSES
    whole = torch.ones(len(labels), PLACES, dtype=torch.bool)
    creatures = drawn(labels, whole, seed_of("tested", seed))
    with torch.no_grad():
        scores = net(creatures.images)
        right = scores.argmax(1) == labels
        own = scores[range(len(labels)), labels]
        falls = []
        for place in range(PLACES):
            lacking = whole.clone()
            lacking[:, place] = False
            without = drawn(labels, lacking, seed_of("tested", seed)).images
            falls.append(own - net(without)[range(len(labels)), labels])
    found = Found(about={"accuracy": float(right.float().mean())})
    rows = right.nonzero()[:, 0][: counts[0]]
    fall, masks = torch.stack(falls, 1)[rows], creatures.masks[rows]
    for way in ways(methods, peers=layer == "last"):
        count = counts[1] if way.dear else counts[0]
        if way.dear and layer == "middle":
            continue
        images, classes = creatures.images[rows][:count], labels[rows][:count].tolist()
        maps = maps_of(way, net, net.layer(layer), images, classes, seed)
        if isinstance(maps, str):
            found.missing[way.name] = maps
            continue
        _add(found, way.name, maps, fall[:count], masks[:count], counts[0])
        if way.source == "ours":
            smooth = blurred(maps.relu(), 2)
            _add(found, f"{way.name} blurred", smooth, fall[:count], masks[:count], counts[0])
    return found


def _add(found: Found, name: str, maps: Tensor, fall: Tensor, masks: Tensor, count: int) -> None:
    large = resize(maps, (SIDE, SIDE))
    sums = (large[:, None] * masks).sum((2, 3))
    found.add("single deletion", name, spearman(sums.double(), fall.double()).tolist(), count)
    same = (sums.argmax(1) == fall.argmax(1)).double()
    found.add("top part", name, same.tolist(), count)
    lit = large.relu()
    total = lit.sum((1, 2))
    inside = (lit * masks.any(1)).sum((1, 2)) / total
    found.add("on parts", name, torch.where(total > 0, inside, 0.0).tolist(), count)
