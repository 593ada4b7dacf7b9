"""A run: one forward pass with open taps, its score, and the same question asked again.

Methods that are no formula of one activation and one gradient run the network themselves; what
they may ask of it is here: the activations and gradients of the tapped layers, the same network at
other images, and the score of any output. Knows hooks, layouts and targets; knows no method.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from gradcam_hooks.errors import GradientError, LayerError, LayoutError, TargetError
from gradcam_hooks.layout.input_axes import InputAxes
from gradcam_hooks.layout.placement import Placement
from gradcam_hooks.layout.reader import Words, read
from gradcam_hooks.layout.watching import Watched
from gradcam_hooks.network.along import Belonging
from gradcam_hooks.network.half import unscaled
from gradcam_hooks.network.hooks import Pass, Taps
from gradcam_hooks.network.inputs import Inputs
from gradcam_hooks.network.modules import describe
from gradcam_hooks.network.outputs import OutputSpec, choose
from gradcam_hooks.network.tap import Way
from gradcam_hooks.runs.tapped import TappedLayer, exact
from gradcam_hooks.targets import AllClasses, On, Selection, Target, TopK, select, settle

__all__ = ["Asked", "NoPath", "Progress", "Run", "TappedLayer", "look", "summed"]

_COLOURS = 4
"""As many channels as a picture has at the most, where nobody tells which axis is channels."""

Progress = Callable[[int, int], None]
"""Told how many of how many steps are done."""


class NoPath(GradientError):  # noqa: N818  (told to users as GradientError)
    """A layer from which no path leads to the score.

    Attributes:
        end: where the path ends, as a sentence; empty where that was not looked for.
    """

    def __init__(self, message: str, end: str = "") -> None:
        super().__init__(message)
        self.end = end


@dataclass(frozen=True)
class Asked:
    """What is asked of every pass of one explainer.

    Attributes:
        model: the network.
        output: which part of its output to explain.
        layout: how activations are to be read; None to infer it.
        labels: the classes' names, where they are known.
        multi_label: whether each label is on or off by itself.
        generator: where chance comes from, in methods that draw.
        progress: told of each step of a method that has many.
    """

    model: nn.Module
    output: OutputSpec = None
    layout: str | None = None
    labels: tuple[str, ...] | None = None
    multi_label: bool = False
    generator: torch.Generator | None = None
    progress: Progress | None = None

    @property
    def on(self) -> On | str:
        """What the target ``"on"`` means here: a label of that name, or every label that is on.

        Raises:
            TargetError: the network is not known to be a multi-label one.
        """
        if "on" in (self.labels or ()):
            return "on"
        if not self.multi_label:
            raise TargetError(
                "target='on' is every label that is on, of a network that says of each label "
                "whether it is. If this is one, pass multi_label=True."
            )
        return On()


@dataclass(frozen=True)
class Run:
    """One forward pass through the open taps, and what was asked of its output.

    Attributes:
        asked: the options of the explainer.
        taps: the open taps, for another pass.
        inputs: what went into the model.
        target: what the user asked for.
        passed: the forward pass.
        layers: the tapped layers, in the order named.
        chosen: the part of the output that is explained, in the graph.
        selected: the scores, ``(batch[, targets])``, and their class numbers.
        axes: the axes of the image.
        autocast: whether autocast surrounded the pass, and its type; it surrounds others as well.
        known: what belongs to each image, once it was asked (`runs.belonging`).
        notes: sentences on what a method chose by itself, for the result to carry.
    """

    asked: Asked
    taps: Taps
    inputs: Inputs
    target: Target
    passed: Pass
    layers: Sequence[TappedLayer]
    chosen: object
    selected: Selection
    axes: InputAxes
    notes: list[str] = field(default_factory=list)
    known: list[Belonging] = field(default_factory=list)
    autocast: tuple[bool, torch.dtype] = (False, torch.bfloat16)

    @property
    def model(self) -> nn.Module:
        """The network."""
        return self.asked.model

    @property
    def scores(self) -> Tensor:
        """What is explained, ``(batch[, targets])``, in the graph."""
        return self.selected.scores

    @property
    def image(self) -> Tensor:
        """The image among the inputs, as ``(batch, channels, *space)``."""
        return self.axes.channels_first(self.inputs.image)

    @property
    def batch(self) -> int:
        """How many images went in."""
        return self.inputs.batch

    @property
    def size(self) -> tuple[int, ...]:
        """The input's space: its sizes along its words of space."""
        return self.axes.size(self.inputs.image.shape)

    @property
    def place(self) -> Placement | None:
        """Where the first layer's map lies on the image, where that is not all of it."""
        return self.layers[0].reading.place if self.layers else None

    def columns(self) -> Sequence[Tensor]:
        """The scores of one target of each image at a time, ``(batch,)`` each, in the graph."""
        if self.scores.ndim == 1:
            return [self.scores]
        with torch.enable_grad():
            return [self.scores[:, target] for target in range(self.scores.shape[1])]

    def joined(self, columns: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """For each layer one raw map of what there is for each of `columns`, in order."""
        if self.scores.ndim == 1:
            return list(columns[0])
        return [torch.stack(raws, 1) for raws in zip(*columns, strict=True)]

    def gradients(self, scores: Tensor, *, graph: bool = False) -> list[Tensor]:
        """The gradient of ``scores (batch,)`` at each layer, ``(batch, channels, *space)``.

        Args:
            scores: one of `columns`, or anything computed from the output.
            graph: whether the gradient is to be differentiated again.

        Raises:
            NoPath: no path leads from the scores to a layer.
        """
        edges = [layer.tap.edge for layer in self.layers if layer.tap.edge is not None]
        if not scores.requires_grad or len(edges) < len(self.layers):
            raise NoPath(self.lost())

        def grad(factor: float, _: object) -> Sequence[Tensor | None]:
            return torch.autograd.grad(
                scores,
                edges,
                torch.full_like(scores, factor),
                create_graph=graph,
                retain_graph=True,
                allow_unused=True,
            )

        found = unscaled(grad, self.passed.kinds(scores))
        gradients = []
        for layer, gradient in zip(self.layers, found, strict=True):
            if gradient is None:
                raise NoPath(self.lost())
            gradients.append(layer.layout.channels_first(exact(gradient)))
        return gradients

    def lost(self, end: str = "") -> str:
        """What to say where gradients do not come.

        Args:
            end: where the path ends, as a sentence, if that was found out.
        """
        lost = [describe(one.label) for one in self.layers if one.tap.gradient is None]
        why = (
            f". {end}"
            if end
            else ": it lies beside the path to the score, or somewhere after it the model or the "
            "target function leaves the graph (detach(), no_grad, argmax, round, numpy())."
        )
        return (
            f"no gradient can flow from the score back to {', '.join(lost)}{why} Name a layer that "
            "gradients reach; gradcam_hooks.layers(model, x) shows them."
        )

    def generator(self) -> torch.Generator:
        """Where chance comes from: the user's, or one seeded with 0."""
        if self.asked.generator is not None:
            return self.asked.generator
        return torch.Generator(self.image.device).manual_seed(0)

    def step(self, done: int, total: int) -> None:
        """Tell whoever asked how far a method of many runs is."""
        if self.asked.progress is not None:
            self.asked.progress(done, total)

    @property
    def asks_classes(self) -> bool:
        """Whether the scores are those of classes, each with a logit of its own."""
        selected = self.selected
        known = selected.index is not None and selected.sides is None
        return known and not _is_function(self.target)

    @property
    def settled(self) -> Target:
        """The target with what it chose from this output held fast, to be asked of others."""
        if self.asks_classes:
            return self.selected.index
        return settle(self.target, self.chosen, self.batch, self.asked.labels)

    def look_again(self, image: Tensor, way: Way = "cut") -> Run:
        """The same question with other pixels, ``image`` in the shape of this one's."""
        inputs = self.with_image(image)
        with self.as_before():
            return look(self.asked, self.taps, inputs, self.settled, way, fresh=True)

    def with_image(self, image: Tensor) -> Inputs:
        """The inputs with another image ``(batch, channels, *space)`` in the place of this one."""
        return self.inputs.with_image(self.axes.restored(image))

    def as_before(self) -> AbstractContextManager[object]:
        """Autocast as it was around the first pass; the arithmetic of maps goes on without."""
        enabled, dtype = self.autocast
        return torch.autocast(self.image.device.type, dtype=dtype, enabled=enabled)

    @torch.no_grad()
    def output_of(self, inputs: Inputs) -> object:
        """The part of the model's output that is explained, without gradients."""
        return choose(self.model_output(inputs), self.asked.output)

    def model_output(self, inputs: Inputs) -> object:
        """What the model returns for these inputs, of which it gets copies."""
        with self.as_before():
            return inputs.copied().call(self.model)


def _is_function(target: Target) -> bool:
    return callable(target) and not isinstance(target, TopK | AllClasses | On)


def look(
    asked: Asked,
    taps: Taps,
    inputs: Inputs,
    target: Target,
    way: Way = "cut",
    *,
    fresh: bool = False,
) -> Run:
    """Run the model once through the open taps and select the scores.

    Call it with the model's state looked after (`untouched`), under `remembering`, and gradients
    off. Where more runs on the same inputs are to come, ask for ``fresh`` ones each time, for a
    model may write to what it is given.

    Raises:
        LayerDidNotRun, LayerError, LayoutError: about a layer.
        OutputError, TargetError: about the score.
    """
    with Watched.over(asked.model, inputs) as watched:
        passed = taps.forward(inputs.copied() if fresh else inputs, way)
    words = Words(asked.layout, inputs.axes)
    layers = [
        TappedLayer(*one, read(words, asked.model, inputs, one, watched)) for one in passed.select()
    ]
    known = inputs.axes is not None or watched.stem.axes is not None or bool(watched.places)
    usual = watched.axes(asked.model, inputs)
    inputs, axes = _on_which(inputs, layers, usual, known=known)
    batch = inputs.batch
    with torch.set_grad_enabled(way != "forward"):
        chosen = choose(passed.output, asked.output)
        selected = select(target, chosen, batch, asked.labels)
    kind = inputs.image.device.type
    autocast = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    return Run(
        asked,
        taps,
        inputs,
        target,
        passed,
        layers,
        chosen,
        selected,
        axes,
        autocast=autocast,
    )


def summed(asked: Asked, target: Target, batch: int) -> Callable[[object], Tensor]:
    """The function from the model's output to the sum of the scores that are asked for."""

    def total(output: object) -> Tensor:
        return select(target, choose(output, asked.output), batch, asked.labels).scores.sum()

    return total


def _on_which(
    inputs: Inputs, layers: Sequence[TappedLayer], usual: InputAxes, *, known: bool
) -> tuple[Inputs, InputAxes]:
    """The input that the layers see, being the image, and its axes.

    Raises:
        LayerError: they see several.
    """
    places = {one.reading.image: one for one in layers}
    sizes = {
        one.reading.axes.size((inputs if at is None else inputs.on(at)).image.shape)
        for at, one in places.items()
    }
    if len(sizes) > 1:
        names = ", ".join(describe(one.label) for one in places.values())
        shown = "; ".join("x".join(map(str, size)) for size in sorted(sizes))
        raise LayerError(
            f"the maps of {names} lie on inputs of several sizes: {shown}. Name one of them, or "
            "one call=."
        )
    if not layers:
        shape = tuple(inputs.image.shape)
        picture = len(shape) == 2 or shape[1] <= _COLOURS
        if not known and not picture:
            raise LayoutError(
                f"nothing tells which axes of the input {shape} are space: this method looks at no "
                "layer, and no convolution was given the input as it is. Say what they are, as in "
                f"axes={str(usual)!r}."
            )
        return inputs, usual
    reading = layers[0].reading
    if reading.image is None:
        return inputs, reading.axes
    return inputs.on(reading.image), reading.axes
