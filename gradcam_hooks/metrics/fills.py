"""What stands where a part of an image is taken away. Knows images alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from gradcam_hooks.errors import OptionError
from gradcam_hooks.runs.masks import blurred

__all__ = ["Fill", "filled"]

Fill = float | Sequence[float] | Tensor | Literal["blur", "mean"] | Callable[[Tensor], Tensor]
"""A value in the input's own units, one for each channel, an image or a batch of them; ``"blur"``,
the image under a Gaussian of 11 cells and deviation 5; ``"mean"``, each channel's mean over the
image; or a function from images to images."""

_CELLS, _WIDTH = 11, 5.0
"""The blur of the code that Petsiuk et al. 2018 published."""


def filled(images: Tensor, fill: Fill) -> Tensor:
    """What takes the images' place, ``(batch, channels, *space)``.

    Raises:
        OptionError: the fill is none, or does not fit the images.

    >>> filled(torch.tensor([[[1.0, 3.0]]]), "mean")
    tensor([[[2., 2.]]])
    """
    if isinstance(fill, str):
        if fill == "blur":
            return blurred(images, _CELLS, _WIDTH)
        if fill == "mean":
            axes = tuple(range(2, images.ndim))
            return images.mean(axes, keepdim=True).expand_as(images)
        raise OptionError(f"fill= is a number, 'blur', 'mean' or a function, not {fill!r}.")
    if callable(fill) and not isinstance(fill, Tensor):
        found = fill(images)
        if not isinstance(found, Tensor) or found.shape != images.shape:
            raise OptionError("fill= as a function returns images of the shape that it is given.")
        return found.to(images)
    try:
        value = torch.as_tensor(fill, dtype=images.dtype, device=images.device)
        if value.ndim == 1:
            value = value.view(-1, *[1] * (images.ndim - 2))
        return value.expand_as(images)
    except (TypeError, ValueError, RuntimeError) as error:
        raise OptionError(
            f"fill= is a number, one for each of {images.shape[1]} channels, an image "
            f"{tuple(images.shape[1:])}, 'blur', 'mean' or a function, not {fill!r}."
        ) from error
