"""Methods for transformers: what their attentions weighed, and how the score hangs on it.

The formulas are plain functions on the attentions of each layer, ``(batch, heads, queries, keys)``;
the procedures catch those and hand them over. A map is read at the tokens that the network's head
reads: the class token where it reads that one, else the mean over those that it pools.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F  # noqa: N812  (as everywhere in torch)
from torch import Tensor

from gradcam_hooks.attention.run import see
from gradcam_hooks.checks import check_one_of, check_range
from gradcam_hooks.errors import LayerError
from gradcam_hooks.methods.registry import method
from gradcam_hooks.network.modules import describe
from gradcam_hooks.runs.run import Run

__all__ = [
    "HeadFusion",
    "attention_rollout",
    "gradeclip",
    "gradient_rollout",
    "loosened",
    "relevance",
    "rolled_out",
]

HeadFusion = Literal["mean", "max", "min"]
"""How the heads of one layer become one."""

_READ = (
    "The map is read at the class token where the score hangs on it, else at the mean of those "
    "tokens that it hangs on (a head that pools the patches). "
)


def rolled_out(
    weights: Sequence[Tensor], *, head_fusion: HeadFusion = "mean", discard_ratio: float = 0.0
) -> Tensor:
    """Attention rollout: the product over layers of ``0.5 A + 0.5 I``, its rows adding up to 1.

    Args:
        weights: A of each layer, first to last, ``(batch, heads, tokens, tokens)``.
        head_fusion: how the heads become one.
        discard_ratio: the share of each layer's fused attention, its smallest, taken for 0.

    Returns:
        ``(batch, tokens, tokens)``: how much of each input token is in each token at the end.

    Abnar and Zuidema 2020 (arXiv:2005.00928), section 3 and its equation 1, which takes the mean
    over heads and discards nothing.

    >>> layer = torch.tensor([[[[0.5, 0.5], [0.0, 1.0]]]])
    >>> rolled_out([layer, layer])  # [[0.75, 0.25], [0, 1]] twice
    tensor([[[0.5625, 0.4375],
             [0.0000, 1.0000]]])
    """
    rolled = None
    for layer in weights:
        fused = layer.mean(1) if head_fusion == "mean" else getattr(layer, f"a{head_fusion}")(1)
        if discard_ratio:
            flat = fused.flatten(1)
            least = flat.topk(int(flat.shape[1] * discard_ratio), largest=False).indices
            fused = flat.scatter(1, least, 0).view_as(fused)
        mixed = fused + torch.eye(fused.shape[-1], dtype=fused.dtype, device=fused.device)
        mixed = mixed / mixed.sum(-1, keepdim=True)
        rolled = mixed if rolled is None else mixed @ rolled
    if rolled is None:
        raise ValueError("a rollout needs one layer at least")
    return rolled


def relevance(weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """Gradient rollout: ``R <- R + mean over heads(relu(dy/dA * A)) R``, from the identity on.

    Args:
        weights: A of each layer, first to last, ``(batch, heads, tokens, tokens)``.
        gradients: the score's gradient at each, the same shapes.

    Returns:
        R ``(batch, tokens, tokens)``.

    Chefer, Gur and Wolf 2021 (arXiv:2103.15679), equations 5 and 6, with the attention itself for
    its relevance, as the authors do where there is one modality.

    >>> layer = torch.tensor([[[[0.5, 0.5], [0.0, 1.0]]]])
    >>> relevance([layer], [torch.tensor([[[[2.0, -1.0], [3.0, 1.0]]]])])
    tensor([[[2., 0.],
             [0., 2.]]])
    """
    first = weights[0]
    total = torch.eye(first.shape[-1], dtype=first.dtype, device=first.device)
    total = total.expand(len(first), -1, -1)
    for layer, gradient in zip(weights, gradients, strict=True):
        total = total + (gradient * layer).relu().mean(1) @ total
    return total


def loosened(query: Tensor, key: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
    """Grad-ECLIP: ``sum_d g_d v_i,d`` times ``cos(q, k_i)`` scaled to [0, 1] over the patches.

    Args:
        query: of the tokens that are read, ``(batch, heads, queries, channels)``.
        key: of the patches, ``(batch, heads, keys, channels)``.
        value: of the patches, ``(batch, heads, keys, channels)``.
        gradient: g, the score's gradient at the attention's output, like ``query``.

    Returns:
        ``(batch, queries, keys)``, before the ReLU. The cosine runs over the channels of all heads;
        where it is the same at all patches, it weighs nothing.

    Zhao et al. 2025 (arXiv:2502.18816), the image's side.

    >>> query, key = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[2.0, 0.0], [0.0, 3.0]]]])
    >>> value, gradient = torch.tensor([[[[1.0, 1.0], [5.0, 5.0]]]]), torch.tensor([[[[2.0, 1.0]]]])
    >>> loosened(query, key, value, gradient)  # 3 and 15, times 1 and 0
    tensor([[[3., 0.]]])
    """
    asked, given = (one.movedim(1, 2).flatten(2) for one in (query, key))
    asked, given = (F.normalize(one, dim=-1) for one in (asked, given))
    cosine = asked @ given.mT
    low, high = cosine.amin(-1, keepdim=True), cosine.amax(-1, keepdim=True)
    flat = high == low
    scaled = ((cosine - low) / torch.where(flat, 1, high - low)).masked_fill(flat, 1)
    return torch.einsum("bhqd,bhkd->bqk", gradient, value) * scaled


@method(
    "attentionrollout",
    paper="Abnar and Zuidema 2020, arXiv:2005.00928, equation 1",
    cost="2 F + 1 B to the last layer",
    class_specific=False,
    looks="attention",
    elsewhere=(
        _READ
        + "Most code reads the class token without a look at the head. Some popular code takes the "
        "largest head and drops the smallest nine tenths: head_fusion='max', discard_ratio=0.9."
    ),
)
def attention_rollout(
    run: Run,
    *,
    head_fusion: HeadFusion = "mean",
    discard_ratio: float = 0.0,
    start_layer: int = 0,
) -> list[Tensor]:
    """Attention rollout: attention and identity, half and half, multiplied over the layers.

    `rolled_out`, at the patches, for the tokens that the head reads.

    Args:
        run: the undisturbed pass.
        head_fusion: ``"mean"``, ``"max"`` or ``"min"`` over a layer's heads.
        discard_ratio: the share of a layer's smallest weights taken for 0, from 0 up to under 1.
        start_layer: the first layer that counts; negative ones count from the end.

    Returns:
        One map ``(batch, [targets,] *space)``, the same for every target.
    """
    check_one_of(head_fusion, "head_fusion", get_args(HeadFusion))
    check_range(discard_ratio, "discard_ratio", 0, 1, ends="[)", what="a share")
    seen = see(run)
    layers, batch = seen.layers(start_layer), run.batch
    weights = [one.split(one.weights.detach(), batch) for one in layers]
    matrix = rolled_out(weights, head_fusion=head_fusion, discard_ratio=discard_ratio)
    reading = seen.reading(seen.scores)
    pooler = seen.stack.pooler
    if pooler is not None:  # nothing goes around a pooling head, so that there is no identity
        pooled = pooler.split(pooler.weights.detach(), batch).mean(1)
        reading = _rows(reading, pooled)
    raw = seen.stack.patches(_rows(reading, matrix))
    return run.joined([[raw] for _ in seen.columns()])


@method(
    "gradientrollout",
    paper="Chefer, Gur and Wolf 2021, arXiv:2103.15679, equations 5 and 6",
    cost="2 F + 1 B",
    looks="attention",
    elsewhere=(
        _READ + "The authors' notebook for CLIP starts at the last layer alone: start_layer=-1."
    ),
)
def gradient_rollout(run: Run, *, start_layer: int = 0) -> list[Tensor]:
    """Gradient rollout: positive gradient times attention, added to the relevance layer by layer.

    `relevance`, at the patches, for the tokens that the head reads.

    Args:
        run: the undisturbed pass.
        start_layer: the first layer that counts; negative ones count from the end.

    Returns:
        One map ``(batch, [targets,] *space)``.

    A pooling head's attention over the tokens is applied to R as it is, ``mean over heads(relu(
    dy/dA * A)) R``: equation 10 of the paper without its normalisation of R.
    """
    seen = see(run)
    layers, batch, pooler = seen.layers(start_layer), run.batch, seen.stack.pooler
    looked = [*layers, *([pooler] if pooler is not None else [])]
    columns = []
    for column in seen.columns():
        gradients = seen.gradients(column, [one.weights for one in looked])
        split = [one.split(given, batch) for one, given in zip(looked, gradients, strict=True)]
        weights = [one.split(one.weights.detach(), batch) for one in looked]
        matrix = relevance(weights[: len(layers)], split[: len(layers)])
        reading = seen.reading(column)
        if pooler is not None:
            reading = _rows(reading, (split[-1] * weights[-1]).relu().mean(1))
        columns.append([seen.stack.patches(_rows(reading, matrix))])
    return run.joined(columns)


@method(
    paper="Zhao et al. 2025, arXiv:2502.18816",
    cost="2 F + 1 B",
    looks="attention",
    elsewhere=(
        "The authors' code runs the last layer with one head in place of all, which is another "
        "network, and for CLIP sends queries and keys through the output projection; here the "
        "network is left as it is, and the cosine runs over the channels of all heads."
    ),
)
def gradeclip(run: Run) -> list[Tensor]:
    """Grad-ECLIP: gradient times value at the last attention, by the nearness of key and query.

    `loosened` at the last attention, for the tokens that the head reads.

    Args:
        run: the undisturbed pass.

    Returns:
        One signed map ``(batch, [targets,] *space)``.

    The paper knows a class token alone; where the head reads many tokens, this is the mean of the
    maps of each. The gradient is taken ahead of the projection that joins the heads.
    """
    seen = see(run)
    last, batch, stack = seen.stack.last, run.batch, seen.stack
    if last.query is None or last.key is None or last.value is None or last.output is None:
        raise LayerError(
            f"Grad-ECLIP needs the queries, keys and values of {describe(last.name)}, which "
            "computes its attention in a way that does not show them. Take 'gradientrollout' or "
            "'legrad', which need its weights alone."
        )
    query, key, value = (
        last.split(one.detach(), batch) for one in (last.query, last.key, last.value)
    )
    ahead, count = stack.layout.prefix, torch.Size(stack.layout.space).numel()
    columns = []
    for column in seen.columns():
        (gradient,) = seen.gradients(column, [last.output])
        each = loosened(
            query,
            key.narrow(2, ahead, count),
            value.narrow(2, ahead, count),
            last.split(gradient, batch),
        )
        raw = _rows(seen.reading(column), each)
        columns.append([torch.unflatten(raw, -1, stack.layout.space)])
    return run.joined(columns)


def _rows(reading: Tensor, matrix: Tensor) -> Tensor:
    """The rows of ``(batch, tokens, tokens)`` that are read, added up: ``(batch, tokens)``."""
    if reading.ndim == 1:
        reading = reading.expand(len(matrix), -1)
    return torch.einsum("bq,bqk->bk", reading.to(matrix.dtype), matrix)
