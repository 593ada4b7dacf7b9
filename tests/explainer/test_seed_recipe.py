"""Grad-CAM as one does it by hand: split the network, detach between the halves, go backwards.

The recipe is written out here for VGG16 and ResNeXt-101 in plain PyTorch and OpenCV, and the
library must tell the same. One step is in another order: by hand the map is scaled to [0, 1] and
then resized, the library resizes and then scales, so that a map's largest value is 1 whatever the
resizing does. So the two are compared at the layer's resolution, where the order plays no part,
and at the input's with the steps of the hand-made map in the library's order.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

import gradcam_hooks as gh

SIDE = 224
TOLERANCE = 1e-5


def split_vgg(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    rest = nn.Sequential(model.avgpool, nn.Flatten(), model.classifier)
    return model.features, rest


def split_resnext(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    stem = (model.conv1, model.bn1, model.relu, model.maxpool)
    features = nn.Sequential(*stem, model.layer1, model.layer2, model.layer3, model.layer4)
    return features, nn.Sequential(model.avgpool, nn.Flatten(), model.fc)


CASES = {
    "vgg16": ("features", 512, split_vgg),
    "resnext101_32x8d": ("layer4", 2048, split_resnext),
}


def by_hand(
    model: nn.Module,
    split: Callable[[nn.Module], tuple[nn.Module, nn.Module]],
    channels: int,
    picture: Tensor,
) -> tuple[int, np.ndarray]:
    """The predicted class, and the map at the layer's resolution before it is scaled, (7, 7)."""
    extract, classify = split(model)
    feature = extract(picture.view(1, 3, SIDE, SIDE))
    feature = feature.clone().detach().requires_grad_(True)
    scores = classify(feature)
    predicted = int(torch.argmax(scores))
    scores[0][predicted].backward()
    alpha = torch.mean(feature.grad.view(channels, 7 * 7), 1)
    feature = feature.view(channels, 7, 7)
    summed = torch.sum(feature * alpha.view(-1, 1, 1), 0)
    return predicted, nn.functional.relu(summed).detach().numpy()


def scaled(heat: np.ndarray) -> np.ndarray:
    low = np.min(heat)
    return (heat - low) / np.max(heat - low)


@pytest.mark.parametrize("name", CASES)
def test_the_map_is_the_one_made_by_hand(name: str) -> None:
    layer, channels, split = CASES[name]
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    picture = torch.randn(3, SIDE, SIDE)
    predicted, heat = by_hand(model, split, channels, picture)
    assert heat.shape == (7, 7)
    assert heat.max() > 0

    result = gh.explain(model, picture[None], layer)

    assert result.target.tolist() == [predicted]
    raw = result.raw[0].numpy()
    assert raw.shape == (7, 7)
    assert np.abs(np.maximum(raw, 0) - heat).max() <= TOLERANCE * heat.max()
    assert np.abs(scaled(np.maximum(raw, 0)) - scaled(heat)).max() <= TOLERANCE
    # The order of the library: ReLU, resize, scale.
    resized = scaled(cv2.resize(heat, (SIDE, SIDE)))
    assert np.abs(result.maps[0].numpy() - resized).max() <= TOLERANCE
    # The order of the recipe: ReLU, scale, resize; scaled once more it is the same picture.
    recipe = cv2.resize(scaled(heat), (SIDE, SIDE))
    assert np.abs(result.maps[0].numpy() - scaled(recipe)).max() <= TOLERANCE
