"""The wide tail: a network from one layer on, run on many variants of one image's activation.

A forward hook returns a batch of variants where one image came in, so the layers ahead of it see
one image and those behind it many. Where that does not go through, or does not give each variant
its own answer (the model may tie the tail to the batch it began with), the input is repeated
instead, and where that does not either, variants run one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from gradcam_hooks.errors import LayerError
from gradcam_hooks.network.hooking import hooked
from gradcam_hooks.network.modules import describe, named
from gradcam_hooks.network.outputs import main_tensor, with_tensor
from gradcam_hooks.runs.belonging import inputs_of, scores_of
from gradcam_hooks.runs.chunks import in_chunks, size_for
from gradcam_hooks.runs.run import Run, TappedLayer

__all__ = ["Tail"]

_Way = Literal["wide", "repeated", "single"]

_AHEAD = 6
"""How many times its own activation a variant takes on its way to the output, roughly."""


class Tail:
    """The network behind a layer, for one image of a run.

    Args:
        run: where the layer was tapped.
        layer: which of its layers.
        index: which image of the batch.

    Attributes:
        activation: the image's own, ``(1, ...)`` in the layer's own axes and precision.
    """

    def __init__(self, run: Run, layer: TappedLayer, index: int) -> None:
        self._origin, self._layer, self._index = run, layer, index
        self._module = {layer.name: named(run.model)[layer.name]}
        self._way: _Way | None = None
        self._layout = layer.layout
        self.activation = layer.layout.of_one(layer.tap.activation.detach(), index)

    def copies(self, count: int) -> Tensor:
        """``count`` copies of the activation, ``(count, channels, *space)``, to be written to."""
        return self._layout.channels_first(self.activation).repeat_interleave(count, 0)

    def scores(
        self,
        count: int,
        variants: Callable[[slice], Tensor],
        *,
        probability: bool = False,
        done: Callable[[int], None] | None = None,
    ) -> Tensor:
        """The score of each variant, ``(count[, targets])``.

        Args:
            count: how many variants there are.
            variants: takes a slice of them, returns them, ``(n, channels, *space)``.
            probability: the class's softmax probability rather than its score.
            done: told how many are done.

        Raises:
            LayerError: the network gives another answer for its own, undisturbed activation.
        """
        size = size_for(_AHEAD * self.activation.nbytes, self.activation.device)

        def scores_of_part(part: slice) -> Tensor:
            wide = self._layout.put(variants(part), self.activation)
            if self._way is None:
                self._way = self._works()
            return self._run(wide, self._way, probability=probability)

        return in_chunks(count, scores_of_part, size=size, done=done)

    def _works(self) -> _Way:
        """The widest way in which each variant gets its own answer.

        Judged by variants that are far apart, each alone and all together.
        """
        own_map = self._layout.channels_first(self.activation)
        probes = torch.cat([own_map, torch.zeros_like(own_map), own_map / 2, own_map])
        together = self._layout.put(probes, self.activation)
        alone = self._run(self._layout.put(probes[:3], self.activation), "single")
        expected = torch.cat([alone, alone[:1]])
        own = self._origin.scores.detach()[self._index]
        if not _alike(alone[:1], own[None]):
            raise LayerError(
                f"layer {describe(self._layer.label)} cannot be disturbed: with its own activation "
                f"put back the score is {alone[0].tolist()} rather than {own.tolist()}. The "
                "network draws random numbers or keeps a state between calls; a method that needs "
                "gradients alone, such as 'gradcam', does without a second run."
            )
        ways: tuple[_Way, ...] = ("wide", "repeated")
        for way in ways:
            try:
                found = self._run(together, way)
            except (RuntimeError, ValueError, IndexError, TypeError, AssertionError):
                continue  # the network's own words for a batch it did not expect
            if found.shape == expected.shape and _alike(found, expected):
                return way
        return "single"

    def _run(self, wide: Tensor, way: _Way, *, probability: bool = False) -> Tensor:
        run, count = self._origin, self._layout.batch(wide.shape)
        if way == "single" and count > 1:
            apart = [self._layout.of_one(wide, number) for number in range(count)]
            return torch.cat([self._run(one, way, probability=probability) for one in apart])
        images = run.image[self._index : self._index + 1]
        if way == "repeated":
            images = images.expand(count, *images.shape[1:])
        inputs = inputs_of(run, self._index, images)
        with hooked(self._module, _Swap(self._layer.call, wide)):
            output = run.output_of(inputs)
        return scores_of(run, output, self._index, count, probability=probability)


class _Swap:
    """What a hook does to put other activations in the place of one call's."""

    def __init__(self, call: int, wide: Tensor) -> None:
        self._call, self._wide, self._seen = call, wide, 0

    def __call__(self, name: str, output: object) -> object:
        mine = self._seen == self._call
        self._seen += 1
        given = main_tensor(output)
        if not mine or given is None:
            return None
        return with_tensor(output, given, self._wide.to(given.dtype))


def _alike(found: Tensor, expected: Tensor) -> bool:
    """Equal but for the rounding that another batch size brings."""
    share = 1e-3 if expected.dtype in (torch.float32, torch.float64) else 5e-2
    found, expected = found.double(), expected.double()
    apart = float(expected.amax() - expected.amin())
    slack = share * apart + 0.01 * share * float(expected.abs().amax())
    if len(expected) == 1:  # nothing to be told apart from
        slack = share * float(expected.abs().amax())
    return bool(((found - expected).abs() <= slack + 1e-6).all())
