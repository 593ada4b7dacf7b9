"""A score that remembers: no version of an image goes through the network twice.

Many maps of one image are asked about the same versions of it: the image itself, the image under a
blur, each patch left out. Knows scores; no map.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gradcam_hooks.metrics import Scored

__all__ = ["Remembered", "remembered"]


@dataclass(frozen=True)
class Remembered(Scored):
    """As the score that it is made of, which it asks of each image once.

    Attributes:
        asked: the score.
        known: what it said, by the image's bytes and its row.
        passes: how many images went through the network.
    """

    asked: Scored = field(default=None)  # type: ignore[assignment]  # `remembered` gives it
    known: dict[bytes, Tensor] = field(default_factory=dict)
    passes: list[int] = field(default_factory=lambda: [0])

    def __call__(self, images: Tensor, rows: Sequence[int] | None = None) -> Tensor:
        """As `Scored`."""
        rows = range(self.batch) if rows is None else rows
        keys = [_key(image, row) for image, row in zip(images, rows, strict=True)]
        new = {key: place for place, key in enumerate(keys) if key not in self.known}
        if new:
            places = list(new.values())
            found = self.asked(images[places], [rows[place] for place in places])
            self.known.update(zip(new, found, strict=True))
            self.passes[0] += len(places)
        return torch.stack([self.known[key] for key in keys])


def remembered(score: Scored) -> Remembered:
    """The score with a memory.

    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    >>> from gradcam_hooks.metrics import scored
    >>> images = torch.rand(3, 1, 2, 2)
    >>> score = remembered(scored(model, images))
    >>> bool((score(images) == score(images)).all()), score.passes
    (True, [3])
    """
    return Remembered(
        score.model, score.target, score.batch, score.output, score.labels, asked=score
    )


def _key(image: Tensor, row: int) -> bytes:
    plain = image.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    digest = hashlib.blake2b(plain.numpy().data, digest_size=16)
    return digest.digest() + row.to_bytes(4, "little")
