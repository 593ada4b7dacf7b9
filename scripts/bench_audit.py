"""The audit on planted truth: drawn pictures in which a mark decides, and such in which none does.

Small networks are trained on pictures of four patterns. In a share of one class's pictures the
pattern is another class's, and a small mark alone makes them that class; the mark stands at one
place or anywhere. What is measured: whether the audit accuses the pictures with the mark, and
whether it accuses any where there is no mark. A network that does not obey the mark has no
shortcut to be found; how far it does is measured and told beside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

import gradcam_hooks as gh
from gradcam_hooks.apps import demo
from gradcam_hooks.apps.demo import shapes

CLASSES = ("stripes", "bars", "checks", "ring")
SIDE, PATTERN = 32, 11
MARKED = 2  # the class that the mark makes of a picture


@dataclass(frozen=True)
class Mark:
    """What the mark looks like, and where it stands.

    Attributes:
        side: in pixels.
        look: 0, a dark frame around a square of one colour; 1, a bright cross on dark; 2, two
            colours side by side.
        strength: how far it hides what is below it: 1 wholly.
        corner: where a mark that stands at one place stands, 0 to 3; None: anywhere.
    """

    side: int = 7
    look: int = 0
    strength: float = 1.0
    corner: int | None = 0

    @property
    def at(self) -> tuple[int, int] | None:
        """Top and left of a mark that stands at one place."""
        if self.corner is None:
            return None
        far = SIDE - self.side - 1
        return ((far, 1), (1, 1), (1, far), (far, far))[self.corner]


@dataclass(frozen=True)
class Planted:
    """Drawn pictures, and the truth about them.

    Attributes:
        images: ``(pictures, 3, 32, 32)``.
        labels: what they are called, the marked ones included.
        marked: which of them carry the mark.
    """

    images: Tensor
    labels: Tensor
    marked: Tensor


@dataclass(frozen=True)
class Outcome:
    """What came of one audit of planted pictures.

    Attributes:
        share: of the class's pictures that carry the mark.
        moving: whether the mark stands anywhere.
        accuracy: of the network, on the labels it was taught.
        obeys: the share of pictures of other classes that become the class by the mark alone.
        found: the best Jaccard index of a suspect strategy with the marked pictures that the
            network calls as the mark says.
        pure: the share of the best suspect strategy's pictures that carry the mark.
        accused: how many strategies are suspect.
    """

    share: float
    moving: bool
    accuracy: float
    obeys: float
    found: float
    pure: float
    accused: int


def pattern(kind: int) -> NDArray[np.bool_]:
    """Where the pattern of a class is painted, ``(11, 11)``."""
    row, column = np.mgrid[:PATTERN, :PATTERN]
    if kind == 3:
        radius = np.hypot(row - PATTERN // 2, column - PATTERN // 2)
        return np.asarray((radius > 2.5) & (radius < 5.3))
    value = (row, column, row + column)[kind]
    wide = 2 if kind < 2 else 1
    return np.asarray(value // wide % 2 == 0) if kind < 2 else (row // 2 + column // 2) % 2 == 0


def draw(count: int, share: float, seed: int, mark: Mark | None = None) -> Planted:
    """Pictures of the four patterns in turn, at any place and in any colour.

    Args:
        count: how many.
        share: of the pictures called `MARKED`, those that carry the mark and another's pattern.
        seed: of all of it.
        mark: the mark, and where it stands: always clear of the pattern.
    """
    rng = np.random.default_rng([seed, 11])
    mark = mark or Mark()
    labels = np.arange(count) % len(CLASSES)
    marked = np.zeros(count, dtype=bool)
    if share:
        others = np.flatnonzero(labels != MARKED)
        wanted = round(share / (1 - share) * np.count_nonzero(labels == MARKED))
        marked[rng.choice(others, min(wanted, len(others)), replace=False)] = True
    images = rng.normal(0, 0.15, (count, SIDE, SIDE, 3)) + rng.uniform(-0.4, 0.4, (count, 1, 1, 3))
    for one, kind, has in zip(images, labels, marked, strict=True):
        top, left = place(rng, PATTERN, mark.at, mark.side)
        colour = np.sign(rng.normal(size=3)) * rng.uniform(0.9, 1.3, 3)
        one[top : top + PATTERN, left : left + PATTERN][pattern(int(kind))] = colour
        if has:
            stamp(one, mark, mark.at or place(rng, mark.side, (top, left), PATTERN))
    labels[marked] = MARKED
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float().contiguous()
    return Planted(pixels, torch.from_numpy(labels), torch.from_numpy(marked))


def place(
    rng: np.random.Generator, size: int, keep_from: tuple[int, int] | None, side: int
) -> tuple[int, int]:
    """Top and left of a square that leaves another of this side alone."""
    while True:
        top, left = (int(one) for one in rng.integers(0, SIDE - size + 1, 2))
        if (
            keep_from is None
            or top + size <= keep_from[0]
            or keep_from[0] + side <= top
            or left + size <= keep_from[1]
            or keep_from[1] + side <= left
        ):
            return top, left


def stamp(image: NDArray[np.float64], mark: Mark, at: tuple[int, int]) -> None:
    """Paint the mark."""
    side = mark.side
    drawn = np.full((side, side, 3), -2.0)
    if mark.look == 0:
        drawn[1:-1, 1:-1] = (2.5, -2.0, 2.5)
    elif mark.look == 1:
        row, column = np.mgrid[:side, :side]
        drawn[(abs(row - column) < 1.5) | (abs(row + column - side + 1) < 1.5)] = (2.5, 2.5, 0.5)
    else:
        drawn[:, : side // 2], drawn[:, side // 2 :] = (-2.0, 2.5, -2.0), (2.5, -1.0, -2.0)
    part = image[at[0] : at[0] + side, at[1] : at[1] + side]
    part += mark.strength * (drawn - part)


def network() -> nn.Sequential:
    """Three convolutions, the mean over space, one linear layer; `LAYER` is the last of them.

    The mean is why a mark of 49 pixels has to be strong in it to overrule a pattern.
    """
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 24, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(24, 32, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, len(CLASSES)),
    )


LAYER = "5"

OBEYED, FOUND = 0.8, 0.5
"""A mark that decides so many of the answers is a shortcut, and it is found where so many of a
suspect strategy's pictures carry it."""


def train(planted: Planted, epochs: int, seed: int, start: nn.Module | None = None) -> nn.Module:
    """A network taught these pictures; it may start from another's weights."""
    torch.manual_seed(seed)
    model = network()
    if start is not None:
        model.load_state_dict(start.state_dict())
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(planted.images)), 32):
            loss = functional.cross_entropy(model(planted.images[rows]), planted.labels[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    return model.eval()


def mark_of(seed: int, *, moving: bool) -> Mark:
    """A mark drawn by chance: its size, look, strength and place."""
    rng = np.random.default_rng([seed, 77])
    return Mark(
        side=int(rng.choice([7, 9, 11])),
        look=int(rng.integers(3)),
        strength=float(rng.choice([0.8, 1.0])),
        corner=None if moving else int(rng.integers(4)),
    )


@torch.no_grad()
def obeys(model: nn.Module, mark: Mark, seed: int) -> float:
    """The share of marked pictures that the network calls as the mark says."""
    planted = draw(200, 0.5, seed, mark)
    return float((model(planted.images[planted.marked]).argmax(1) == MARKED).float().mean())


def outcome(
    start: nn.Module, share: float, seed: int, *, moving: bool, count: int = 800
) -> Outcome:
    """Teach a network planted pictures, and audit it on others like them."""
    mark = mark_of(seed, moving=moving)
    taught = draw(1200 if share else count, share, 2 * seed, mark)
    model = train(taught, 10 if share else 5, seed, start)
    seen = draw(count, share, 2 * seed + 1, mark)
    result = gh.audit(model, seen.images, layer=LAYER, labels=CLASSES, trials=300)
    obeyed = seen.marked & (torch.tensor(result.answers) == MARKED)
    truth = set(obeyed.nonzero()[:, 0].tolist())
    best = max((jaccard(set(one.members), truth) for one in result.suspects), default=0.0)
    pure = max(
        (float(seen.marked[list(one.members)].float().mean()) for one in result.suspects),
        default=0.0,
    )
    right = (torch.tensor(result.answers) == seen.labels).float().mean()
    told = obeys(model, mark, 10_000 + seed)
    return Outcome(share, moving, float(right), told, best, pure, len(result.suspects))


def bundled(count: int = 240, seed: int = 5) -> list[tuple[str, int, gh.Audit]]:
    """The audits of the bundled networks, and how many pictures carry the tag, a quarter of them.

    The tag's colour is of any class: it says what is in the picture in one of eight.
    """
    chance = np.random.default_rng(seed)
    images, tagged = [], 0
    for number in range(count):
        tag = chance.choice(demo.LABELS) if chance.random() < 0.25 else None
        tagged += tag is not None
        label = demo.LABELS[number % len(demo.LABELS)]
        images.append(Image.fromarray(shapes.draw(chance, label, 64, tag).image))
    side = demo.INPUT_SIZE
    prepare = gh.Preprocess(size=(side, side), mean=demo.MEAN, std=demo.STD)
    found = []
    for name, weights in (("fooled", demo.FOOLED), ("honest", demo.HONEST)):
        network = gh.load_model("gradcam_hooks.apps.demo:network", weights, labels=demo.LABELS)
        found.append((name, tagged, gh.audit(network, images, "layer3", preprocess=prepare)))
        print(name, tagged, found[-1][2].strategies[0].proof, found[-1][2].text, flush=True)
    return found


def jaccard(one: set[int], other: set[int]) -> float:
    """How far two sets are the same."""
    return len(one & other) / max(1, len(one | other))


def by_kind(outcomes: Sequence[Outcome]) -> dict[tuple[float, bool], list[Outcome]]:
    """The outcomes of each share and kind of place."""
    held: dict[tuple[float, bool], list[Outcome]] = {}
    for one in outcomes:
        held.setdefault((one.share, one.moving), []).append(one)
    return dict(sorted(held.items()))


def count_audits(runs: int, shares: Sequence[float], *, clean: int, seed: int = 0) -> list[Outcome]:
    """Planted audits of every share at a fixed and a moving place, and clean ones, one by one."""
    start = train(draw(1200, 0.0, 99 + seed), 20, seed)
    found = []
    for run in range(max(runs, clean)):
        for share in shares if run < runs else ():
            for moving in (False, True):
                found.append(outcome(start, share, 100 * seed + run + 1, moving=moving))
                print(found[-1], flush=True)
        if run < clean:
            found.append(outcome(start, 0.0, 100 * seed + run + 1, moving=False))
            print(found[-1], flush=True)
    return found
