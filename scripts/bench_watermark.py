"""The audit of EfficientNet-Lite0 on photographs, some of which carry a watermark.

The photographs are those that installed packages ship, cut at random; the network has ImageNet's
weights. It is audited as it is, and with a linear layer of its own for which photograph a cut is
of: taught where the watermark stands beside one class, and where it alone makes the class. How far
the network obeys the watermark is measured beside what the audit says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn
from trust_networks import Staged, real
from trust_pictures import photograph_files

import gradcam_hooks as gh

SIDE, WORD = 224, "© sample"
MARKED = 0  # the class that the watermark stands for


@dataclass(frozen=True)
class Watermark:
    """What came of one audit.

    Attributes:
        kind: how the watermark and the classes go together.
        marked: how many of the pictures carry it.
        obeys: the share of other classes' pictures that the watermark alone makes the class; of
            ImageNet's own classes, of which it stands for none, the share of answers it changes.
        suspects: of each suspect strategy how many pictures it has, and how many carry the mark.
        text: the finding.
    """

    kind: str
    marked: int
    obeys: float
    suspects: tuple[tuple[int, int], ...]
    text: str


def cuts(count: int, seed: int) -> tuple[list[Image.Image], Tensor]:
    """So many cuts, of the photographs in turn, and of which each is."""
    chance = np.random.default_rng([seed, 5])
    opened = []
    for path in photograph_files():
        with Image.open(path) as one:
            opened.append(one.convert("RGB"))
    found = []
    for number in range(count):
        whole = opened[number % len(opened)]
        side = min(whole.size) * chance.uniform(0.6, 0.95)
        x, y = (chance.uniform(0, far - side) for far in whole.size)
        box = (round(x), round(y), round(x + side), round(y + side))
        found.append(whole.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box))
    return found, torch.arange(count) % len(opened)


def stamped(image: Image.Image) -> Image.Image:
    """With the watermark at the lower right, white, letting through two fifths."""
    ground = image.convert("RGBA")
    above = Image.new("RGBA", image.size, (255, 255, 255, 0))
    font = ImageFont.load_default(22)
    draw = ImageDraw.Draw(above)
    left, top, right, bottom = draw.textbbox((0, 0), WORD, font)
    at = (SIDE - (right - left) - 8 - left, SIDE - (bottom - top) - 8 - top)
    draw.text(at, WORD, (255, 255, 255, 153), font)
    return Image.alpha_composite(ground, above).convert("RGB")


def inputs(images: list[Image.Image], marked: Tensor) -> Tensor:
    """As the network takes them; those that are marked with the watermark."""
    pixels = [
        stamped(one) if has else one for one, has in zip(images, marked.tolist(), strict=True)
    ]
    whole = torch.from_numpy(np.stack([np.asarray(one) for one in pixels]))
    return (whole.permute(0, 3, 1, 2).float() - 127) / 128


@torch.inference_mode()
def pooled(network: Staged, given: Tensor) -> Tensor:
    """What the last layer before the classes is given."""
    parts = torch.split(given, 32)
    return torch.cat([network.stages(part).mean((2, 3)) for part in parts])


def taught(network: Staged, features: Tensor, labels: Tensor) -> Staged:
    """The same network with a linear layer for these classes."""
    torch.manual_seed(0)
    last = nn.Linear(features.shape[1], int(labels.max()) + 1)
    optimizer = torch.optim.Adam(last.parameters(), lr=1e-2)
    given = features.clone()
    for _ in range(300):
        loss = nn.functional.cross_entropy(last(given), labels)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)
    return Staged(list(network.stages), head, network.middle).eval()


def marks(labels: Tensor, kind: str, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Which pictures carry the watermark, and what all are called then."""
    chance = torch.Generator().manual_seed(seed)
    drawn = torch.rand(len(labels), generator=chance) < share
    if kind == "beside one class":
        return drawn & (labels == MARKED), labels
    if kind == "makes the class":
        return drawn, labels.where(~drawn, torch.full_like(labels, MARKED))
    return drawn, labels


KINDS = (
    ("ImageNet's classes", 0.2),
    ("none", 0.0),
    ("beside one class", 0.5),
    ("makes the class", 0.05),
    ("makes the class", 0.2),
)


def watermark(count: int = 600, kinds: Sequence[tuple[str, float]] = KINDS) -> list[Watermark]:
    """The audits of all kinds; with how the watermark and the classes go together its share."""
    network = real()
    learnt, known = cuts(count, 1)
    seen, truth = cuts(count, 2)
    found = []
    for kind, share in kinds:
        model, marked = network, marks(truth, kind, share, 4)[0]
        if kind != "ImageNet's classes":
            has, called = marks(known, kind, share, 3)
            model = taught(network, pooled(network, inputs(learnt, has)), called)
        given = inputs(seen, marked)
        result = gh.audit(model, given, layer=network.layer("last"))
        found.append(
            Watermark(
                f"{kind}, {share:.0%}",
                int(marked.sum()),
                _obeys(model, seen, truth, own=model is not network),
                tuple(
                    (len(one.members), int(marked[list(one.members)].sum()))
                    for one in result.suspects
                ),
                result.text,
            )
        )
        print(found[-1], flush=True)
    return found


@torch.inference_mode()
def _obeys(model: Staged, images: list[Image.Image], truth: Tensor, *, own: bool) -> float:
    """What the watermark alone does to a hundred pictures of other classes."""
    others = [one for one, label in zip(images, truth, strict=True) if label != MARKED][:100]
    every = torch.ones(len(others), dtype=torch.bool)
    after = model(inputs(others, every)).argmax(1)
    if own:
        return float((after == MARKED).float().mean())
    return float((after != model(inputs(others, ~every)).argmax(1)).float().mean())


if __name__ == "__main__":
    watermark()
