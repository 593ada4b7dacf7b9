"""More pictures whose layers' axes are known: windows, blocks, units and tokens."""

from __future__ import annotations

import timm
import torch
import torchvision
import transformers
from torch import nn

from tests.support.light import Net
from tests.support.light_parts import image, normal

_SMALL = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}
_PATCHES = {"image_size": 64, "patch_size": 16, **_SMALL}


def _swin_v2() -> nn.Module:
    return timm.create_model(
        "swinv2_tiny_window8_256", img_size=(64, 96), window_size=4, embed_dim=24, depths=(2, 2),
        num_heads=(2, 4), num_classes=5,
    )  # fmt: skip


def _nest() -> nn.Module:
    return timm.models.nest.Nest(
        img_size=64, num_levels=2, embed_dims=(24, 32), num_heads=(2, 2), depths=(1, 1)
    )


def _twins() -> nn.Module:
    return timm.models.twins.Twins(
        img_size=64, patch_size=4, embed_dims=(16, 24, 32, 32), num_heads=(1, 2, 2, 2),
        depths=(1, 1, 1, 1), sr_ratios=(8, 4, 2, 1), wss=(4, 4, 4, 4),
    )  # fmt: skip


def _tnt() -> nn.Module:
    return timm.models.tnt.TNT(
        img_size=64, patch_size=16, embed_dim=24, inner_dim=12, depth=2, num_heads_inner=2,
        num_heads_outer=2,
    )  # fmt: skip


def _davit() -> nn.Module:
    return timm.models.davit.DaVit(
        depths=(1, 1), embed_dims=(16, 32), num_heads=(2, 2), window_size=4
    )


def _pvt() -> nn.Module:
    return timm.create_model(
        "pvt_v2_b0", embed_dims=(8, 16, 24, 32), num_heads=(1, 1, 2, 2), depths=(1, 1, 1, 1)
    )


def _mvit() -> nn.Module:
    config = torchvision.models.video.mvit.MSBlockConfig
    blocks = [
        config(1, 16, 24, [3, 3, 3], [3, 3, 3], [1, 1, 1], [1, 4, 4]),
        config(2, 24, 24, [3, 3, 3], [3, 3, 3], [1, 2, 2], [1, 2, 2]),
    ]
    return torchvision.models.video.MViT(
        (64, 64), 4, blocks, residual_pool=False, residual_with_cls_embed=False,
        rel_pos_embed=False, proj_after_attn=False,
    )  # fmt: skip


def _swin_3d() -> nn.Module:
    return torchvision.models.video.SwinTransformer3d(
        [2, 4, 4], 16, [1, 1], [2, 2], [2, 4, 4], num_classes=5
    )


def _hf_swin() -> nn.Module:
    return transformers.SwinModel(
        transformers.SwinConfig(
            image_size=64, patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 2],
            window_size=4,
        )
    )  # fmt: skip


def _registers() -> nn.Module:
    config = transformers.Dinov2WithRegistersConfig(num_register_tokens=4, **_PATCHES)
    return transformers.Dinov2WithRegistersModel(config)


def _groups() -> nn.Module:
    config = transformers.GroupViTVisionConfig(
        hidden_size=24, intermediate_size=48, depths=[2, 2, 2], num_hidden_layers=6,
        num_attention_heads=3, image_size=128, patch_size=16, num_group_tokens=[16, 8, 0],
        num_output_groups=[16, 8, 8],
    )  # fmt: skip
    return transformers.GroupViTVisionModel(config)


def _vilt() -> nn.Module:
    config = transformers.ViltConfig(vocab_size=60, max_position_embeddings=32, **_PATCHES)
    return transformers.ViltModel(config)


def _clip() -> nn.Module:
    words = {"vocab_size": 60, "max_position_embeddings": 16, "bos_token_id": 1, "eos_token_id": 2}
    config = transformers.CLIPConfig(
        text_config={**words, **_SMALL}, vision_config=_PATCHES, projection_dim=16
    )
    return transformers.CLIPModel(config)


def _sam() -> nn.Module:
    config = transformers.SamVisionConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=64, patch_size=8,
        window_size=4, global_attn_indexes=[1], output_channels=16, mlp_dim=48,
    )  # fmt: skip
    return transformers.SamVisionModel(config)


def _words_and_image() -> list[torch.Tensor]:
    return [torch.randint(3, 60, (2, 8)), torch.randn(2, 3, 64, 64)]


_NAMES = ("input_ids", "pixel_values")


LIBRARIES = [
    Net(
        "swin v2", _swin_v2, image(64, 96), "b c h w",
        {
            "layers.0.blocks.0.attn.proj": ["(b h1=4 w1=6) (h2=4 w2=4) -"],
            # windows of a rolled picture: the last ones hold both of its ends
            "layers.0.blocks.1.attn.proj": ["? ? -"],
            "layers.1.blocks.1": ["b h w -"],
        },
    ),
    Net(
        "nest", _nest, image(64, 64), "b c h w",
        {
            "levels.0.transformer_encoder.0.attn.qkv": ["b (h1=2 w1=2) (h2=8 w2=8) -"],
            "levels.0": ["b - h w"], "levels.1": ["b - h w"],
        },
    ),
    Net(
        "mobilevit", lambda: timm.create_model("mobilevit_xxs"), image(128, 128), "b c h w",
        {
            "stages.2.1.transformer.0": ["(b h2=2 w2=2) (h1=8 w1=8) -"],
            "stages.2.1": ["b - h w"], "stages.1": ["b - h w"],
        },
        slow=True,
    ),
    Net(
        "twins", _twins, image(64, 64), "b c h w",
        {"blocks.0.0": ["b (h=16 w=16) -"], "blocks.1.0": ["b (h=8 w=8) -"]},
    ),
    Net(
        "convmixer",
        lambda: timm.models.convmixer.ConvMixer(24, 2, kernel_size=5, patch_size=8),
        image(64, 96), "b c h w", {"blocks.0": ["b - h w"], "blocks.1": ["b - h w"]},
    ),
    Net(
        "cait",
        lambda: timm.models.cait.Cait(
            img_size=64, patch_size=16, embed_dim=24, depth=2, num_heads=2
        ),
        image(64, 64), "b c h w",
        {
            "blocks.1": ["b (h=4 w=4) -"], "blocks_token_only.0.attn.k": ["b 1+(h=4 w=4) -"],
            "blocks_token_only.0": ["b - -"], "blocks.0.attn.proj_w": ["b (h=4 w=4) (h=4 w=4) -"],
        },
    ),
    Net(
        "beit",
        lambda: timm.models.beit.Beit(
            img_size=(64, 96), patch_size=16, embed_dim=24, depth=2, num_heads=2
        ),
        image(64, 96), "b c h w",
        {"blocks.1": ["b 1+(h=4 w=6) -"], "blocks.1.mlp": ["b 1+(h=4 w=6) -"]},
    ),
    Net(
        "tnt", _tnt, image(64, 64), "b c h w",
        {
            "blocks.1.mlp_in": ["(b h1=4 w1=4) (h2=4 w2=4) -"],
            "blocks.1.mlp": ["b 1+(h=4 w=4) -"], "blocks.1.proj": ["b (h=4 w=4) -"],
        },
    ),
    Net(
        "coatnet", lambda: timm.create_model("coatnet_nano_rw_224", img_size=64), image(64, 64),
        "b c h w", {"stages.0": ["b - h w"], "stages.2": ["b - h w"]}, slow=True,
    ),
    Net(
        "focalnet", lambda: timm.models.focalnet.FocalNet(embed_dim=16, depths=(1, 1, 1, 1)),
        image(64, 96), "b c h w", {"layers.1": ["b - h w"], "layers.2": ["b - h w"]},
    ),
    Net("davit", _davit, image(64, 96), "b c h w", {"stages.1": ["b - h w"]}),
    Net("pvt", _pvt, image(64, 96), "b c h w", {"stages.1": ["b - h w"]}),
    Net(
        "mvit", _mvit, normal((2, 3, 4, 64, 64)), "b c t h w",
        {"blocks.0": ["b 1+(t=2 h=16 w=16) -"], "blocks.1": ["b 1+(t=2 h=8 w=8) -"]},
    ),
    Net(
        "swin of clips", _swin_3d, normal((2, 3, 8, 64, 64)), "b c t h w",
        {"features.0": ["b t h w -"], "features.2": ["b t h w -"]},
    ),
    Net(
        "swin of transformers", _hf_swin, image(64, 64), "b c h w",
        {
            "encoder.layers.0.blocks.0": ["b (h=16 w=16) -"],
            "encoder.layers.0.blocks.0.attention.q_proj": ["(b h1=4 w1=4) (h2=4 w2=4) -"],
            "encoder.layers.1.blocks.0.mlp": ["b (h=8 w=8) -"],
        },
    ),
    Net(
        "dinov2 with registers", _registers, image(64, 64), "b c h w",
        {"encoder.layer.1": ["b 5+(h=4 w=4) -"]},
    ),
    Net(
        "groups of patches", _groups, image(128, 128), "b c h w",
        {
            "vision_model.encoder.stages.0.layers.0": ["b (h=8 w=8)+16 -"],
            "vision_model.encoder.stages.1.layers.0": ["b ? -"],
            "vision_model.encoder.stages.1.group_projector": ["b ? -"],
        },
    ),
    Net(
        "words and patches", _vilt, _words_and_image, "b n, B C H W",
        {"encoder.layer.1": ["b|B ? -"]}, names=_NAMES,
    ),
    Net(
        "masked autoencoder",
        lambda: transformers.ViTMAEModel(transformers.ViTMAEConfig(mask_ratio=0.0, **_PATCHES)),
        image(64, 64), "b c h w", {"layers.1": ["b ? -"]},
    ),
    Net(
        "words beside a picture", _clip, _words_and_image, "b n, B C H W",
        {
            "vision_model.encoder.layers.1": ["B 1+(H=4 W=4) -"],
            "text_model.encoder.layers.0": ["b n -"],
        },
        names=_NAMES,
    ),
    Net(
        "sam", _sam, image(64, 64), "b c h w",
        {
            "vision_encoder.layers.0": ["b h w -"],
            "vision_encoder.layers.0.attn": ["(b h1=2 w1=2) h2=4 w2=4 -"],
            "vision_encoder.neck": ["b - h w"],
        },
    ),
]  # fmt: skip
