"""Controls: maps that every table of explanations carries, because they explain nothing.

Baselines know nothing of the class; a control is a method's own map under a blur. A method that
does not beat the baselines has explained nothing, and a metric that prefers the blur is rewarded
for it. Knows explainers; no metric.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gradcam_hooks.explainers import explainer
from gradcam_hooks.network.modules import LayerSpec
from gradcam_hooks.targets import Target
from gradcam_hooks.trust.asking import smeared

__all__ = ["BASELINES", "baseline_maps", "blurred"]

BASELINES = ("random", "center", "sobel", "fakecam")
"""Names in `METHODS`: noise, a Gaussian in the centre, edges, and 1 everywhere but at one place."""


def baseline_maps(
    model: nn.Module,
    images: Tensor,
    layer: LayerSpec = "auto",
    *,
    target: Target = None,
    names: Sequence[str] = BASELINES,
    seed: int = 0,
    **options: object,
) -> dict[str, Tensor]:
    """The baselines' maps of images, by name: ``(batch[, targets], *space)``, in [0, 1].

    Args:
        model: any module.
        images: ``(batch, channels, *space)``.
        layer: at whose resolution the noise is.
        target: as for `explain`; it tells how many maps an image has, and changes none.
        names: which of them.
        seed: for the noise.
        options: `Explainer`'s.

    >>> model = nn.Sequential(
    ...     nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ... )
    >>> found = baseline_maps(model, torch.rand(2, 3, 8, 8))
    >>> list(found), found["sobel"].shape
    (['random', 'center', 'sobel', 'fakecam'], torch.Size([2, 8, 8]))
    """
    found = {}
    for name in names:
        chance = torch.Generator(images.device).manual_seed(seed)
        with explainer(name, model, layer, generator=chance, **options) as explain:
            found[name] = explain(images, target=target).maps.detach()
    return found


def blurred(maps: Tensor, rank: int) -> Tensor:
    """A method's own maps under a Gaussian blur, a sixteenth of the longest side wide.

    Args:
        maps: ``(batch[, targets], *space)``.
        rank: how many axes space has.

    >>> blurred(torch.tensor([[0.0, 1.0, 0.0]]), 1).argmax().item()
    1
    """
    return smeared(maps, rank)
