"""Published names that are a rule and a sampler.

`gradcam_hooks.runs.samplers` has the samplers, which go with other rules as well (``sampler=``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradcam_hooks.methods.gradient import gradcam, weighted
from gradcam_hooks.methods.registry import method
from gradcam_hooks.runs.run import Run
from gradcam_hooks.runs.samplers import Integrate, Noise, noisy

__all__ = ["integrated_gradcam", "smooth_gradcam_plus_plus"]


@method(
    "smoothgradcam++",
    paper="Omeiza et al. 2019, arXiv:1908.01224",
    cost="N (F + B)",
    elsewhere=(
        "The paper prints the first derivative above alpha's bar (first_order=True). torchcam "
        "weighs the activation of the last noisy image, takes that image's gradient for D1 and "
        "sum(A D3) for sum(A) D3, and leaves its noise unseeded."
    ),
)
def smooth_gradcam_plus_plus(
    run: Run, *, samples: int = 8, std: float = 0.15, first_order: bool = False
) -> list[Tensor]:
    """Smooth Grad-CAM++: Grad-CAM++ with derivatives averaged over noisy images, activations clean.

    ``sum_k w_k A_k``, ``w_k = sum(alpha relu(D1))``, ``alpha = D2 / (2 D2 + sum(A_k) D3)``, and 0
    where that is 0 / 0; ``Dn`` the mean of ``g_k^n`` over noisy images, A the clean activation.

    Args:
        run: the clean pass.
        samples: how many noisy images.
        std: the noise's standard deviation, as a share of each image's own range.
        first_order: put D1 above alpha's bar, as the paper prints it.

    Returns:
        For each layer the signed raw map ``(batch, [targets,] *space)``.

    Omeiza et al. 2019 (arXiv:1908.01224). Deviation: the paper prints D1 above alpha's bar, and
    Grad-CAM++, which it smooths and which this is without noise, has the second derivative there.
    """
    checked = Noise(samples, std)
    sums: list[list[_Powers]] = []
    for image in noisy(run, checked.samples, checked.std):
        at = run.look_again(image, run.passed.way)
        found = [at.gradients(column) for column in at.columns()]
        sums = sums or [[_Powers.none(g) for g in one] for one in found]
        sums = [
            [total.plus(g) for total, g in zip(totals, one, strict=True)]
            for totals, one in zip(sums, found, strict=True)
        ]
    columns = []
    for column in sums:
        raws = []
        for layer, powers in zip(run.layers, column, strict=True):
            activation = layer.activation()
            first, second, third = (
                one.flatten(2) / samples for one in (powers.d1, powers.d2, powers.d3)
            )
            unit = powers.unit.flatten(2)
            below = 2 * second + activation.flatten(2).sum(2, keepdim=True) * unit * third
            above = first if first_order else second * unit
            alpha = torch.where(below == 0, torch.zeros_like(below), above / below)
            raws.append(weighted((alpha * first.relu()).sum(2), activation))
        columns.append(raws)
    return run.joined(columns)


@dataclass(frozen=True)
class _Powers:
    """Sums of a gradient's powers over samples, of ``g / unit``: g^3 itself leaves the range.

    Attributes:
        d1, d2, d3: ``(batch, channels, *space)``.
        unit: each image's largest gradient so far, ``(batch, 1, ..., 1)``.
    """

    d1: Tensor
    d2: Tensor
    d3: Tensor
    unit: Tensor

    @classmethod
    def none(cls, like: Tensor) -> _Powers:
        zero = torch.zeros_like(like)
        return cls(zero, zero, zero, zero.flatten(1)[:, 0].view(-1, *[1] * (like.ndim - 1)))

    def plus(self, gradient: Tensor) -> _Powers:
        peak = gradient.abs().flatten(1).amax(1).view(self.unit.shape)
        unit = torch.maximum(self.unit, peak)
        safe = torch.where(unit == 0, torch.ones_like(unit), unit)
        own, kept = gradient / safe, self.unit / safe
        return _Powers(
            self.d1 * kept + own,
            self.d2 * kept.square() + own.square(),
            self.d3 * kept.pow(3) + own.pow(3),
            unit,
        )


@method(
    "integratedgradcam",
    paper="Sattarzadeh et al. 2021, arXiv:2102.07805",
    cost="N (F + B)",
    elsewhere="The authors' code takes the left end of each step, and A in place of A - A(0).",
)
def integrated_gradcam(run: Run, *, steps: int = 20, baseline: float = 0.0) -> list[Tensor]:
    """Integrated Grad-CAM: Grad-CAM of what changes, averaged along the path from a baseline to the
    image.

    The path is straight: ``mean over t of relu(sum_k mean(g_k(t)) (A_k(t) - A_k(0)))``.

    Args:
        run: the pass at the image itself.
        steps: how many points of the path, the middles of equal steps.
        baseline: the value of the image at the path's start, in the input's own units.

    Returns:
        For each layer the raw map ``(batch, [targets,] *space)``, nowhere negative.

    Sattarzadeh et al. 2021 (arXiv:2102.07805). Deviation: the authors' code takes the left ends of
    the steps, and no activation off where no baseline is given.
    """
    return Integrate(steps, baseline).raws(run, gradcam)
