"""LeGrad: how the score that each layer's tokens would get hangs on that layer's attention.

The head must be applied to tokens of every layer. It is the network's own: a hook behind the last
layer hands on, in one wide batch, the tokens of each layer in their turn, and what follows (norm,
pooling, projection, classifier, similarity to a text) does with them what it always does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradcam_hooks.attention.capture import Attention, catching, gradients
from gradcam_hooks.attention.run import see
from gradcam_hooks.attention.stack import AttentionStack
from gradcam_hooks.errors import GradientError, LayerError
from gradcam_hooks.methods.registry import method
from gradcam_hooks.network.along import taken
from gradcam_hooks.network.hooking import hooked
from gradcam_hooks.network.modules import describe, named
from gradcam_hooks.network.outputs import choose, main_tensor, with_tensor
from gradcam_hooks.runs.belonging import chosen_axes
from gradcam_hooks.runs.run import Run
from gradcam_hooks.targets import select

__all__ = ["legrad", "sensitivity"]

_OWN = -1
"""Among the variants: the last layer's tokens as they are, whose score is known."""


def sensitivity(gradients: Sequence[Tensor]) -> Tensor:
    """LeGrad: the mean over layers, heads and queries of ``relu(ds_l/dA_l)``.

    Args:
        gradients: of each layer's own score at its attention, ``(batch, heads, queries, keys)``.

    Returns:
        ``(batch, keys)``.

    Bousselham et al. 2024 (arXiv:2404.03214), section 3.

    >>> sensitivity([torch.tensor([[[[2.0, -1.0], [4.0, 1.0]]]])])
    tensor([[3.0000, 0.5000]])
    """
    return torch.stack([one.relu().mean((1, 2)) for one in gradients]).mean(0)


@method(
    paper="Bousselham et al. 2024, arXiv:2404.03214, section 3",
    cost="3 F + 1 B",
    looks="attention",
    elsewhere=(
        "The authors' code starts two layers before the end unless told otherwise: start_layer=-2; "
        "it enlarges each layer's map before it adds them, which is the same. For SigLIP it takes "
        "out of the map what lights up for the words 'a photo of a' too (above 0.8 of that map's "
        "range); here nothing is taken out."
    ),
)
def legrad(run: Run, *, start_layer: int = 0) -> list[Tensor]:
    """LeGrad: positive gradient at each layer's attention of that layer's own score, averaged.

    `sensitivity` at the patches, each layer's score being that of its pooled tokens.

    Args:
        run: the undisturbed pass.
        start_layer: the first layer that counts; negative ones count from the end.

    Returns:
        One map ``(batch, [targets,] *space)``, nowhere negative.

    A layer's tokens are pooled by their mean, those that are no patches included, and the network's
    head is given that mean for every token, as the authors' code does. Where the network pools by
    an attention of its own, that head is given the layer's tokens as they are, and the gradient is
    the one at its attention: the authors' form for such networks.
    """
    seen = see(run)
    stack, count = seen.stack, len(seen.stack.layers)
    first = count - len(seen.layers(start_layer))
    _check(stack)
    runs = _runs(run, stack, range(first, count))
    columns = []
    for column in range(len(run.columns())):
        found = [one for run in runs for one in run.gradients(column)]
        columns.append([stack.patches(sensitivity(found))])
    return run.joined(columns)


def _check(stack: AttentionStack) -> None:
    for layer, block in zip(stack.layers, stack.blocks, strict=True):
        if not block or stack.blocks.count(block) > 1:
            raise LayerError(
                f"LeGrad needs the tokens that each layer hands on, and {describe(layer.name)} is "
                "in no module of a Sequential or ModuleList that gives them, or runs several times "
                "in one pass. Take 'gradientrollout', which needs the attention alone."
            )


@dataclass(frozen=True)
class _Run:
    """One run in which the head was given several variants of the tokens.

    Attributes:
        layers: for each layer among the variants the attention at which the gradient is asked for;
            what is no layer comes last.
        tokens: for each variant the tokens that the head was given, in the graph of their layer.
        given: all of them as the head got them, out of that graph; the start of the head's own.
        scores: for each variant ``(batch[, targets])``.
        pooled: whether the gradient is asked for at the head's attention over all variants.
        axis: which axis of the tokens is the batch.
    """

    layers: Sequence[Attention]
    tokens: Sequence[Tensor]
    given: Tensor
    scores: Sequence[Tensor]
    pooled: bool
    axis: int

    @property
    def batch(self) -> int:
        """How many images there are."""
        return self.scores[0].shape[0]

    def gradients(self, column: int) -> list[Tensor]:
        """For each layer the gradient of its score there, ``(batch, heads, queries, keys)``."""
        with torch.enable_grad():
            scores = [one if one.ndim == 1 else one[:, column] for one in self.scores]
            total = torch.stack(scores[: len(self.layers)]).sum()
        where = self.layers[0].weights if self.pooled else self.given
        (found,) = gradients(total, [where])
        if found is None:
            raise GradientError(
                "no gradient can flow from the score back to the layers' tokens: the model or the "
                "target function leaves the graph (detach(), no_grad, argmax, round, numpy()). "
                "Take 'attentionrollout', which needs none."
            )
        if self.pooled:
            whole = self.layers[0].split(found, len(self.scores) * self.batch)
            return list(torch.split(whole, self.batch))[: len(self.layers)]
        parts = torch.split(found, self.batch, self.axis)
        each = []
        for layer, tokens, part in zip(self.layers, self.tokens, parts, strict=False):
            (one,) = gradients(tokens, [layer.weights], part)
            each.append(layer.split(one if one is not None else 0 * layer.weights, self.batch))
        return each


def _runs(run: Run, stack: AttentionStack, layers: Sequence[int]) -> list[_Run]:
    """All variants in one run where the head takes a wide batch, else a run for each.

    Raises:
        LayerError: the network gives another answer for its own, undisturbed tokens.
    """
    try:
        wide = _run(run, stack, [*layers, _OWN])
    except (RuntimeError, ValueError, IndexError, TypeError, AssertionError):
        pass  # the network's own words for a batch it did not expect
    else:
        if _alike(wide.scores[-1], run.scores):
            return [wide]
    own = _run(run, stack, [_OWN]).scores[0]
    if not _alike(own, run.scores):
        raise LayerError(
            f"with its own tokens put back behind {describe(stack.blocks[-1])} the score is "
            f"{own.tolist()} rather than {run.scores.tolist()}: the network draws random numbers "
            "or keeps a state between calls. Take 'gradientrollout', which puts nothing back."
        )
    return [_run(run, stack, [layer]) for layer in layers]


def _run(run: Run, stack: AttentionStack, variants: Sequence[int]) -> _Run:
    modules = named(run.model)
    streams: dict[str, Tensor] = {}
    tokens: list[Tensor] = []
    given: list[Tensor] = []
    axis, along = int(stack.sequence_first), chosen_axes(run)

    def keep(name: str, output: object) -> object:
        stream = main_tensor(output)
        assert stream is not None  # the stack knows the block by the tokens it gives
        streams[name] = stream
        if name != stack.blocks[-1]:
            return None
        for variant in variants:
            own = streams[stack.blocks[variant]]
            mean = variant != _OWN and stack.pooler is None
            tokens.append(own.mean(1 - axis, keepdim=True).expand_as(own) if mean else own)
        given.append(torch.cat(tokens, axis).detach().requires_grad_())
        return with_tensor(output, stream, given[0].clone())

    blocks = {name: modules[name] for name in stack.blocks}
    with torch.enable_grad():
        with catching(run.model) as caught, hooked(blocks, keep):
            output = run.model_output(run.inputs)
        chosen = choose(output, run.asked.output)
        settled, batch = run.settled, run.batch
        scores = []
        for index in range(len(variants)):
            part = taken(chosen, along, range(index * batch, (index + 1) * batch))
            scores.append(select(settled, part, batch, run.asked.labels).scores)
    attentions = {one.name: one for one in caught.attentions}
    last = stack.pooler
    asked = [one for one in variants if one != _OWN]
    names = [last.name if last is not None else stack.layers[one].name for one in asked]
    layers = [attentions[name] for name in names]
    return _Run(layers, tokens, given[0], scores, last is not None, axis)


def _alike(found: Tensor, expected: Tensor) -> bool:
    """Equal but for the rounding that another batch size brings."""
    share = 1e-3 if expected.dtype in (torch.float32, torch.float64) else 5e-2
    found, expected = found.detach().double(), expected.detach().double()
    if found.shape != expected.shape:
        return False
    return bool(((found - expected).abs() <= share * expected.abs().amax() + 1e-6).all())
