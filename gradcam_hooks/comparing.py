"""One image or several, explained in several ways: every method, layer and target that is named.

What comes of it is a `Comparison`. A method that cannot explain this model has its reason there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TypeVar

from torch import Tensor, nn

from gradcam_hooks.checks import check_count
from gradcam_hooks.defaults import DEFAULT_ALPHA
from gradcam_hooks.errors import (
    GradCamHooksError,
    InputError,
    LayerNotFound,
    MethodNotFound,
    OptionError,
)
from gradcam_hooks.explainers import Explainer, MethodSpec, explain, explainer_class
from gradcam_hooks.images.palettes import Colormap
from gradcam_hooks.methods import METHODS, Method
from gradcam_hooks.models import LoadedModel
from gradcam_hooks.network.modules import LayerSpec
from gradcam_hooks.results.comparison import CELL_HEIGHT, Cell, Comparison
from gradcam_hooks.results.drawing import Opacity, Style
from gradcam_hooks.results.facts import class_word
from gradcam_hooks.targets import AllClasses, Target, TopK

__all__ = ["compare"]

_METHODS = ("gradcam", "gradcam++", "xgradcam", "hirescam", "layercam", "eigencam")
"""What is compared where nothing is named: one pass each, and no two of one kind."""

_T = TypeVar("_T")


def compare(
    model: nn.Module | LoadedModel,
    image: object,
    /,
    *,
    methods: Sequence[MethodSpec] | MethodSpec | None = None,
    layers: Sequence[LayerSpec] | None = None,
    targets: Sequence[Target] | TopK | AllClasses | None = None,
    alpha: float = DEFAULT_ALPHA,
    opacity: Opacity = "map",
    colormap: Colormap | None = None,
    signed: bool = False,
    colorbar: bool = False,
    style: Style | None = None,
    columns: int | None = None,
    cell_height: int = CELL_HEIGHT,
    caption: bool = True,
    **options: object,
) -> Comparison:
    """Explain images in several ways, side by side: every method, layer and target named.

    Args:
        model: any module; it is left exactly as found.
        image: one image, a tensor ``(1, channels, *space)``, a path, a PIL image or an RGB array;
            or several, a list of such or a tensor of a batch, a row of the figure each.
        methods: names in `METHODS`, classes, or functions of one's own; by default Grad-CAM, and
            six usual ones where neither layers nor targets are named. ``"all"`` is every one of
            them, those of hundreds of runs with the fewer runs of their ``quick`` options, which
            their captions tell.
        layers: by default ``["auto"]``. Each is a layer, or several that are fused.
        targets: class numbers, labels or functions; or `TopK`, or `AllClasses`. By default the
            predicted class.
        alpha: the maps' weight in the figure, as `Style`'s, as the next four.
        opacity: whether that follows the map.
        colormap: the maps' colours.
        signed: whether the raw maps are drawn with their sign.
        colorbar: whether the scale stands on the right.
        style: how the maps are drawn, in place of these.
        columns: how many cells side by side, where one thing alone varies.
        cell_height: of each picture, in pixels at most.
        caption: whether each cell says below what it is; titles of rows and columns stay.
        options: `Explainer`'s, and those of the methods: each goes to the methods that have it.

    Returns:
        The comparison. A way that cannot explain this model, such as a method that needs another
        head, keeps its place in the figure with the reason.

    Raises:
        MethodNotFound, LayerNotFound, OptionError: a name is wrong.
        InputError: there is nothing to compare.
        GradCamHooksError: no way at all could explain the image; the first one's reason.

    >>> import torch
    >>> model = torch.nn.Sequential(
    ...     torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    ... )
    >>> compare(model, torch.rand(1, 3, 32, 32), targets=[0, 1, 2])
    Comparison(1 method, 1 layer, 3 targets; 3 of 3 explained)
    >>> compare(model, [torch.rand(1, 3, 32, 32)] * 2, methods=["gradcam", "layercam"])
    Comparison(2 images, 2 methods, 1 layer, 1 target; 4 of 4 explained)
    """
    if columns is not None:
        check_count(columns, "columns=", error=InputError)
    check_count(cell_height, "cell_height=", error=InputError)
    drawn = style or Style().but(
        alpha=alpha, opacity=opacity, colormap=colormap, signed=signed, colorbar=colorbar
    )
    _check_lists(options)
    usual = _METHODS if layers is None and targets is None else ("gradcam",)
    quick = methods == "all"
    kinds = _kinds(list(METHODS) if quick else usual if methods is None else methods)
    own = _own(options, [kind.row() for kind in kinds], quick=quick)
    places: list[LayerSpec] = ["auto"] if layers is None else _several("layers", layers)
    pictures = _each(image)
    cells: list[Cell] = []
    for one in pictures.values():
        if not isinstance(targets, TopK | AllClasses):
            asked: list[Target] = [None] if targets is None else _several("targets", targets)
        else:
            whole = explain(model, one, places[0], target=targets, method=kinds[0], **own[0])
            asked = [] if whole.target is None else list(whole.target[0].tolist())
        cells += [
            _cell(model, one, kind, place, target, mine, quick=quick)
            for (kind, mine), place, target in product(zip(kinds, own, strict=True), places, asked)
        ]
    if not cells:
        raise InputError(
            "there is nothing to compare: images, methods=, layers= or targets= are none."
        )
    errors = [cell.error for cell in cells if cell.error is not None]
    if len(errors) == len(cells):
        raise errors[0]
    shape = (len(kinds), len(places), len(asked))
    return Comparison(
        tuple(cells), shape, columns, drawn, tuple(pictures), caption=caption, height=cell_height
    )


_LISTS = {
    "layer": "layers",
    "target_layer": "layers",
    "target_layers": "layers",
    "method": "methods",
    "target": "targets",
    "target_category": "targets",
    "target_class": "targets",
    "class_idx": "targets",
}
"""What is called so elsewhere, and is a list here."""


def _check_lists(options: Mapping[str, object]) -> None:
    for name in options:
        if name in _LISTS:
            raise OptionError(
                f"compare has no option {name}=: {_LISTS[name]}= is what is compared, a list such "
                f"as {_LISTS[name]}=[{'1' if _LISTS[name] == 'targets' else '...'}]."
            )


def _kinds(methods: Sequence[MethodSpec] | MethodSpec) -> list[type[Explainer]]:
    """The class of each method.

    Raises:
        MethodNotFound: there is no such method.
    """
    if isinstance(methods, Sequence) and not isinstance(methods, str):
        return list(map(explainer_class, methods))
    return [explainer_class(methods)]


def _own(
    options: Mapping[str, object], rows: Sequence[Method], *, quick: bool
) -> list[Mapping[str, object]]:
    """Each method's options: all but those that belong to others of the methods alone."""
    others = {option for row in rows for option in row.options}
    return [
        {
            **(row.quick if quick else {}),
            **{
                option: value
                for option, value in options.items()
                if option in row.options or option not in others
            },
        }
        for row in rows
    ]


def _cell(
    model: nn.Module | LoadedModel,
    image: object,
    kind: type[Explainer],
    layer: LayerSpec,
    target: Target,
    options: Mapping[str, object],
    *,
    quick: bool,
) -> Cell:
    """One way to explain the image, or the reason why it cannot be.

    Raises:
        MethodNotFound, LayerNotFound: a wrong name, which is nothing to look at.
        InputError: an image is a batch of several.
    """
    row = kind.row()
    words = (row.name, _layer_word(layer), _target_word(target))
    try:
        found = explain(model, image, layer, target=target, method=kind, **options)
    except (MethodNotFound, LayerNotFound):
        raise
    except GradCamHooksError as error:
        return Cell(*words, error=error)
    if len(found) != 1:
        raise InputError(
            f"each image is compared for itself, and one of them is a batch of {len(found)}; pass "
            "its images one by one."
        )
    told = row.quick if quick else {}
    return Cell(*words, found, quick=", ".join(f"{name}={one}" for name, one in told.items()))


def _each(given: object) -> dict[str, object]:
    """Each image by its name; a file is read once, not for each cell."""
    from gradcam_hooks.images import load_image
    from gradcam_hooks.images.volumes import is_scan, load_scan

    if isinstance(given, Tensor) and given.ndim > 1:
        given = [given[index : index + 1] for index in range(len(given))]
    images = list(given) if isinstance(given, list | tuple) else [given]
    found: dict[str, object] = {}
    for number, one in enumerate(images, 1):
        path = isinstance(one, str | os.PathLike)
        name = Path(one).name if path else f"image {number}"  # type: ignore[arg-type]
        name = name if name not in found else f"{name} ({number})"
        if is_scan(one) and not isinstance(one, bytes):
            found[name] = load_scan(one) if path else one  # type: ignore[arg-type]
        else:
            found[name] = load_image(one) if path else one  # type: ignore[arg-type]
    return found


def _several(name: str, given: Sequence[_T]) -> list[_T]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise InputError(f"{name}= is a list of what to compare, such as [{given!r}].")
    return list(given)


def _layer_word(layer: LayerSpec) -> str:
    if isinstance(layer, str):
        return layer
    if isinstance(layer, nn.Module):
        return type(layer).__name__
    return ", ".join(_layer_word(one) for one in layer)


def _target_word(target: Target) -> str:
    if target is None:
        return "predicted class"
    if isinstance(target, int):
        return class_word(target, None)
    return target if isinstance(target, str) else "target function"
