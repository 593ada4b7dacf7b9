"""Architectures that just work: ``gh.explain(model, x)`` and nothing else, equal to an oracle.

Weights are drawn at random, heads of zeros too. The layer is the one ``"auto"`` takes; the
oracle adds zeros to a clone of its output, and its axes are permuted by hand, as the table says.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
import transformers
from torch import Tensor, nn

import gradcam_hooks as gh

TINY = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 48,
    "num_labels": 5,
}
STAGES = {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 1, 1], "num_labels": 5}


def vision(name: str, **options: object) -> nn.Module:
    return torchvision.models.get_model(name, weights=None, num_classes=5, **options)


def zoo(name: str, **options: object) -> nn.Module:
    return timm.create_model(name, num_classes=5, **options)


def face(name: str, **options: object) -> nn.Module:
    config = getattr(transformers, f"{name}Config")(**options)
    return getattr(transformers, f"{name}ForImageClassification")(config)


def signal() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(2, 8, 9, stride=2),
        nn.ReLU(),
        nn.Conv1d(8, 12, 9, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(12, 4),
    )


class Recurrent(nn.Module):
    """An LSTM over the columns of a convolution's map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.lstm = nn.LSTM(6 * 8, 10, batch_first=True)
        self.fc = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        columns = self.conv(x).relu().permute(0, 3, 1, 2).flatten(2)
        states, _ = self.lstm(columns)
        logits: Tensor = self.fc(states[:, -1])
        return logits


def tokens(prefix: int, *grid: int) -> Callable[[Tensor], Tensor]:
    """(batch, prefix + height*width, channels) to (batch, channels, height, width), by hand."""
    return lambda t: t[:, prefix:].transpose(1, 2).reshape(len(t), t.shape[2], *grid)


def first(t: Tensor) -> Tensor:
    return t


def last(t: Tensor) -> Tensor:
    return t.permute(0, t.ndim - 1, *range(1, t.ndim - 1))


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], Callable[[Tensor], Tensor]]] = {
    "torchvision vit": (
        lambda: vision("vit_b_32", image_size=96),
        (1, 3, 96, 96),
        tokens(1, 3, 3),
    ),
    "torchvision swin": (lambda: vision("swin_t"), (1, 3, 64, 96), first),
    "torchvision swin v2": (lambda: vision("swin_v2_t"), (1, 3, 64, 64), first),
    "torchvision maxvit": (
        lambda: torchvision.models.maxvit.MaxVit(
            (64, 64), 8, 2, [8, 8, 16, 16], [1, 1, 1, 1], 8, 0.0, num_classes=5
        ),
        (1, 3, 64, 64),
        first,
    ),
    "timm vit": (
        lambda: zoo("vit_tiny_patch16_224", img_size=(64, 96), depth=2),
        (2, 3, 64, 96),
        tokens(1, 4, 6),
    ),
    "timm deit distilled": (
        lambda: zoo("deit_tiny_distilled_patch16_224", img_size=64, depth=2),
        (1, 3, 64, 64),
        tokens(2, 4, 4),
    ),
    "timm vit with registers": (
        lambda: zoo("vit_small_patch14_reg4_dinov2", img_size=70, depth=2),
        (1, 3, 70, 70),
        tokens(5, 5, 5),
    ),
    "timm swin": (
        lambda: zoo("swin_tiny_patch4_window7_224", img_size=(64, 96), window_size=2),
        (1, 3, 64, 96),
        last,
    ),
    "timm convnext": (lambda: zoo("convnext_atto"), (1, 3, 64, 96), first),
    "timm efficientnet": (lambda: zoo("efficientnet_b0"), (1, 3, 64, 96), first),
    "timm pvt": (lambda: zoo("pvt_v2_b0"), (1, 3, 64, 96), first),
    "timm hybrid": (
        lambda: zoo("vit_tiny_r_s16_p8_224", img_size=96, depth=2),
        (1, 3, 96, 96),
        tokens(1, 3, 3),
    ),
    "timm mixer": (
        lambda: zoo("mixer_s32_224", img_size=96),
        (1, 3, 96, 96),
        tokens(0, 3, 3),
    ),
    "transformers vit": (
        lambda: face("ViT", image_size=64, **TINY),
        (2, 3, 64, 64),
        tokens(1, 4, 4),
    ),
    "transformers deit": (
        lambda: face("DeiT", image_size=64, **TINY),
        (1, 3, 64, 64),
        tokens(2, 4, 4),
    ),
    "transformers swin": (
        lambda: face(
            "Swin", embed_dim=12, depths=[1, 1], num_heads=[1, 3], window_size=2, num_labels=5
        ),
        (1, 3, 64, 96),
        tokens(0, 8, 12),
    ),
    "transformers convnext": (lambda: face("ConvNext", **STAGES), (1, 3, 64, 96), first),
    "transformers resnet": (lambda: face("ResNet", **STAGES), (1, 3, 64, 96), first),
    "transformers dinov2 with registers": (
        lambda: face("Dinov2WithRegisters", num_register_tokens=4, image_size=64, **TINY),
        (1, 3, 64, 64),
        tokens(5, 4, 4),
    ),
    "transformers beit": (
        lambda: face("Beit", image_size=64, **TINY),
        (1, 3, 64, 64),
        tokens(1, 4, 4),
    ),
    "transformers segformer": (lambda: face("Segformer", num_labels=5), (1, 3, 64, 96), first),
    "transformers clip vision": (
        lambda: face("CLIP", vision_config={**TINY, "image_size": 64, "patch_size": 16}),
        (1, 3, 64, 64),
        tokens(1, 4, 4),
    ),
    "1-D convolutions": (signal, (2, 2, 200), first),
    "3-D resnet": (lambda: vision("r3d_18"), (1, 3, 8, 32, 48), first),
    "video swin": (lambda: vision("swin3d_t"), (1, 3, 4, 64, 96), last),
    "lstm over convolutions": (Recurrent, (2, 3, 16, 24), first),
}


def drawn(net: nn.Module) -> nn.Module:
    """The network in float64 and eval mode, what its library leaves at zero drawn at random."""
    for parameter in net.parameters():
        if parameter.ndim > 1 and not parameter.detach().any():
            nn.init.normal_(parameter, std=0.1)
    return net.double().eval()


def oracle(net: nn.Module, layer: str, x: Tensor, scores: Callable[[object], Tensor]) -> Tensor:
    """Activation and gradient at a layer, by zeros added to a clone of what it gives."""
    seen: dict[str, Tensor] = {}

    def add(module: nn.Module, args: object, output: object) -> object:
        tensor = output
        if not isinstance(tensor, Tensor):
            named = getattr(output, "last_hidden_state", None)
            tensor = output[0] if named is None else named  # type: ignore[index]
        seen["a"] = tensor.detach().clone()
        seen["z"] = torch.zeros_like(tensor).requires_grad_()
        new = tensor.clone() + seen["z"]
        if output is tensor:
            return new
        return torch.utils._pytree.tree_map_only(
            Tensor, lambda one: new if one is tensor else one, output
        )

    handle = net.get_submodule(layer).register_forward_hook(add)
    try:
        (gradient,) = torch.autograd.grad(scores(net(x)).sum(), [seen["z"]])
    finally:
        handle.remove()
    return torch.stack([seen["a"], gradient])


@pytest.mark.filterwarnings("ignore")  # what timm and transformers say of themselves
@pytest.mark.parametrize("name", CASES)
def test_it_just_works_and_equals_the_oracle(name: str) -> None:
    make, shape, by_hand = CASES[name]
    torch.manual_seed(1)
    net = drawn(make())
    x = torch.randn(shape, dtype=torch.float64)
    result = gh.explain(net, x)
    assert isinstance(result.raw, Tensor)
    assert result.maps.shape == (shape[0], *shape[2:])
    assert set(result.diagnosis) == {"ok"}
    assert result.maps.flatten(1).std(1).min() > 0.01

    def scores(output: object) -> Tensor:
        logits = output if isinstance(output, Tensor) else output.logits  # type: ignore[attr-defined]
        return logits.gather(1, result.target[:, None])

    activation, gradient = oracle(net, result.layers[0], x, scores)
    a, g = by_hand(activation), by_hand(gradient)
    assert result.raw.shape == (shape[0], *a.shape[2:])
    expected = (g.flatten(2).mean(2)[(...,) + (None,) * (a.ndim - 2)] * a).sum(1)
    assert torch.allclose(result.raw, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())
