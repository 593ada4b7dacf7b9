"""Presets: how pictures are made ready for a network, as its library tells.

torchvision describes the transforms of the weights it publishes, timm those of each architecture.
Nothing describes weights of one's own: they are given the size, mean and standard deviation of
the architecture's first published weights, and pictures are squashed, for whether they were
trained on crops is not known, and a squashed picture loses nothing at its edges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn

from gradcam_hooks.images import Geometry, Preprocess
from gradcam_hooks.images.foreign import Located
from gradcam_hooks.images.volumes import Volumes
from gradcam_hooks.models.architectures import Architecture
from gradcam_hooks.models.folders import processor_in

if TYPE_CHECKING:
    from PIL import Image
    from torchvision.models import WeightsEnum

__all__ = ["find_preprocess", "own_preprocess", "volume_channels"]


def find_preprocess(
    architecture: Architecture, model: nn.Module, member: WeightsEnum | None, *, pretrained: bool
) -> Preprocess | Located | Volumes:
    """The preprocessing of a model.

    Args:
        architecture: what was built.
        model: the network, which may fix the size of its input.
        member: torchvision's published weights, where the model has those.
        pretrained: whether the weights are the library's own.
    """
    if architecture.kind == "timm":
        return _timm_preprocess(model, pretrained)
    described = member or next(iter((architecture.published or {}).values()), None)
    if described is None:
        return own_preprocess(model)[0]
    transforms = described.transforms()
    if not hasattr(transforms, "mean"):  # detectors normalise inside
        return Preprocess(mean=(0, 0, 0), std=(1, 1, 1))
    sides = getattr(transforms, "crop_size", None) or transforms.resize_size
    height, width = int(sides[0]), int(sides[-1])
    fixed = getattr(model, "image_size", None)  # vision transformers take no other size
    if isinstance(fixed, int):
        height = width = fixed
    plain = Preprocess(
        size=(height, width),
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        interpolation=_interpolation(transforms.interpolation.value),
    )
    resize = transforms.resize_size[0]
    if member is None or not hasattr(transforms, "crop_size") or resize < max(plain.size):
        return plain
    return replace(plain, fit="crop", resize=int(resize))


def volume_channels(model: nn.Module) -> int | None:
    """How many channels the volumes have that a network takes; None where it takes none."""
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    first = next((one for one in model.modules() if isinstance(one, kinds)), None)
    return first.in_channels if isinstance(first, nn.Conv3d) else None


def own_preprocess(model: nn.Module) -> tuple[Preprocess | Located | Volumes, str]:
    """What a network tells of its preprocessing, and a sentence that says what was assumed.

    timm's networks have a ``pretrained_cfg``, a folder of `save_pretrained` its image processor,
    torchvision's detectors resize and normalise by themselves. Of all others the size is the one
    they fix, else 224x224, and mean and standard deviation are ImageNet's; of a network whose
    first convolution takes one channel, their means, and of one that takes bands 0 and 1. One whose
    first convolution has three axes takes volumes.

    Raises:
        ModelError: as `processor_in`.
    """
    if isinstance(getattr(model, "pretrained_cfg", None), Mapping):
        own = _timm_preprocess(model, pretrained=False)
        return own, f"The picture was made ready as the network's pretrained_cfg says: {own}."
    folder = Path(str(getattr(getattr(model, "config", None), "_name_or_path", None) or ""))
    if (processor := processor_in(folder)) is not None:
        return Located(processor), f"The picture was made ready by the processor in '{folder}'."
    if type(getattr(model, "transform", None)).__name__ == "GeneralizedRCNNTransform":
        return Located(_pixels), "The picture was given as it is: this detector resizes it itself."
    channels = volume_channels(model)
    if channels is not None:
        return Volumes(channels), (
            "Nothing tells how this network's scans are made ready: one goes in as large as it is, "
            "with its own values. preprocess= takes a function from a tensor (channels, depth, "
            "height, width) to one."
        )
    plain = _plain(model)
    return plain, (
        "Nothing tells how this network's pictures are made ready; assumed was what ImageNet's "
        f"networks take: {plain}. preprocess= says another."
    )


def _pixels(image: Image.Image) -> tuple[Tensor, Geometry]:
    from torchvision.transforms.functional import to_tensor

    size = (image.height, image.width)
    return to_tensor(image), Geometry.stretched(size, size)


def _plain(model: nn.Module) -> Preprocess:
    """ImageNet's preprocessing, of the size and the channels that the network has."""
    config = getattr(model, "config", None)
    size = getattr(config, "image_size", None) or getattr(model, "image_size", None)
    sides = size if isinstance(size, list | tuple) else (size, size)
    plain = Preprocess()
    if len(sides) == 2 and all(isinstance(side, int) and side > 0 for side in sides):
        plain = replace(plain, size=(sides[0], sides[1]))
    return _of_channels(plain, model)


def _of_channels(plain: Preprocess, model: nn.Module) -> Preprocess:
    """The same in the network's channels: one has the colours' means; of bands none are known."""
    first = next((one for one in model.modules() if isinstance(one, nn.Conv2d)), None)
    count = len(plain.mean) if first is None else first.in_channels
    if count == len(plain.mean):
        return plain
    if count == 1:
        return replace(plain, mean=(sum(plain.mean) / 3,), std=(sum(plain.std) / 3,))
    return replace(plain, mean=(0.0,) * count, std=(1.0,) * count)


def _timm_preprocess(model: nn.Module, pretrained: bool) -> Preprocess:
    from timm.data.config import resolve_model_data_config

    config = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    _, height, width = config["input_size"]
    # What it was published for; a transformer may have been made for another, and takes no other.
    own = getattr(getattr(model, "patch_embed", None), "img_size", None)
    if (
        isinstance(own, tuple)
        and len(own) == 2
        and getattr(model.patch_embed, "strict_img_size", True)
    ):
        height, width = own
    plain = Preprocess(
        size=(height, width),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=_interpolation(config["interpolation"]),
    )
    plain = _of_channels(plain, model)
    resize = int(max(height, width) / config["crop_pct"])
    return replace(plain, fit="crop", resize=resize) if pretrained else plain


def _interpolation(name: str) -> Literal["bilinear", "bicubic"]:
    return "bicubic" if name == "bicubic" else "bilinear"
