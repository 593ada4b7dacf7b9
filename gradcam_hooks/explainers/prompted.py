"""A text beside the images: what a target asks of the model's forward, and where the images go.

Knows signatures, and the one target that brings a text.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from gradcam_hooks.targets import Similarity, Target

__all__ = ["processor_of", "prompted"]

_PIXELS = "pixel_values"
"""What models of transformers call their images."""


def processor_of(target: Target) -> object | None:
    """What makes pictures ready for a target that brings a text; None of any other."""
    known = isinstance(target, Similarity) and hasattr(target.processor, "image_processor")
    return target.processor if known and isinstance(target, Similarity) else None


def prompted(
    target: Target,
    model: nn.Module,
    args: Sequence[object],
    kwargs: Mapping[str, object],
    device: torch.device,
) -> tuple[list[object], dict[str, object]]:
    """The forward's arguments with the text of the target, where it has one.

    Images that stand first go where the model takes them, which is not first.
    """
    if not isinstance(target, Similarity) or target.text is None:
        return list(args), dict(kwargs)
    parameters = list(inspect.signature(model.forward).parameters)
    words = {name: one.to(device) for name, one in target.words().items() if name in parameters}
    args, named = list(args), {**words, **kwargs}
    if args and parameters[0] in words and _PIXELS in parameters:
        named[_PIXELS] = args.pop(0)
    return args, named
