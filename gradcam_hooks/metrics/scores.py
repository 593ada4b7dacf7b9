"""The score that metrics watch: a function from images to one number each.

Any function of a batch of images is one. `scored` makes one of a model and a target, which knows
what belongs to which image, and so may be asked of many versions of an image at once. Knows
networks and targets; no map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from gradcam_hooks.errors import InputError
from gradcam_hooks.models import LoadedModel
from gradcam_hooks.models.labels import labels_of
from gradcam_hooks.network.along import by_length, taken
from gradcam_hooks.network.final_softmax import remembering
from gradcam_hooks.network.modes import inferring
from gradcam_hooks.network.modules import unwrap
from gradcam_hooks.network.outputs import OutputSpec, choose, find_logits, flat_logits
from gradcam_hooks.network.state import untouched
from gradcam_hooks.targets import AllClasses, Target, select, settle

__all__ = ["Score", "Scored", "scored"]

Score: TypeAlias = Callable[..., Tensor]
"""``score(images) -> (batch,)``, or ``(batch, targets)``, for images ``(batch, channels, *space)``.

One that `scored` did not make is always given the whole batch in its order, a version of each
image, because it may know a class for each."""


def scored(
    model: nn.Module | LoadedModel,
    images: Tensor,
    target: Target = None,
    *,
    output: OutputSpec = None,
    labels: Sequence[str] | None = None,
) -> Scored:
    """The score of a target, fixed to what it picks from these images.

    Args:
        model: any module, or what `load_model` gave. It is run in eval mode, under inference mode,
            and left as it was found.
        images: the images that will be measured, ``(batch, channels, *space)``.
        target: as for `explain`: the predicted class of each image, a class, one for each, `TopK`,
            `Probability`, `Segment`, `Box` and so on.
        output: which part of the model's output is meant, as for `explain`.
        labels: the classes' names, where they are known.

    Raises:
        TargetError, OutputError: as `explain`.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> images = torch.rand(3, 1, 2, 2)
    >>> score = scored(model, images)
    >>> bool((score(images) == model(images).amax(1)).all())
    True
    """
    if isinstance(model, LoadedModel):
        labels = model.labels if labels is None else labels
        model = model.model
    if not isinstance(images, Tensor) or images.ndim < 3 or not len(images):
        raise InputError(
            "images= are a tensor (batch, channels, *space) as the model takes it, "
            f"not {_told(images)}."
        )
    model = unwrap(model)
    names = tuple(labels) if labels is not None else labels_of(model)
    first = Scored(model, target, len(images), output, names)
    chosen = first.output_of(images)
    return Scored(model, settle(target, chosen, len(images), names), len(images), output, names)


@dataclass(frozen=True)
class Scored:
    """A model's score for a target that is fixed for each image of a batch.

    Attributes:
        model: the network.
        target: what is asked of it, settled.
        batch: how many images it was settled for.
        output: which part of the output is meant.
        labels: the classes' names, where they are known.
    """

    model: nn.Module
    target: Target
    batch: int
    output: OutputSpec = None
    labels: tuple[str, ...] | None = None

    def __call__(self, images: Tensor, rows: Sequence[int] | None = None) -> Tensor:
        """The scores of versions of the images, ``(n[, targets])``, without gradients.

        Args:
            images: ``(n, channels, *space)``.
            rows: which image of the batch each is a version of; by default all in their order.

        Raises:
            InputError: another number of images than rows.
        """
        rows = range(self.batch) if rows is None else rows
        if len(images) != len(rows):
            raise InputError(
                f"this score was made for {self.batch} images and is asked of {len(images)}. Pass "
                "rows=, which image each is a version of, or make another: scored(model, images)."
            )
        output = self.output_of(images)
        return inferring(lambda: self._selected(output, list(rows)))

    def output_of(self, images: Tensor) -> object:
        """The part of the model's output that is meant, without gradients."""

        def work() -> object:
            with remembering(self.output):
                return choose(self.model(images.clone()), self.output)

        return untouched(self.model, lambda: inferring(work))

    def _selected(self, output: object, rows: list[int]) -> Tensor:
        if rows == list(range(self.batch)):
            return select(self.target, output, self.batch, self.labels).scores
        if isinstance(self.target, Tensor):
            index = self.target[rows]
            return select(index, output, len(rows), self.labels).scores
        if isinstance(self.target, AllClasses):
            return flat_logits(find_logits(output))
        along = by_length(output, len(rows))
        found = []
        for place, row in enumerate(rows):
            # What the target has for this image it finds in its place; the others are copies.
            whole = taken(output, along, [place] * self.batch)
            found.append(select(self.target, whole, self.batch, self.labels).scores[row])
        return torch.stack(found)


def _told(value: object) -> str:
    if isinstance(value, Tensor):
        return f"one of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"
