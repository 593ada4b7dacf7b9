"""The methods for transformers on signals and volumes: space of one and of three axes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

import gradcam_hooks as gh

NAMES = ("attentionrollout", "gradientrollout", "legrad", "gradeclip")
SPACES = {1: (6,), 2: (2, 3), 3: (2, 3, 2)}
WIDTH, HEADS, DEPTH = 8, 2, 2


class Block(nn.Module):
    """Attention in the open beside fused attention of torch, with a residual around each part."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attn = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.mlp = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x)).tanh()


class Transformer(nn.Module):
    """Patches of two cells along each axis, a class token, two blocks and a head that reads it."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
        self.patch_embed = conv(2, WIDTH, 2, stride=2)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.head = nn.Linear(WIDTH, 4)

    def embed(self, x: Tensor) -> Tensor:
        patches = self.patch_embed(x).flatten(2).transpose(1, 2)
        return torch.cat([self.cls_token.expand(len(x), -1, -1), patches], 1)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x)
        for block in self.blocks:
            tokens = block(tokens)
        logits: Tensor = self.head(tokens[:, 0])
        return logits


def network(rank: int) -> Transformer:
    torch.manual_seed(rank)
    net = Transformer(rank).double().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.5)
    return net


class Run:
    """One image's run in loops over heads, everything in the graph."""

    def __init__(self, net: Transformer, x: Tensor) -> None:
        tokens = net.embed(x[None])[0]
        self.weights: list[list[Tensor]] = []
        self.tokens: list[Tensor] = []
        for block in net.blocks:
            y = block.norm1(tokens)
            q, k, v = (y @ block.attn.in_proj_weight.T + block.attn.in_proj_bias).chunk(3, -1)
            size = WIDTH // HEADS
            parts = [slice(h * size, (h + 1) * size) for h in range(HEADS)]
            seen = [(q[:, p] @ k[:, p].T / size**0.5).softmax(-1) for p in parts]
            self.q, self.k, self.v = q, k, v
            self.mixed = torch.cat([w @ v[:, p] for w, p in zip(seen, parts, strict=True)], -1)
            tokens = tokens + block.attn.out_proj(self.mixed)
            tokens = tokens + block.mlp(block.norm2(tokens)).tanh()
            self.weights.append(seen)
            self.tokens.append(tokens)
        self.logits = net.head(tokens[0])


def back(score: Tensor, at: Sequence[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(score, list(at), retain_graph=True))


def expected(name: str, net: Transformer, x: Tensor, label: int) -> Tensor:
    """The paper's equation for one image and class, at the patches, flat."""
    run = Run(net, x)
    score, count = run.logits[label], len(run.tokens[0])
    if name == "attentionrollout":
        total = torch.eye(count, dtype=x.dtype)
        for heads in run.weights:
            total = (0.5 * sum(heads) / HEADS + 0.5 * torch.eye(count)) @ total
        return total[0, 1:]
    if name == "gradientrollout":
        total = torch.eye(count, dtype=x.dtype)
        for heads in run.weights:
            slopes = back(score, heads)
            relevant = sum((a * g).clamp_min(0) for a, g in zip(heads, slopes, strict=True))
            total = total + relevant / HEADS @ total
        return total[0, 1:]
    if name == "legrad":
        map_ = torch.zeros(count, dtype=x.dtype)
        for heads, tokens in zip(run.weights, run.tokens, strict=True):
            own = net.head(tokens.mean(0))[label]
            for slope in back(own, heads):
                map_ += slope.clamp_min(0).mean(0) / HEADS / DEPTH
        return map_[1:]
    (slope,) = back(score, [run.mixed])
    query, keys, values = run.q[0], run.k[1:], run.v[1:]
    cosine = torch.stack([query @ key / query.norm() / key.norm() for key in keys])
    near = (cosine - cosine.min()) / (cosine.max() - cosine.min())
    return torch.stack([slope[0] @ value for value in values]) * near


@pytest.mark.parametrize("rank", SPACES)
@pytest.mark.parametrize("name", NAMES)
def test_equals_its_equation_in_every_rank(name: str, rank: int) -> None:
    net, space = network(rank), SPACES[rank]
    generator = torch.Generator().manual_seed(rank)
    size = [2 * side for side in space]
    x = torch.randn(2, 2, *size, generator=generator, dtype=torch.float64)
    result = gh.explain(net, x, method=name, target=gh.TopK(2))
    assert result.raw.shape == (2, 2, *space)
    assert result.maps.shape == (2, 2, *size)
    assert result.target is not None
    for image in range(2):
        for place in range(2):
            label = int(result.target[image, place])
            want = expected(name, net, x[image], label).detach()
            got = result.raw[image, place].flatten()
            assert (got - want).abs().max() <= 1e-8 * max(1.0, float(want.abs().max()))
            assert want.abs().max() > 1e-6
