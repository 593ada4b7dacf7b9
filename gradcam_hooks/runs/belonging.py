"""What belongs to each image of a batch, among the other inputs and in the output.

As many prototypes as images may go in, or a table as long as the batch, so lengths decide nothing.
The last image of the batch and the first are run without the others, with their parts of an input
and with all of it: what belongs to each image is that whose other parts the network does not need
to answer as it did in the batch.
The same run tells which axes of the output are the images': those whose length went along. Methods
of many runs ask for it here, `inputs_of` and `scores_of`, and no other method pays for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice, product

import torch
from torch import Tensor

from gradcam_hooks.errors import InputError, TargetError
from gradcam_hooks.network.along import Along, Belonging, by_length, grown, pairs, taken
from gradcam_hooks.network.inputs import Inputs
from gradcam_hooks.network.outputs import choose, find_logits, flat_logits
from gradcam_hooks.network.tree import Path, tensors, walk
from gradcam_hooks.runs.run import Run
from gradcam_hooks.runs.tapped import exact
from gradcam_hooks.targets import select

__all__ = ["belonging", "chosen_axes", "inputs_of", "output_axes", "scores_of"]

_TRIES = 32
"""Readings that are tried at most; two other inputs have four, as a rule."""

_SURE = 1e-5
"""A deviation, as a share of the largest value, at which no other reading is tried."""

_SHARE = 1e-3
"""The largest that another batch size's rounding makes."""

_HALF_SHARE = 5e-2
"""The same in half precision."""

_FAINT = 1e-2
"""The least scale of a score, as a share of the largest value it may be made of."""

_Doubts = dict[Path, tuple[int | None, ...]]
"""By the way to an input, the axes that may be the images', the likeliest first; None: it is whole
for every image."""


def inputs_of(run: Run, index: int, images: Tensor) -> Inputs:
    """The inputs for variants of one image: what else belongs to that image is repeated.

    Args:
        run: the pass at the batch.
        index: which image of the batch.
        images: its variants, ``(variants, channels, *space)``.

    Raises:
        InputError: it cannot be told what belongs to each image; see `belonging`.
    """
    along = belonging(run).inputs if _doubts(run) else {}
    return run.inputs.of_rows([index] * len(images), run.axes.restored(images), along)


@torch.no_grad()
def scores_of(
    run: Run, output: object, index: int, count: int, *, probability: bool = False
) -> Tensor:
    """The scores of image ``index``'s variants, ``(count[, targets])``.

    Args:
        run: the pass at the batch.
        output: what `Run.output_of` gave for ``count`` variants of that image.
        index: which image of the batch they are variants of.
        count: how many they are.
        probability: the class's softmax probability rather than its score.

    Raises:
        InputError: the network gives no score for each of the variants.
        TargetError: a probability is asked of a target that is no class.
    """
    classes = run.selected.index
    if classes is not None and run.asks_classes:
        logits = flat_logits(find_logits(output))
        if logits.shape[:1] != (count,):
            raise InputError(
                f"for {count} image{'s' * (count > 1)} the network gives logits of shape "
                f"{tuple(logits.shape)}, whose first axis should be theirs, as in the batch of "
                f"{run.batch}. Take a method that runs the network once, such as 'gradcam'."
            )
        values = logits
        if probability:
            many = run.asked.multi_label
            values = exact(logits).sigmoid() if many else exact(logits).softmax(1)
        return values[:, classes[index]]
    if probability:
        raise TargetError(
            f"the probability of a class is asked for, and the target is {run.target!r}. "
            "Leave the method's options at their defaults to compare the target's own scores."
        )
    return _function_scores(run, output, [index] * count, chosen_axes(run))


def _function_scores(run: Run, output: object, images: Sequence[int], along: Along) -> Tensor:
    """The scores of an output of these images of the batch, or of variants of them."""
    settled, found = run.settled, []
    for row, image in enumerate(images):
        # A target that has something of its own for each image finds this one in its place; the
        # other places hold copies of the same output.
        whole = taken(output, along, [row] * run.batch)
        found.append(select(settled, whole, run.batch, run.asked.labels).scores[image])
    return torch.stack(found)


def chosen_axes(run: Run) -> Along:
    """The axes of images of what is explained.

    Raises:
        InputError: as `belonging`.
    """
    chosen = run.chosen
    if isinstance(chosen, Tensor) and chosen.ndim and len(chosen) == run.batch:
        return {(): 0}
    return belonging(run).chosen


def output_axes(run: Run) -> Along:
    """The axes of images of what the model returns, for results to be taken apart by.

    By length where nothing but the images can have brought it. Else the network is asked, as it
    was where the method ran it many times; where it does not answer, lengths are what is left.
    """
    output = run.passed.output
    if run.known or (run.batch > 1 and not isinstance(output, Tensor) and _doubts(run)):
        try:
            return belonging(run).output
        except InputError:
            pass
    return by_length(output, run.batch)


def belonging(run: Run) -> Belonging:
    """What belongs to each image, asked of the network: one pass of two images, or a few.

    Raises:
        InputError: in no way does the network answer for one image as it did in the batch.
    """
    if not run.known:
        run.known.append(_found(run))
    return run.known[0]


def _found(run: Run) -> Belonging:
    doubts = _doubts(run)
    nearest, best, error = math.inf, None, None
    for reading in islice(_readings(doubts), _TRIES):
        try:
            apart, found = _tried(run, reading)
        except Exception as failure:  # the network's own words for what it did not expect
            error = failure
            continue
        if not doubts or apart <= _SURE:  # nothing to choose from, or nothing to be gained
            return found
        if apart < nearest:
            nearest, best = apart, found
    if best is not None:
        return best
    raise InputError(_unclear(run, doubts, error)) from error


def _unclear(run: Run, doubts: _Doubts, error: Exception | None) -> str:
    failed = f" The last way to try ended in {type(error).__name__}: {error}." if error else ""
    names = ", ".join(".".join(map(str, path[1:])) for path in doubts) or "none"
    return (
        "for one image alone the network does not answer as it does for the batch, whichever of "
        f"the other inputs ({names}) are taken to belong to each image.{failed} Pass one image at "
        "a time. Where one is what came, the network draws random numbers or keeps a state between "
        "calls: a method that needs gradients alone, such as 'gradcam', does without a second run."
    )


def _doubts(run: Run) -> _Doubts:
    """The inputs beside the image that may belong to each image, by their lengths."""
    place, found = run.inputs.place.path, {}
    for path, part in walk((run.inputs.args, run.inputs.kwargs)):
        if len(path) < 2 or path[: len(place)] == place or place[: len(path)] == path:
            continue
        if axes := _axes(part, run.batch):
            found[path] = axes
    return found


def _axes(part: object, batch: int) -> tuple[int | None, ...]:
    if isinstance(part, Tensor):
        if part.is_nested:
            return (0, None) if part.size(0) == batch else ()
        found = [axis for axis, size in enumerate(part.shape) if size == batch]
        first = [axis for axis in found if axis == 0]
        return (*first, None, *found[len(first) :]) if found else ()
    if not isinstance(part, list | tuple) or len(part) != batch:
        return ()
    inner = any(_axes(one, batch) for one in part)
    return (None, 0) if inner else (0, None)


def _readings(doubts: _Doubts) -> Iterator[dict[Path, int]]:
    """Every way to read them: first that all are each image's, then none, then what is between."""
    orders = [range(len(axes)) for axes in doubts.values()]
    ways = sorted(product(*orders), key=lambda way: (sum(way), way))
    whole = tuple(axes.index(None) for axes in doubts.values())
    for way in dict.fromkeys([*ways[:1], whole, *ways]):
        picked = zip(doubts.items(), way, strict=True)
        axes = {path: choices[number] for (path, choices), number in picked}
        yield {path: axis for path, axis in axes.items() if axis is not None}


def _tried(run: Run, reading: Along) -> tuple[float, Belonging]:
    """How far from the batch's answer theirs is without the others, and what went along."""
    # Another number than the batch, so that no length agrees by chance; and more than the first
    # image, whose part may be what all are compared with.
    last = run.batch - 1
    images = [last, 0] if run.batch != 2 else [last, 0, last]
    given = run.inputs.of_rows(images, run.inputs.image[images], reading)
    with torch.no_grad():
        output = run.model_output(given)
        chosen = choose(output, run.asked.output)
    lengths = run.batch, len(images)
    whole, part = _grown(run.passed.output, output, lengths), _grown(run.chosen, chosen, lengths)
    return _apart(run, chosen, part, images), Belonging(reading, whole, part)


def _grown(before: object, after: object, lengths: tuple[int, int]) -> dict[Path, int]:
    axes = ((path, grown(one, other, lengths)) for path, one, other in pairs(before, after))
    return {path: axis for path, axis in axes if axis is not None}


def _apart(run: Run, chosen: object, along: Along, images: Sequence[int]) -> float:
    """The largest deviation from the batch's answer; beyond 1 where the scores alone agree."""
    half = run.scores.dtype in (torch.float16, torch.bfloat16)
    share = _HALF_SHARE if half else _SHARE
    before = taken(run.chosen, along, images)
    after = taken(chosen, along, range(len(images)))
    found = [_deviation(one, other) for _, one, other in pairs(before, after)]
    if run.asks_classes:
        own = _deviation(find_logits(run.chosen)[images], find_logits(chosen))
    else:
        largest = max((_largest(one) for one in tensors(run.chosen)), default=0.0)
        scores = _function_scores(run, chosen, images, along)
        own = _deviation(run.scores[images], scores, least=_FAINT * largest)
    every = max([own, *found])
    if every <= share:
        return every
    return 1 + own if own <= share else math.inf


def _deviation(before: object, after: object, least: float = 0.0) -> float:
    """How far two parts are from one another, as a share of the largest value of the first."""
    if not isinstance(before, Tensor) or not isinstance(after, Tensor):
        return 0.0
    if before.is_nested or after.is_nested:
        return 0.0
    if before.shape != after.shape:
        return math.inf
    if not before.is_floating_point():
        return 0.0 if torch.equal(before, after) else math.inf
    before, after = before.detach().nan_to_num().double(), after.nan_to_num().double()
    apart = _largest(before - after)
    return apart / max(_largest(before), least, torch.finfo(torch.float32).tiny)


def _largest(tensor: Tensor) -> float:
    floating = tensor.is_floating_point() and tensor.numel()
    return float(tensor.detach().abs().amax()) if floating else 0.0
