"""Activations that hold the whole map, but cut up or reordered, so that they are no map.

Windows (Swin, MaxViT), blocks (NesT), patches unfolded (MobileViT), tokens in the order of units
(Hiera), and the weights of an attention, whose two axes of tokens look like height and width. What
is told comes from the modules around a layer. Knows modules and shapes; knows no layout.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence

from torch import Tensor, nn

from gradcam_hooks.layout.evidence import (
    channel_order,
    channel_order_around,
    is_attention,
    outwards,
)
from gradcam_hooks.network.modules import describe

__all__ = ["cut_up", "pair_of_tokens"]

_WINDOWS = ("window_size", "partition_size")
_SHOWN = "gradcam_hooks.layers(model, x) marks them."


def cut_up(
    shape: Sequence[int], batch: int, name: str, modules: Mapping[str, nn.Module]
) -> str | None:
    """Why this activation of a whole image is no map, and the layer to take; None where it may be.

    Args:
        shape: the activation's shape.
        batch: how many images went in.
        name: the layer's dotted name.
        modules: the model's modules by name.
    """
    if cut := _windows(shape, batch, name, modules):
        count, around = cut
        there = f"the layer around it, {around!r}, or another" if around else "a layer"
        positions = math.prod(shape[:-1]) // (batch * count)
        return (
            f"layer {describe(name)} gives {tuple(shape)} for a batch of {batch}: {count} windows "
            f"of each map, {positions} positions in each, which may be shifted and padded, so that "
            f"they are no map. Name {there} whose output is whole again; {_SHOWN}"
        )
    if block := _unfolded(shape, batch, name, modules):
        return (
            f"layer {describe(name)} gives {tuple(shape)} for a batch of {batch}, the pixels of "
            f"patches that the layer around it, {block!r}, unfolds and folds again, so that they "
            f"are no map. Name {block!r}, or another layer whose output is whole; {_SHOWN}"
        )
    if units := _units(shape, name, modules):
        size, ordered = units
        return (
            f"layer {describe(name)} gives {tuple(shape)}: tokens that stand not row by row, but "
            f"in the order in which the layers to come pool them to {'x'.join(map(str, size))}. "
            f"Name a layer behind the last pool: {ordered!r}."
        )
    return None


def pair_of_tokens(
    shape: Sequence[int], counts: Container[int], name: str, modules: Mapping[str, nn.Module]
) -> bool:
    """Whether ``(batch, a, b, c)`` may be the weights of an attention, of tokens with tokens.

    Inside of an attention two axes are as long as there can be tokens, and no module says that
    they are space.

    Args:
        shape: the activation's shape.
        counts: how many tokens there can be.
        name: the layer's dotted name.
        modules: the model's modules by name.
    """
    if len(shape) != 4 or shape[2] not in counts or shape[2] not in (shape[1], shape[3]):
        return False
    inside = any(is_attention(modules[scope]) for scope in list(outwards(name))[1:-1])
    return inside and "first" not in (
        channel_order(modules[name]),
        channel_order_around(name, modules),
    )


def _windows(
    shape: Sequence[int], batch: int, name: str, modules: Mapping[str, nn.Module]
) -> tuple[int, str] | None:
    """How many windows a map was cut into where this activation is of windows; else None.

    With the layer around it whose output is whole again, as far as the modules tell.

    They are ``(batch * windows, ..., channels)`` with as many positions each as a module at or
    around the layer says that its windows have; torchvision's MaxViT and timm's NesT have
    ``(batch, windows, positions, channels)``.
    """
    positions = math.prod(shape[1:-1])
    for scope in outwards(name):
        module = modules[scope]
        areas = {area for one in _WINDOWS if (area := _area(getattr(module, one, None)))}
        if positions in areas and shape[0] > batch and shape[0] % batch == 0:
            return shape[0] // batch, _around_attention(scope, modules)
        if scope == name or len(shape) != 4:
            continue
        partitioned = isinstance(getattr(module, "partition_type", None), str)
        if partitioned and positions == _area(getattr(module, "grid_size", 0)):
            return shape[1], scope
        # NesT's levels have a place for each position of each block.
        places = getattr(module, "pos_embed", None)
        blocks = isinstance(getattr(module, "block_size", None), int)
        if blocks and isinstance(places, Tensor) and places.shape[1:-1] == tuple(shape[1:3]):
            return shape[1], scope
    return None


def _around_attention(name: str, modules: Mapping[str, nn.Module]) -> str:
    """The nearest layer around this one that is no attention."""
    for scope in list(outwards(name))[1:]:
        if not is_attention(modules[scope]) and not isinstance(modules[scope], nn.ModuleList):
            return scope
    return ""


def _area(size: object) -> int | None:
    if isinstance(size, int) and not isinstance(size, bool):
        return size * size
    if isinstance(size, list | tuple) and size and all(isinstance(one, int) for one in size):
        return math.prod(size)
    return None


def _unfolded(
    shape: Sequence[int], batch: int, name: str, modules: Mapping[str, nn.Module]
) -> str | None:
    """The block of a MobileViT around a layer that sees its patches unfolded; else None.

    They are ``(batch * pixels, patches, channels)``, or ``(batch, channels, pixels, patches)`` in
    the second version, within the block's transformer and the norm behind it.
    """
    for scope in list(outwards(name))[1:]:
        module = modules[scope]
        sides = (getattr(module, "patch_height", None), getattr(module, "patch_width", None))
        pixels = getattr(module, "patch_area", None) or _area(sides)
        if not isinstance(pixels, int) or not isinstance(
            getattr(module, "transformer", None), nn.Module
        ):
            continue
        part = name[len(scope) + bool(scope) :].partition(".")[0]
        if part not in ("transformer", "norm", "layernorm"):
            continue
        first = len(shape) == 3 and shape[0] == batch * pixels
        if first or (len(shape) == 4 and shape[2] == pixels):
            return scope
    return None


def _units(
    shape: Sequence[int], name: str, modules: Mapping[str, nn.Module]
) -> tuple[tuple[int, ...], str] | None:
    """Where a Hiera's tokens are out of order: the grid they end in, and the first layer in order.

    Its ``schedule`` tells for each block (transformers: each stage) which pools are still to come.
    """
    if len(shape) != 3:
        return None
    for scope in list(outwards(name))[1:]:
        module = modules[scope]
        schedule = getattr(getattr(module, "reroll", None), "schedule", None)
        schedule = schedule or getattr(module, "schedule", None)
        if not isinstance(schedule, dict) or not hasattr(module, "reroll"):
            continue
        first = next((at for at, (strides, _) in schedule.items() if not strides), None)
        part, _, rest = name[len(scope) + bool(scope) :].partition(".")
        number = rest.partition(".")[0]
        if first is None or not (part == "unroll" or number.isdecimal()):
            continue
        size = tuple(schedule[first][1])
        if part != "unroll":
            strides, here = schedule.get(int(number), ((), size))
            if not strides and shape[1] == math.prod(here):
                continue
        group = next((one for one in ("blocks", "stages") if hasattr(module, one)), part)
        return size, f"{scope}.{group}.{first}".removeprefix(".")
    return None
