"""The methods as users ask for them: a class each, a name each, and one line for all of it.

A class differs from `Explainer` in its name alone; the formula is the rule that `METHODS` has under
that name.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypedDict

from torch import nn

from gradcam_hooks.errors import MethodNotFound
from gradcam_hooks.explainers import Explainer
from gradcam_hooks.explanation import Explanation
from gradcam_hooks.modules import LayerSpec
from gradcam_hooks.outputs import OutputSpec
from gradcam_hooks.targets import Target

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from gradcam_hooks.images import Preprocess

__all__ = [
    "FEM",
    "EigenCAM",
    "EigenGradCAM",
    "ElementWiseCAM",
    "GradCAM",
    "GradCAMPlus",
    "GradCAMPlusPlus",
    "HiResCAM",
    "LayerCAM",
    "SegEigenCAM",
    "XGradCAM",
    "explain",
    "explainer",
]


class GradCAM(Explainer):
    """Grad-CAM (Selvaraju et al. 2017): channels weighted by their mean gradient, summed.

    `gradcam_hooks.methods.gradient.gradcam` is the formula; the options are `Explainer`'s.
    """

    method = "gradcam"


class GradCAMPlusPlus(Explainer):
    """Grad-CAM++ (Chattopadhyay et al. 2018): positive gradients weighted by the paper's alpha."""

    method = "gradcam++"


class GradCAMPlus(Explainer):
    """Grad-CAM+ (Lerma and Lucas 2022): channels weighted by their mean positive gradient."""

    method = "gradcam+"


class XGradCAM(Explainer):
    """XGrad-CAM (Fu et al. 2020): gradients averaged by each channel's share of activation."""

    method = "xgradcam"


class HiResCAM(Explainer):
    """HiResCAM (Draelos and Carin 2020): gradient times activation, position by position."""

    method = "hirescam"


class ElementWiseCAM(Explainer):
    """Element-wise Grad-CAM: the positive part of gradient times activation."""

    method = "elementwise"


class LayerCAM(Explainer):
    """LayerCAM (Jiang et al. 2021): positive gradient times activation, position by position."""

    method = "layercam"


class EigenCAM(Explainer):
    """Eigen-CAM (Muhammad and Yeasin 2020): the first singular vector; the same for any class."""

    method = "eigencam"


class EigenGradCAM(Explainer):
    """Eigen-Grad-CAM: the first singular vector of gradient times activation."""

    method = "eigengradcam"


class SegEigenCAM(Explainer):
    """Seg-Eigen-CAM (Chung and Ying 2025): the first singular vector of ``|gradient| A``."""

    method = "segeigencam"


class FEM(Explainer):
    """FEM (Fuad et al. 2020): where channels are unusually high; the same for any class."""

    method = "fem"


_CLASSES: dict[str, type[Explainer]] = {
    kind.method: kind
    for kind in (
        GradCAM,
        GradCAMPlusPlus,
        GradCAMPlus,
        XGradCAM,
        HiResCAM,
        ElementWiseCAM,
        LayerCAM,
        EigenCAM,
        EigenGradCAM,
        SegEigenCAM,
        FEM,
    )
}


class Options(TypedDict, total=False):
    """The keyword options of `Explainer`, as `explain` and `explainer` hand them on."""

    output: OutputSpec
    layout: str | None
    fuse: str
    call: int | Literal["all"] | None
    labels: Sequence[str] | None
    preprocess: Preprocess | None


def explainer(
    method: str, model: nn.Module, layer: LayerSpec = "auto", **options: Unpack[Options]
) -> Explainer:
    """The explainer of a method by its name in `METHODS`; the options are `Explainer`'s.

    Raises:
        MethodNotFound: no method of that name.
    """
    if method not in _CLASSES:
        near = difflib.get_close_matches(method, _CLASSES, n=1, cutoff=0)
        raise MethodNotFound(
            f"no method {method!r}; did you mean {near[0]!r}? "
            f"gradcam_hooks.METHODS has {', '.join(_CLASSES)}."
        )
    return _CLASSES[method](model, layer, **options)


def explain(
    model: nn.Module,
    image: object,
    layer: LayerSpec = "auto",
    *,
    target: Target = None,
    method: str = "gradcam",
    **options: Unpack[Options],
) -> Explanation:
    """Explain a model's answer in one line: an explainer opened for one call.

    Args:
        model: any module; it is left exactly as found.
        image: a tensor ``(batch, channels, *space)``, ready for the model; or a path, a PIL image,
            an RGB array or a list of these, which are preprocessed.
        layer: a dotted name, a glob, a module, a list of these, or ``"auto"``.
        target: what to explain; see `Explainer.__call__`.
        method: a name in `METHODS`.
        options: `Explainer`'s.

    >>> import torch
    >>> model = torch.nn.Sequential(
    ...     torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    ... )
    >>> explain(model, torch.rand(2, 3, 32, 32)).maps.shape
    torch.Size([2, 32, 32])
    """
    return explainer(method, model, layer, **options)(image, target=target)
