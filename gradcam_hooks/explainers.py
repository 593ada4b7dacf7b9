"""The explainer: a model, a layer and a method, open for as long as its block lasts.

It finds the layers, opens the taps, reads pictures into inputs and asks `pipeline` for the rest.
State lives in the open taps alone. The methods themselves are classes in `cams`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from gradcam_hooks.errors import GradientError, InputError, LayerError
from gradcam_hooks.explanation import Explanation, Picture
from gradcam_hooks.hooks import Taps
from gradcam_hooks.inputs import check_model, find_image, usable
from gradcam_hooks.maps import FUSIONS
from gradcam_hooks.modules import LayerSpec, find, unwrap
from gradcam_hooks.outputs import OutputSpec
from gradcam_hooks.pipeline import NoPath, Question, answer
from gradcam_hooks.state import untouched
from gradcam_hooks.survey import reached, spatial
from gradcam_hooks.targets import Target

if TYPE_CHECKING:
    from PIL import Image
    from typing_extensions import Self

    from gradcam_hooks.images import Preprocess

__all__ = ["Explainer"]


class Explainer:
    """Explains a model's answer by a map at one of its layers.

    Args:
        model: any module; it is left exactly as found. One inside DataParallel,
            DistributedDataParallel or ``torch.compile`` is taken out of it.
        layer: a dotted name, a glob (``"layer[34]"``), a module of the model, a list of these, or
            ``"auto"``: the last layer to run whose output is spatial and receives gradient on
            more than one position. What was chosen is in the result.
        output: which part of the model's output to explain: a key, an index or a function; by
            default the logits are found by rule.
        layout: ``"channels-first"``, ``"channels-last"`` or ``"tokens"`` (and two rarer orders of
            tokens, see `layouts.Layout`); by default inferred.
        fuse: how the maps of several layers become one: ``"mean"`` or ``"max"``.
        call: for a layer that runs several times in one forward pass: which call, from 0, or
            ``"all"`` for a map of each, fused.
        labels: the classes' names, so that a target can be named; a model that carries
            ``config.id2label`` needs none.
        preprocess: how a picture becomes an input; by default squashed to 224x224 and normalised
            with ImageNet's mean and standard deviation.

    Use it in a ``with`` block, in which the hooks live; called outside one, it opens one for that
    call. While a block is open the model can be used, trained and explained by others. One
    explainer is for one thread at a time.

    Raises:
        LayerNotFound: on entering, where a name or a glob matches nothing.
        LayerError, InputError: on making, where an option is none of those named.
    """

    method: ClassVar[str]

    def __init__(
        self,
        model: nn.Module,
        layer: LayerSpec = "auto",
        *,
        output: OutputSpec = None,
        layout: str | None = None,
        fuse: str = "mean",
        call: int | Literal["all"] | None = None,
        labels: Sequence[str] | None = None,
        preprocess: Preprocess | None = None,
    ) -> None:
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
        if fuse not in FUSIONS:
            raise LayerError(f"fuse= is one of {', '.join(map(repr, FUSIONS))}, not {fuse!r}.")
        if isinstance(call, bool) or not (call in (None, "all") or isinstance(call, int)):
            raise LayerError(f"call= is a number from 0 up, 'all' or None, not {call!r}.")
        self.model = model
        self.layer = layer
        self.call = call
        self.preprocess = preprocess
        known = tuple(labels) if labels is not None else _labels_of(model)
        self._question = Question(model, self.method, output, layout, fuse, known)
        self._stack: ExitStack | None = None
        self._taps: Taps | None = None
        self._chosen: dict[tuple[int, ...], str] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self.model).__name__}, {self.layer!r})"

    def __enter__(self) -> Self:
        if self._stack is None:
            with ExitStack() as stack:
                # Where "auto" is to choose, nothing can be opened before there is an input.
                if not self._automatic:
                    self._taps = stack.enter_context(self._tap(find(self.model, self.layer)))
                self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        stack, self._stack = self._stack, None
        self._taps = None
        self._chosen.clear()
        if stack is not None:
            stack.close()

    def __call__(self, *inputs: object, target: Target = None, **kwargs: object) -> Explanation:
        """Explain the model's answer to these inputs.

        Args:
            inputs: what the model's forward takes; a path, a PIL image, an RGB array or a list
                of these is preprocessed and put on the model's device.
            target: None for the predicted class of each image, a class number or label for all
                of them, a list or tensor of one per image, `TopK`, `AllClasses`, or a function of
                the output that returns one score per image.
            kwargs: what else the model's forward takes.

        Raises:
            LayerNotFound, LayerDidNotRun, LayerError, LayoutError: about the layer.
            TargetError, OutputError, GradientError: about the score.
            InputError, ImageError, DeviceError: about the inputs.
        """
        if self._stack is None:
            with self:
                return self(*inputs, target=target, **kwargs)
        with untouched(self.model):
            args, pictures = self._read(inputs)
            args, kwargs = usable(args), usable(kwargs)
            image = find_image(args, kwargs, self.model)
            check_model(args, kwargs, self.model)
            if self._taps is None:
                explanation = self._choose(image, args, kwargs, target)
            else:
                explanation = answer(self._question, self._taps, image, args, kwargs, target)
        return explanation if pictures is None else explanation.on(pictures)

    @property
    def _automatic(self) -> bool:
        return isinstance(self.layer, str) and self.layer == "auto"

    def _tap(self, names: Sequence[str]) -> Taps:
        return Taps(self.model, names, call=self.call)

    def _choose(
        self, image: Tensor, args: Sequence[object], kwargs: Mapping[str, object], target: Target
    ) -> Explanation:
        """The last layer that is spatial and that gradients reach; asked once per image shape."""
        shape = tuple(image.shape[1:])
        known = self._chosen.get(shape)
        names = [known] if known else self._candidates(image, args, kwargs)
        for name in names:
            with self._tap([name]) as taps, suppress(NoPath):
                explanation = answer(
                    self._question, taps, image, args, kwargs, target, reach=not known
                )
                self._chosen[shape] = name
                return explanation
        raise GradientError(
            f"no spatial layer of {type(self.model).__name__} receives gradient on more than one "
            "position for this target. Take another target, or name a layer; "
            "gradcam_hooks.layers(model, x) lists those that ran."
        )

    def _candidates(
        self, image: Tensor, args: Sequence[object], kwargs: Mapping[str, object]
    ) -> Iterator[str]:
        """The last spatial layer, which nearly always will do; then those that gradients reach."""
        last = spatial(self.model, args, kwargs, image)[-1]
        yield last
        names = reached(self.model, args, kwargs, image, self._question.output)
        yield from (name for name in reversed(names) if name != last)

    def _read(self, inputs: tuple[object, ...]) -> tuple[list[object], tuple[Picture, ...] | None]:
        """Pictures among the inputs become tensors; everything else is handed on."""
        pictures: tuple[Picture, ...] | None = None
        args: list[object] = []
        for given in inputs:
            if not _is_picture(given):
                args.append(given)
                continue
            from gradcam_hooks.images import Preprocess

            prepare = self.preprocess or Preprocess()
            loaded = [_load(one) for one in (given if isinstance(given, list | tuple) else [given])]
            prepared = [prepare(image) for image in loaded]
            like = next(self.model.parameters(), torch.empty(0))
            args.append(torch.stack([tensor for tensor, _ in prepared]).to(like))
            pictures = pictures or tuple(
                Picture(image, geometry)
                for image, (_, geometry) in zip(loaded, prepared, strict=True)
            )
        return args, pictures


def _is_picture(given: object) -> bool:
    if isinstance(given, list | tuple):
        return bool(given) and all(_is_picture(one) for one in given)
    if isinstance(given, str | PathLike):
        return True
    if isinstance(given, np.ndarray):
        return given.dtype == np.uint8 and given.ndim in (2, 3)
    # Without an import of Pillow: whoever hands over one of its images has imported it.
    return any(kind.__module__ == "PIL.Image" for kind in type(given).__mro__)


def _load(given: object) -> Image.Image:
    from PIL import Image

    from gradcam_hooks.images import load_image

    if isinstance(given, np.ndarray):
        return load_image(Image.fromarray(given))
    assert isinstance(given, str | PathLike | Image.Image)  # _is_picture let nothing else through
    return load_image(given)


def _labels_of(model: nn.Module) -> tuple[str, ...] | None:
    """The labels that transformers' models carry in their configuration."""
    names = getattr(getattr(model, "config", None), "id2label", None)
    if not isinstance(names, Mapping) or not names:
        return None
    return tuple(str(names[key]) for key in sorted(names))
