"""Architectures that just work: ``gh.explain(model, x)`` and nothing else, equal to an oracle.

Weights are drawn at random, heads of zeros too. The layer is the one ``"auto"`` takes; the
oracle and the permuted axes are in `zoo`. Inputs are square, and oblong where the model allows.
"""

from __future__ import annotations

import pytest
import torch
import torchvision
from timm.models.mvitv2 import MultiScaleVit, MultiScaleVitCfg
from torch import Tensor, nn
from torchvision.models import swin_transformer as swin

import gradcam_hooks as gh
from tests.support.zoo import (
    STAGES,
    TINY,
    Case,
    explained,
    face,
    first,
    images,
    last,
    tokens,
    vision,
    zoo,
)
from tests.support.zoo import drawn as ready

_SQUARE, _OBLONG = (1, 3, 64, 64), (2, 3, 64, 96)
_SWIN = {"embed_dim": 12, "depths": [2, 2], "num_heads": [1, 2], "window_size": [2, 2]}


def torchvision_vit() -> nn.Module:
    return torchvision.models.VisionTransformer(64, 16, 2, 3, 24, 48, num_classes=5)


def torchvision_swin() -> nn.Module:
    return swin.SwinTransformer([4, 4], **_SWIN, num_classes=5)


def torchvision_swin_v2() -> nn.Module:
    parts = {"block": swin.SwinTransformerBlockV2, "downsample_layer": swin.PatchMergingV2}
    return swin.SwinTransformer([4, 4], **_SWIN, **parts, num_classes=5)


def maxvit() -> nn.Module:
    return torchvision.models.maxvit.MaxVit(
        (64, 64), 8, 2, [8, 8, 16, 16], [1, 1, 1, 1], 8, 0.0, num_classes=5
    )


def timm_vit() -> nn.Module:
    return zoo("vit_tiny_patch16_224", img_size=64, depth=2, dynamic_img_size=True)


def clip_vision() -> nn.Module:
    return face("CLIP", vision_config={**TINY, "image_size": 64, "patch_size": 16})


def huggingface_swin() -> nn.Module:
    options = {"embed_dim": 12, "depths": [1, 1], "num_heads": [1, 3], "window_size": 2}
    return face("Swin", **options, num_labels=5)


CASES: dict[str, Case] = {
    "torchvision vit": (torchvision_vit, (_SQUARE,), tokens(1, 16, 16)),
    "torchvision swin": (torchvision_swin, (_SQUARE, _OBLONG), first),
    "torchvision swin v2": (torchvision_swin_v2, (_SQUARE, _OBLONG), first),
    "torchvision maxvit": (maxvit, (_SQUARE,), first),
    "timm vit": (timm_vit, (_SQUARE, _OBLONG), tokens(1, 16, 16)),
    "timm deit distilled": (
        lambda: zoo("deit_tiny_distilled_patch16_224", img_size=(64, 96), depth=2),
        (_OBLONG,),
        tokens(2, 16, 16),
    ),
    "timm vit with registers": (
        lambda: zoo("vit_small_patch14_reg4_dinov2", img_size=70, depth=2, dynamic_img_size=True),
        ((1, 3, 70, 70), (1, 3, 42, 70)),
        tokens(5, 14, 14),
    ),
    "timm swin": (
        lambda: zoo("swin_tiny_patch4_window7_224", img_size=(64, 96), **_SWIN),
        (_OBLONG,),
        last,
    ),
    "timm convnext": (lambda: zoo("test_convnext"), (_SQUARE, _OBLONG), first),
    "timm efficientnet": (lambda: zoo("test_efficientnet"), (_SQUARE, _OBLONG), first),
    "timm pvt": (lambda: zoo("pvt_v2_b0", depths=(1, 1, 1, 1)), (_OBLONG,), first),
    "timm mvit": (
        lambda: MultiScaleVit(MultiScaleVitCfg((1, 1, 1, 1), 12), (96, 96), num_classes=5),
        ((1, 3, 96, 96), (2, 3, 64, 96)),
        tokens(0, 32, 32),
    ),
    "timm mvit with a class token": (
        lambda: MultiScaleVit(
            MultiScaleVitCfg((1, 1, 1, 2), 12, use_cls_token=True), (96, 96), num_classes=5
        ),
        ((1, 3, 96, 96), (2, 3, 64, 96)),
        tokens(1, 32, 32),
    ),
    "timm hybrid": (
        lambda: zoo("vit_tiny_r_s16_p8_224", img_size=(64, 96), depth=2),
        (_OBLONG,),
        tokens(1, 32, 32),
    ),
    "timm mixer": (
        lambda: zoo("mixer_s32_224", img_size=96),
        ((1, 3, 96, 96),),
        tokens(0, 32, 32),
    ),
    "transformers vit": (
        lambda: face("ViT", image_size=64, **TINY),
        (_SQUARE,),
        tokens(1, 16, 16),
    ),
    "transformers deit": (
        lambda: face("DeiT", image_size=(64, 96), **TINY),
        (_OBLONG,),
        tokens(2, 16, 16),
    ),
    "transformers swin": (huggingface_swin, (_SQUARE, _OBLONG), tokens(0, 8, 8)),
    "transformers convnext": (lambda: face("ConvNext", **STAGES), (_SQUARE, _OBLONG), first),
    "transformers resnet": (lambda: face("ResNet", **STAGES), (_SQUARE, _OBLONG), first),
    "transformers dinov2 with registers": (
        lambda: face("Dinov2WithRegisters", num_register_tokens=4, image_size=64, **TINY),
        (_SQUARE, _OBLONG),
        tokens(5, 16, 16),
    ),
    "transformers beit": (
        lambda: face("Beit", image_size=64, **TINY),
        (_SQUARE,),
        tokens(1, 16, 16),
    ),
    "transformers segformer": (
        lambda: face("Segformer", num_labels=5, hidden_sizes=[8, 8, 12, 16], depths=[1, 1, 1, 1]),
        (_SQUARE, _OBLONG),
        first,
    ),
    "transformers clip vision": (clip_vision, (_SQUARE,), tokens(1, 16, 16)),
    "torchvision resnet": (lambda: vision("resnet18"), (_SQUARE, _OBLONG), first),
}

_SEEDS = {"timm hybrid": 2}
"""Where the first draw makes a map that is negative everywhere."""

SIZED = [
    pytest.param(name, shape, id=f"{name}, {'x'.join(map(str, shape))}")
    for name, (_, shapes, _) in CASES.items()
    for shape in shapes
]


@pytest.mark.filterwarnings("ignore")  # what timm and transformers say of themselves
@pytest.mark.parametrize(("name", "shape"), SIZED)
def test_it_just_works_and_equals_the_oracle(name: str, shape: tuple[int, ...]) -> None:
    make, _, by_hand = CASES[name]
    torch.manual_seed(_SEEDS.get(name, 1))
    net = ready(make())
    result = explained(net, by_hand, None, images(shape))
    assert gh.layers(net, images(shape)).recommended == result.layers[0]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "block", "said"),
    [
        ("torchvision vit", "encoder.layers.encoder_layer_1", "b 1+(h=4 w=4) c=24"),
        ("timm vit", "blocks.1", "b 1+(h=4 w=4) c=192"),
        ("timm deit distilled", "blocks.1", "b 1+1+(h=4 w=6) c=192"),
        ("timm vit with registers", "blocks.1", "b 1+4+(h=5 w=5) c=384"),
        ("transformers vit", "vit.layers.1", "b 1+(h=4 w=4) c=24"),
    ],
)
def test_the_last_block_of_a_class_token_transformer(name: str, block: str, said: str) -> None:
    make, (shape, *_), _ = CASES[name]
    torch.manual_seed(1)
    net, x = ready(make()), images(shape)
    chosen = gh.explain(net, x)
    assert chosen.layers[0] != block
    assert said in chosen.layouts[0]
    named = gh.explain(net, x, block)
    assert said in named.layouts[0]
    assert isinstance(named.raw, Tensor)
    for word in named.diagnosis:
        assert word == "zero-gradient"
        assert isinstance(word, gh.Diagnosis)
        assert f"It reaches {chosen.layers[0]!r}." in word.message
    assert not named.raw.any()


@pytest.mark.filterwarnings("ignore")
def test_a_head_that_reads_the_patches_too_reaches_the_last_block() -> None:
    make, (shape, *_), _ = CASES["transformers dinov2 with registers"]
    torch.manual_seed(1)
    result = gh.explain(ready(make()), images(shape), "dinov2_with_registers.encoder.layer.1")
    said = "b 1+4+(h=4 w=4) c=24"
    assert result.layouts == (said,)
