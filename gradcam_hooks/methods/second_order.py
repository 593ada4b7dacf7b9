"""Methods that differentiate the score twice."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from gradcam_hooks.checks import check_one_of
from gradcam_hooks.errors import GradientError
from gradcam_hooks.methods.gradient import elementwise, gradcam, hirescam
from gradcam_hooks.methods.registry import Rule, method
from gradcam_hooks.network.half import unscaled
from gradcam_hooks.network.modules import describe
from gradcam_hooks.network.switches import PLAIN_ATTENTION, switched
from gradcam_hooks.runs.run import NoPath, Run

__all__ = ["shapleycam"]

_RULES: dict[str, Rule] = {"gradcam": gradcam, "hirescam": hirescam, "elementwise": elementwise}


@method(
    paper="Cai 2025, arXiv:2501.06261",
    cost="1 F + 2 B, the second through the first",
    elsewhere=(
        "The paper explains ReST, which is target=gh.ReST() here; grad-cam explains the logit by "
        "default, too. The author's ShapleyCAM of today is rule='elementwise', with two others "
        "beside it: that of the mean, which is grad-cam's and the default here, and 'hirescam'."
    ),
)
def shapleycam(run: Run, *, rule: str = "gradcam") -> list[Tensor]:
    """ShapleyCAM: channels weighted by the mean of gradient less half of Hessian times activation.

    ``sum_k w_k A_k``, ``w_k = mean(g_k - (H A)_k / 2)``.

    H is the score's Hessian at the layer's activation; ``H A`` is one Hessian-vector product.

    Args:
        run: the pass through the layers.
        rule: how ``g - H A / 2`` and A make a map, as g and A do in the method of that name:
            ``"gradcam"`` (the mean), ``"hirescam"`` (position by position) or ``"elementwise"``
            (the same, and only what is positive).

    Returns:
        For each layer the signed raw map ``(batch, [targets,] *space)``.

    Cai 2025 (arXiv:2501.06261): a position's Shapley value in the game whose worth is the score's
    second-order Taylor expansion at A, its absence an activation of 0. The paper's score is ReST,
    which is ``target=gh.ReST()``; the default is the class's logit, as for every method. Of a logit
    behind global average pool and a linear layer H is 0, and the map is that of Grad-CAM. Tokens
    that are no position (the class token) count as players too, as in the author's code.

    Raises:
        GradientError: an operation behind the layer has no second derivative.
    """
    check_one_of(rule, "rule", tuple(_RULES))
    try:
        return _weighed(run, _RULES[rule])
    except RuntimeError as error:
        if "not implemented" not in str(error):
            raise
    # Fused attention has no second derivative; the plain one does.
    try:
        with switched(*PLAIN_ATTENTION):
            return _weighed(run.look_again(run.image, run.passed.way), _RULES[rule])
    except RuntimeError as error:
        if "not implemented" not in str(error):
            raise
        raise GradientError(
            "ShapleyCAM differentiates the score twice, and an operation behind "
            f"{', '.join(describe(layer.label) for layer in run.layers)} has no second "
            f"derivative in torch ({error}). Name a later layer, or take 'gradcam'."
        ) from error


def _weighed(run: Run, rule: Rule) -> list[Tensor]:
    columns = []
    for column in run.columns():
        raws = []
        for layer in run.layers:
            edge = layer.tap.edge
            if edge is None or not column.requires_grad:
                raise NoPath(run.lost())
            both = partial(_both, column, edge, layer.tap.activation)
            weights, product = unscaled(both, run.passed.kinds(column))
            if weights is None:
                raise NoPath(run.lost())
            if product is not None:
                weights = weights - product / 2
            activation = layer.activation()
            raws.append(rule(activation, layer.layout.channels_first(weights).to(activation)))
        columns.append(raws)
    return run.joined(columns)


def _both(
    column: Tensor, edge: GradientEdge, activation: Tensor, factor: float, _: object
) -> tuple[Tensor | None, Tensor | None]:
    """The gradient and the Hessian times the activation, of so many times the score."""
    (gradient,) = torch.autograd.grad(
        column, edge, torch.full_like(column, factor), create_graph=True, allow_unused=True
    )
    product = None
    if gradient is not None and gradient.requires_grad:
        (product,) = torch.autograd.grad(
            gradient, edge, activation, retain_graph=True, allow_unused=True
        )
    return None if gradient is None else gradient.detach(), product
