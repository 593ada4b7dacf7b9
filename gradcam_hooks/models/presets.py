"""Presets: how pictures are made ready for a network, as its library tells.

torchvision describes the transforms of the weights it publishes, timm those of each architecture.
Nothing describes weights of one's own: they are given the size, mean and standard deviation of
the architecture's first published weights, and pictures are squashed, for whether they were
trained on crops is not known, and a squashed picture loses nothing at its edges.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from torch import nn

from gradcam_hooks.images import Preprocess
from gradcam_hooks.models.architectures import Architecture

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

__all__ = ["find_preprocess"]


def find_preprocess(
    architecture: Architecture, model: nn.Module, member: WeightsEnum | None, *, pretrained: bool
) -> Preprocess:
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
        return Preprocess()
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


def _timm_preprocess(model: nn.Module, pretrained: bool) -> Preprocess:
    from timm.data.config import resolve_model_data_config

    config = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    _, height, width = config["input_size"]
    plain = Preprocess(
        size=(height, width),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=_interpolation(config["interpolation"]),
    )
    resize = int(max(height, width) / config["crop_pct"])
    return replace(plain, fit="crop", resize=resize) if pretrained else plain


def _interpolation(name: str) -> Literal["bilinear", "bicubic"]:
    return "bicubic" if name == "bicubic" else "bilinear"
