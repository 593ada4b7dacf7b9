"""Which attentions are rolled out: any rank of space, and clear words where there is no stack."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks.attention.capture import catching
from gradcam_hooks.attention.stack import stack_of
from gradcam_hooks.layout.input_axes import InputAxes
from tests.support.nets import residual
from tests.support.vits import clip, drawn, pictures, timm_vit, torchvision_vit

NAMES = ("attentionrollout", "gradientrollout", "legrad", "gradeclip")
SPACES = {1: (12,), 2: (8, 12), 3: (4, 8, 8)}


class Tiny(nn.Module):
    """Patches of side 4 in any rank, a class token, torch's own encoder layers, a linear head."""

    def __init__(self, rank: int, *, batch_first: bool = True, class_token: bool = True) -> None:
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
        self.patches = conv(3, 8, 4, stride=4)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 8)) if class_token else None
        count = torch.Size(side // 4 for side in SPACES[rank]).numel() + class_token
        self.positions = nn.Parameter(torch.zeros(1, count, 8))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first, norm_first=True)
            for _ in range(2)
        )
        self.head = nn.Linear(8, 4)
        self.batch_first = batch_first

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).mT
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
        x = x + self.positions
        x = x if self.batch_first else x.transpose(0, 1)
        for layer in self.layers:
            x = layer(x)
        x = x if self.batch_first else x.transpose(0, 1)
        logits: Tensor = self.head(x[:, 0] if self.cls_token is not None else x.mean(1))
        return logits


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rank", SPACES)
def test_every_rank_of_space(rank: int, name: str) -> None:
    images = pictures(2, SPACES[rank])
    result = gh.explainer(name, drawn(Tiny(rank)))(images, target=gh.TopK(2))
    assert result.raw.shape == (2, 2, *(side // 4 for side in SPACES[rank]))
    assert result.maps.shape == (2, 2, *SPACES[rank])
    # Each image alone has the map that it has among others.
    for index in range(2):
        one = gh.explainer(name, drawn(Tiny(rank)))(images[index : index + 1], target=gh.TopK(2))
        assert torch.allclose(one.raw[0], result.raw[index], rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", [2, 7])  # 7 is the number of tokens too
def test_tokens_ahead_of_the_batch_are_the_same_network(batch: int, name: str) -> None:
    images = pictures(batch, SPACES[2])
    first = gh.explainer(name, drawn(Tiny(2)))(images)
    other = gh.explainer(name, drawn(Tiny(2, batch_first=False)))(images)
    assert torch.allclose(first.raw, other.raw, rtol=1e-9, atol=1e-14)


def test_a_signal_whose_tokens_are_no_whole_steps_is_asked_about() -> None:
    net = drawn(Tiny(1))
    odd = pictures(2, (14,))  # still 3 patches
    with pytest.raises(gh.LayoutError, match=r"no whole number .* layout='tokens:1\+3'"):
        gh.AttentionRollout(net)(odd)
    asked = gh.AttentionRollout(net, layout="tokens:1+3")(odd)
    assert asked.raw.shape == (2, 3)


class Tied(Tiny):
    """A head that is tied to the batch of the input: it adds each picture's mean."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x.mean((1, 2, 3)).view(len(x), 1)


def test_legrad_where_the_head_is_tied_to_the_batch() -> None:
    images = pictures(3, SPACES[2])
    free, tied = drawn(Tiny(2)), drawn(Tied(2))
    a, b = (gh.LeGrad(net)(images, target=1) for net in (free, tied))
    assert not torch.allclose(a.scores, b.scores)
    assert torch.allclose(a.raw, b.raw, rtol=1e-9, atol=1e-14)


class Drawing(Tiny):
    """A network whose answer is another each time."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.randn(len(x), 1, dtype=x.dtype)


def test_legrad_of_a_network_that_draws_is_an_error() -> None:
    with pytest.raises(
        gh.LayerError, match=r"own tokens put back behind 'layers\.1'.*draws random"
    ):
        gh.LeGrad(drawn(Drawing(2)))(pictures(2, SPACES[2]), target=1)


class Shared(Tiny):
    """One layer that runs twice."""

    def __init__(self, rank: int) -> None:
        super().__init__(rank)
        self.layers[1] = self.layers[0]


def test_a_layer_that_runs_twice_is_two_layers_of_a_rollout() -> None:
    net, images = drawn(Shared(2)), pictures(2, SPACES[2])
    one = gh.GradientRollout(net, start_layer=1)(images)
    both = gh.GradientRollout(net)(images)
    assert not torch.allclose(one.raw, both.raw)
    with pytest.raises(gh.LayerError, match=r"'layers\.0\.self_attn' is .*runs several times"):
        gh.LeGrad(net)(images)


class Linear(nn.Module):
    """Attention without a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        context: Tensor = (k.exp() / k.exp().sum(1, keepdim=True)).mT @ v
        return x + q @ context


class LinearAttention(Linear):
    """The same, and it says what it is."""


def test_attention_that_torch_does_not_see_is_named() -> None:
    net = drawn(Tiny(2))
    net.layers = nn.ModuleList([LinearAttention(), LinearAttention()]).double()
    with pytest.raises(
        gh.LayerError, match=r"Tiny attends in 'layers\.0', 'layers\.1', but no sof"
    ):
        gh.AttentionRollout(net)(pictures(2, SPACES[2]))
    mixed = drawn(Tiny(2))
    mixed.layers.append(LinearAttention().double())
    with pytest.raises(gh.LayerError, match=r"attends in 'layers\.2'.*implementation='sdpa'"):
        gh.AttentionRollout(mixed)(pictures(2, SPACES[2]))


class FlexAttention(nn.Module):
    """One head, computed by torch's flex_attention, which shows no weights."""

    def forward(self, x: Tensor) -> Tensor:
        from torch.nn.attention.flex_attention import flex_attention

        one = x[:, None]
        out = flex_attention(one, one, one)
        assert isinstance(out, Tensor)
        return x + out[:, 0]


@pytest.mark.filterwarnings("ignore:.*flex_attention")
def test_flex_attention_is_told_by_its_name() -> None:
    net = drawn(Tiny(2))
    net.layers = nn.ModuleList([FlexAttention(), FlexAttention()])
    images = pictures(2, SPACES[2]).float()
    with pytest.raises(gh.LayerError, match=r"flex_attention.*'sdpa' or 'eager'"):
        gh.LeGrad(net.float())(images)


class Beside(Tiny):
    """Two attentions that read the same tokens, side by side."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).mT
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
        logits: Tensor = self.head((self.layers[0](x) + self.layers[1](x))[:, 0])
        return logits


def swin() -> nn.Module:
    from torchvision.models.swin_transformer import SwinTransformer

    return drawn(SwinTransformer([2, 2], 8, [1, 1], [2, 2], [4, 4], num_classes=3))


def timm(name: str, **options: object) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        from timm import create_model

        return drawn(create_model(name, **options))

    return make


PYRAMID = {"embed_dims": (8,) * 4, "depths": (1,) * 4, "num_heads": (1,) * 4, "num_classes": 3}
NARROW = {"img_size": 32, "embed_dim": 16, "depth": 1, "num_heads": 2, "num_classes": 3}


@pytest.mark.parametrize(
    ("make", "size", "said"),
    [
        (residual, (8, 8), r"Residual has no attention .*'gradcam'"),
        (swin, (32, 32), r"'features\.1\.0\.attn' has weights \(32, 2, 16, 16\) .*windows"),
        (timm("pvt_v2_b0", **PYRAMID), (64, 64), r"matrix of 256 by 4, and none of its inputs"),
        (timm("xcit_nano_12_p8_224", **NARROW), (32, 32), r"matrix of 8 by 8.* over channels"),
        (lambda: drawn(Beside(2)), (8, 12), r"'layers\.1\.self_attn' does not work on .*side by"),
    ],
    ids=["CNN", "windows", "pooled keys", "channels", "side by side"],
)
def test_what_has_no_stack_is_told_why(
    make: Callable[[], nn.Module], size: tuple[int, int], said: str
) -> None:
    net = make()
    for name in NAMES:
        with pytest.raises(gh.LayerError, match=said):
            gh.explainer(name, net)(pictures(2, size))


def test_an_encoder_with_a_decoder_is_no_stack() -> None:
    net = Decoding(2).double().eval()
    with pytest.raises(gh.LayerError, match=r"7 by 7, 5 by 5, 5 by 7 tokens.*decoder behind"):
        gh.AttentionRollout(net)(pictures(2, SPACES[2]))


class Decoding(Tiny):
    """Five queries that read the encoded tokens."""

    def __init__(self, rank: int) -> None:
        super().__init__(rank)
        self.queries = nn.Parameter(torch.randn(1, 5, 8))
        self.decoder = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).mT
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
        for layer in self.layers:
            x = layer(x)
        logits: Tensor = self.head(self.decoder(self.queries.expand(len(x), -1, -1), x).mean(1))
        return logits


def test_the_text_beside_the_image_is_left_out() -> None:
    net, images = clip(), pictures()
    with torch.no_grad(), catching(net) as caught:
        net(pixel_values=images, input_ids=torch.tensor([[0, 5, 1], [0, 7, 1]]))
    stack = stack_of(caught, net, 2, (8, 8), InputAxes.read(None, 4))
    assert [one.name for one in stack.layers] == [
        "vision_model.encoder.layers.0.self_attn",
        "vision_model.encoder.layers.1.self_attn",
    ]
    assert stack.blocks == ("vision_model.encoder.layers.0", "vision_model.encoder.layers.1")
    assert (stack.layout.prefix, stack.layout.space, stack.pooler) == (1, (2, 2), None)


@pytest.mark.parametrize("name", NAMES)
def test_the_network_is_left_as_found(name: str) -> None:
    net, images = torchvision_vit(), pictures()
    net.train()
    net.encoder.layers[0].requires_grad_(False)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    random = torch.random.get_rng_state()
    failing = [net.encoder.layers[1].mlp, net.heads]
    with torch.inference_mode():
        gh.explainer(name, net)(images)
    for module in failing:
        handle = module.register_forward_pre_hook(_fail)
        with pytest.raises(ZeroDivisionError, match="from inside"):
            gh.explainer(name, net)(images)
        handle.remove()
    assert torch.equal(torch.random.get_rng_state(), random)
    assert all(module.training for module in net.modules())
    assert not any(one.requires_grad for one in net.encoder.layers[0].parameters())
    assert all(one.requires_grad for one in net.heads.parameters())
    assert all(one.grad is None for one in net.parameters())
    assert all(torch.equal(net.state_dict()[key], value) for key, value in before.items())
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in net.modules())


def _fail(module: nn.Module, args: object) -> None:
    raise ZeroDivisionError("from inside")


def test_a_score_without_a_gradient_has_a_rollout_and_nothing_else() -> None:
    net, images = timm_vit(), pictures()

    def cut(output: Tensor) -> Tensor:
        return output.detach().amax(1)

    class_token = gh.AttentionRollout(net)(images)
    assert torch.equal(gh.AttentionRollout(net)(images, target=cut).raw, class_token.raw)
    for name in NAMES[1:]:
        with pytest.raises(gh.GradientError, match=r"no gradient can flow .*'attentionrollout'"):
            gh.explainer(name, net)(images, target=cut)


def test_frozen_and_half_precision_networks() -> None:
    net, images = timm_vit(), pictures()
    free = [gh.explainer(name, net)(images, target=1).raw for name in NAMES]
    net.requires_grad_(False)
    for name, raw in zip(NAMES, free, strict=True):
        assert torch.allclose(gh.explainer(name, net)(images, target=1).raw, raw, atol=1e-13)
    net.bfloat16()
    for name, raw in zip(NAMES, free, strict=True):
        half = gh.explainer(name, net)(images.bfloat16(), target=1).raw
        assert half.dtype == torch.float32
        assert (half - raw).abs().max() < 0.1 * raw.abs().max()


@pytest.mark.parametrize("name", NAMES)
def test_a_network_that_checkpoints_has_the_same_map(name: str) -> None:
    net, images = timm_vit(), pictures()
    expected = gh.explainer(name, net)(images, target=1).raw
    net.set_grad_checkpointing(True)
    assert torch.allclose(gh.explainer(name, net)(images, target=1).raw, expected, atol=1e-13)
