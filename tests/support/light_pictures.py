"""Networks on pictures, whose axes are known: convolutions, windows, tokens, volumes."""

from __future__ import annotations

import timm
import torch
import torch.nn.functional as F  # noqa: N812
import torchvision
from torch import nn

from tests.support.light import Net
from tests.support.light_parts import Attention, Do, cnn, image, normal

_models = torchvision.models


def _tv(name: str) -> nn.Module:
    return _models.get_model(name, weights=None, num_classes=5)


def _timm(name: str, **options: object) -> nn.Module:
    return timm.create_model(name, num_classes=5, **options)


def _convnext() -> nn.Module:
    block = _models.convnext.CNBlockConfig
    return _models.ConvNeXt([block(16, 32, 2), block(32, None, 2)], num_classes=5)


def _swin() -> nn.Module:
    return _models.SwinTransformer([4, 4], 24, [2, 2], [2, 4], [4, 4], num_classes=5)


def _swin_timm() -> nn.Module:
    return _timm(
        "swin_tiny_patch4_window7_224",
        img_size=(64, 96),
        window_size=4,
        embed_dim=24,
        depths=(2, 2),
        num_heads=(2, 4),
    )


def _levit() -> nn.Module:
    return timm.models.levit.Levit(
        img_size=96, num_classes=5, embed_dim=(32, 48, 64), depth=(1, 1, 1), num_heads=(2, 3, 4),
        key_dim=8,
    )  # fmt: skip


def _mixer() -> nn.Module:
    return timm.models.mlp_mixer.MlpMixer(
        img_size=96, patch_size=16, num_blocks=2, embed_dim=32, num_classes=5
    )


def _hiera() -> nn.Module:
    return _timm(
        "hiera_tiny_224", img_size=(96, 96), stages=(1, 1, 1, 1), embed_dim=32, num_heads=1
    )


class UNet(nn.Module):
    """Down and up again, with two joins."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, 1, 1)
        self.deeper = nn.Conv2d(8, 16, 3, 2, 1)
        self.middle = nn.Conv2d(16, 16, 3, 2, 1)
        self.up = nn.Conv2d(32, 8, 3, 1, 1)
        self.last = nn.Conv2d(16, 2, 3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.down(x).relu()
        b = self.deeper(a).relu()
        m = F.interpolate(self.middle(b).relu(), scale_factor=2)
        u = F.interpolate(self.up(torch.cat([m, b], 1)).relu(), scale_factor=2)
        return self.last(torch.cat([u, a], 1))


def _fpn() -> nn.Module:
    build = _models.detection.backbone_utils.resnet_fpn_backbone
    return build(backbone_name="resnet18", weights=None)


def _shuffled() -> nn.Module:
    order = torch.randperm(48)
    return Do(
        lambda s, x: s.last(s.patch(x).flatten(2).mT[:, order]),
        patch=nn.Conv2d(3, 16, 8, 8),
        last=nn.Linear(16, 16),
    )


_MAXVIT = "blocks.0.layers.0.layers."
_GRID = "b {}(h=4 w=6) -"

PICTURES = [
    Net(
        "resnet18", lambda: _tv("resnet18"), image(64, 96), "b c h w",
        {
            "conv1": ["b - h w"], "layer2": ["b - h w"], "layer3": ["b - h w"],
            "layer4": ["b - h w"], "avgpool": ["b - - -"],
        },
    ),
    Net(
        "convnext", _convnext, image(64, 96), "b c h w",
        {"features.1.1.block.3": ["b h w -"], "features.3": ["b - h w"]},
    ),
    Net(
        "swin", _swin, image(64, 96), "b c h w",
        {
            "features.1.0": ["b h w -"], "features.3.1": ["b h w -"],
            "features.3.1.mlp.0": ["b h w -"],
        },
    ),
    Net(
        "swin of timm", _swin_timm, image(64, 96), "b c h w",
        {
            "layers.0.blocks.0.attn.qkv": ["(b h1=4 w1=6) (h2=4 w2=4) -"],
            "layers.0.blocks.0.attn": ["(b h1=4 w1=6) (h2=4 w2=4) -"],
            "layers.1.blocks.1": ["b h w -"],
        },
    ),
    Net(
        "vit of timm", lambda: _timm("vit_tiny_patch16_224", img_size=(64, 96), depth=3),
        image(64, 96), "b c h w",
        {
            "patch_embed": [_GRID.format("")], "blocks.0.attn.qkv": [_GRID.format("1+")],
            "blocks.2.norm1": [_GRID.format("1+")], "blocks.2.mlp.fc1": [_GRID.format("1+")],
        },
    ),
    Net(
        "vit with registers",
        lambda: _timm("vit_small_patch14_reg4_dinov2", img_size=(56, 84), depth=2),
        image(56, 84), "b c h w", {"blocks.1.norm1": [_GRID.format("5+")]},
    ),
    Net(
        "deit distilled",
        lambda: _timm("deit_tiny_distilled_patch16_224", img_size=(64, 96), depth=2),
        image(64, 96), "b c h w", {"blocks.1.norm1": [_GRID.format("2+")]},
    ),
    Net(
        "vit of torchvision",
        lambda: _models.VisionTransformer(64, 16, 3, 2, 24, 48, num_classes=5),
        image(64, 64), "b c h w",
        {"encoder.layers.encoder_layer_1.ln_1": ["b 1+(h=4 w=4) -"]},
    ),
    Net(
        "maxvit", lambda: _models.MaxVit((64, 64), 16, 4, [16, 32], [1, 1], 8, 0.0, num_classes=5),
        image(64, 64), "b c h w",
        {
            "blocks.1.layers.0": ["b - h w"],
            f"{_MAXVIT}MBconv.layers.pre_norm": ["b - h w"],
            f"{_MAXVIT}window_attention.attn_layer.0": ["b (h1=4 w1=4) (h2=4 w2=4) -"],
            f"{_MAXVIT}grid_attention.attn_layer.0": ["b (h2=4 w2=4) (h1=4 w1=4) -"],
            f"{_MAXVIT}MBconv.layers.squeeze_excitation.scale_activation": ["b - - -"],
        },
    ),
    Net(
        "levit", _levit, image(96, 96), "b c h w",
        {"stages.0.blocks.0": ["b (h=6 w=6) -"], "stages.2": ["b (h=2 w=2) -"]},
    ),
    Net(
        "xcit", lambda: _timm("xcit_nano_12_p16_224", depth=3), image(64, 96), "b c h w",
        {"blocks.2.norm1": [_GRID.format("")], "cls_attn_blocks.0.norm1": [_GRID.format("1+")]},
    ),
    Net(
        "mixer", _mixer, image(96, 96), "b c h w",
        {
            "blocks.0.norm1": ["b (h=6 w=6) -"], "blocks.0.mlp_tokens.fc1": ["b - -"],
            "blocks.1": ["b (h=6 w=6) -"],
        },
    ),
    Net(
        "hiera", _hiera, image(96, 96), "b c h w",
        {
            # three pools to come, each of 2 x 2: what it pools lies outermost
            "blocks.0": ["b (h4=2 w4=2 h3=2 w3=2 h2=2 w2=2 h1=3 w1=3) -"],
            "blocks.3": ["b (h=3 w=3) -"],
        },
    ),
    Net(
        "segmenting", UNet, image(48, 64), "b c h w",
        {"middle": ["b - h w"], "last": ["b - h w"]},
    ),
    Net(
        "early pool",
        lambda: Do(
            lambda s, x: s.end(s.cnn(x).mean((2, 3))),
            cnn=cnn(), end=nn.Sequential(nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 16)),
        ),
        image(48, 48), "b c h w", {"end.0": ["b -"], "end.2": ["b -"]},
    ),
    Net(
        "attention", Attention, image(48, 48), "b c h w",
        {
            "qkv": ["b (h=6 w=6) -"], "logits": ["b - (h=6 w=6) (h=6 w=6)"],
            "soft": ["b - (h=6 w=6) (h=6 w=6)"],
        },
    ),
    Net(
        "mobilenetv3", lambda: _timm("mobilenetv3_small_050"), image(96, 96), "b c h w",
        {
            "blocks.0.0.se.conv_expand": ["b - - -"], "blocks.2": ["b - h w"],
            "blocks.5": ["b - h w"],
        },
    ),
    Net(
        "fpn", _fpn, image(64, 96), "b c h w",
        {"fpn#0": ["b - h w"], "fpn#2": ["b - h w"], "fpn#3": ["b - h w"]},
    ),
    Net("shuffled", _shuffled, image(48, 64), "b c h w", {"last": ["b ? -"]}),
    Net(
        "norm first", lambda: nn.Sequential(nn.BatchNorm2d(3), cnn()), image(48, 48), "b c h w",
        {"0": ["b c h w"], "1": ["b - h w"]},
    ),
    Net(
        "densenet", lambda: _models.DenseNet(8, (2, 2, 2), 16, num_classes=5), image(64, 96),
        "b c h w", {"features.denseblock3": ["b - h w"]},
    ),
    Net(
        "vgg11", lambda: _tv("vgg11"), image(64, 96), "b c h w", {"features.19": ["b - h w"]},
        slow=True,
    ),
    Net(
        "flattened", lambda: nn.Sequential(cnn(), nn.Flatten(), nn.Linear(24 * 12 * 16, 20)),
        image(48, 64), "b c h w", {"1": ["b (-=24 h=12 w=16)"], "2": ["b -"]},
    ),
    Net(
        "less its mean",
        lambda: Do(lambda s, x: s.cnn(x - x.mean((2, 3), keepdim=True) * 3), cnn=cnn()),
        image(48, 48), "b c h w", {"cnn": ["b - h w"]},
    ),
    Net(
        "centre crop",
        lambda: nn.Sequential(torchvision.transforms.CenterCrop(32), cnn()),
        image(64, 64), "b c h w", {"0": ["b c h w"], "1": ["b - h w"]},
        spans=dict.fromkeys("01", ((0.25, 0.75), (0.25, 0.75))),
    ),
    Net(
        "volume", lambda: cnn(1, 3), normal((2, 1, 16, 24, 20)), "b c d h w",
        {"0": ["b - d h w"], "5": ["b - d h w"]},
    ),
]  # fmt: skip
