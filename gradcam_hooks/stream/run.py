"""`explain_many`: pictures from wherever they come, explained as they come, in a flat memory."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gradcam_hooks.checks import check_count, check_one_of
from gradcam_hooks.errors import InputError
from gradcam_hooks.explainers import Explainer, MethodSpec, explainer
from gradcam_hooks.images.given import Pictured, Prepare, ready
from gradcam_hooks.models import LoadedModel
from gradcam_hooks.models.presets import own_preprocess
from gradcam_hooks.network.modules import LayerSpec
from gradcam_hooks.results.explanation import Explanation
from gradcam_hooks.stream.batches import Batches, fatal_for
from gradcam_hooks.stream.feed import auto_workers, fed
from gradcam_hooks.stream.sources import Read, batches_of, source_of
from gradcam_hooks.targets import Target

__all__ = ["explain_many"]

_SIZE = 16
"""Pictures in a batch where nobody says."""

_AHEAD = 2
"""Batches that are read ahead."""


def explain_many(
    model: nn.Module | LoadedModel,
    images: object,
    /,
    layer: LayerSpec = "auto",
    *,
    target: Target | Iterable[int | str] = None,
    method: MethodSpec = "gradcam",
    batch_size: int | None = None,
    workers: int | None = None,
    errors: Literal["raise", "yield"] = "raise",
    **options: object,
) -> Generator[Explanation | Exception, None, None]:
    """Explain many pictures one after the other: a generator of an explanation for each, in order.

    Pictures are read and made ready ahead of the network, which explains them in batches on its
    own device (by way of pinned memory where that is a GPU). No more than a few batches are in
    memory, however many pictures there are. Where memory gives out, the batch is halved.

    The network is open, as in a ``with`` block, until the last explanation was taken or the
    generator is closed, which also ends the workers.

    Args:
        model: any module, or what `load_model` gave.
        images: a folder; a tensor ``(pictures, channels, *space)``; a ``DataLoader``, whose batches
            are taken as they come; a data set of pictures or tensors, alone or ahead of their
            classes, or of mappings with an ``image``, as Hugging Face's; or an iterable of paths,
            bytes, PIL images, RGB arrays or such.
        layer: as for `explain`.
        target: as for `explain`; a list, a tensor or another iterable has one class for each
            picture, in order.
        method: as for `explain`.
        batch_size: how many go through the network at once; by default 16, and of a ``DataLoader``
            what it gives.
        workers: processes that read and prepare; 0 for threads of this process, and of a data set
            of your own for none. By default as many as this machine has use for.
        errors: what becomes of a picture that cannot be read, or on which the network fails.
            ``"raise"`` raises its error when its turn comes, which ends the generator;
            ``"yield"`` gives the error in the picture's place and goes on.
        options: `Explainer`'s, and the method's own.

    Raises:
        GradCamHooksError: the layer, the target or the method does not suit the network; raised
            whatever ``errors`` says.

    >>> model = torch.nn.Sequential(
    ...     torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    ... )
    >>> for result in explain_many(model, torch.rand(3, 3, 32, 32), batch_size=2):
    ...     print(result.maps.shape)
    torch.Size([1, 32, 32])
    torch.Size([1, 32, 32])
    torch.Size([1, 32, 32])
    """
    check_one_of(errors, "errors", ("raise", "yield"), error=InputError)
    size = _SIZE if batch_size is None else batch_size
    check_count(size, "batch_size=", error=InputError)
    made = explainer(method, model, layer, **options)
    told = ""
    prepare: Prepare
    if made.preprocess is None:
        prepare, told = own_preprocess(made.model)
    else:
        prepare = made.preprocess
    each = isinstance(target, Iterable) and not isinstance(target, str) and not callable(target)
    whole = _Whole(made, None if each else target, told, iter(target) if each else None)  # type: ignore[arg-type]
    given = batches_of(images)
    if given is not None:
        largest = 1 << 30 if batch_size is None and not isinstance(images, Tensor) else size
        read = (_read_batch(batch, prepare) for batch in given)
        return _explained(whole, largest, read, errors)
    source = source_of(images, prepare)
    workers = auto_workers(source.count) if workers is None else workers
    stream = fed(
        source.each,
        source.read,
        ahead=_AHEAD * size,
        workers=workers,
        **({"threads": 0} if source.own else {}),
    )
    return _explained(whole, size, _chunks(stream, size), errors)


def _chunks(
    stream: Generator[tuple[object, Read | Exception], None, None], size: int
) -> Iterator[list[Read | Exception]]:
    with contextlib.closing(stream):
        while chunk := [found for _, found in itertools.islice(stream, size)]:
            yield chunk


def _read_batch(batch: Tensor | list[object], prepare: Prepare) -> list[Read | Exception]:
    if isinstance(batch, Tensor):
        return [(one, None) for one in batch]
    stream = fed(batch, partial(ready, prepare=prepare), ahead=len(batch))
    return [one for _, one in stream]


class _Whole:
    """What is asked of every picture."""

    def __init__(
        self, made: Explainer, target: Target, told: str, each: Iterator[int | str] | None
    ) -> None:
        self.made, self.target, self.told, self.each = made, target, told, each

    def targets(self, count: int) -> Callable[[Sequence[int]], Target]:
        """The target of those of ``count`` pictures that have these numbers.

        Raises:
            InputError: there are fewer targets than pictures.
        """
        if self.each is None:
            return lambda rows: self.target
        mine: list[Any] = [
            int(one) if hasattr(one, "__int__") else one
            for one in itertools.islice(self.each, count)
        ]
        if len(mine) < count:
            raise InputError(
                "target= has one class for each picture, and there are fewer than pictures."
            )
        return lambda rows: [mine[row] for row in rows]


def _explained(
    whole: _Whole,
    size: int,
    chunks: Iterator[list[Read | Exception]],
    errors: str,
) -> Generator[Explanation | Exception, None, None]:
    try:
        with whole.made as opened:
            like = next(opened.model.parameters(), torch.empty(0))
            target_of: Callable[[Sequence[int]], Target] = whole.targets(0)
            good: list[tuple[Tensor, Pictured | None]] = []
            numbers: list[int] = []

            def explain(inputs: Tensor, rows: Sequence[int]) -> Explanation:
                pictures = [good[row][1] for row in rows]
                asked = target_of([numbers[row] for row in rows])
                found = opened(_moved(inputs, like, pictures), target=asked)
                if not all(pictures):
                    return found
                kept = tuple(one for one in pictures if one is not None)
                notes = [*([whole.told] if whole.told else [])]
                notes += dict.fromkeys(words for one in kept for words in one.told)
                return replace(found.on(kept), notes=(*found.notes, *notes))

            one_each = isinstance(whole.target, str) and whole.target == "on"
            batches = Batches(explain, 1 if one_each else size, fatal_for(whole.target))
            for chunk in chunks:
                target_of = whole.targets(len(chunk))
                numbers = [row for row, one in enumerate(chunk) if not isinstance(one, Exception)]
                good = [one for one in chunk if not isinstance(one, Exception)]
                done = iter(batches([pixels for pixels, _ in good]))
                for one in chunk:
                    found = one if isinstance(one, Exception) else next(done)
                    if isinstance(found, Exception) and errors == "raise":
                        raise found
                    yield found
                del done
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()


def _moved(inputs: Tensor, like: Tensor, pictures: Sequence[Pictured | None]) -> Tensor:
    """Inputs on the network's device; those made of pictures in its precision too."""
    device = like.device
    if device.type == "cuda" and inputs.device.type == "cpu":
        inputs = inputs.pin_memory().to(device, non_blocking=True)
    return inputs.to(like) if any(pictures) else inputs.to(device)
