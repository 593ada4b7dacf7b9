"""One line for all of it: `explain`, and `explainer`, which finds a method by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from gradcam_hooks import cams
from gradcam_hooks.explainers import Explainer, Options
from gradcam_hooks.methods import method_of
from gradcam_hooks.network.modules import LayerSpec
from gradcam_hooks.results.explanation import Explanation
from gradcam_hooks.targets import Target

if TYPE_CHECKING:
    from typing_extensions import Unpack


__all__ = ["explain", "explainer"]

_CLASSES: dict[str, type[Explainer]] = {
    kind.method: kind for kind in (getattr(cams, name) for name in cams.__all__)
}


def explainer(
    method: str, model: nn.Module, layer: LayerSpec = "auto", **options: Unpack[Options]
) -> Explainer:
    """The explainer of a method by its name in `METHODS`; the options are `Explainer`'s.

    Raises:
        MethodNotFound: no method of that name.
    """
    row = method_of(method)
    kind: type[Explainer] = _CLASSES.get(row.name) or type(
        row.cls, (Explainer,), {"method": row.name}
    )
    return kind(model, layer, **options)


def explain(
    model: nn.Module,
    image: object,
    /,
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
