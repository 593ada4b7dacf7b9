"""Cards: the small picture and the maps of one picture as data, for the report to draw.

An overlay has its colours baked in; a card has not. It keeps each map at the layer's own
resolution in eight bits, so that a page can tint it, threshold it and read values off it. A card
is a JSON file, written by the loop and read by the report. This file knows explanations and
pictures: no folder, no page.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from gradcam_hooks.apps.batch.plain import read_plain
from gradcam_hooks.errors import ImageError
from gradcam_hooks.images.scan import Plane, plane_of
from gradcam_hooks.images.sizes import smaller
from gradcam_hooks.images.volumes import ScanPicture
from gradcam_hooks.maps import FUSIONS, finish, fuse, minmax, resize
from gradcam_hooks.results.explanation import Explanation
from gradcam_hooks.results.facts import Facts

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Card", "Heat", "Panel", "card_of", "heat_of"]

_SIDE = 480
"""The small picture's longer side in pixels."""

_BYTES = 32_000
"""A small picture takes this much at most, so that a page of 2,000 stays under 100 MB."""

_QUALITIES = (82, 70, 55, 40, 25)
_FINEST = 96
"""A map's longer side at most; finer ones are averaged."""

_ALIKE = 0.02
"""How far a map in eight bits may lie from the explanation's own: five of its 255 steps."""


@dataclass(frozen=True)
class Heat:
    """A map in eight bits: `minmax(resize(values / 255))` is the explanation's map.

    Attributes:
        height: rows.
        width: columns.
        low: what becomes 0, the least value of `values / 255` at the input's size.
        high: what becomes 1, the largest.
        values: the bytes, row by row, in base64.
    """

    height: int
    width: int
    low: float
    high: float
    values: str


@dataclass(frozen=True)
class Panel:
    """One map of a picture, and what it is a map of: `Facts` as plain data."""

    facts: dict[str, object]
    heat: Heat


@dataclass(frozen=True)
class Card:
    """A small picture as JPEG in base64, its size, and its maps."""

    image: str
    height: int
    width: int
    panels: tuple[Panel, ...]

    def write(self, path: Path) -> None:
        """Write the card as JSON."""
        panels = [{"facts": one.facts, "heat": vars(one.heat)} for one in self.panels]
        path.write_text(json.dumps({**vars(self), "panels": panels}), encoding="ascii")

    @classmethod
    def read(cls, path: Path) -> Card:
        """The card that `write` wrote.

        Raises:
            ImageError: the file is missing or is no card.
        """
        try:
            return read_plain(cls, path.read_text(encoding="ascii"))
        except (OSError, ValueError) as error:
            raise ImageError(
                f"'{path}' should hold the maps of a picture, and cannot be read: {error}; explain "
                "the picture again, with --force"
            ) from error


def card_of(explained: Sequence[Explanation], image: Image.Image) -> Card:
    """The card of one picture, of each of its explanations.

    Where several layers were asked there is a panel for the fused map, then one for each layer;
    where several targets were, all of these for each target in turn. Of a scan it is the axial
    slice in which the map has most of its mass.
    """
    cut = _cut(explained[0])
    small, data = _small(image if cut is None else cut[0])
    panels = [panel for one in explained for panel in _panels(one, None if cut is None else cut[1])]
    return Card(base64.b64encode(data).decode(), small[1], small[0], tuple(panels))


def _cut(explained: Explanation) -> tuple[Image.Image, Plane] | None:
    """Of a scan the slice in which its first map has most of its mass; None of a picture."""
    picture = None if explained.pictures is None else explained.pictures[0]
    if not isinstance(picture, ScanPicture):
        return None
    scan, first = picture.scan, explained.maps[(0,) * explained.scores.ndim]
    laid = picture.place.onto(first, scan.shape)
    best = int(scan.upright(laid).sum((1, 2)).argmax())
    image = scan.slice(best, 0)
    plane = plane_of(image)
    assert plane is not None
    return image, plane


def _panels(explained: Explanation, plane: Plane | None = None) -> Iterator[Panel]:
    lead = explained.scores.ndim
    if plane is not None:
        picture = explained.pictures[0] if explained.pictures is not None else None
        assert isinstance(picture, ScanPicture)
        every = explained.maps[0] if lead == 2 else explained.maps[0][None]
        for one, facts in zip(every, explained.facts()[0], strict=True):
            laid = picture.place.onto(one, plane.scan.shape)
            yield _panel(facts, heat_of(torch.from_numpy(plane.of(laid).copy())))
        return
    maps = explained.maps[0].float().cpu()
    raws = explained.raw if isinstance(explained.raw, tuple) else (explained.raw,)
    signed = [raw[0].float().cpu() for raw in raws]
    if lead == 1:
        maps, signed = maps[None], [raw[None] for raw in signed]
    size = tuple(maps.shape[-2:])
    for i, (final, facts) in enumerate(zip(maps, explained.facts()[0], strict=True)):
        if len(signed) == 1:
            yield _panel(facts, heat_of(final, signed[0][i]))
            continue
        yield _panel(facts, heat_of(final))
        layers = [finish(raw[i], size) for raw in signed]
        if _same(final, layers, [raw[i] for raw in signed]):
            for name, raw, layer in zip(explained.layers, signed, layers, strict=True):
                yield _panel(replace(facts, layer=(name,)), heat_of(layer, raw[i]))


def _panel(facts: Facts, heat: Heat) -> Panel:
    return Panel({**facts.plain(), "layer": " + ".join(facts.layer)}, heat)


def _same(final: Tensor, layers: list[Tensor], raws: list[Tensor]) -> bool:
    """Whether the layers' maps, fused in either way, are the explanation's."""
    fused = (fuse(layers, how, 2, raws) for how in FUSIONS)
    return any(float((one - final).abs().max()) < _ALIKE for one in fused)


def heat_of(final: Tensor, raw: Tensor | None = None) -> Heat:
    r"""A map in eight bits.

    Args:
        final: the finished map in [0, 1], `(height, width)` of the input.
        raw: the signed map at the layer's resolution, which is kept in the place of the finished
            one where that leads back to it.

    >>> heat = heat_of(torch.tensor([[0.0, 1.0]]), torch.tensor([[-3.0, 5.0]]))
    >>> base64.b64decode(heat.values), heat.low, heat.high
    (b'\x00\xff', 0.0, 1.0)
    """
    size = tuple(final.shape)
    if not bool(final.any()):
        return _packed(torch.zeros(1, 1, dtype=torch.uint8), final)
    if raw is not None and max(raw.shape) <= _FINEST and bool(raw.isfinite().all()):
        steps = _steps(raw.float().relu())
        large = resize(steps.float() / 255, size)
        if float((minmax(large, 2) - final).abs().max()) < _ALIKE:
            return _packed(steps, large)
    shrink = min(1.0, _FINEST / max(size))
    cells = [max(1, round(side * shrink)) for side in size]
    mean = functional.adaptive_avg_pool2d(final[None], (cells[0], cells[1]))[0]
    steps = _steps(mean)
    return _packed(steps, resize(steps.float() / 255, size))


def _steps(values: Tensor) -> Tensor:
    return (minmax(values, 2) * 255).round().to(torch.uint8)


def _packed(steps: Tensor, large: Tensor) -> Heat:
    low, high = float(large.min()), float(large.max())
    if not high > low:
        low, high = 0.0, 1.0
    values = base64.b64encode(steps.contiguous().numpy().tobytes()).decode()
    return Heat(steps.shape[0], steps.shape[1], low, high, values)


def _small(image: Image.Image) -> tuple[tuple[int, int], bytes]:
    """The picture's size when small, and its JPEG within `_BYTES` if a quality can do that."""
    small = smaller(image, _SIDE)
    data = b""
    for quality in _QUALITIES:
        file = io.BytesIO()
        small.save(file, format="JPEG", quality=quality)
        data = file.getvalue()
        if len(data) <= _BYTES:
            break
    return small.size, data
