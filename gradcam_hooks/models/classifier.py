"""Heads: where an architecture has its classes, found by building it twice.

Whatever a network calls its classifier, it is what grows when it is built with more classes. The
two networks are built in memory that does not exist, so this takes milliseconds. This file knows
architectures, and no checkpoint.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gradcam_hooks.errors import ModelError
from gradcam_hooks.models.architectures import Architecture

__all__ = ["Head", "build_blank", "find_head"]


class _NoMemory(TorchFunctionMode):
    """While open, `torch.empty` gives meta tensors, so that building costs no time or memory.

    Unlike `torch.device("meta")`, what has a value keeps it: builders may compute with arange or
    linspace, and buffers come out right. Only what nobody has written yet holds nothing.
    """

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        """Send `torch.empty` to the meta device, unless it was told another."""
        kwargs = kwargs or {}
        if func is torch.empty and kwargs.get("device") is None:
            kwargs = {**kwargs, "device": "meta"}
        return func(*args, **kwargs)


def build_blank(
    architecture: Architecture, num_classes: int | None = None, **options: object
) -> nn.Module:
    """The architecture for its shapes alone, without memory where its builder allows that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a builder that copies pretrained weights copies nothing
        try:
            with _NoMemory():
                return architecture.build(num_classes, **options)
        except ModelError:  # it reads what it has drawn, or runs itself, as SSDlite does
            return architecture.build(num_classes, **options)


@dataclass(frozen=True)
class Head:
    """Where a network's classes are: the length of `key` is `offset + slope * classes`."""

    key: str
    offset: int
    slope: int
    keys: frozenset[str]

    def classes(self, state: Mapping[str, Tensor], prefix: str = "") -> int | None:
        """The number of classes in a state dict, None where the key is not there or is odd."""
        tensor = state.get(prefix + self.key)
        if tensor is None or not tensor.ndim:
            return None
        classes, rest = divmod(tensor.shape[0] - self.offset, self.slope)
        return classes if classes > 0 and not rest else None


def find_head(architecture: Architecture) -> Head | None:
    """The last tensor whose length follows the number of classes, or None where there is none."""
    if not architecture.takes_classes:
        return None
    few, many = 7, 11

    try:
        small = build_blank(architecture, few).state_dict()
        large = build_blank(architecture, many).state_dict()
    except ModelError:
        # Made for certain numbers of classes alone: the head stays unknown, and building will tell.
        return None
    for key in reversed(small):
        if key in large and small[key].shape[:1] != large[key].shape[:1]:
            slope = (large[key].shape[0] - small[key].shape[0]) // (many - few)
            if slope > 0:
                return Head(key, small[key].shape[0] - few * slope, slope, frozenset(small))
    return None
