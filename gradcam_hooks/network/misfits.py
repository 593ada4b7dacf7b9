"""What of its inputs a network failed on, where that can be told, with the way out.

A network's own error names a kernel or an attribute and not what was handed over: a batch of a
DataLoader with its labels in it, a processor's dict, pixels on the last axis, another precision.
Knows modules, tensors and messages; runs nothing.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from gradcam_hooks.errors import InputError

__all__ = ["check_no_loader", "misfit"]

_BLOCK = "with GradCAM(model) as cam: cam"


def check_no_loader(args: Sequence[object]) -> None:
    """Raise `InputError` where a DataLoader or a data set is handed over for a batch of it."""
    for given in args:
        if isinstance(given, DataLoader | Dataset):
            kind = type(given).__name__
            raise InputError(
                f"a {kind} is no batch of images. Go over a DataLoader, and explain each batch, as "
                "in: for images, labels in loader: explain(model, images, target=labels)."
            )


def misfit(model: nn.Module, args: Sequence[object], error: Exception) -> InputError | None:
    """What does not fit, where the forward of ``model`` raised ``error``; None: nothing known.

    >>> import torch
    >>> wrong = RuntimeError("expected input[1, 8, 9, 3] to have 3 channels, but got 8 channels")
    >>> str(misfit(nn.Conv2d(3, 4, 3), [torch.zeros(1, 8, 9, 3)], wrong)).split(". ")[1]
    'Pass image.permute(0, 3, 1, 2)'
    """
    if not args:
        return None
    first, words = args[0], str(error)
    told = None
    own = getattr(model.forward, "__qualname__", "forward")
    if words.startswith(f"{own}() missing"):
        told = _missing(model, first)
    elif isinstance(first, Mapping):
        told = _by_name(model, first)
    elif isinstance(first, list | tuple):
        told = _one_by_one(first)
    elif isinstance(first, Tensor):
        told = _channels(first, words) or _precision(model, first, words)
    if told is None:
        return None
    line = words.strip().splitlines()[0] if words.strip() else "no words"
    return InputError(f"{told} The network's own error: {type(error).__name__}: {line}")


def _names(model: nn.Module) -> list[str]:
    return list(inspect.signature(model.forward).parameters)


def _missing(model: nn.Module, first: object) -> str:
    names = ", ".join(_names(model))
    stars = {"**": isinstance(first, Mapping), "*": isinstance(first, list | tuple)}
    inputs = next((f"{mark}inputs" for mark, so in stars.items() if so), names)
    return (
        f"the forward of {type(model).__name__} takes ({names}), and not all of it was given. Hand "
        f"over every input, each by itself: {_BLOCK}({inputs})."
    )


def _by_name(model: nn.Module, first: Mapping[object, object]) -> str | None:
    known = [str(key) for key in first if key in _names(model)]
    if not known:
        return None
    return (
        f"the network was given one {type(first).__name__}, which holds {', '.join(known)}, and "
        f"takes these by name. Hand them over so: explain(model, **inputs), or {_BLOCK}(**inputs)."
    )


def _one_by_one(first: Sequence[object]) -> str | None:
    if not all(isinstance(one, Tensor) and one.is_floating_point() for one in first):
        return None
    shapes = ", ".join(str(tuple(one.shape)) for one in first[:4] if isinstance(one, Tensor))
    return (
        f"the network was given one {type(first).__name__} of tensors, {shapes}. Inputs are handed "
        f"over each by itself: {_BLOCK}(*inputs); images of one batch are one tensor: "
        "torch.stack(images)."
    )


def _channels(image: Tensor, words: str) -> str | None:
    found = re.search(r"input ?\[([\d, ]+)\] to have (\d+) channels", words)
    if found is None or [int(one) for one in found[1].split(",")] != list(image.shape):
        return None  # a layer further in
    wanted, shape = int(found[2]), tuple(image.shape)
    told = f"the image has shape {shape}, and the network takes {wanted} channels on the second "
    if shape[-1] == wanted != shape[1]:
        order = ", ".join(map(str, [0, len(shape) - 1, *range(1, len(shape) - 1)]))
        return f"{told}axis; it has them on the last. Pass image.permute({order})."
    if shape[1] == 1:
        rest = ", ".join(["-1"] * (len(shape) - 2))
        return f"{told}axis. One channel becomes {wanted} by image.expand(-1, {wanted}, {rest})."
    return f"{told}axis. Give it the channels that it was trained on."


def _precision(model: nn.Module, image: Tensor, words: str) -> str | None:
    own = next((one.dtype for one in model.parameters() if one.is_floating_point()), image.dtype)
    if own == image.dtype or not re.search(r"type|same", words):
        return None
    return f"the image is {image.dtype}, and the network's weights are {own}. Pass image.to({own})."
