"""Catching attention: the answer stays, the weights are the true ones, nothing is left."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gradcam_hooks.attention.capture import Attention, catching
from tests.support.vits import clip, pictures, siglip, timm_vit, torchvision_vit, transformers_vit

NETS: dict[str, Callable[[], nn.Module]] = {
    "torchvision": torchvision_vit,
    "timm, fused": timm_vit,
    "timm, in the open": lambda: timm_vit(False),
    "timm, normed queries": lambda: timm_vit(qk_norm=True),
    "transformers, sdpa": transformers_vit,
    "transformers, eager": lambda: transformers_vit(implementation="eager"),
    "BEiT, a bias of positions": lambda: transformers_vit("Beit"),
    "a pooling head": siglip,
}


def logits(net: nn.Module, images: Tensor) -> Tensor:
    output = net(images)
    given = output if isinstance(output, Tensor) else output[-1]
    assert isinstance(given, Tensor)
    return given


@pytest.mark.parametrize("grad", [True, False], ids=["gradients", "no gradients"])
@pytest.mark.parametrize("kind", NETS)
def test_the_answer_is_the_same_while_attention_is_caught(kind: str, grad: bool) -> None:
    net, images = NETS[kind](), pictures()
    with torch.set_grad_enabled(grad):
        before = logits(net, images)
        with catching(net) as caught:
            during = logits(net, images)
        after = logits(net, images)
    assert torch.allclose(during, before, rtol=1e-12, atol=1e-12)
    assert torch.equal(after, before)
    assert len(caught.attentions) == 2 + (kind == "a pooling head")
    for one in caught.attentions:
        weights = one.split(one.weights, 2)
        assert torch.allclose(weights.sum(-1), torch.ones_like(weights[..., 0]), atol=1e-6)
        assert one.weights.requires_grad is grad


def test_weights_are_those_that_torchs_own_module_tells() -> None:
    net, images = torchvision_vit(), pictures()
    told: list[Tensor] = []

    def tell(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        with torch.no_grad():
            _, weights = nn.MultiheadAttention.forward(
                module, *args, need_weights=True, average_attn_weights=False
            )
        told.append(weights)

    handles = [block.self_attention.register_forward_pre_hook(tell) for block in net.encoder.layers]
    net(images)
    for handle in handles:
        handle.remove()
    with catching(net) as caught:
        net(images)
    for one, weights in zip(caught.attentions, told, strict=True):
        assert torch.allclose(one.weights, weights, atol=1e-14)


@pytest.mark.parametrize("kind", ["ViT", "DeiT", "Beit", "Dinov2"])
def test_weights_are_those_that_transformers_tells(kind: str) -> None:
    net = transformers_vit(kind, "eager")
    told = net(pictures(), output_attentions=True).attentions
    for same in (net, transformers_vit(kind)):
        with catching(same) as caught:
            same(pictures())
        for one, weights in zip(caught.attentions, told, strict=True):
            assert torch.allclose(one.weights.double(), weights.double(), atol=1e-6)


def test_a_module_with_weights_asked_for_takes_the_open_way() -> None:
    torch.manual_seed(0)
    module, x = nn.MultiheadAttention(8, 2, batch_first=True).double().eval(), torch.randn(3, 5, 8)
    x = x.double()
    output, told = module(x, x, x, average_attn_weights=False)
    with catching(module) as caught:
        again, _ = module(x, x, x)
    (one,) = caught.attentions
    assert one.weights.shape == (6, 5, 5)
    assert torch.allclose(one.split(one.weights, 3), told, atol=1e-14)
    assert torch.equal(again, output)
    for tensor, shape in ((one.query, (6, 5, 4)), (one.key, (6, 5, 4)), (one.value, (6, 5, 4))):
        assert tensor is not None
        assert tensor.shape == shape


def test_the_fast_path_of_torchs_encoder_is_not_taken() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net, x = nn.TransformerEncoder(layer, 2).double().eval(), torch.randn(3, 5, 8).double()
    with torch.no_grad():
        before = net(x)
        with catching(net) as caught:
            during = net(x)
    assert [one.name for one in caught.attentions] == ["layers.0.self_attn", "layers.1.self_attn"]
    assert torch.allclose(during, before, atol=1e-12)
    assert torch.backends.mha.get_fastpath_enabled()


class Kernel(nn.Module):
    """One call of the fused kernel with the arguments that it was made with."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.options = options

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(query, key, value, **self.options)


BOOLS = torch.tensor([[True, False, True], [True, True, True], [False, False, False]])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale": 0.3},
        {"is_causal": True},
        {"attn_mask": BOOLS},
        {"attn_mask": torch.arange(9.0).view(3, 3).double()},
        {"enable_gqa": True},
    ],
    ids=["plain", "scale", "causal", "mask of bools", "mask of numbers", "grouped"],
)
def test_the_open_product_is_the_kernels(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    net = Kernel(**options)
    few = 2 if options.get("enable_gqa") else 4
    query = torch.randn(2, 4, 3, 6, dtype=torch.float64, requires_grad=True)
    key, value = (torch.randn(2, few, 3, 6, dtype=torch.float64, requires_grad=True) for _ in "kv")
    expected = net(query, key, value)
    with catching(net) as caught:
        output = net(query, key, value)
    assert torch.allclose(output, expected, atol=1e-14)
    (one,) = caught.attentions
    assert one.value is not None
    assert torch.allclose(one.weights @ one.value, output)
    score = (output**2).sum()
    found = torch.autograd.grad(score, [query, key, value])
    truth = torch.autograd.grad((expected**2).sum(), [query, key, value])
    for mine, theirs in zip(found, truth, strict=True):
        assert bool(mine.isfinite().all())
        assert torch.allclose(mine, theirs, atol=1e-12)


def test_half_precision_is_weighed_in_float32() -> None:
    torch.manual_seed(0)
    net, x = Kernel(), torch.randn(1, 2, 4, 8).to(torch.bfloat16)
    expected = net(x, x, x)
    with catching(net) as caught:
        output = net(x, x, x)
    assert caught.attentions[0].weights.dtype == torch.float32
    assert output.dtype == torch.bfloat16
    assert torch.allclose(output.float(), expected.float(), atol=2e-2)


def hooks(net: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_also_when_the_network_raises(error: type[BaseException]) -> None:
    net, images = timm_vit(), pictures()
    frozen = [parameter.requires_grad_(False) for parameter in net.parameters()]
    functions = (F.scaled_dot_product_attention, F.multi_head_attention_forward)
    before = net(images)

    def fail(module: nn.Module, args: object) -> None:
        raise error("from inside")

    handle = net.blocks[1].mlp.register_forward_pre_hook(fail)
    with catching(net) as caught:
        assert hooks(net) > 20
        with pytest.raises(error, match="from inside"):
            net(images)
    assert len(caught.attentions) == 2
    with pytest.raises(error, match="from inside"), catching(net):
        net(images)
    handle.remove()
    assert hooks(net) == 0
    assert functions == (F.scaled_dot_product_attention, F.multi_head_attention_forward)
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in frozen)
    assert torch.overrides._get_current_function_mode() is None
    assert torch.equal(net(images), before)


def test_a_frozen_network_has_gradients_at_its_attention() -> None:
    net, images = torchvision_vit(), pictures()
    with catching(net) as caught:
        free = torch.autograd.grad(net(images)[:, 1].sum(), [a.weights for a in caught.attentions])
    net.requires_grad_(False)
    with catching(net) as caught:
        held = torch.autograd.grad(net(images)[:, 1].sum(), [a.weights for a in caught.attentions])
    for one, other in zip(free, held, strict=True):
        assert torch.allclose(one, other, atol=1e-14)


def test_both_sides_of_clip_are_caught_by_name() -> None:
    net = clip()
    with catching(net) as caught:
        net(pixel_values=pictures(), input_ids=torch.tensor([[0, 5, 1]]))
    sides = {one.name.partition(".")[0] for one in caught.attentions}
    assert sides == {"text_model", "vision_model"}
    assert {(one.queries, one.keys) for one in caught.attentions} == {(3, 3), (5, 5)}


def test_a_softmax_that_weighs_nothing_is_no_attention() -> None:
    class Gate(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * x.softmax(-1) + x.softmax(1)

    with catching(Gate()) as caught:
        Gate()(torch.rand(2, 3, 4))
    assert caught.attentions == []


class Einsum(nn.Module):
    """Attention by einsum: its weights can be followed, its values cannot."""

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.einsum("bhqd,bhkd->bhqk", x, x).softmax(-1)
        return torch.einsum("bhqk,bhkd->bhqd", weights, x)


def test_attention_by_einsum_shows_its_weights_alone() -> None:
    net, x = Einsum(), torch.rand(1, 2, 3, 4)
    with catching(net) as caught:
        net(x)
    one: Attention
    (one,) = caught.attentions
    assert torch.allclose(one.weights, (x @ x.mT).softmax(-1))
    assert (one.query, one.value, one.output) == (None, None, None)
