"""What a metric is given, checked: a score, images and a map for each; and many versions at once.

Knows scores, maps and chunks; knows no metric.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gradcam_hooks.checks import check_count
from gradcam_hooks.errors import InputError, TargetError
from gradcam_hooks.maps import resize, spread
from gradcam_hooks.metrics.scores import Score, Scored
from gradcam_hooks.runs.chunks import in_chunks, size_for
from gradcam_hooks.runs.tapped import exact

__all__ = ["Case", "blank", "chance", "check_maps", "flattened", "ranks"]

_AHEAD = 64
"""How many times its own size an image takes on its way through a network, roughly."""

_BYTES_ON_CPU = 1 << 21
"""Images at once where there is no GPU to fill: what a cache holds."""

Make = Callable[[Tensor, Tensor], Tensor]
"""From the numbers of maps and of versions, ``(n,)`` each, to images ``(n, channels, *space)``."""


@dataclass(frozen=True)
class Case:
    """A score, images, and a map for each image or for each target of each.

    Attributes:
        score: from images to numbers.
        images: ``(batch, channels, *space)``, in float32 at least.
        maps: ``(rows, *space)``, the targets of an image one behind the other.
        targets: how many each image has; None where the maps have no axis of targets.
        kind: the type in which the network takes its images.
    """

    score: Score
    images: Tensor
    maps: Tensor
    targets: int | None
    kind: torch.dtype

    @classmethod
    def of(cls, score: Score, images: Tensor, maps: Tensor) -> Case:
        """The case, checked; maps of another size are resized to the images', linear.

        Raises:
            InputError: the score is no function, or images and maps do not go together.
        """
        if not callable(score):
            raise InputError(
                f"score= is a function from images to a number each, not {type(score).__name__}. "
                "gradcam_hooks.metrics.scored(model, images, target) makes one."
            )
        maps = check_maps(maps)
        if not isinstance(images, Tensor) or images.ndim < 3 or not images.is_floating_point():
            raise InputError(
                "images= are a floating-point tensor (batch, channels, *space), as the network "
                f"takes it, not {_told(images)}."
            )
        rank = images.ndim - 2
        if len(maps) != len(images) or maps.ndim not in (rank + 1, rank + 2):
            raise InputError(
                f"for images {tuple(images.shape)} maps are (batch={len(images)}, *space) or "
                f"(batch, targets, *space) with {rank} axes of space, not {tuple(maps.shape)}."
            )
        targets = maps.shape[1] if maps.ndim == rank + 2 else None
        flat = maps.reshape(-1, *maps.shape[-rank:]).to(images.device)
        images, kind = exact(images.detach()), images.dtype
        return cls(score, images, resize(flat, images.shape[2:]), targets, kind)

    @property
    def rank(self) -> int:
        """How many axes space has."""
        return self.images.ndim - 2

    @property
    def cells(self) -> int:
        """How many positions an image has."""
        return self.maps[0].numel()

    def pixels(self, rows: Tensor) -> Tensor:
        """The images that these maps are of, ``(n, channels, *space)``."""
        return self.images[rows // (self.targets or 1)]

    def shaped(self, values: Tensor) -> Tensor:
        """``(rows, ...)`` as ``(batch[, targets], ...)``."""
        return values if self.targets is None else values.view(-1, self.targets, *values.shape[1:])

    def once(self, images: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """The score of each map's image, or of what ``images`` makes of rows, ``(rows,)``."""
        make = self.pixels if images is None else images
        return self.scores(1, lambda rows, _: make(rows))[:, 0]

    def scores(self, count: int, make: Make) -> Tensor:
        """The scores of ``count`` versions of each map's image, ``(rows, count)``.

        Args:
            count: how many versions.
            make: makes versions, given the numbers of maps and of versions, ``(n,)`` each.

        Raises:
            TargetError: the score does not give a number for each.
        """
        if isinstance(self.score, Scored):
            return self._many_at_once(self.score, count, make)
        each = self.targets or 1
        first = torch.arange(0, len(self.maps), each, device=self.maps.device)
        columns = []
        for number in range(count):
            for target in range(each):
                rows = first + target
                found = self.score(self._given(make(rows, torch.full_like(rows, number))))
                columns.append(self._of_targets(found, rows))
        return torch.stack(columns, 1).view(len(first), count, each).mT.reshape(-1, count)

    def _many_at_once(self, score: Scored, count: int, make: Make) -> Tensor:
        image = self.images[0]
        size = size_for(_AHEAD * image.nbytes, image.device)
        if image.device.type == "cpu":
            size = min(size, max(1, _BYTES_ON_CPU // image.nbytes))

        def part_of(part: slice) -> Tensor:
            every = torch.arange(part.start, part.stop, device=self.maps.device)
            rows = every // count
            images = self._given(make(rows, every % count))
            return self._of_targets(score(images, (rows // (self.targets or 1)).tolist()), rows)

        return in_chunks(len(self.maps) * count, part_of, size=size).view(-1, count)

    def _given(self, images: Tensor) -> Tensor:
        return images.to(self.kind)

    def _of_targets(self, found: Tensor, rows: Tensor) -> Tensor:
        """What a score said of each row, ``(n,)``."""
        each = self.targets or 1
        count = found.shape[1:] if isinstance(found, Tensor) else None
        if count is None or len(found) != len(rows) or count not in ((), (each,), (1,)):
            wanted = f"(n,) or (n, targets={each})" if self.targets else "(n,)"
            raise TargetError(
                f"score= gives a number for each image, {wanted}, for {len(rows)} images, not "
                f"{_told(found)}. gradcam_hooks.metrics.scored(model, images, target) makes one."
            )
        found = exact(found.detach())
        if found.ndim == 1:
            return found
        return found.gather(1, (rows % found.shape[1])[:, None])[:, 0]


def check_maps(maps: Tensor, name: str = "maps") -> Tensor:
    """The maps in float32 at least, out of the graph.

    Raises:
        InputError: they are no maps, there are none, or a value is not finite.
    """
    if not isinstance(maps, Tensor) or maps.ndim < 2 or not maps.numel() or maps.is_complex():
        raise InputError(
            f"{name}= are a tensor (batch, *space) or (batch, targets, *space), "
            f"such as result.maps or result.raw, not {_told(maps)}."
        )
    plain = maps.detach()
    plain = exact(plain) if plain.is_floating_point() else plain.float()
    broken = ~plain.flatten(1).isfinite().all(1)
    if bool(broken.any()):
        raise InputError(
            f"{int(broken.sum())} of {len(maps)} {name} hold a value that is not finite, the first "
            f"at {int(broken.int().argmax())}. result.diagnosis tells which; leave them out."
        )
    return plain


def ranks(maps: Tensor, *, seed: int = 0) -> Tensor:
    """The rank of each position, 0 for the highest, ``(rows, *space)``; ties in a seeded order.

    Ties are common, as where a map is zero; reading order would favour the first corner.

    >>> ranks(torch.tensor([[0.1, 0.9, 0.5]]))
    tensor([[2, 0, 1]])
    """
    flat = maps.flatten(1)
    order = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(seed))
    order = order.to(flat.device)
    sorted_ = flat[:, order].argsort(dim=1, descending=True, stable=True)
    found = torch.empty_like(sorted_)
    places = torch.arange(flat.shape[1], device=flat.device).expand_as(sorted_)
    found.scatter_(1, order[sorted_], places)
    return found.view(maps.shape)


_SEEDS = 1 << 63
"""What PyTorch's generators take lies below it."""


def chance(seed: int, row: int, number: int) -> torch.Generator:
    """A generator of its own for each version of each map, whatever is drawn beside it."""
    mixed = (seed * 1_000_003 + row) * 1_000_003 + number
    return torch.Generator().manual_seed(mixed % _SEEDS)


def blank(maps: Tensor) -> Tensor:
    """Which maps ``(rows, *space)`` have no spread, ``(rows,)``."""
    return ~spread(maps, maps.ndim - 1)


def flattened(maps: Tensor, rank: int | None) -> tuple[Tensor, torch.Size]:
    """Maps alone as ``(rows, *space)``, and the shape of what is found for each.

    Args:
        maps: ``(batch, *space)`` or, where ``rank`` says so, ``(batch, targets, *space)``.
        rank: how many axes space has; by default all but the first.

    Raises:
        InputError: they are no maps, or the rank does not fit them.
    """
    plain = check_maps(maps)
    rank = plain.ndim - 1 if rank is None else check_count(rank, "rank")
    if not plain.ndim - 2 <= rank < plain.ndim:
        raise InputError(
            f"rank= says how many axes of maps {tuple(plain.shape)} are space, all but the batch's "
            f"and perhaps the targets'; it cannot be {rank}."
        )
    lead = plain.shape[: plain.ndim - rank]
    return plain.reshape(-1, *plain.shape[plain.ndim - rank :]), lead


def _told(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"
