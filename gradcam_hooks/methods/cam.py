"""CAM, the first class activation map: the weights of the head itself.

It needs a head of global average pool and one linear layer. Which operation that is, is found
among all that run and proven by numbers: its weights times the activation's mean must be the
model's logits.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gradcam_hooks.errors import LayerError, TargetError
from gradcam_hooks.methods.registry import method
from gradcam_hooks.network.modules import describe
from gradcam_hooks.network.outputs import find_logits
from gradcam_hooks.runs.function_rules import Op, Watching
from gradcam_hooks.runs.run import Run, TappedLayer

__all__ = ["cam"]

_SHARE = {torch.float16: 2e-2, torch.bfloat16: 5e-2, torch.float32: 1e-3, torch.float64: 1e-6}
"""How far the logits may be from the proof, as a share of their spread: rounding."""


class _Linear(Watching):
    """What linear operations run: weights ``(out, in)`` and bias, the last to run last."""

    def __init__(self) -> None:
        super().__init__(("linear", "conv1d", "conv2d", "conv3d"))
        self.seen: list[tuple[Tensor, Tensor | None]] = []

    def replaced(self, op: Op) -> object:
        weight, bias = op.argument(1, "weight"), op.argument(2, "bias")
        if isinstance(weight, Tensor) and weight[0, 0].numel() == 1:  # 1x1 convolutions too
            kept = bias.detach() if isinstance(bias, Tensor) else None
            self.seen.append((weight.detach().flatten(1), kept))
        return op.plain()


@method(
    paper="Zhou et al. 2016, arXiv:1512.04150, equation 2",
    cost="2 F",
    needs_gradients=False,
    elsewhere="torchcam takes the weights of the only linear layer, whatever lies ahead of it.",
)
def cam(run: Run) -> list[Tensor]:
    """CAM: channels weighted by the head's weights of the class, summed.

    ``sum_k W[c, k] A_k``, W the weights of the linear layer behind global average pool.

    Args:
        run: the pass through the layers.

    Returns:
        For each layer the signed raw map ``(batch, [targets,] *space)``; its mean over space is the
        class's logit without the bias.

    Zhou et al. 2016 (arXiv:1512.04150), equation 2. The head is any operation, module or function,
    whose weights times ``mean(A)`` plus bias are the logits of every image, within rounding; a 1x1
    convolution ahead of the pool is one too; and where the logits are ``mean(A)``, W is the
    identity.

    Raises:
        LayerError: there is no such head behind a layer.
        TargetError: the target is no class.
    """
    sides, index = run.selected.sides, run.selected.index
    if index is None or not (run.asks_classes or sides is not None):
        raise TargetError(
            f"CAM is a map of a class, whose weights the head has, not of {run.target!r}. "
            "Pass a class, TopK or AllClasses, or take 'gradcam', which explains any score."
        )
    linear = _Linear()
    with linear:
        logits = find_logits(run.output_of(run.inputs)).clone()
    raws = []
    for layer in run.layers:
        activation = layer.activation()
        weights = _head(layer, activation, logits, linear.seen).to(activation)
        # (batch, [targets,] channels)
        rows = weights[index] if sides is None else weights.where(sides[:, None], -weights)
        raws.append(torch.einsum("b...c,bcp->b...p", rows, activation.flatten(2)))
    space = [layer.layout.space for layer in run.layers]
    return [raw.view(*raw.shape[:-1], *one) for raw, one in zip(raws, space, strict=True)]


def _head(
    layer: TappedLayer,
    activation: Tensor,
    logits: Tensor,
    seen: Sequence[tuple[Tensor, Tensor | None]],
) -> Tensor:
    """W ``(classes, channels)`` of the operation that the numbers prove to be the head."""
    batch, channels = activation.shape[:2]
    if logits.ndim > 2:
        logits = logits.reshape(batch, logits.shape[1], -1).mean(2)
    classes = logits.shape[1]
    precision = layer.tap.activation.dtype
    mean = activation.double().flatten(2).mean(2)
    nearest = float("inf")
    unit = torch.eye(channels, dtype=mean.dtype, device=mean.device)
    own: list[tuple[Tensor, Tensor | None]] = [(unit, None)] if channels == classes else []
    for weight, bias in [*reversed(seen), *own]:
        if weight.shape != (classes, channels):
            continue
        weight = weight.to(mean)
        found = mean @ weight.T + (0 if bias is None else bias.to(mean))
        scale = float(logits.abs().amax().clamp_min(torch.finfo(torch.float32).tiny))
        error = float((found - logits).abs().amax()) / scale
        nearest = min(nearest, error)
        if error <= _SHARE.get(precision, 1e-3):
            return weight
    raise LayerError(_no_head(layer, channels, classes, seen, nearest))


def _no_head(
    layer: TappedLayer,
    channels: int,
    classes: int,
    seen: Sequence[tuple[Tensor, Tensor | None]],
    nearest: float,
) -> str:
    what = "no linear operation runs"
    if seen:
        weight = seen[-1][0]
        what = (
            f"the last linear operation to run takes {weight.shape[1]} channels to "
            f"{weight.shape[0]}, and not {channels} to {classes}"
        )
    if nearest < float("inf"):
        what = (
            f"of the linear operations from {channels} to {classes}, none gives the logits from "
            f"the mean of this layer's channels (the nearest is off by {nearest:.0%})"
        )
    return (
        f"CAM needs a head of global average pool and one linear layer right behind the layer, "
        f"logits = W mean(A) + b, and behind {describe(layer.label)} {what}. Take 'gradcam', which "
        "is CAM on such heads and needs none, or name the layer that the pool reads; of a model "
        "that ends in a softmax explain output='logits'."
    )
