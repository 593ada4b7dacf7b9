"""FiftyOne, Weights & Biases and MLflow: maps in the kinds of these packages.

Each is imported where it is used; what is not installed is named with the command that installs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gradcam_hooks.errors import InputError
from gradcam_hooks.images.colors import to_uint8
from gradcam_hooks.results.comparison import Comparison
from gradcam_hooks.results.drawing import Style, with_style
from gradcam_hooks.results.explanation import Explanation

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from gradcam_hooks.results.drawing import Drawing

__all__ = ["fiftyone_heatmaps", "log_to_mlflow", "wandb_images"]


def fiftyone_heatmaps(result: Explanation) -> list[dict[str, Any]]:
    """The maps of each picture as ``fiftyone.Heatmap`` fields, by what they explain.

    Args:
        result: of one picture or several; the maps lie where they do on the original pictures.

    Returns:
        For each picture the heat maps by name, one for each target: ``sample["tabby (281)"]`` of
        a FiftyOne sample is set to each, or ``sample["heatmap"]`` to the only one.

    Raises:
        InputError: the maps are no ``(height, width)``.
        ImportError: there is no FiftyOne.
    """
    fiftyone = _package("fiftyone", "fiftyone")
    found = []
    for heat, facts in zip(result.placed(), result.facts(), strict=True):
        maps = heat if result.scores.ndim == 2 else heat[None]
        if maps.ndim != 3:
            raise InputError(f"FiftyOne's heat maps are (height, width), these {maps.shape[1:]}.")
        found.append(
            {
                fact.subject: fiftyone.Heatmap(map=to_uint8(one), range=[0, 255])
                for one, fact in zip(maps, facts, strict=True)
            }
        )
    return found


@with_style
def wandb_images(
    result: Explanation | Comparison, style: Style | None = None, **how: Unpack[Drawing]
) -> list[Any]:
    """Pictures for Weights & Biases, each with its caption: a list for ``run.log``.

    Args:
        result: one explanation or more; or a comparison, which is one image.
        style: how an explanation is drawn; a comparison has its own.
        how: as in `Explanation.overlay`.

    Returns:
        A ``wandb.Image`` for each image that was explained.

    Raises:
        ImportError: there is no wandb.
    """
    wandb = _package("wandb", "wandb")
    if isinstance(result, Comparison):
        _own_style(style, how)
        return [wandb.Image(result.figure, caption=repr(result))]
    style = (style or Style()).but(**how)
    told = ["\n".join(line for one in row for line in one.lines()) for row in result.facts()]
    return [
        wandb.Image(one.overlay(style=style), caption=words)
        for one, words in zip(result, told, strict=True)
    ]


@with_style
def log_to_mlflow(
    result: Explanation | Comparison,
    name: str,
    style: Style | None = None,
    **how: Unpack[Drawing],
) -> None:
    """Log the picture as an artifact of MLflow's active run, with its caption.

    Args:
        result: one explanation or more, which become a sheet; or a comparison.
        name: of the artifact, such as ``"maps/epoch-3.png"``.
        style: how an explanation is drawn; by default with its caption. A comparison has its own.
        how: as in `Explanation.overlay`.

    Raises:
        ImportError: there is no mlflow.
    """
    mlflow = _package("mlflow", "mlflow")
    if isinstance(result, Comparison):
        _own_style(style, how)
        mlflow.log_image(result.figure, name)
    else:
        mlflow.log_image(result.overlay(style=style or Style(caption=True), **how), name)


def _own_style(style: Style | None, how: object) -> None:
    if style is not None or how:
        raise InputError("a comparison is drawn as it was made; pass style= to compare().")


def _package(name: str, installed: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f"{name} is not installed: pip install {installed}") from error
