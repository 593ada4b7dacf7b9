"""Networks of libraries whose layers' axes are known, held out while the probe was made."""

from __future__ import annotations

import timm
import torchvision
import transformers
from torch import nn

from tests.support.light import Net
from tests.support.light_parts import image, normal

_models = torchvision.models
_SMALL = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}
_PATCHES = {"image_size": 64, "patch_size": 16, **_SMALL}
_PICTURE = "b c h w"
_MAP, _LAST = ["b - h w"], ["b h w -"]


def _tv(name: str, *layers: str, size: tuple[int, int] = (64, 96), slow: bool = False) -> Net:
    """One of torchvision's convolutional networks."""
    extra = {"weights_backbone": None} if name.endswith("_large") else {}
    build = lambda: _models.get_model(name, weights=None, **extra)  # noqa: E731
    return Net(
        f"{name} of torchvision", build, image(*size), _PICTURE, dict.fromkeys(layers, _MAP),
        slow=slow,
    )  # fmt: skip


def _timm(name: str, size: tuple[int, int], layers: dict[str, list[str]], **options: object) -> Net:
    """One of timm's networks."""
    build = lambda: timm.create_model(name, num_classes=5, **options)  # noqa: E731
    return Net(f"{name} of timm", build, image(*size), _PICTURE, layers, slow=True)


def _face(name: str, layers: dict[str, list[str]], **options: object) -> Net:
    """One of transformers' networks on pictures of 64 x 64."""

    def build() -> nn.Module:
        config = getattr(transformers, f"{name}Config")(**options)
        return getattr(transformers, f"{name}Model")(config)

    return Net(f"{name} of transformers", build, image(64, 64), _PICTURE, layers)


def _clap() -> nn.Module:
    config = transformers.ClapAudioConfig(
        window_size=4, num_mel_bins=64, spec_size=256, patch_embeds_hidden_size=16, depths=[1, 1],
        num_attention_heads=[2, 2], num_hidden_layers=2, hidden_size=32, patch_size=4,
        projection_dim=16, enable_fusion=False,
    )  # fmt: skip
    return transformers.ClapAudioModel(config)


def _hubert() -> nn.Module:
    config = transformers.HubertConfig(
        conv_dim=(16, 16), conv_stride=(5, 2), conv_kernel=(10, 3), num_feat_extract_layers=2,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, **_SMALL,
    )  # fmt: skip
    return transformers.HubertModel(config)


def _ast() -> nn.Module:
    config = transformers.ASTConfig(
        patch_size=16, frequency_stride=16, time_stride=8, max_length=128, num_mel_bins=48, **_SMALL
    )
    return transformers.ASTModel(config)


def _vjepa() -> nn.Module:
    config = transformers.VJEPA2Config(
        crop_size=64, frames_per_clip=8, patch_size=16, pred_hidden_size=24,
        pred_num_attention_heads=2, pred_num_hidden_layers=1, **_SMALL,
    )  # fmt: skip
    return transformers.VJEPA2Model(config)


_WINDOWS = {
    "layers.0.blocks.0.attn.qkv": ["(b h1=8 w1=8) (h2=7 w2=7) -"],
    "layers.0.blocks.0.attn": ["(b h1=8 w1=8) (h2=7 w2=7) -"],
    "layers.0.blocks.0.mlp": ["b (h=56 w=56) -"],
    "layers.0.blocks.1.attn": ["? ? -"],  # windows of a rolled map
    "layers.0.blocks.1": _LAST,
}
_TOKENS = "b {}(h=4 w=4) -"

FURTHER = [
    _tv("mobilenet_v2", "features.3", "features.17"),
    _tv("efficientnet_b0", "features.2", "features.6.0.block.2", "features.8", slow=True),
    _tv("regnet_y_400mf", "trunk_output.block2", slow=True),
    _tv("shufflenet_v2_x0_5", "stage2", "conv5"),
    _tv("mnasnet0_5", "layers.9"),
    _tv("squeezenet1_1", "features.4", "features.12"),
    _tv("googlenet", "inception3b", slow=True),
    _tv("inception_v3", "Mixed_5d", size=(96, 128), slow=True),
    _tv("resnext50_32x4d", "layer2", slow=True),
    _tv("convnext_tiny", "features.1", slow=True),
    _tv("deeplabv3_mobilenet_v3_large", "backbone.16", "classifier.0", slow=True),
    _tv("lraspp_mobilenet_v3_large", "backbone.16", slow=True),
    Net(
        "swin v2 of torchvision",
        lambda: _models.SwinTransformer(
            [4, 4], 24, [2, 2], [2, 4], [4, 4],
            block=_models.swin_transformer.SwinTransformerBlockV2,
            downsample_layer=_models.swin_transformer.PatchMergingV2,
        ),
        image(64, 96), _PICTURE,
        {"features.1.0.attn": _LAST, "features.1.1.attn": _LAST, "features.3.1.mlp": _LAST},
    ),
    Net(
        "r3d_18", lambda: _models.video.r3d_18(), normal((2, 3, 8, 48, 64)), "b c t h w",
        {"layer1": ["b - t h w"], "layer3": ["b - t h w"]}, slow=True,
    ),
    Net(
        "r2plus1d_18", lambda: _models.video.r2plus1d_18(), normal((2, 3, 8, 48, 64)), "b c t h w",
        {"layer2": ["b - t h w"]}, slow=True,
    ),
    Net(
        "s3d", lambda: _models.video.s3d(), normal((2, 3, 16, 224, 224)), "b c t h w",
        {"features.5": ["b - t h w"]}, slow=True,
    ),
    _timm("pit_ti_224", (64, 96), {
        "transformers.0.blocks.0": ["b 1+(h=7 w=11) -"], "transformers.0": _MAP,
        "transformers.1.blocks.0": ["b 1+(h=4 w=6) -"],
    }, img_size=(64, 96)),
    _timm("crossvit_tiny_240", (240, 240), {
        "blocks.0.blocks.0.0": ["b 1+(h=20 w=20) -"], "blocks.0.blocks.1": ["b 1+(h=14 w=14) -"],
    }),
    _timm("volo_d1_224", (64, 64), {"network.0": _LAST, "network.2": _LAST}, img_size=64),
    _timm("tiny_vit_5m_224", (224, 224), {
        "stages.1.blocks.0.attn.qkv": ["(b h1=4 w1=4) (h2=7 w2=7) -"],
        "stages.1.blocks.0.attn": ["(b h1=4 w1=4) (h2=7 w2=7) -"],
        "stages.1.blocks.0.mlp": ["b (h=28 w=28) -"], "stages.1.blocks.0": _LAST,
    }),
    _timm("maxvit_rmlp_pico_rw_256", (64, 64), {
        "stages.0.blocks.0.attn_block.attn.qkv": ["(b h1=8 w1=8) h2=2 w2=2 -"],
        "stages.0.blocks.0.attn_block.attn": ["(b h1=8 w1=8) h2=2 w2=2 -"],
        "stages.0.blocks.0.attn_grid.attn.qkv": ["(b h2=8 w2=8) h1=2 w1=2 -"],
        "stages.0.blocks.0.attn_block.mlp": _LAST, "stages.0.blocks.0": _MAP,
    }, img_size=64),
    _timm("gcvit_xxtiny", (224, 224), {
        "stages.0.blocks.0.attn.qkv": ["(b h1=8 w1=8) (h2=7 w2=7) -"],
        "stages.0.blocks.0.mlp": _LAST, "stages.1": _MAP,
    }),
    _timm("swin_s3_tiny_224", (224, 224), _WINDOWS),
    _timm("swinv2_cr_tiny_224", (64, 96), {
        "stages.0.blocks.0.attn": ["(b h1=4 w1=6) (h2=4 w2=4) -"],
        "stages.0.blocks.1.attn": ["? ? -"], "stages.1": _MAP,
    }, img_size=(64, 96), window_size=(4, 4)),
    _timm("mambaout_femto", (64, 96), {
        "stages.1.blocks.0": _LAST, "stages.2.blocks.0.conv": _MAP, "stages.2.blocks.0.fc1": _LAST,
    }),
    _timm("convit_tiny", (64, 64), {
        "blocks.0": [_TOKENS.format("")], "blocks.0.attn.v": [_TOKENS.format("")],
        "blocks.11.attn.qkv": [_TOKENS.format("1+")],
    }, img_size=64),
    _timm("naflexvit_base_patch16_gap", (64, 96), {"blocks.1.norm1": ["b 4+(h=4 w=6) -"]},
          embed_dim=48, depth=2, num_heads=2),
    _timm("gmlp_ti16_224", (64, 96), {"blocks.1": ["b (h=4 w=6) -"]}, img_size=(64, 96)),
    _timm("resmlp_12_224", (64, 96), {"blocks.1": ["b (h=4 w=6) -"]}, img_size=(64, 96)),
    _timm("eva02_tiny_patch14_224", (56, 84), {"blocks.1.mlp": ["b 1+(h=4 w=6) -"]},
          img_size=(56, 84), depth=2),
    _timm("vit_base_patch16_siglip_224", (64, 96), {"blocks.1.norm1": ["b (h=4 w=6) -"]},
          img_size=(64, 96), depth=2, embed_dim=48, num_heads=2),
    _timm("vit_medium_patch16_reg4_gap_256", (64, 96), {"blocks.1": ["b 4+(h=4 w=6) -"]},
          img_size=(64, 96), depth=2, embed_dim=48, num_heads=2),
    _timm("poolformer_s12", (64, 96), {"stages.1": _MAP}),
    _timm("edgenext_xx_small", (128, 128), {"stages.0": _MAP, "stages.2": _MAP}),
    _timm("repvit_m0_9", (64, 96), {"stages.1": _MAP}),
    _timm("ghostnet_050", (64, 96), {"blocks.3": _MAP}),
    _timm("mobilenetv4_conv_small", (96, 128), {"blocks.1": _MAP, "blocks.3": _MAP}),
    _timm("starnet_s1", (64, 96), {"stages.1": _MAP}),
    _timm("inception_next_atto", (64, 96), {"stages.1": _MAP}),
    _timm("efficientnet_lite0", (96, 96), {"blocks.2": _MAP, "blocks.4": _MAP}),
    _face("Yolos", {"encoder.layer.0": ["b 1+(h=4 w=4)+5 -"]}, num_detection_tokens=5,
          **{**_PATCHES, "image_size": [64, 64]}),
    _face("SiglipVision", {"encoder.layers.0.mlp.fc1": [_TOKENS.format("")]}, **_PATCHES),
    _face("ViTMSN", {"layers.1": [_TOKENS.format("1+")]}, **_PATCHES),
    _face("Data2VecVision", {"encoder.layer.1": [_TOKENS.format("1+")]}, **_PATCHES),
    _face("IJepa", {"layers.0": [_TOKENS.format("")]}, **_PATCHES),
    _face("DPT", {"encoder.layer.1": [_TOKENS.format("1+")]}, is_hybrid=False,
          backbone_out_indices=[0, 1], **_PATCHES),
    _face("Pvt", {"encoder.block.0.0": ["b (h=16 w=16) -"], "encoder.block.1.0": ["b (h=8 w=8) -"]},
          hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 1, 2],
          image_size=64),
    _face("Swinv2", {
        "encoder.layers.0.blocks.0.attention": ["(b h1=4 w1=4) (h2=4 w2=4) -"],
        "encoder.layers.0.blocks.1.attention": ["? ? -"],
        "encoder.layers.0.blocks.1": ["b (h=16 w=16) -"],
    }, image_size=64, patch_size=4, embed_dim=16, depths=[2, 1], num_heads=[2, 2], window_size=4),
    _face("FocalNet", {
        "encoder.stages.0.layers.0.modulation": _LAST,
        "encoder.stages.0.layers.0": ["b (h=16 w=16) -"],
    }, image_size=64, embed_dim=16, depths=[1, 1], focal_levels=[1, 1], focal_windows=[3, 3]),
    Net(
        "clap", _clap, normal((2, 1, 1024, 64)), "b c t f",
        # a long spectrogram is folded to a square: four parts of time stand below each other
        {"audio_encoder.layers.0.blocks.0": ["b (t1=4 f=16 t2=64) -"]}, slow=True,
    ),
    Net("hubert", _hubert, normal((2, 800)), "b t", {
        "feature_extractor.conv_layers.1": ["b - t"], "encoder.layers.1": ["b t -"],
    }),
    Net("spectrogram transformer, coarse frequencies", _ast, normal((2, 128, 48)), "b t f",
        {"layers.1": ["b 2+(f=3 t=15) -"]}),
    Net("vjepa", _vjepa, normal((2, 8, 3, 64, 64)), "b t c h w",
        {"encoder.layer.1": ["b (t=4 h=4 w=4) -"]}),
]  # fmt: skip
