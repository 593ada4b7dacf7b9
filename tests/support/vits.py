"""Tiny transformers of three libraries, in float64, and the same networks written out in the open.

`written_out` runs a network's layers from its weights alone, with attention as a plain product, so
that tests have weights, queries, keys, values and each layer's tokens from another source.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

SIZE, PATCH, WIDTH, HEADS, DEPTH, CLASSES = 8, 4, 8, 2, 2, 5


def drawn(net: nn.Module) -> nn.Module:
    """The network with every parameter drawn at random, so that no head is blank."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.4)
    return net.double().eval()


def torchvision_vit() -> nn.Module:
    from torchvision.models import VisionTransformer

    return drawn(VisionTransformer(SIZE, PATCH, DEPTH, HEADS, WIDTH, 16, num_classes=CLASSES))


def timm_vit(fused: bool = True, **options: object) -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    net = VisionTransformer(
        img_size=SIZE,
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        num_classes=CLASSES,
        **options,
    )
    for block in net.blocks:
        block.attn.fused_attn = fused
    return drawn(net)


_CONFIG = {
    "hidden_size": WIDTH,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "intermediate_size": 16,
    "image_size": SIZE,
    "patch_size": PATCH,
    "num_labels": CLASSES,
}


def transformers_vit(kind: str = "ViT", implementation: str = "sdpa") -> nn.Module:
    """``kind`` is a name of transformers: ViT, DeiT, Dinov2, Dinov2WithRegisters, Beit."""
    import transformers

    own = {"use_relative_position_bias": True} if kind == "Beit" else {}
    config = getattr(transformers, f"{kind}Config")(
        **_CONFIG, **own, attn_implementation=implementation
    )
    return drawn(getattr(transformers, f"{kind}ForImageClassification")(config))


def clip(implementation: str = "sdpa") -> nn.Module:
    import transformers

    stack = {
        "hidden_size": WIDTH,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": HEADS,
        "intermediate_size": 16,
    }
    config = transformers.CLIPConfig(
        text_config={
            **stack,
            "vocab_size": 20,
            "max_position_embeddings": 6,
            "bos_token_id": 0,
            "eos_token_id": 1,
        },
        vision_config={**stack, "image_size": SIZE, "patch_size": PATCH},
        projection_dim=6,
        attn_implementation=implementation,
    )
    net = drawn(transformers.CLIPModel(config))
    with torch.no_grad():
        net.logit_scale.fill_(1.0)
    return net


def siglip(implementation: str = "sdpa") -> nn.Module:
    """A vision stack that ends in a pooling head of one query."""
    import transformers

    config = transformers.SiglipVisionConfig(**_CONFIG, attn_implementation=implementation)
    return drawn(transformers.SiglipVisionModel(config))


def pictures(count: int = 2, size: tuple[int, ...] = (SIZE, SIZE), channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(count, channels, *size, generator=generator, dtype=torch.float64)


@dataclass
class Layer:
    """What one layer is made of."""

    norm: Callable[[Tensor], Tensor]
    query: Callable[[Tensor], Tensor]
    key: Callable[[Tensor], Tensor]
    value: Callable[[Tensor], Tensor]
    project: Callable[[Tensor], Tensor]
    rest: Callable[[Tensor], Tensor]


@dataclass
class Run:
    """What the written-out network computed."""

    logits: Tensor
    weights: list[Tensor] = field(default_factory=list)
    query: Tensor | None = None
    key: Tensor | None = None
    value: Tensor | None = None
    output: Tensor | None = None
    tokens: list[Tensor] = field(default_factory=list)


def _part(linear: nn.Linear, index: int) -> Callable[[Tensor], Tensor]:
    def one(x: Tensor) -> Tensor:
        return linear(x)[..., index * WIDTH : (index + 1) * WIDTH]

    return one


def _in_part(attention: nn.MultiheadAttention, index: int) -> Callable[[Tensor], Tensor]:
    rows = slice(index * WIDTH, (index + 1) * WIDTH)

    def one(x: Tensor) -> Tensor:
        return x @ attention.in_proj_weight[rows].T + attention.in_proj_bias[rows]

    return one


def parts(net: nn.Module) -> tuple[list[Layer], nn.Module, Callable[[Tensor], Tensor]]:
    """A network's layers, the module that is handed the first tokens, and its head on tokens."""
    kind = type(net).__module__.partition(".")[0]
    layers = []
    if kind == "timm":
        for block in net.blocks:
            qkv = block.attn.qkv
            rest = _rest(block.norm2, block.mlp)
            part = [_part(qkv, index) for index in range(3)]
            layers.append(Layer(block.norm1, *part, block.attn.proj, rest))
        return layers, net.blocks[0], _timm_head(net)
    if kind == "torchvision":
        for block in net.encoder.layers:
            part = [_in_part(block.self_attention, index) for index in range(3)]
            rest = _rest(block.ln_2, block.mlp)
            layers.append(Layer(block.ln_1, *part, block.self_attention.out_proj, rest))
        return layers, net.encoder.layers[0], lambda x: net.heads(net.encoder.ln(x)[:, 0])
    for block in net.vit.layers:
        own = block.attention
        rest = _rest(block.layernorm_after, block.mlp)
        layers.append(
            Layer(block.layernorm_before, own.q_proj, own.k_proj, own.v_proj, own.o_proj, rest)
        )
    return layers, net.vit.layers[0], lambda x: net.classifier(net.vit.layernorm(x)[:, 0])


def _rest(norm: nn.Module, mlp: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: x + mlp(norm(x))


def _timm_head(net: nn.Module) -> Callable[[Tensor], Tensor]:
    if net.global_pool == "avg":
        return lambda x: net.head(net.fc_norm(net.norm(x)[:, net.num_prefix_tokens :].mean(1)))
    return lambda x: net.head(net.norm(x)[:, 0])


def written_out(
    net: nn.Module, images: Tensor, last_heads: int = HEADS
) -> tuple[Run, Callable[[Tensor], Tensor]]:
    """The network's run in the open, and its head as a function of tokens."""
    layers, first, head = parts(net)
    seen: list[Tensor] = []
    handle = first.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    with torch.no_grad():
        net(images)
    handle.remove()
    x = seen[0]
    run = Run(x)
    for layer in layers:
        heads = last_heads if layer is layers[-1] else HEADS
        y = layer.norm(x)
        q, k, v = (
            part(y).unflatten(-1, (heads, -1)).transpose(1, 2)
            for part in (layer.query, layer.key, layer.value)
        )
        weights = (q @ k.transpose(-1, -2) / (WIDTH // heads) ** 0.5).exp()
        weights = weights / weights.sum(-1, keepdim=True)
        output = weights @ v
        x = layer.rest(x + layer.project(output.transpose(1, 2).flatten(2)))
        run.weights.append(weights)
        run.tokens.append(x)
        run.query, run.key, run.value, run.output = q, k, v, output
    run.logits = head(x)
    return run, head
