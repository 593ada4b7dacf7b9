"""How wrong a model is about each sample of a batch.

Knows outputs and labels, no trainer and no model.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (its usual name)

from gradcam_hooks.errors import OptionError
from gradcam_hooks.network.final_softmax import sum_to_one
from gradcam_hooks.network.outputs import find_logits

__all__ = ["sample_losses"]


def sample_losses(output: object, labels: object) -> Tensor:
    """The loss of each sample, ``(batch,)``, float64: cross-entropy.

    `-log p(label)`, with p the softmax of the logits, or what the model gives where that is a
    probability already; of a single logit the sigmoid's. Of labels for each position, the mean
    over the positions.

    Args:
        output: what the model returned; its logits are ``(batch, classes, *space)``.
        labels: class numbers ``(batch, *space)``; of a single logit 0 and 1, ``(batch[, 1])``.

    Raises:
        OutputError: the logits are not found.
        OptionError: the labels are no class numbers of these logits.

    >>> losses = sample_losses(torch.tensor([[0.0, 0.0], [9.0, 0.0]]), torch.tensor([0, 1]))
    >>> [round(loss, 6) for loss in losses.tolist()]
    [0.693147, 9.000123]
    """
    given = find_logits(output).detach()
    logits = given.double()
    whole = isinstance(labels, Tensor) and not (labels.is_floating_point() or labels.is_complex())
    if isinstance(labels, Tensor) and whole:
        if logits.shape[1:].numel() == 1 and labels.numel() == len(logits):
            wanted = labels.reshape(-1).double()
            return F.binary_cross_entropy_with_logits(logits.reshape(-1), wanted, reduction="none")
        if logits.ndim > 1 and labels.shape == (len(logits), *logits.shape[2:]):
            logs = logits.clamp_min(1e-300).log()
            scores = torch.where(sum_to_one(given), logs, logits.log_softmax(1))
            losses = F.nll_loss(scores, labels.long(), reduction="none")
            return losses.reshape(len(logits), -1).mean(1)
    what = f"{labels.dtype} {tuple(labels.shape)}" if isinstance(labels, Tensor) else type(labels)
    raise OptionError(
        f"the labels are {what} and the logits {tuple(logits.shape)}; expected class numbers, one "
        "for each sample. Pass loss=, a function (output, labels) -> loss of each sample."
    )
