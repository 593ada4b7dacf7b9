"""Grad-CAM as users of the other libraries call it. Knows these libraries and torch, not ours."""

from __future__ import annotations

from importlib import metadata

import pytest
import torch
from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM as PeerGradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torchcam.methods import GradCAM as TorchCAM

new_torchcam = pytest.mark.skipif(
    metadata.version("torchcam").startswith("0.4"),
    reason="what is told here is told of torchcam 0.5, which Python 3.10 has not",
)


def leaf(images: Tensor) -> Tensor:
    """The peers' hooks need a graph, and the networks' parameters are frozen."""
    return images.clone().requires_grad_()


def minmax(maps: Tensor) -> Tensor:
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low)


def grad_cam(model: nn.Module, layer: str, images: Tensor, classes: list[int]) -> Tensor:
    with PeerGradCAM(model, [model.get_submodule(layer)]) as cam:
        return torch.from_numpy(cam(leaf(images), [ClassifierOutputTarget(c) for c in classes]))


def torchcam(model: nn.Module, layer: str, images: Tensor, classes: list[int]) -> Tensor:
    """Not scaled, after its ReLU, at the layer's resolution."""
    with TorchCAM(model, layer) as extractor:
        scores = model(leaf(images))
        (cam,) = extractor(classes, scores, normalized=False)
    return cam


def captum(model: nn.Module, layer: str, images: Tensor, classes: list[int]) -> Tensor:
    """Not scaled, after its ReLU, at the layer's resolution, ``(batch, 1, height, width)``."""
    attribution = LayerGradCam(model, model.get_submodule(layer))
    return attribution.attribute(leaf(images), target=classes, relu_attributions=True).detach()
