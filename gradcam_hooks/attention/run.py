"""A second look at a run with its attention caught: what methods for transformers work on.

The network runs once more with gradients on, from its first attention at the latest, and the same
scores are selected. Knows runs and stacks; knows no method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradcam_hooks.attention.capture import Attention, catching, gradients
from gradcam_hooks.attention.stack import AttentionStack, stack_of
from gradcam_hooks.errors import GradientError, LayerError, OptionError
from gradcam_hooks.network.outputs import choose
from gradcam_hooks.runs.run import Run
from gradcam_hooks.targets import select

__all__ = ["Seen", "see"]


@dataclass(frozen=True)
class Seen:
    """A run in which attention was caught.

    Attributes:
        run: what was asked.
        stack: the attentions over the image's tokens, in the graph.
        scores: ``(batch[, targets])``, in the graph.
    """

    run: Run
    stack: AttentionStack
    scores: Tensor

    def columns(self) -> Sequence[Tensor]:
        """The scores of one target of each image at a time, ``(batch,)`` each."""
        with torch.enable_grad():
            return [self.scores] if self.scores.ndim == 1 else self.scores.unbind(1)

    def layers(self, start: int) -> tuple[Attention, ...]:
        """The layers from ``start`` on; a negative one counts from the end.

        Raises:
            OptionError: there is no such layer.
        """
        count = len(self.stack.layers)
        if isinstance(start, bool) or not isinstance(start, int) or not -count <= start < count:
            raise OptionError(
                f"start_layer= is a number from {-count} to {count - 1}, for there are {count} "
                f"layers of attention, not {start!r}."
            )
        return self.stack.layers[start:]

    def gradients(self, score: Tensor, at: Sequence[Tensor]) -> list[Tensor]:
        """The gradient of ``score (batch,)`` at tensors of the run; zeros where none comes.

        Raises:
            GradientError: none comes to any of them.
        """
        found = gradients(score, at)
        if all(one is None for one in found):
            raise GradientError(
                "no gradient can flow from the score back to the attention: the model or the "
                "target function leaves the graph after it (detach(), no_grad, argmax, round, "
                "numpy(), reentrant checkpoints). Take 'attentionrollout', which needs none."
            )
        return [
            torch.zeros_like(one) if gradient is None else gradient
            for one, gradient in zip(at, found, strict=True)
        ]

    def reading(self, score: Tensor) -> Tensor:
        """How much of each query of the last attention the head reads, ``(queries,)``; adds to 1.

        It reads those whose output the score hangs on; if the class token is one of them (or the
        distillation token), the patches are left out, as papers do. Where it cannot be told, the
        class token is read, and without one all of them.
        """
        last, stack = self.stack.last, self.stack
        ahead = stack.layout.prefix if stack.pooler is None else 0
        gradient = None if last.output is None else gradients(score, [last.output])[0]
        if gradient is not None:
            read = last.split(gradient, self.run.batch).ne(0).any(3).any(1).any(0)
        if gradient is None or not bool(read.any()):
            read = torch.ones(last.queries, dtype=torch.bool, device=last.weights.device)
            read[1:ahead] = False
        if bool(read[:ahead].any()):
            read[ahead:] = False
        exact = last.split(last.weights.detach(), self.run.batch).dtype
        return read.to(exact) / read.sum()


def see(run: Run) -> Seen:
    """Run the run's model once more, its attention caught.

    Raises:
        LayerError, LayoutError: as `stack.stack_of`.
    """
    with torch.enable_grad():
        with catching(run.model) as caught:
            try:
                output = run.model_output(run.inputs)
            except NotImplementedError as error:
                if "FlexAttention" not in str(error):
                    raise
                raise LayerError(
                    f"{type(run.model).__name__} computes its attention by flex_attention, which "
                    "shows no weights and here lets no gradient pass. Load it with "
                    "attn_implementation='sdpa' or 'eager'."
                ) from error
        chosen = choose(output, run.asked.output)
        scores = select(run.settled, chosen, run.batch, run.asked.labels).scores
    stack = stack_of(caught, run.model, run.batch, run.size, run.axes, run.asked.layout)
    return Seen(run, stack, scores)
