"""A stack: the attentions through which an image's tokens go, first to last.

Of all attentions that ran it takes those over the image's tokens (a text beside the image has its
own), and makes sure that they are what rollouts and their like are defined for: every token asks
every token, from the first layer to the last; one more may follow in which few ask them all (a
pooling head). Where they are something else, the error says what. Knows attention, layouts and
modules; knows neither targets nor methods.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from gradcam_hooks.attention.capture import Attention, Caught
from gradcam_hooks.errors import LayerError, LayoutError
from gradcam_hooks.layout.evidence import extra_tokens, is_attention
from gradcam_hooks.layout.input_axes import InputAxes
from gradcam_hooks.layout.pattern import parse
from gradcam_hooks.layout.reading import Layout, bind
from gradcam_hooks.layout.rules import infer, said
from gradcam_hooks.network.modules import describe, named

__all__ = ["AttentionStack", "stack_of"]

_INSTEAD = "Take a method that looks at a layer, such as 'gradcam'."
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class AttentionStack:
    """The attentions over an image's tokens.

    Attributes:
        layers: the self-attentions, first to last.
        pooler: the attention of a pooling head behind them, if there is one.
        layout: where the patches are among the tokens.
        blocks: for each layer the module around it whose output is the tokens again; "" where
            there is none that can be told.
        sequence_first: whether those outputs are ``(tokens, batch, channels)``.
    """

    layers: tuple[Attention, ...]
    pooler: Attention | None
    layout: Layout
    blocks: tuple[str, ...]
    sequence_first: bool

    @property
    def last(self) -> Attention:
        """What the head reads: the pooling head's attention, else the last layer's."""
        return self.pooler or self.layers[-1]

    @property
    def tokens(self) -> int:
        """How many tokens there are, those that are no patches included."""
        return self.layers[0].keys

    def patches(self, tensor: Tensor) -> Tensor:
        """The patches' share of ``(..., tokens)``, as ``(..., *space)``."""
        space = self.layout.space
        size = torch.Size(space).numel()
        return torch.unflatten(tensor.narrow(-1, self.layout.prefix, size), -1, space)


def stack_of(
    caught: Caught,
    model: nn.Module,
    batch: int,
    size: Sequence[int],
    axes: InputAxes,
    asked: str | None = None,
) -> AttentionStack:
    """The stack over the image's tokens.

    Args:
        caught: what was seen in one run.
        model: the network that ran.
        batch: how many images went in.
        size: the input's sizes along its words of space.
        axes: the axes of the input.
        asked: the layout that the user said, if any.

    Raises:
        LayerError: there is no attention, or none that gives up its weights; or they are not over
            the same tokens from first to last.
        LayoutError: which tokens are patches is not clear.
    """
    modules = named(model)
    kind = type(model).__name__
    if not caught.attentions:
        raise LayerError(_unseen(kind, _attending(caught, modules)))
    beside = _Side(caught, modules)
    mine = [one for one in caught.attentions if beside.holds(one.name)]
    for one in mine:
        one.split(one.weights, batch)
        if not _over_tokens(one, caught, batch):
            raise LayerError(
                f"the attention in {describe(one.name)} is a matrix of {one.queries} by "
                f"{one.keys}, and none of its inputs has as many tokens: it attends over channels "
                f"or over what was pooled, not over tokens of the image. {_INSTEAD}"
            )
    pools = len(mine) > 1 and mine[-1].queries != mine[-1].keys
    layers, pooler = (mine[:-1], mine[-1]) if pools else (mine, None)
    tokens = mine[0].keys
    if (
        any((one.queries, one.keys) != (tokens, tokens) for one in layers)
        or mine[-1].keys != tokens
    ):
        sizes = dict.fromkeys(f"{one.queries} by {one.keys}" for one in mine)
        raise LayerError(
            f"the attentions of {kind} are of {', '.join(sizes)} tokens (queries by keys), where "
            "the same tokens must ask each other in every layer. A pyramid, and a decoder behind "
            f"an encoder, are not made so. {_INSTEAD}"
        )
    for earlier, later in pairwise(mine):
        if later.weights.requires_grad and not _follows(later, earlier):
            raise LayerError(
                f"the attention in {describe(later.name)} does not work on what the one in "
                f"{describe(earlier.name)} gave: they stand side by side, and a rollout is of "
                f"layers one behind the other. {_INSTEAD}"
            )
    mute = [
        name
        for name in _attending(caught, modules)
        if beside.holds(name)
        and any(tokens in shape[:2] for shape in caught.visits[name].inputs if len(shape) == 3)
        and not any(_within(one.name, name) or _within(name, one.name) for one in mine)
    ]
    if mute:
        raise LayerError(_unseen(kind, mute))
    layout = _layout(layers[0], caught, modules, batch, size, axes, asked)
    blocks = _blocks(layers, caught, modules, batch)
    given = caught.visits[blocks[-1]].output if blocks[-1] else None
    sequence_first = given is not None and given[0] == tokens and given[1] == batch
    if sequence_first and batch == tokens:  # the shape does not tell
        sequence_first = getattr(modules[layers[0].name], "batch_first", True) is False
    return AttentionStack(tuple(layers), pooler, layout, blocks, sequence_first)


class _Side:
    """The image's side of a network: what is as near as any to the first convolution that ran."""

    def __init__(self, caught: Caught, modules: Mapping[str, nn.Module]) -> None:
        stems = (one for one in caught.visits if isinstance(modules[one], nn.modules.conv._ConvNd))
        self._stem = next(stems, "").split(".")
        self._nearest = max(self._shared(one.name) for one in caught.attentions)

    def holds(self, name: str) -> bool:
        return self._shared(name) == self._nearest

    def _shared(self, name: str) -> int:
        pairs = zip(name.split("."), self._stem, strict=False)
        return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))


def _within(name: str, scope: str) -> bool:
    """Whether a module is ``scope`` or inside it."""
    return f"{name}.".startswith(f"{scope}.")


def _follows(later: Attention, earlier: Attention) -> bool:
    """Whether the graph leads from one attention back to the output, or the weights, of another."""
    ends = {one.grad_fn for one in (earlier.output, earlier.weights) if one is not None}
    leaves = {id(earlier.weights)}  # of a frozen network
    reached, ahead = set[Node](), deque([later.weights.grad_fn])
    while ahead:
        node = ahead.popleft()
        if node is None or node in reached:
            continue
        if node in ends or id(getattr(node, "variable", None)) in leaves:
            return True
        reached.add(node)
        ahead.extend(following for following, _ in node.next_functions)
    return False


def _over_tokens(one: Attention, caught: Caught, batch: int) -> bool:
    """Whether something that went into the module has as many tokens as are asked."""
    visit = caught.visits.get(one.name)
    if visit is None:
        return True
    for shape in visit.inputs:
        if len(shape) == 3 and shape[0] == batch and shape[1] == one.keys:
            return True
        if len(shape) == 3 and shape[1] == batch and shape[0] == one.keys:
            return True
        if len(shape) == 4 and one.keys in (shape[1] * shape[2], shape[2] * shape[3]):
            return True
    return False


def _attending(caught: Caught, modules: Mapping[str, nn.Module]) -> list[str]:
    """The modules that ran, call themselves attention, are given tokens, and hold no other such."""
    ran = [
        name
        for name, visit in caught.visits.items()
        if is_attention(modules[name]) and any(len(shape) == 3 for shape in visit.inputs)
    ]
    return [one for one in ran if not any(_within(other, one) for other in ran if other != one)]


def _unseen(kind: str, mute: Sequence[str]) -> str:
    if not mute:
        return f"{kind} has no attention whose weights could be followed. {_INSTEAD}"
    shown = ", ".join(map(repr, mute[:3])) + (", ..." if len(mute) > 3 else "")
    return (
        f"{kind} attends in {shown}, but no softmax over tokens was seen there: it has none "
        "(linear attention), or a kernel beside torch's own computes it (flash-attn, xformers, "
        "flex_attention). Have torch compute it (attn_implementation='sdpa' or 'eager' in "
        "transformers, no package of kernels elsewhere), or take a method that looks at a layer, "
        "such as 'gradcam'."
    )


def _layout(
    first: Attention,
    caught: Caught,
    modules: Mapping[str, nn.Module],
    batch: int,
    size: Sequence[int],
    axes: InputAxes,
    asked: str | None,
) -> Layout:
    """Where the patches are; the tokens' axis is known, so the order of axes is not asked."""
    visit = caught.visits.get(first.name)
    shapes = [shape for shape in visit.inputs if len(shape) == 3] if visit else []
    channels = shapes[0][-1] if shapes else first.weights.shape[1]
    shape = (batch, first.keys, channels)
    # Of a layout that was said for layers, tokens alone concern the attention.
    if asked is not None and (":" in asked or (" " in asked and len(parse(asked).axes) == 3)):
        return said(asked, shape, size, first.name, modules, axes, batch)
    if len(size) == 1:
        extra = extra_tokens(first.name, modules)
        prefix, behind = (extra.ahead, extra.behind) if extra is not None else (0, 0)
        count = first.keys - prefix - behind
        if count > 0 and size[0] % count == 0:
            terms = (prefix, axes.space[0], behind)
            text = f"b {'+'.join(str(one) for one in terms if one)} c"
            return bind(text, shape, axes, size, batch)
        raise LayoutError(
            f"the attention in {describe(first.name)} has {first.keys} tokens for an input of "
            f"length {size[0]}, which is no whole number of steps for each. Say which they are, as "
            f"in layout='tokens:1+{first.keys - 1}'."
        )
    return infer(shape, size, first.name, modules, axes, batch=batch)


def _blocks(
    layers: Sequence[Attention], caught: Caught, modules: Mapping[str, nn.Module], batch: int
) -> tuple[str, ...]:
    """For each layer the largest member of a container that holds it alone and gives tokens."""
    tokens = layers[0].keys
    found = []
    for layer in layers:
        parts = layer.name.split(".")
        block = ""
        for count in range(1, len(parts) + 1):
            name, parent = ".".join(parts[:count]), ".".join(parts[: count - 1])
            held = sum(_within(one.name, name) for one in layers)
            visit = caught.visits.get(name)
            gives = visit.output if visit is not None else None
            fits = (
                gives is not None
                and len(gives) == 3
                and gives[:2]
                in (
                    (batch, tokens),
                    (tokens, batch),
                )
            )
            if held == 1 and fits and isinstance(modules[parent], _CONTAINERS):
                block = name
                break
        found.append(block)
    return tuple(found)
