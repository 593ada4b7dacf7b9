"""What the modules of a network tell of an activation's axes, where its shape alone does not.

Convolutions and batch norms speak channels first, linear layers and layer norms channels last;
parameters by the names that libraries give them tell of class, distillation and register tokens;
three-dimensional convolutions tell how a video's frames were strided.
Knows modules by what they are and carry; knows no layout.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

__all__ = [
    "Extra",
    "channel_order",
    "channel_order_around",
    "extra_tokens",
    "frame_strides",
    "in_regions",
    "is_attention",
    "is_position",
    "no_patches",
    "outwards",
]

_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.GroupNorm,
    nn.PixelShuffle,
    nn.PixelUnshuffle,
    nn.Upsample,
)
_LAST = (nn.Linear, nn.LayerNorm)

_AHEAD = {
    "class": ("cls_token", "class_token", "class_embedding"),
    "distillation": ("dist_token", "distillation_token"),
    "register": ("reg_token", "reg_tokens", "register_token", "register_tokens"),
}
"""The names under which timm, transformers and torchvision keep the tokens ahead of the patches."""

_BEHIND = ("detection_tokens",)
"""The same for those behind the patches (YOLOS)."""

_QUERIES = ("num_queries", "num_query_tokens", "num_object_queries")

_ATTENTION = ("attention", "attn", "mhsa", "gpsa")
"""What the classes of attentions are called: ``ClassAttn``, ``TalkingHeadAttn``, ``GPSA``."""

_FRAMES = (nn.Conv3d, nn.MaxPool3d, nn.AvgPool3d)


def channel_order(module: nn.Module) -> str | None:
    """Whether a module works on the ``"first"`` axis behind the batch or on the ``"last"``."""
    # A LayerNorm that permutes around itself (torchvision's and timm's LayerNorm2d) is a
    # subclass; only the plain one is known to work on the last axis.
    if type(module) in _LAST:
        return "last"
    return "first" if isinstance(module, _FIRST) else None


def channel_order_around(name: str, modules: Mapping[str, nn.Module]) -> str | None:
    """What the modules inside the layer speak, else those around it, the nearest first."""
    for scope in outwards(name):
        orders = {order for module in modules[scope].modules() if (order := channel_order(module))}
        if len(orders) == 1:
            return orders.pop()
        if orders:
            # A classifier's linear layers come after the space is gone, so at the top
            # convolutions alone decide; inside a block both kinds may see the map.
            return None if scope else "first"
    return None


@dataclass(frozen=True)
class Extra:
    """The tokens that are no patches.

    Attributes:
        ahead: how many stand ahead of the patches.
        kinds: what they are, ``(("class", 1), ("register", 4))``; empty where nobody tells.
        behind: how many stand behind the patches.
    """

    ahead: int
    kinds: tuple[tuple[str, int], ...] = ()
    behind: int = 0


def extra_tokens(name: str, modules: Mapping[str, nn.Module]) -> Extra | None:
    """The tokens that are no patches at a layer, as the modules around it tell; else None."""
    near = _nearest_token_parameters(name, modules)
    behind = near.pop("behind", 0)
    kinds = tuple((kind, near[kind]) for kind in _AHEAD if near.get(kind))
    told = (_told_count(modules[scope]) for scope in outwards(name))
    count = next((one for one in told if one is not None), sum(near.values()) if near else None)
    if count is None:
        return None
    return Extra(count, kinds if count == sum(near.values()) else (), behind)


def _nearest_token_parameters(name: str, modules: Mapping[str, nn.Module]) -> dict[str, int]:
    """How many tokens of each kind the nearest module around the layer holds that holds any."""
    found = _token_parameters(modules)
    for scope in outwards(name):
        inside = f"{scope}." if scope else ""
        near = {kind: n for at, kind, n in found if at == scope or at.startswith(inside)}
        if near:
            return near
    return {}


def _token_parameters(modules: Mapping[str, nn.Module]) -> list[tuple[str, str, int]]:
    """Where such parameters are, of which kind they are, and how many tokens each holds."""
    found = []
    for at, module in modules.items():
        for name, parameter in module._parameters.items():
            if parameter is None:
                continue
            kind = next((kind for kind, names in _AHEAD.items() if name in names), None)
            if kind or name in _BEHIND:
                count = parameter.shape[-2] if parameter.ndim > 1 else 1
                found.append((at, kind or "behind", count))
    return found


def _told_count(module: nn.Module) -> int | None:
    """The number that timm's and transformers' models tell."""
    count = getattr(module, "num_prefix_tokens", None)
    if isinstance(count, int):
        return count
    registers = getattr(getattr(module, "config", None), "num_register_tokens", None)
    return 1 + registers if isinstance(registers, int) else None


def no_patches(tokens: int, name: str, modules: Mapping[str, nn.Module]) -> bool:
    """Whether tokens are told to be something else: words of a text, or queries for objects."""
    for scope in outwards(name):
        config = getattr(modules[scope], "config", None)
        # MaskFormer's own configuration holds that of its decoder, which tells.
        tellers = (modules[scope], config, getattr(config, "decoder_config", None))
        if any(tokens == getattr(at, one, None) for one in _QUERIES for at in tellers):
            return True
    for scope in outwards(name):
        config = getattr(modules[scope], "config", None)
        if config is not None:
            return hasattr(config, "vocab_size") and not hasattr(config, "patch_size")
    return False


def in_regions(name: str, modules: Mapping[str, nn.Module]) -> bool:
    """Whether a layer of torchvision's R-CNNs works on regions that were cut out of the map."""
    return any(type(modules[scope]).__name__ == "RoIHeads" for scope in outwards(name))


def is_attention(module: nn.Module) -> bool:
    """Whether the module's class says that it is an attention."""
    kind = type(module).__name__.lower()
    return any(word in kind for word in _ATTENTION)


def is_position(module: nn.Module) -> bool:
    """Whether the module's class says that it tells of places, and so nothing of the image."""
    kind = type(module).__name__.lower()
    return "position" in kind or "posembed" in kind


def frame_strides(modules: Mapping[str, nn.Module]) -> set[int] | None:
    """By how much the frames of a video can have been strided, as 3-D convolutions tell.

    The first of them cuts the patches; those behind it, and pools, may stride once more each.
    None where there is none.
    """
    strides = [_first(m.stride) for m in modules.values() if isinstance(m, _FRAMES)]
    if not strides:
        return None
    reached = {strides[0]}
    for stride in strides[1:]:
        if stride > 1:
            reached |= {one * stride for one in reached}
    return reached


def _first(stride: int | Sequence[int]) -> int:
    return stride if isinstance(stride, int) else stride[0]


def outwards(name: str) -> Iterator[str]:
    """The layer's name, and those of the modules around it, the nearest first, the model last."""
    while name:
        yield name
        name = name.rpartition(".")[0]
    yield ""
