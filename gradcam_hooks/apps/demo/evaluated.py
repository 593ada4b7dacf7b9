"""The evaluation of the demo: scenes drawn anew, with masks of their shapes, through both networks.

Both networks name every shape; the maps of both are faithful, and only one looks at the shape.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gradcam_hooks.apps import demo
from gradcam_hooks.apps.batch import Folder
from gradcam_hooks.apps.demo.shapes import draw
from gradcam_hooks.apps.evaluated import evaluate_files
from gradcam_hooks.evaluating.evaluation import Evaluation
from gradcam_hooks.evaluating.run import Progress
from gradcam_hooks.images import Preprocess
from gradcam_hooks.images.encoding import encoded
from gradcam_hooks.models import load_model

__all__ = ["evaluate_demo"]

_SCENES = 16
_BUDGET = "12000 passes"
_ASKED: dict[str, Any] = {
    "methods": ["hirescam", "gradcam", "layercam", "eigencam"],
    "layers": ["layer2", "layer3"],
}


def evaluate_demo(
    out: Path, *, seed: int = 0, progress: Progress | None = None
) -> tuple[dict[str, Evaluation], list[str]]:
    """Evaluate both networks on drawn scenes.

    Args:
        out: the folder for `pictures/`, `masks/`, `honest/` and `fooled/`.
        seed: of the scenes, and of all else that is drawn.
        progress: as for `evaluate`, of one network after the other.

    Returns:
        What was found of each network, and what is to be said, a line each.

    Raises:
        ImageError, OSError: something of another's is in the way, or the disk is full.
    """
    paths, labels = _drawn(Folder(out), seed)
    side = demo.INPUT_SIZE
    found, lines = {}, []
    for name, weights in {"honest": demo.HONEST, "fooled": demo.FOOLED}.items():
        loaded = load_model("gradcam_hooks.apps.demo:network", weights, labels=demo.LABELS)
        own, files = evaluate_files(
            loaded,
            paths,
            out / name,
            masks=out / "masks",
            preprocess=Preprocess(size=(side, side), mean=demo.MEAN, std=demo.STD),
            budget=_BUDGET,
            seed=seed,
            command="gradcam-hooks evaluate --demo",
            progress=progress,
            **_ASKED,
        )
        found[name] = own
        chosen = [labels[number] for number in own.plan.numbers]
        right = sum(
            demo.LABELS[one] == label for one, label in zip(own.answers, chosen, strict=True)
        )
        lines += [
            f"The {name} network is right on {right} of {len(own)} pictures.",
            own.text,
            f"page: {files[0]}",
            "",
        ]
    lines += [
        "Both networks' maps are faithful: they show what each one uses. The fooled network uses",
        "the coloured tag in the corner, and no metric of faithfulness says that this is wrong.",
    ]
    return found, lines


def _drawn(folder: Folder, seed: int) -> tuple[list[Path], list[str]]:
    """Scenes with the tag of their own label, and masks of their shapes, as files."""
    from PIL import Image

    labels = [demo.LABELS[number % len(demo.LABELS)] for number in range(_SCENES)]
    names = [f"pictures/{number:02d}-{label}.png" for number, label in enumerate(labels)]
    with folder.held():
        folder.claim([*names, *(f"masks/{Path(name).name}" for name in names)])
        for number, (name, label) in enumerate(zip(names, labels, strict=True)):
            scene = draw(np.random.default_rng([seed, number, 11]), label, 256, label)
            pixels = {name: scene.image, f"masks/{Path(name).name}": 255 * scene.mask}
            for file, values in pixels.items():
                if not (folder.path / file).is_file():  # so that a run goes on with the same files
                    with folder.write(file) as part:
                        picture = Image.fromarray(values.astype(np.uint8))
                        part.write_bytes(encoded(picture, "PNG"))
    return [folder.path / name for name in names], labels
