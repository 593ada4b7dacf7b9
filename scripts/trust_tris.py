"""T2: XAI-TRIS (Clark et al. 2023, arXiv:2306.12816), written from the paper's description.

Two tetrominoes, T and L, on noise. Linear: the class is which of them stands at its place;
multiplicative: the same, dimming the noise; rigid: which of them stands anywhere, turned; XOR: both
stand at their places, and the class is whether their signs agree. On correlated noise what lies
around a tetromino tells of the noise on it: a suppressor, which a network uses and which is no
part of the truth. Strengths are ours, so that a small CNN is right in four pictures of five at
least; the paper's are for its own scale.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage, optimize
from torch import Tensor, nn
from torch.nn import functional
from trust_networks import Staged, fit, kept
from trust_units import Found, Unit, seed_of
from trust_ways import maps_of, ways

from gradcam_hooks.evaluating.controls import blurred
from gradcam_hooks.maps import resize

__all__ = ["BACKGROUNDS", "SCENARIOS", "drawn", "emd", "precision", "tetrominoes", "tris_units"]

SCENARIOS = ("linear", "multiplicative", "rigid", "xor")
BACKGROUNDS = {"white": (0.0, 0.0), "correlated": (3.0, 10.0)}
"""How wide the noise is blurred, in pixels, at 8 by 8 and at 64 by 64."""

_STRENGTH = {
    (8, "linear"): 0.2,
    (8, "multiplicative"): 0.9,
    (8, "rigid"): 0.65,
    (8, "xor"): 0.3,
    (64, "linear"): 0.05,
    (64, "multiplicative"): 0.7,
    (64, "rigid"): 0.8,
    (64, "xor"): 0.6,
}
_T = ((1, 1), (1, 2), (1, 3), (2, 2))
_L = ((4, 5), (5, 5), (6, 5), (6, 6))


def tetrominoes(side: int) -> tuple[Tensor, Tensor]:
    """T and L at their places, ``(side, side)``, 1 where they are.

    >>> [int(one.sum()) for one in tetrominoes(8)]
    [4, 4]
    """
    found = []
    for cells in (_T, _L):
        small = torch.zeros(8, 8)
        for row, column in cells:
            small[row, column] = 1
        found.append(small.repeat_interleave(side // 8, 0).repeat_interleave(side // 8, 1))
    return found[0], found[1]


def drawn(
    scenario: str, background: str, side: int, count: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures ``(n, 1, side, side)``, the class of each, and the truth ``(n, side, side)``.

    The truth is both places where they are fixed, since a missing T tells as much as an L; in the
    rigid scenario it is where the tetromino stands.
    """
    chance = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    both = torch.stack(tetrominoes(side))
    if scenario == "rigid":
        signal = torch.stack([_moved(both[label], chance) for label in labels.tolist()])
    elif scenario == "xor":
        first = torch.randint(2, (count,), generator=chance) * 2.0 - 1
        second = torch.where(labels == 0, first, -first)
        signal = first.view(-1, 1, 1) * both[0] + second.view(-1, 1, 1) * both[1]
    else:
        signal = both[labels]
    truth = signal != 0 if scenario == "rigid" else (both.sum(0) != 0).expand(count, -1, -1)
    noise = torch.randn(count, side, side, generator=chance)
    width = BACKGROUNDS[background][side > 8]
    if width:
        smooth = ndimage.gaussian_filter(noise.numpy(), (0, width, width), mode="reflect")
        noise = torch.from_numpy(smooth)
        noise = noise / noise.std()
    share = _STRENGTH[side, scenario]
    if scenario == "multiplicative":
        pictures = (1 - share * signal) * noise
    else:
        pictures = share * signal / signal.square().mean().sqrt() + (1 - share) * noise
    return (pictures / pictures.abs().max())[:, None], labels, truth


def _moved(shape: Tensor, chance: torch.Generator) -> Tensor:
    """A tetromino turned by a quarter and laid anywhere on its grid of 8 by 8."""
    side = len(shape)
    rows, columns = shape.nonzero().T
    cut = shape[int(rows.min()) : int(rows.max()) + 1, int(columns.min()) : int(columns.max()) + 1]
    cut = cut.rot90(int(torch.randint(4, (1,), generator=chance)), (0, 1))
    step = side // 8
    top, left = (
        step * int(torch.randint((side - size) // step + 1, (1,), generator=chance))
        for size in cut.shape
    )
    found = torch.zeros_like(shape)
    found[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
    return found


def precision(maps: Tensor, truth: Tensor) -> list[float]:
    """Of as many highest positions as the truth has, how many lie in it.

    >>> truth = torch.tensor([[[True, True], [False, False]]])
    >>> precision(torch.tensor([[[3.0, -5.0], [1.0, 0.0]]]), truth)
    [1.0]
    """
    found = []
    for one, mask in zip(maps.abs().flatten(1), truth.flatten(1), strict=True):
        count = int(mask.sum())
        highest = one.argsort(descending=True, stable=True)[:count]
        found.append(float(mask[highest].double().mean()))
    return found


def emd(maps: Tensor, truth: Tensor) -> list[float]:
    """1 less the earth mover's distance of the map to the even truth, over the longest distance.

    On a grid of 8 by 8, to which larger ones are summed; NaN for a map that is 0.

    >>> m = torch.zeros(1, 8, 8)
    >>> m[0, 0, 0] = 1
    >>> away = torch.zeros(1, 8, 8, dtype=torch.bool)
    >>> away[0, 7, 7] = True
    >>> emd(m, m != 0), emd(m, away)
    ([1.0], [0.0])
    """
    found = []
    for one, mask in zip(_pooled(maps.abs()), _pooled(truth.float()), strict=True):
        have, want = one.flatten().double().numpy(), mask.flatten().double().numpy()
        if have.sum() <= 0:
            found.append(float("nan"))
            continue
        found.append(round(1 - _cost(have / have.sum(), want / want.sum()), 9))
    return found


def _pooled(maps: Tensor) -> Tensor:
    step = maps.shape[1] // 8
    return functional.avg_pool2d(maps[:, None].float(), step)[:, 0]


def _cost(have: np.ndarray, want: np.ndarray) -> float:
    """The cheapest way to move one onto the other, in longest distances."""
    at = np.stack(np.meshgrid(np.arange(8), np.arange(8), indexing="ij"), -1).reshape(-1, 2)
    source, sink = np.flatnonzero(have > 1e-9), np.flatnonzero(want)
    given = have[source] / have[source].sum()
    apart = np.linalg.norm(at[source][:, None] - at[sink][None], axis=2) / (7 * 2**0.5)
    rows = np.kron(np.eye(len(source)), np.ones(len(sink)))
    columns = np.kron(np.ones(len(source)), np.eye(len(sink)))
    solved = optimize.linprog(
        apart.ravel(),
        A_eq=np.concatenate([rows, columns[:-1]]),
        b_eq=np.concatenate([given, want[sink][:-1]]),
        method="highs",
    )
    return float(solved.fun)


def network(side: int) -> Staged:
    """A small CNN: convolutions, at 8 by 8 in the end, and two linear layers, which know places."""

    def conv(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]

    stages: list[nn.Module] = []
    if side > 8:
        shrunk = nn.Conv2d(1, 8, 5, 2, padding=2)
        stages.append(nn.Sequential(shrunk, nn.ReLU(), nn.AvgPool2d(side // 16)))
    stages += [nn.Sequential(*conv(8 if stages else 1, 16)), nn.Sequential(*conv(16, 16))]
    head = nn.Sequential(nn.Flatten(), nn.Linear(16 * 64, 32), nn.ReLU(), nn.Linear(32, 2))
    return Staged(stages, head, middle=1)


def tris_units(
    folder: Path,
    seeds: Sequence[int],
    sides: Sequence[int],
    counts: tuple[int, int],
    epochs: int,
    methods: tuple[str, ...] = (),
) -> list[Unit]:
    """The units of T2.

    Args:
        folder: where networks are kept.
        seeds: of networks and pictures.
        sides: of the pictures, 8 and 64.
        counts: of pictures, and of how many dear ways are asked.
        epochs: of training.
        methods: which, or all.
    """
    found = []
    every = itertools.product(seeds, sides, BACKGROUNDS, SCENARIOS)
    for seed, side, background, scenario in every:
        column = f"{scenario} {background} {side}x{side}"
        key = f"T2 {column} seed={seed} {counts} {epochs} {','.join(methods)}"
        work = partial(_measured, folder, scenario, background, side, seed, counts, epochs, methods)
        found.append(Unit("T2", column, seed, key, work))
    return found


@cache
def _trained(
    folder: Path, scenario: str, background: str, side: int, seed: int, epochs: int
) -> Staged:
    def train(net: Staged) -> None:
        images, labels, _ = drawn(scenario, background, side, 4096, seed_of("train", seed))
        fit(net, images, labels, epochs=epochs, seed=seed, rate=3e-3)

    name = f"tris-{scenario}-{background}-{side}-{seed}-{epochs}"
    return kept(folder, name, lambda: network(side), train, seed_of("tris", seed))


def _measured(
    folder: Path,
    scenario: str,
    background: str,
    side: int,
    seed: int,
    counts: tuple[int, int],
    epochs: int,
    methods: tuple[str, ...],
) -> Found:
    net = _trained(folder, scenario, background, side, seed, epochs)
    images, labels, truth = drawn(scenario, background, side, 512, seed_of("test", seed))
    with torch.no_grad():
        right = net(images).argmax(1) == labels
    found = Found(about={"accuracy": float(right.float().mean())})
    rows = right.nonzero()[:, 0][: counts[0]]
    images, classes, truth = images[rows], labels[rows].tolist(), truth[rows]
    for way in ways(methods):
        count = min(counts[1] if way.dear else counts[0], len(rows))
        maps = maps_of(way, net, net.layer("last"), images[:count], classes[:count], seed)
        if isinstance(maps, str):
            found.missing[way.name] = maps
            continue
        for name, each in _with_control(way.name, way.source == "ours", maps).items():
            large = resize(each, (side, side))
            found.add("precision", name, precision(large, truth[:count]), counts[0])
            found.add("emd", name, emd(large, truth[:count]), counts[0])
    return found


def _with_control(name: str, ours: bool, maps: Tensor) -> dict[str, Tensor]:
    return {name: maps, f"{name} blurred": blurred(maps.relu(), 2)} if ours else {name: maps}
