"""How often `Explanation.check` is wrong, on networks of which it is known where they look.

    python scripts/bench_check.py 8 7 [folder with the benchmark's networks]

The demo's honest network looks at the shape and the fooled one at the tag; scenes are drawn anew,
so that both regions are known to the pixel. A map is right where at least half of it lies in its
network's region, and wrong where no more of it does than of an even map; others are left out. The
wrong ones are baselines, and maps of Grad-CAM that were turned round or laid elsewhere.

Then the benchmark's networks of shapes, on grids of two by two of four classes, of which they are
sure: the region is the cell of the class that is asked of, the layer the last and the middle one.
"""

from __future__ import annotations

import itertools
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from train_demo import batch, grown, scene
from trust_grids import Plan, of_shapes, trained
from trust_units import seed_of

import gradcam_hooks as gh
from gradcam_hooks import metrics
from gradcam_hooks.apps import demo
from gradcam_hooks.apps.demo.shapes import TAG_COLORS, tag_mask
from gradcam_hooks.results.checked import Trust

__all__ = ["METHODS", "Checked", "checks", "grid_checks", "rates"]

_SPLIT = 5  # a stream of scenes that neither training nor the card has seen
_RIGHT = 0.5


def turned(activation: Tensor, gradient: Tensor) -> Tensor:
    """Grad-CAM with the sign of its weights turned round."""
    return -(gradient.mean((2, 3), keepdim=True) * activation).sum(1)


def moved(activation: Tensor, gradient: Tensor) -> Tensor:
    """Grad-CAM, half a picture further."""
    return turned(activation, gradient).neg().roll((8, 8), (1, 2))


METHODS = (
    "gradcam",
    "gradcam++",
    "hirescam",
    "layercam",
    "xgradcam",
    "eigencam",
    "random",
    "center",
    "sobel",
    "fakecam",
    turned,
    moved,
)
"""What is checked."""


@dataclass(frozen=True)
class Checked:
    """One map: of which network and method, how much of it lies where it ought to, and the word."""

    network: str
    method: str
    share: float
    even: float
    word: Trust

    @property
    def right(self) -> bool | None:
        """Whether the map is right; None where it is neither."""
        return True if self.share >= _RIGHT else False if self.share <= self.even else None


def checks(count: int, seed: int = 0, step: int = 16) -> Iterator[Checked]:
    """Every method's map of so many scenes, with both networks, checked."""
    networks = {"honest": demo.HONEST, "fooled": demo.FOOLED}
    for start in range(0, count, step):
        scenes = [scene(seed, _SPLIT, index) for index in range(start, min(start + step, count))]
        inputs = batch(scenes, [one.label for one in scenes])
        near = np.broadcast_to(grown(tag_mask(demo.INPUT_SIZE), 3), (len(scenes), 64, 64))
        where = {"honest": np.stack([grown(one.mask) for one in scenes]), "fooled": near}
        for name, weights in networks.items():
            loaded = gh.load_model("gradcam_hooks.apps.demo:network", weights, labels=demo.LABELS)
            inside = torch.from_numpy(where[name].copy())
            for method in METHODS:
                result = gh.explain(loaded, inputs, "layer3", method=method)
                words = result.check(seed=seed).words
                total = result.maps.sum((1, 2))
                share = (result.maps * inside).sum((1, 2)) / total.clamp_min(1e-9)
                for row, (part, word) in enumerate(zip(share.tolist(), words, strict=True)):
                    even = float(inside[row].float().mean())
                    assert isinstance(word, Trust)
                    yield Checked(name, result.method, part, even, word)


def grid_checks(count: int, seed: int, folder: Path) -> Iterator[Checked]:
    """The same of the networks of `benchmark_trust`, kept in a folder or trained into it."""
    plan = Plan(folder, (seed,), ("residual", "vgg"), (0, 0), (0, 0), ())
    for kind, layer in itertools.product(plan.kinds, ("last", "middle")):
        net = trained(plan, kind, seed)
        drawn = of_shapes(net, count, 2, random.Random(seed_of("check", kind, seed)), seed)
        front, head = net.split(layer)
        model = metrics.Gridded(front, head, 2).eval()
        own = drawn.labels[range(count), drawn.cells].tolist()
        for method in METHODS:
            result = gh.explain(model, drawn.images, "features_of_grid", target=own, method=method)
            shares = metrics.grid_pg(result.maps, torch.tensor(drawn.cells), grid=2).values.tolist()
            for share, word in zip(shares, result.check(seed=seed).words, strict=True):
                assert isinstance(word, Trust)
                yield Checked(f"{kind} {layer}", result.method, share, 0.25, word)


def rates(found: list[Checked]) -> dict[str, tuple[int, Counter[str]]]:
    """Of right and of wrong maps how many there are, and which words they were given."""
    table = {}
    for name, right in (("right", True), ("wrong", False)):
        words = Counter(str(one.word) for one in found if one.right is right)
        table[name] = (sum(words.values()), words)
    return table


def main() -> None:
    """Print a line for each network and method, and the rates."""
    assert set(TAG_COLORS) >= set(demo.LABELS)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 48
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    tell(list(checks(count, seed)))
    if len(sys.argv) > 3:
        tell(list(grid_checks(count, seed, Path(sys.argv[3]))))


def tell(found: list[Checked]) -> None:
    """A line for each network and method, and the rates."""
    for network, method in dict.fromkeys((one.network, one.method) for one in found):
        own = [one for one in found if (one.network, one.method) == (network, method)]
        line = "; ".join(
            f"{name} {total}: " + ", ".join(f"{word} {n}" for word, n in words.items())
            for name, (total, words) in rates(own).items()
            if total
        )
        print(f"{network:16}{method:12}{line}")
    for name, (total, words) in rates(found).items():
        print(name, total, dict(words))


if __name__ == "__main__":
    main()
