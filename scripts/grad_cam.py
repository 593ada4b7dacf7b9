"""Grad-CAM of a folder of pictures: the program that this library began as.

    python scripts/grad_cam.py --image-dir DIR

It loads a VGG16 from `model_save/best.pth`, explains the pictures of the folder in sorted order,
and writes `results_img/0.jpg`, `1.jpg`, ... in the jet colours, 0.3 of the picture and 0.7 of the
map, each at its picture's own size, with a table of them in `results_img/README.md`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    import gradcam_hooks as gh
    from gradcam_hooks.apps.batch import Folder
    from gradcam_hooks.images.files import list_images
except ModuleNotFoundError as error:
    sys.exit(
        f"error: this Python ({sys.executable}) has no {error.name}; run it with .venv/bin/python, "
        "which scripts/demo makes"
    )

PER_ROW = 4


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Draw Grad-CAM heat maps of all pictures in a folder.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--image-dir", type=Path, required=True, help="the folder of pictures")
    parser.add_argument("--model", default="vgg16", help="the architecture")
    parser.add_argument(
        "--weights", type=Path, default=Path("model_save/best.pth"), help="its trained weights"
    )
    parser.add_argument(
        "--layer", help="the layer to look at (default: features for a VGG, else auto)"
    )
    parser.add_argument("--out", type=Path, default=Path("results_img"), help="where to draw to")
    return parser.parse_args()


def main() -> int:
    """Draw all pictures; 1 where some were broken."""
    asked = arguments()
    if not asked.weights.is_file():
        raise gh.ModelError(
            f"there are no weights at '{asked.weights}': put the file of your trained "
            f"{asked.model} there, or name it with --weights. To see maps without a model of your "
            "own, run scripts/demo"
        )
    pictures = list_images([asked.image_dir], exclude=asked.out)
    loaded = gh.load_model(asked.model, asked.weights)
    layer = asked.layer or ("features" if asked.model.startswith("vgg") else "auto")
    drawn = 0
    broken = []
    folder = Folder(asked.out)
    with (
        folder.held(),
        gh.GradCAM(loaded.model, layer, preprocess=loaded.preprocess) as cam,
    ):
        folder.claim(["README.md", *(f"{number}.jpg" for number in range(len(pictures)))])
        for picture in pictures:
            try:
                image = gh.load_image(picture)
            except gh.ImageError as error:
                broken.append(str(error))
                continue
            path = asked.out / f"{drawn}.jpg"
            result = cam(image)
            with folder.write(path.name) as part:
                result.save(part, style=gh.CLASSIC)
            print(f"{path}  {picture}")
            for word in result.diagnosis:
                if isinstance(word, gh.Diagnosis) and word != "ok":
                    print(f"{word}: {path}: {word.message}", file=sys.stderr)
            drawn += 1
        if drawn:
            with folder.write("README.md") as part:
                part.write_text(markdown(range(drawn)), encoding="utf-8")
            print(f"{asked.out / 'README.md'}  the table of them")
    for reason in broken:
        print(f"broken: {reason}", file=sys.stderr)
    return 1 if broken else 0


def markdown(numbers: Sequence[int]) -> str:
    """A Markdown table of the pictures with these numbers, four to a row.

    Each row has its numbers for a heading, as Markdown has no heading within a table.
    """
    rows = []
    for start in range(0, len(numbers), PER_ROW):
        row = numbers[start : start + PER_ROW]
        cells = [f'<img src="./{number}.jpg" width="150" height="150">' for number in row]
        rows.append(f"|{'|'.join(map(str, row))}|\n|{'---|' * len(row)}\n|{'|'.join(cells)}|\n")
    return "\n".join(rows)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (gh.GradCamHooksError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
