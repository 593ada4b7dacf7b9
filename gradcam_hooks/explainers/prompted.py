"""A text beside the images: what a target asks of the model's forward, and where the images go.

Knows signatures, the names that transformers gives, and the one target that brings a text.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from gradcam_hooks.errors import InputError
from gradcam_hooks.targets import Similarity, Target

__all__ = ["processor_of", "prompted"]

_PIXELS = "pixel_values"
"""What models of transformers call their images."""

_GRID = "image_grid_thw"
"""What they call the grids of patches in rows: frames, rows and columns of each image."""


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

    Raises:
        InputError: the images are patches in rows.
    """
    _check_pixels(kwargs)
    if not isinstance(target, Similarity) or target.text is None:
        return list(args), dict(kwargs)
    parameters = list(inspect.signature(model.forward).parameters)
    words = {name: one.to(device) for name, one in target.words().items() if name in parameters}
    args, named = list(args), {**words, **kwargs}
    if args and parameters[0] in words and _PIXELS in parameters:
        named[_PIXELS] = args.pop(0)
    return args, named


def _check_pixels(kwargs: Mapping[str, object]) -> None:
    """See that the images of a vision-language model lie in the plane.

    Qwen-VL's processor hands over patches in rows, ``(patches, values)``, with their grids beside.

    Raises:
        InputError: they are such patches, of which no map in the plane can be made.
    """
    pixels, grid = kwargs.get(_PIXELS), kwargs.get(_GRID)
    if grid is None or not isinstance(pixels, torch.Tensor) or pixels.ndim != 2:
        return
    raise InputError(
        f"{_PIXELS}= are {len(pixels)} patches in rows, as Qwen-VL's processor cuts them "
        f"({_GRID}={grid.tolist() if isinstance(grid, torch.Tensor) else grid}), and a map lies on "
        "a picture. Give the picture, (1, channels, height, width), to a module that cuts it "
        'inside: docs/kinds.md has it, under "A word of a vision-language model".'
    )
