"""TensorBoard: an explanation as the array that ``add_image`` takes.

Knows any writer by its one method, torch's and tensorboardX's alike; imports neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from gradcam_hooks.errors import InputError
from gradcam_hooks.results.comparison import Comparison
from gradcam_hooks.results.drawing import Style, with_style
from gradcam_hooks.results.explanation import Explanation

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from gradcam_hooks.results.drawing import Drawing

__all__ = ["Writer", "add_explanation", "pixels"]


class Writer(Protocol):
    """What writes pictures for TensorBoard, such as ``torch.utils.tensorboard.SummaryWriter``."""

    def add_image(
        self,
        tag: str,
        img_tensor: npt.NDArray[np.uint8],
        global_step: int | None = ...,
        *,
        dataformats: str = ...,
    ) -> object:
        """Write one picture under a tag, at a step."""
        ...


@with_style
def pixels(
    result: Explanation | Comparison, style: Style | None = None, **how: Unpack[Drawing]
) -> npt.NDArray[np.uint8]:
    """The picture as uint8 RGB in 0..255, ``(height, width, 3)``: ``dataformats="HWC"``.

    Args:
        result: one explanation or more, which become a sheet; or a comparison.
        style: how an explanation is drawn; a comparison has its own.
        how: as in `Explanation.overlay`.

    >>> import gradcam_hooks as gh, torch
    >>> model = torch.nn.Sequential(
    ...     torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    ... )
    >>> pixels(gh.explain(model, torch.rand(1, 3, 32, 48))).shape
    (32, 48, 3)
    """
    if isinstance(result, Comparison):
        if how or style is not None:
            raise InputError(
                "a comparison is drawn as it was made; pass alpha= and colormap= to compare()."
            )
        return np.asarray(result.figure)
    return np.asarray(result.overlay(None, style, **how))


@with_style
def add_explanation(
    writer: Writer,
    tag: str,
    result: Explanation | Comparison,
    step: int | None = None,
    style: Style | None = None,
    **how: Unpack[Drawing],
) -> None:
    """Write an explanation for TensorBoard, with its caption unless ``caption=False``.

    Args:
        writer: a ``SummaryWriter``, or a ``TensorBoardLogger``'s ``experiment``.
        tag: the name it stands under.
        result: one explanation or more, or a comparison.
        step: the training step; the page has a slider through the steps of a tag.
        style: how an explanation is drawn; by default with its caption.
        how: as in `Explanation.overlay`.

    Raises:
        InputError: ``writer`` has no ``add_image``, or the maps cannot be drawn.
    """
    if not callable(getattr(writer, "add_image", None)):
        raise InputError(
            "expected a writer with add_image, such as torch.utils.tensorboard.SummaryWriter "
            f"(pip install tensorboard); got {type(writer).__name__}."
        )
    if isinstance(result, Explanation):
        style = style or Style(caption=True)
    writer.add_image(tag, pixels(result, style, **how), step, dataformats="HWC")
