"""Whether a map was made of rounding: of a probability near 1, or of gradients below float16.

The gradient of a probability is ``p (1 - p)``, and near 1 the second factor is what rounding left
of it. Of gradients in float16 few bits are left near the least number there is, 6e-8; the score is
scaled against that (`network.half`), which helps as far as it reaches. Knows runs and their scores.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradcam_hooks.network.final_softmax import FinalSoftmax
from gradcam_hooks.network.half import LEAST
from gradcam_hooks.runs.run import Run
from gradcam_hooks.targets import LogProbability, Probability

__all__ = ["saturated"]

_UNITS = 16
"""Of so many units of rounding is left of 1 - p: an error of some hundredths in each gradient."""

_BITS = 5
"""Gradients of fewer bits are rounded by a thirtieth and more."""


def saturated(run: Run, squashed: FinalSoftmax | None) -> Tensor:
    """Which maps are made of rounding: bool, of the shape of the scores.

    Args:
        run: after its backward pass.
        squashed: what the model ends in, where the score is of that.
    """
    return _sure(run, squashed) | _faint(run)


def _sure(run: Run, squashed: FinalSoftmax | None) -> Tensor:
    """Where the score is a probability, or the logarithm of one, that is 1 but for rounding."""
    scores = run.scores.detach()
    if squashed is None and not isinstance(run.target, Probability | LogProbability):
        return torch.zeros_like(scores, dtype=torch.bool)
    exact = scores.double() if scores.dtype == torch.float64 else scores.float()
    # A logarithm is 0 at most; of a probability of 0 nothing is left to be hurt.
    left = torch.where(exact < 0, -torch.expm1(exact), 1 - exact)
    if isinstance(run.target, LogProbability):
        left = -torch.expm1(exact)
    return (left >= 0) & (left <= _UNITS * torch.finfo(scores.dtype).eps)


def _faint(run: Run) -> Tensor:
    """Where all gradients of a layer in float16 have but a few bits."""
    found = torch.zeros_like(run.scores, dtype=torch.bool)
    for layer in run.layers:
        gradient = layer.tap.gradient
        half = layer.tap.activation.dtype == torch.float16
        if not half or gradient is None or found.ndim > 1 or len(gradient) != len(found):
            continue  # of many targets the gradients are gone by now
        most = gradient.detach().flatten(1).abs().amax(1)
        found |= (most > 0) & (most < LEAST * 2**_BITS)
    return found
