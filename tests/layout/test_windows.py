"""Maps that are cut up or reordered, and weights of attentions, are told and never drawn.

What a layer's positions are is found out without the library: a corner of the input is changed,
and the positions that change most must be in that corner of the layer's map.
"""

from __future__ import annotations

import pytest
import torch
import transformers
from torch import Tensor, nn

import gradcam_hooks as gh
from tests.support.cells import own_cells
from tests.support.oracle import grad_cam, oracle
from tests.support.zoo import drawn, equal, explained, first, images, tokens, zoo

pytestmark = pytest.mark.filterwarnings("ignore")  # what timm and transformers say of themselves

_OBLONG = (2, 3, 64, 96)
_SIZE = (64, 96)
_CONVIT: dict[str, object] = {"depth": 2, "local_up_to_layer": 1}


_SMALL = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 48,
}


def hiera() -> nn.Module:
    depths = {"embed_dim": 12, "num_heads": 1, "stages": (1, 1, 2, 1)}
    return zoo("hiera_tiny_224", img_size=_SIZE, **depths)


def huggingface_hiera() -> nn.Module:
    config = transformers.HieraConfig(
        image_size=list(_SIZE), embed_dim=12, depths=[1, 1, 2, 1], num_labels=5
    )
    return transformers.HieraForImageClassification(config)


@pytest.mark.parametrize(
    ("make", "cut", "whole"),
    [
        (hiera, ("blocks.0", "blocks.0.norm1", "blocks.2"), "blocks.4"),
        (
            huggingface_hiera,
            ("hiera.encoder.stages.0", "hiera.encoder.stages.1.layers.0"),
            "hiera.encoder.stages.3",
        ),
    ],
    ids=["timm", "transformers"],
)
def test_tokens_in_the_order_of_hieras_units_are_put_in_order(
    make: object, cut: tuple[str, ...], whole: str
) -> None:
    torch.manual_seed(0)
    net, x = drawn(make()), images(_OBLONG)  # type: ignore[operator]
    for layer in cut:
        result = gh.explain(net, x, layer)
        assert result.layouts[0].by == "probe"
        assert own_cells(net, x, result) > 0.5  # its patches overlap; by chance it is 0.01
    assert gh.explain(net, x, whole).layouts[0].startswith("b (h=2 w=3) c")
    explained(net, tokens(0, 32, 32), None, x)


def test_the_blocks_of_nest_are_put_together() -> None:
    torch.manual_seed(0)
    net, x = drawn(zoo("nest_tiny", img_size=32)), images((2, 3, 32, 32))
    result = gh.explain(net, x, "levels.0.transformer_encoder.0")
    assert result.layouts == ("b (h1=4 w1=4) (h2=2 w2=2) c=96",)
    assert own_cells(net, x, result) == 1
    assert gh.explain(net, x, "levels.0").layouts == ("b c=96 h=8 w=8",)


@pytest.mark.parametrize("name", ["mobilevit_xxs", "mobilevitv2_050"])
def test_unfolded_patches_are_folded_or_refused(name: str) -> None:
    torch.manual_seed(0)
    net, x = drawn(zoo(name)), images(_OBLONG)
    if name == "mobilevit_xxs":
        result = gh.explain(net, x, "stages.2.1.transformer.0")
        assert result.layouts == ("(b h2=2 w2=2) (h1=4 w1=6) c=64",)
    else:
        with pytest.raises(gh.LayoutError, match=r"the pixels of patches.*Name 'stages.2.1', or"):
            gh.explain(net, x, "stages.2.1.transformer.0")
    assert gh.explain(net, x, "stages.2.1").layouts[0].endswith("h=8 w=12")
    explained(net, first, None, x)


@pytest.mark.parametrize(
    ("name", "options", "weights", "auto"),
    [
        ("convit_tiny", _CONVIT, "blocks.1.attn.attn_drop", "blocks.1.norm1"),
        (
            "cait_xxs24_224",
            {"depth": 2},
            "blocks.1.attn.proj_l",
            "blocks_token_only.1.norm1",
        ),
    ],
)  # fmt: skip
def test_the_weights_of_an_attention_are_no_map(
    name: str, options: dict[str, object], weights: str, auto: str
) -> None:
    torch.manual_seed(0)
    net, x = drawn(zoo(name, img_size=64, **options)), images((2, 3, 64, 64))
    with pytest.raises(gh.LayoutError, match="within an attention, where two axes of one length"):
        gh.explain(net, x, weights)
    result = explained(net, tokens(1, 16, 16), None, x)
    assert result.layers == (auto,)


def test_linear_layers_on_four_axes_that_shrank_unlike_are_asked_for() -> None:
    # The weights of XCiT's attention are of channels with channels, 4 heads of 32 x 32.
    torch.manual_seed(0)
    net, x = drawn(zoo("xcit_nano_12_p16_224", img_size=_SIZE, depth=1)), images(_OBLONG)
    with pytest.raises(gh.LayoutError, match="no reading fits: b c h=32 w=32; b h=4 w=32 c"):
        gh.explain(net, x, "blocks.0.attn.attn_drop")


def test_tokens_that_a_model_has_none_of_are_not_told() -> None:
    config = transformers.DINOv3ViTConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=48,
        image_size=64,
    )
    net = drawn(transformers.DINOv3ViTModel(config))
    layout = gh.explain(net, images(_OBLONG), output="pooler_output").layouts[0]
    assert layout == "b 1+(h=4 w=6) c=24"


def test_a_map_without_channels_is_no_sequence_of_tokens() -> None:
    # (2, 64, 64), the depths at 64 x 64, would pass for 8 x 8 patches of 64 channels.
    config = transformers.DPTConfig(
        image_size=64,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        **{**_SMALL, "num_hidden_layers": 4},
    )
    torch.manual_seed(0)
    net, x = drawn(transformers.DPTForDepthEstimation(config)), images((2, 3, 64, 64))

    def mean_depth(output: object) -> Tensor:
        return output.predicted_depth.mean((1, 2))[:, None]  # type: ignore[attr-defined, no-any-return]

    depths = gh.explain(net, x, "head", output=mean_depth, target=gh.Regression())
    assert depths.layouts == ("b h=64 w=64",)
    result = gh.explain(net, x, output=mean_depth, target=gh.Regression())
    assert result.layouts == ("b c=32 h=64 w=64",)


class Turned(nn.Module):
    """A network that takes its video with the channels ahead of the frames."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, video: Tensor) -> object:
        return self.net(video.transpose(1, 2))


@pytest.mark.parametrize("kind", ["VideoMAE", "Vivit"])
def test_videos_whose_frames_come_before_the_channels(kind: str) -> None:
    config = getattr(transformers, f"{kind}Config")(
        image_size=32, num_frames=8, num_labels=5, **_SMALL
    )
    torch.manual_seed(0)
    net = drawn(getattr(transformers, f"{kind}ForVideoClassification")(config))
    video = images((2, 8, 3, 32, 32))
    result = gh.explain(net, video)
    ahead = int(kind == "Vivit")
    assert result.layouts == (f"b {'1+' * ahead}(t=4 h=2 w=2) c=24",)
    assert result.maps.shape == (2, 8, 32, 32)

    def predicted(output: object) -> Tensor:
        return output.logits.amax(1)  # type: ignore[attr-defined, no-any-return]

    seen = oracle(net, result.layers[0], predicted, video)
    by_hand = tokens(ahead, 2, 16, 16)
    equal(result.raw, grad_cam(*(by_hand(one, (8, 32, 32)) for one in seen)))
    for method, few in (("scorecam", {"channels": 2}), ("rise", {"masks": 4})):
        # Masks lie on each frame's pixels: a network that takes channels first answers alike.
        masked = gh.explain(net, video, result.layers[0], method=method, target=1, **few)  # type: ignore[arg-type]
        inside, turned = f"net.{result.layers[0]}", video.transpose(1, 2)
        other = gh.explain(Turned(net), turned, inside, method=method, target=1, **few)  # type: ignore[arg-type]
        assert torch.allclose(masked.raw, other.raw, atol=1e-6 * float(masked.raw.abs().max()))


def test_several_pictures_of_one_question_are_no_volume() -> None:
    config = transformers.ViltConfig(
        image_size=64, patch_size=16, num_labels=5, num_images=1, vocab_size=99, **_SMALL
    )
    net = drawn(transformers.ViltForImagesAndTextClassification(config))
    words = torch.tensor([[1, 2, 3], [4, 5, 6]])
    inputs = {"input_ids": words, "pixel_values": images((2, 1, 3, 64, 64))}
    with pytest.raises(gh.LayoutError, match="the random numbers that it draws move its cells"):
        gh.GradCAM(net, "vilt.embeddings.dropout")(**inputs)


def test_queries_of_a_decoder_and_embeddings_of_places_are_not_taken_for_the_image() -> None:
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    wide = {"encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "num_queries": 6, "d_model": 16}
    swin = {"embed_dim": 12, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1], "window_size": 2}
    config = transformers.MaskFormerConfig(
        num_labels=5,
        backbone_config=transformers.SwinConfig(
            **swin, out_features=["stage1", "stage2", "stage3", "stage4"]
        ),
        decoder_config=transformers.DetrConfig(encoder_layers=1, decoder_layers=1, **heads, **wide),
        mask_feature_size=32,
        fpn_feature_size=32,
    )
    torch.manual_seed(0)
    net, x = drawn(transformers.MaskFormerForInstanceSegmentation(config)), images((1, 3, 64, 96))

    def queries(output: object) -> Tensor:
        return output.class_queries_logits.mean(1)  # type: ignore[attr-defined, no-any-return]

    # 6 queries would pass for 2 x 3 patches.
    with pytest.raises(gh.LayoutError, match=r"gives \(1, 6, 6\)"):
        gh.explain(net, x, "class_predictor", output=queries, target=1)
    layer = gh.explain(net, x, output=queries, target=1).layers[0]
    assert layer == "model.transformer_module.input_projection"


class Signals(nn.Module):
    """A transformer over the steps of a signal, a class token ahead of them."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.Conv1d(2, 16, 4, 4)
        self.cls_token = nn.Parameter(torch.randn(1, 1, 16))
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2, enable_nested_tensor=False
        )
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        steps = self.steps(x).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), steps], 1)
        return self.head(self.encoder(tokens)[:, 0])  # type: ignore[no-any-return]


def test_the_class_token_of_a_signal_is_no_step_of_it() -> None:
    torch.manual_seed(0)
    net, x = drawn(Signals()), images((3, 2, 200))
    result = explained(net, tokens(1, 4), None, x)
    assert result.layers == ("encoder.layers.0",)
    assert result.layouts == ("b 1+t=50 c=16",)
    assert gh.explain(net, x, "steps").layouts == ("b c=16 t=50",)
    # 50 steps of 4 leave 3 of 203 over, and so do 51 leave some: the network tells.
    asked = gh.explain(net, images((3, 2, 203)), "encoder.layers.0").layouts
    assert asked == ("b 1+t=50 c=16",)
    assert asked[0].by == "probe"
    said = gh.explain(net, images((3, 2, 203)), "encoder.layers.0", layout="tokens").layouts
    assert said == ("b 1+t=50 c=16",)
