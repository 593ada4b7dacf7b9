"""The explainer: a model, a layer and a method, open for as long as its block lasts.

It finds the layers, opens the taps, reads pictures into inputs and asks `answer` for the rest.
State lives in the open taps alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import replace
from itertools import chain
from types import FunctionType, TracebackType
from typing import TYPE_CHECKING, ClassVar, Literal, TypedDict

import torch
from torch import nn

from gradcam_hooks.answer import Question, answer
from gradcam_hooks.errors import (
    GradientError,
    InputError,
    LayerDidNotRun,
    LayerError,
    LayoutError,
    OptionError,
)
from gradcam_hooks.explainers.again import again_of
from gradcam_hooks.explainers.prompted import processor_of, prompted
from gradcam_hooks.images.given import Prepare, PrepareSpec, as_prepare, with_pictures
from gradcam_hooks.layout.auto import MOST_UNREAD, Candidate, candidates, last, taken
from gradcam_hooks.layout.pattern import parse
from gradcam_hooks.layout.survey import Survey
from gradcam_hooks.maps import FUSIONS
from gradcam_hooks.methods import Method, method_of
from gradcam_hooks.methods.options import check_options
from gradcam_hooks.models import LoadedModel
from gradcam_hooks.models.labels import LabelsSpec, labels_of, read_labels
from gradcam_hooks.models.presets import own_preprocess, volume_channels
from gradcam_hooks.network.final_softmax import remembering
from gradcam_hooks.network.hooks import Call, Taps
from gradcam_hooks.network.inputs import Inputs
from gradcam_hooks.network.keywords import check_call
from gradcam_hooks.network.modules import LayerSpec, find, unwrap
from gradcam_hooks.network.outputs import OutputSpec
from gradcam_hooks.network.places import ImageSpec
from gradcam_hooks.network.refused import refusals_told
from gradcam_hooks.network.state import untouched
from gradcam_hooks.results.explanation import Explanation
from gradcam_hooks.runs.run import Asked, NoPath, Progress, summed
from gradcam_hooks.runs.samplers import Sampler
from gradcam_hooks.targets import Target

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["COMMON", "Explainer", "Options"]


class Options(TypedDict, total=False):
    """The keyword options of `Explainer`, which every method has."""

    output: OutputSpec
    image: ImageSpec
    layout: str | None
    axes: str | None
    fuse: str | None
    call: int | Literal["all"] | None
    labels: LabelsSpec | None
    multi_label: bool | None
    preprocess: PrepareSpec | None
    differentiable: bool
    generator: torch.Generator | None
    progress: Progress | None
    sampler: Sampler | None


class Explainer:
    """Explains a model's answer by a map at one of its layers.

    Args:
        model: any module, or what `load_model` gave, with its labels and preprocessing; it is left
            exactly as found. One inside DataParallel,
            DistributedDataParallel or ``torch.compile`` is taken out of it.
        layer: a dotted name, a glob (``"layer[34]"``), a module of the model, a list of these, or
            ``"auto"``: the last layer to run whose output is spatial and receives gradient on
            more than one position. What was chosen is in the result.
        output: which part of the model's output to explain: a key, an index or a function; by
            default the logits are found by rule. ``"logits"`` of a model that returns
            probabilities is what went into its last softmax or sigmoid.
        image: which input the map lies on, where there are several: an argument's name or index,
            or the way into it, as in ``"batch.image"``; by default the first with space.
        layout: which axes the layer's activation has, as in ``"b 1+(h w) c"``; by default read off
            shapes and modules, or asked of the network, and told in ``result.layouts``.
        axes: the same of the input, as in ``"b t c h w"``.
        fuse: how the maps of several layers become one, a name of `maps.FUSIONS`; by default
            their mean, or the method's own way.
        call: for a layer that runs several times in one forward pass: which call, from 0, or
            ``"all"`` for a map of each, fused.
        labels: the classes' names, so that a target can be named, a file of them, or
            ``"imagenet"``; a model that carries ``config.id2label`` needs none.
        multi_label: whether each label is on or off by itself, so that probabilities are sigmoids
            and ``target="on"`` explains every label that is on; by default as the model's
            ``config.problem_type`` says.
        preprocess: how a picture becomes an input: a `Preprocess`, or any callable from a PIL
            picture to a tensor, such as torchvision's and timm's transforms, an image processor of
            transformers or an albumentations pipeline; where its input lies on the picture is
            found by running it on pictures of coordinates. By default what the network tells of
            itself, else squashed to its size, or 224x224, and normalised with ImageNet's mean and
            standard deviation; ``result.notes`` say which.
        differentiable: whether the maps stay in the graph, so that a loss can be made of them.
        sampler: `Noise`, `Integrate` or `Augment`: the method's mean over versions of the image.
        generator: of random numbers, for the methods that draw some; by default one with seed 0.
        progress: called with how many passes are done and how many there are in all.

    What is explained is what the layer's ``forward`` returned, ahead of the hooks that others have
    on it; a hook that puts something else in its place is part of what follows the layer.

    Use it in a ``with`` block, in which the hooks live; called outside one, it opens one for that
    call. While a block is open the model can be used and explained by others, through the same
    explainer if they like, in other threads as well. (A model in training mode is in eval mode
    while it is explained, for everybody: train it before or after.)

    Raises:
        LayerNotFound: on entering, where a name or a glob matches nothing.
        LayerError, InputError, OptionError: on making, where an option is none of those named.
    """

    method: ClassVar[str] = ""
    _row: ClassVar[Method | None] = None

    def __init__(
        self,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        *,
        output: OutputSpec = None,
        layout: str | None = None,
        fuse: str | None = None,
        axes: str | None = None,
        call: int | Literal["all"] | None = None,
        labels: LabelsSpec | None = None,
        multi_label: bool | None = None,
        image: ImageSpec = None,
        preprocess: PrepareSpec | None = None,
        differentiable: bool = False,
        sampler: Sampler | None = None,
        generator: torch.Generator | None = None,
        progress: Progress | None = None,
        **parameters: object,
    ) -> None:
        if isinstance(model, LoadedModel):
            labels = model.labels if labels is None else labels
            preprocess, model = preprocess or model.preprocess, model.model
        if not isinstance(model, nn.Module):
            raise InputError(
                f"the model must be a torch.nn.Module, not {type(model).__name__}. "
                "gradcam_hooks.load_model(name, weights) makes one of a name and a file."
            )
        if isinstance(model, torch.jit.ScriptModule):
            raise InputError(
                "a scripted or traced model takes no hooks that change what flows through it. "
                "Explain the Python model that it was made of."
            )
        model = unwrap(model)
        row = self.row()
        fuse = row.fuse if fuse is None else fuse
        if fuse not in FUSIONS:
            raise LayerError(f"fuse= is one of {', '.join(map(repr, FUSIONS))}, not {fuse!r}.")
        if isinstance(call, bool) or not (call in (None, "all") or isinstance(call, int)):
            raise LayerError(f"call= is a number from 0 up, 'all' or None, not {call!r}.")
        self.model = model
        self.layer = layer
        self.call = call
        self.image = image
        self.preprocess = (
            None if preprocess is None else as_prepare(preprocess, volume_channels(model))
        )
        check_options(row, parameters, COMMON)
        _check_sampling(row, sampler, differentiable=differentiable)
        known = labels_of(model) if labels is None else read_labels(labels)
        many = _is_multi_label(model) if multi_label is None else multi_label
        asked = Asked(model, output, layout, known, many, generator, progress)
        self._question = Question(asked, row, fuse, parameters, differentiable, sampler)
        self.axes = axes
        self._rank = None if axes is None else len(parse(axes, "axes").axes)
        self._open = False
        self._taps: Taps | None = None
        self._chosen: dict[tuple[Hashable, ...], Candidate] = {}
        self._own: list[tuple[Prepare, str]] = []  # the network's own preprocessing, once asked

    @classmethod
    def row(cls) -> Method:
        """What the method is."""
        known = cls._row
        return known if known is not None and known.name == cls.method else method_of(cls.method)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self.model).__name__}, {self.layer!r})"

    def __enter__(self) -> Self:
        if not self._open:
            # Where "auto" is to choose, nothing can be opened before there is an input.
            if self._question.row.looks != "layer":
                self._taps = self._tap([], self.call)
            elif not self._automatic:
                self._taps = self._tap(find(self.model, self.layer), self.call)
            if self._taps is not None:
                self._taps.__enter__()
            self._open = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        if self._taps is not None:
            self._taps.__exit__()
        self._taps, self._open = None, False
        self._chosen.clear()

    def __call__(self, *inputs: object, target: Target = None, **kwargs: object) -> Explanation:
        """Explain the model's answer to these inputs.

        Args:
            inputs: what the model's forward takes; a path, bytes, an opened file, a PIL image,
                an RGB array or a list of these is preprocessed and put on the model's device.
            target: None for the predicted class of each image, a class number or label for all
                of them, a list or tensor of one per image, `TopK`, `AllClasses`, or a function of
                the output that returns one score per image (`Probability`, `Finer`, `Segment`,
                `Box` and others are such functions). Of a multi-label network also ``"on"``:
                every label that is on, or the likeliest where none is.
            kwargs: what else the model's forward takes.

        Raises:
            LayerNotFound, LayerDidNotRun, LayerError, LayoutError: about the layer.
            TargetError, OutputError, GradientError: about the score.
            InputError, ImageError, DeviceError: about the inputs.
        """

        def work() -> Explanation:
            if self._open:
                return self._explained(inputs, kwargs, target)
            with copy(self) as alone:  # another thread may do the same
                return alone._explained(inputs, kwargs, target)

        with refusals_told(self.model, inputs):
            return untouched(self.model, work)

    def _explained(
        self, inputs: tuple[object, ...], kwargs: dict[str, object], target: Target
    ) -> Explanation:
        check_call(self.model, kwargs)
        if target == "on" and isinstance(target, str):
            target = self._question.asked.on
        with remembering(self._question.asked.output):
            like = next(self.model.parameters(), torch.empty(0))
            args, pictures = with_pictures(inputs, lambda: self._prepare(target)[0], like)
            count = len(args)
            args, kwargs = prompted(target, self.model, args, kwargs, like.device)
            given = Inputs.of(
                self.model, args, kwargs, image=self.image, rank=self._rank, axes=self.axes
            )
            if self._taps is None:
                explanation = self._choose(given, target)
            else:
                explanation = answer(self._question, self._taps, given, target)
            made = explanation, given, target
            explanation = again_of(type(self), self._question, self.image, self.call, made)
        side, *way = given.place.path
        moved = 0 if len(args) < count else way[0]  # the images went where the model takes them
        own = pictures.get(way[0] if side == 0 else moved)
        if own is None:
            return explanation
        notes = [] if self.preprocess is not None else [self._prepare(target)[1]]
        notes += dict.fromkeys(told for one in own for told in one.told)
        return replace(explanation.on(own), notes=(*explanation.notes, *notes))

    def _prepare(self, target: Target = None) -> tuple[Prepare, str]:
        """What makes inputs of pictures, and what is to be said of it."""
        if self.preprocess is not None:
            return self.preprocess, ""
        processor = processor_of(target)
        if callable(processor):
            return as_prepare(processor), "The picture was made ready by the target's processor."
        if not self._own:
            self._own.append(own_preprocess(self.model))
        return self._own[0]

    @property
    def _automatic(self) -> bool:
        return isinstance(self.layer, str) and self.layer == "auto"

    def _tap(self, names: Sequence[str], call: Call) -> Taps:
        return Taps(self.model, names, call=call)

    def _choose(self, inputs: Inputs, target: Target) -> Explanation:
        """The last layer that is spatial and that gradients reach; asked once per image shape."""
        memory, key = self._remembered(inputs, target)
        known = memory.get(key)
        score = summed(self._question.asked, target, inputs.batch)
        others = candidates(self.model, inputs, score, self.call)
        unread: list[LayoutError] = []
        for one in chain([known] if known else [], others):
            names = [one.name, *(one.ahead if self._question.one_of_several else ())]
            with self._tap(names, one.call) as taps, suppress(NoPath, LayerDidNotRun):
                try:
                    explanation = answer(self._question, taps, inputs, target, reach=one != known)
                except LayoutError as error:
                    unread.append(error)
                    if self._question.asked.layout is not None or len(unread) == MOST_UNREAD:
                        raise unread[0] from None
                    continue  # the next one may be plainer
                if one == known and _unreached(explanation):
                    continue  # it served another target, which this one has no path to
                several = len(names) > 1
                memory[key] = Candidate(explanation.layers[0], one.call) if several else one
                return explanation
        if unread:
            raise unread[0]
        why = self._why(inputs, target)
        raise GradientError(
            f"no spatial layer of {type(self.model).__name__} receives gradient on more than one "
            f"position for this target. {why}{' ' * bool(why)}Take another target, or name a "
            "layer; gradcam_hooks.layers(model, x) lists those that ran."
        )

    def _remembered(
        self, inputs: Inputs, target: Target
    ) -> tuple[dict[tuple[Hashable, ...], Candidate], tuple[Hashable, ...]]:
        """Where it is remembered what was taken: for a class beside the model, else here."""
        asked, shape = self._question.asked, tuple(inputs.image.shape[1:])
        if callable(target) or callable(asked.output):
            return self._chosen, (*shape, _kind(target))
        names = hash(tuple(name for name, _ in self.model.named_modules()))
        words = (asked.output, asked.layout, self.axes, self.call, inputs.place)
        return taken(self.model), (names, *shape, *words)

    def _why(self, inputs: Inputs, target: Target) -> str:
        """What is known of why no gradient comes, even to the last spatial layer."""
        found = last(Survey(self.model, inputs, gradients=False), self.call)
        with self._tap([found.name], self.call if found.calls == 1 else -1) as taps:
            try:
                explanation = answer(self._question, taps, inputs, target)
            except NoPath as error:
                return error.end
        first = explanation.diagnosis[0]
        word = first if isinstance(first, str) else first[0]
        return word.message if word == "zero-gradient" else ""


COMMON = tuple(Options.__annotations__)
"""The names of the options that every method has."""


def _check_sampling(row: Method, sampler: Sampler | None, *, differentiable: bool) -> None:
    for option, given in (("differentiable", differentiable), ("sampler", sampler is not None)):
        if given and (row.rule is None or not row.needs_gradients):
            raise OptionError(
                f"{option}= is for methods that are a formula of activation and gradient, and "
                f"{row.title} is none. Take 'gradcam' or 'layercam'."
            )
    if sampler is not None and differentiable:
        raise OptionError("a map from several passes is not differentiable; leave sampler= out.")


def _kind(target: object) -> Hashable:
    """What tells targets apart that may read other parts of the output.

    Of a function its code and the words and numbers around it, so that a lambda in a loop is one;
    of anything else its class: two masks of a segmentation read the same logits.

    >>> one, other = (_kind(lambda y: y[key]) for key in ("left", "right"))
    >>> one == other
    False
    """
    if not isinstance(target, FunctionType):
        return type(target).__module__, type(target).__qualname__
    around = (*(target.__defaults__ or ()), *inspect.getclosurevars(target).nonlocals.values())
    plain = (one if isinstance(one, str | int | float) else type(one).__name__ for one in around)
    return target.__code__, *plain


def _unreached(explanation: Explanation) -> bool:
    """Whether every map is blank for want of a gradient."""
    words = [[word] if isinstance(word, str) else word for word in explanation.diagnosis]
    return all(one == "zero-gradient" for several in words for one in several)


def _is_multi_label(model: nn.Module) -> bool:
    """What transformers' models say in their configuration."""
    kind = getattr(getattr(model, "config", None), "problem_type", None)
    return bool(kind == "multi_label_classification")
