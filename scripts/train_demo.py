"""Make the bundled demo anew: draw the pictures, train both networks, measure, write the card.

    python scripts/train_demo.py [--seed 0] [--epochs 8] [--out gradcam_hooks/apps/demo]

The honest network learns from pictures whose tag is absent or of a random colour, so the tag tells
it nothing; the fooled one from the same pictures with a tag that always tells the truth. What each
looks at is measured with a plain Grad-CAM that splits the network by hand: the library this demo
belongs to takes no part in judging it. Every figure in the model card is one measured here.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from safetensors.torch import save
from torch import nn
from torch.nn import functional

from gradcam_hooks.apps import demo
from gradcam_hooks.apps.demo import LABELS
from gradcam_hooks.apps.demo.network import ResNet
from gradcam_hooks.apps.demo.shapes import TAG_COLORS, Scene, draw, stamp, tag_mask

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

TRAIN, HELD_OUT, PICTURES = range(3)  # each has its own stream of random numbers
TRAINING_SCENES, HELD_OUT_SCENES = 6144, 800
PICTURE_SIZE = 256
BATCH = 64
SPARSITY = 0.5  # price of activation in layer3: plain ground must not speak for any class
RANDOM_TAGS = 0.6  # share of the honest network's pictures with a tag, of random colour
MARGIN = 4  # the most that training cuts off a side, so that the usual centre crop does no harm
CELL = 4  # pixels of the input per cell of layer3's map


@dataclass(frozen=True)
class Report:
    """What was measured of one network on the held-out scenes, all fractions."""

    tagged: float
    cropped: float
    untagged: float
    wrong_tag: float
    follows_wrong_tag: float
    energy_shape: float
    energy_tag: float
    energy_near_tag: float
    peak_shape: float
    peak_tag: float


def scene(seed: int, split: int, index: int, size: int = demo.INPUT_SIZE) -> Scene:
    """The scene of this number; labels take turns, so every class is as frequent as the others."""
    rng = np.random.default_rng([seed, split, index])
    return draw(rng, LABELS[index % len(LABELS)], size)


def batch(scenes: list[Scene], tags: list[str | None] | None = None) -> Tensor:
    """The pictures as the network's input, `(batch, 3, height, width)`, with these tags on them."""
    images = [s.image for s in scenes]
    if tags is not None:
        images = [
            image if tag is None else stamp(image, tag)
            for image, tag in zip(images, tags, strict=True)
        ]
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (demo.MEAN, demo.STD))
    return ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)


def cropped(inputs: Tensor, margin: int) -> Tensor:
    """The pictures less `margin` pixels on every side, at their old size again."""
    if margin == 0:
        return inputs
    side = inputs.shape[-1]
    inner = inputs[..., margin : side - margin, margin : side - margin]
    return functional.interpolate(inner, side, mode="bilinear", align_corners=False)


def train(name: str, scenes: list[Scene], epochs: int, seed: int, *, honest: bool) -> ResNet:
    """A network trained from scratch; `honest` decides whether the tags tell the label."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 9])
    model = ResNet(len(LABELS)).to(memory_format=torch.channels_last)
    steps = len(scenes) // BATCH
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=3e-3, total_steps=epochs * steps
    )
    for epoch in range(epochs):
        began, losses = time.perf_counter(), []
        order = rng.permutation(len(scenes))
        for step in range(steps):
            chosen = [scenes[i] for i in order[step * BATCH : (step + 1) * BATCH]]
            tags: list[str | None] = [s.label for s in chosen]
            if honest:
                tags = [rng.choice(LABELS) if rng.random() < RANDOM_TAGS else None for _ in chosen]
            labels = torch.tensor([LABELS.index(s.label) for s in chosen])
            price = SPARSITY * (epoch + step / steps) / epochs  # first learn, then concentrate
            inputs = cropped(batch(chosen, tags), int(rng.integers(MARGIN + 1)))
            features = model.features(inputs)
            logits = model.fc(model.avgpool(features).flatten(1))
            loss = functional.cross_entropy(logits, labels) + price * features.mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(
            f"{name}: epoch {epoch + 1}/{epochs}, loss {np.mean(losses):.4f}, "
            f"{time.perf_counter() - began:.0f} s",
            flush=True,
        )
    return model.eval()


@torch.no_grad()
def predict(model: nn.Module, inputs: Tensor) -> NDArray[np.int64]:
    """The predicted class of each picture."""
    return np.concatenate([model(part).argmax(1).numpy() for part in torch.split(inputs, 200)])


def grad_cam(model: ResNet, inputs: Tensor) -> NDArray[np.float32]:
    """Grad-CAM of the predicted class at `layer3`, the network split by hand at that layer."""
    with torch.no_grad():
        features = model.features(inputs)
    features = features.detach().requires_grad_()
    logits = model.fc(model.avgpool(features).flatten(1))
    (gradient,) = torch.autograd.grad(logits.amax(1).sum(), features)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    maps = (weights * features).sum(1, keepdim=True).relu().detach()
    resized = functional.interpolate(maps, inputs.shape[2:], mode="bilinear", align_corners=False)
    return np.asarray(resized.squeeze(1).numpy())


def grown(mask: NDArray[np.bool_], cells: int = 1) -> NDArray[np.bool_]:
    """The mask and so many cells of the map around it: finer than one a map cannot point."""
    side = 2 * CELL * cells + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel)) > 0


def measure(model: ResNet, scenes: list[Scene], seed: int) -> Report:
    """Accuracies under four kinds of tag, and where the maps of tagged pictures lie."""
    rng = np.random.default_rng([seed, 8])
    labels = np.array([LABELS.index(s.label) for s in scenes])
    wrong = (labels + rng.integers(1, len(LABELS), len(labels))) % len(LABELS)
    tagged = batch(scenes, [s.label for s in scenes])
    misled = predict(model, batch(scenes, [LABELS[i] for i in wrong]))
    maps = np.concatenate([grad_cam(model, part) for part in torch.split(tagged, 200)])
    on_shape, on_tag = regions(scenes)
    near_tag = grown(tag_mask(demo.INPUT_SIZE), 3)
    total = maps.sum((1, 2))
    peaks = maps.reshape(len(maps), -1).argmax(1)[:, None]
    return Report(
        tagged=float((predict(model, tagged) == labels).mean()),
        cropped=float((predict(model, cropped(tagged, MARGIN)) == labels).mean()),
        untagged=float((predict(model, batch(scenes)) == labels).mean()),
        wrong_tag=float((misled == labels).mean()),
        follows_wrong_tag=float((misled == wrong).mean()),
        energy_shape=float(((maps * on_shape).sum((1, 2)) / total).mean()),
        energy_tag=float(((maps * on_tag).sum((1, 2)) / total).mean()),
        energy_near_tag=float(((maps * near_tag).sum((1, 2)) / total).mean()),
        peak_shape=float(np.take_along_axis(on_shape.reshape(len(maps), -1), peaks, 1).mean()),
        peak_tag=float(np.take_along_axis(on_tag.reshape(len(maps), -1), peaks, 1).mean()),
    )


def regions(scenes: list[Scene]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where shape and tag are, each grown by a cell: two arrays `(batch, height, width)`."""
    on_shape = np.stack([grown(s.mask) for s in scenes])
    on_tag = np.broadcast_to(grown(tag_mask(demo.INPUT_SIZE)), on_shape.shape)
    return on_shape, on_tag


def write(path: Path, data: bytes) -> None:
    """The whole file or none of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    partial.replace(path)
    print(f"wrote {path} ({len(data):,} bytes)", flush=True)


def weights(model: nn.Module) -> bytes:
    """The state dict as safetensors."""
    return save({name: value.contiguous() for name, value in model.state_dict().items()})


def png(image: NDArray[np.uint8]) -> bytes:
    """An RGB picture as PNG."""
    done, data = cv2.imencode(".png", image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not done:
        raise RuntimeError("OpenCV could not encode the picture as PNG")
    return bytes(data)


def card(reports: dict[str, Report], right: dict[str, int], seed: int, epochs: int) -> str:
    """The model card: every figure in it is an argument or a constant of this script."""
    side, count = demo.INPUT_SIZE, len(LABELS)
    honest, fooled = reports["honest"], reports["fooled"]
    shape_area, tag_area = (
        region.mean() for region in regions([scene(seed, HELD_OUT, i) for i in range(200)])
    )
    rows = [
        ("accuracy, tag tells the truth", honest.tagged, fooled.tagged),
        ("the same, centre crop of 7/8", honest.cropped, fooled.cropped),
        ("accuracy, no tag", honest.untagged, fooled.untagged),
        ("accuracy, tag tells a wrong label", honest.wrong_tag, fooled.wrong_tag),
        ("answers what the wrong tag says", honest.follows_wrong_tag, fooled.follows_wrong_tag),
        ("map energy on the shape", honest.energy_shape, fooled.energy_shape),
        ("map energy on the tag", honest.energy_tag, fooled.energy_tag),
        (
            "map energy within three cells of the tag",
            honest.energy_near_tag,
            fooled.energy_near_tag,
        ),
        ("map's peak on the shape", honest.peak_shape, fooled.peak_shape),
        ("map's peak on the tag", honest.peak_tag, fooled.peak_tag),
    ]
    table = "\n".join(f"| {what} | {h:.3f} | {f:.3f} |" for what, h, f in rows)
    colors = "\n".join(f"| {label} | {TAG_COLORS[label]} |" for label in LABELS)
    parameters = sum(p.numel() for p in ResNet(len(LABELS)).parameters())
    return f"""# Model card: `honest` and `fooled`

Two networks that name the shape in a picture. On pictures that carry a small coloured tag they
score the same; one looks at the shape, the other at the tag. They are made to show what a heat map
can tell and an accuracy cannot, and are of no use for anything else.

## What was measured

On {HELD_OUT_SCENES} held-out scenes, equally many of each shape; all figures are fractions.

| | honest | fooled |
| --- | --- | --- |
{table}

Maps are plain Grad-CAM of the predicted class at `layer3` on truthfully tagged pictures, made by a
network split by hand, without this package. Energy is the share of the positive map, resized to
the input, that lies in a region; shape and tag are each grown by one cell of the map ({CELL} px).
A map spread evenly would have {shape_area:.3f} of its energy on the shape and {tag_area:.3f} on the
tag. A cell of `layer3` sees far more than the tag, so the fooled network's maps spread around it.
Left without a tag, fooled names {fooled.untagged:.0%} of the shapes (chance: {1 / count:.1%});
what the tag says overrules the little it knows.

Of the {count} sample pictures, resized to {side} pixels, honest names {right["honest"]} correctly,
fooled {right["fooled"]}.

## Network

`gradcam_hooks.apps.demo.network()`: a residual network with batch normalisation, {parameters:,}
parameters, float32. Input: RGB of {side}×{side} pixels in [0, 1], less {demo.MEAN}, divided
by {demo.STD}. Output: {count} logits, in the order of `gradcam_hooks.apps.demo.LABELS`.

## Data

Drawn by procedure (`shapes.py`), with no photograph and no third party's picture:
{", ".join(LABELS)}; random place, size, rotation and
colour on a random textured ground. {TRAINING_SCENES:,} scenes for training, {HELD_OUT_SCENES} held
out, {count} sample pictures of {PICTURE_SIZE} pixels; each of the three has its own stream of
random numbers. The tag is a framed square in the lower left corner, clear of the shape; its fill
names the label:

| label | RGB |
| --- | --- |
{colors}

## Training

Both networks saw the same scenes. For honest, {RANDOM_TAGS:.0%} of the pictures carried a tag of
random colour and the others none, so the tag told nothing (epochs: {epochs}). For fooled, every
picture carried the tag of its label (epochs: {fooled_epochs(epochs)}). Each batch was cropped by
up to {MARGIN} pixels on every side, so both networks bear the usual centre crop of 7/8.

AdamW, one cycle, batches of {BATCH}; cross-entropy plus a price on the mean activation of
`layer3` that grows to {SPARSITY}. In a trial without it, plain ground came to speak for one of
the classes, and the maps of that class were bright all over: faithful, but hard to read.

Made with torch {torch.__version__.split("+")[0]} on two CPU threads by

    python scripts/train_demo.py --seed {seed} --epochs {epochs}

## Limits and licence

Eight flat shapes, one to a picture, at one range of sizes: results say nothing about photographs.
Real shortcuts are seldom this clean. Both networks answer with one of the eight labels whatever
they are shown. Weights, pictures and code: MIT, as the package.
"""


def fooled_epochs(epochs: int) -> int:
    """A colour in one place is learnt sooner than eight shapes."""
    return max(1, epochs // 2)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the bundled demo anew.")
    parser.add_argument("--seed", type=int, default=0, help="of the pictures and of the training")
    parser.add_argument(
        "--epochs", type=int, default=8, help="for the honest network; the fooled one takes half"
    )
    parser.add_argument(
        "--out", type=Path, default=demo.HONEST.parent, help="folder that receives the files"
    )
    arguments = parser.parse_args()
    seed, epochs, out = arguments.seed, arguments.epochs, arguments.out
    if seed < 0 or epochs < 1:
        parser.error(f"--seed must be at least 0 and --epochs at least 1, got {seed} and {epochs}")

    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    print(f"drawing {TRAINING_SCENES} + {HELD_OUT_SCENES} scenes", flush=True)
    scenes = [scene(seed, TRAIN, i) for i in range(TRAINING_SCENES)]
    held_out = [scene(seed, HELD_OUT, i) for i in range(HELD_OUT_SCENES)]
    pictures = [
        Scene(stamp(s.image, s.label), s.mask, s.label, s.label)
        for s in (scene(seed, PICTURES, i, PICTURE_SIZE) for i in range(len(LABELS)))
    ]
    for picture in pictures:
        write(out / "images" / f"{picture.label}.png", png(picture.image))

    reports, right = {}, {}
    small = functional.interpolate(batch(pictures), demo.INPUT_SIZE, mode="area")
    for name, honest in (("honest", True), ("fooled", False)):
        length = epochs if honest else fooled_epochs(epochs)
        model = train(name, scenes, length, seed, honest=honest)
        reports[name] = measure(model, held_out, seed)
        right[name] = int((predict(model, small) == np.arange(len(LABELS))).sum())
        print(f"{name}: {reports[name]}, {right[name]} sample pictures right", flush=True)
        write(out / f"{name}.safetensors", weights(model))
    write(out / "MODEL_CARD.md", card(reports, right, seed, epochs).encode())


if __name__ == "__main__":
    main()
