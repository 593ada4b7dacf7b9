"""The result: maps, the numbers behind them, what was explained, and what is wrong with a map.

An `Explanation` is frozen and carries where it came from. It draws itself on the picture that was
explained, tells its regions and what it is in words, and saves itself whole. It knows tensors and
pictures, no model and no hook; the work is done in the rooms above, by functions of arrays.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from gradcam_hooks.errors import InputError
from gradcam_hooks.images.colors import Floats
from gradcam_hooks.images.pictures import Picture
from gradcam_hooks.network.along import Along, taken
from gradcam_hooks.results import regions
from gradcam_hooks.results.diagnosis import Diagnosis
from gradcam_hooks.results.drawing import Ground, Style, Subject, ground_of, with_style
from gradcam_hooks.results.facts import Facts, facts_of
from gradcam_hooks.results.regions import Box, Cut

if TYPE_CHECKING:
    from PIL import Image
    from typing_extensions import Unpack

    from gradcam_hooks.results.drawing import Drawing
    from gradcam_hooks.results.notebook import Shown

__all__ = ["Explanation"]

_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a network looked at, for a batch of images.

    Attributes:
        maps: float32 ``(batch, *space)`` at the input's size, each map min-max scaled to [0, 1];
            ``(batch, targets, *space)`` where several targets per image were asked.
        raw: the signed map before ReLU and scaling, ``(batch, [targets,] *layer_space)``; a tuple
            of these, in the order the layers were named, where several layers were.
        scores: the score that was explained, ``(batch[, targets])``.
        target: the class numbers explained, LongTensor ``(batch[, targets])``; None where the
            target is no class.
        output: the model's own output, detached.
        layers: the layers explained, by dotted name.
        method: the method's name.
        layouts: how each layer's axes were read.
        diagnosis: a word per map, a tuple over the batch (of tuples over the targets); each has
            ``.message``, the likely cause and the next step.
        labels: the classes' names, where they are known.
        notes: what the method chose by itself, such as which channels, in sentences.
        logits: what of the output was taken for the logits of classes, ``(batch, classes)``; None
            where nothing was.
        multi_label: whether each label is on or off by itself.
    """

    maps: Tensor
    raw: Tensor | tuple[Tensor, ...]
    scores: Tensor
    target: Tensor | None
    output: object
    layers: tuple[str, ...]
    method: str
    layouts: tuple[str, ...]
    diagnosis: tuple[Diagnosis, ...] | tuple[tuple[Diagnosis, ...], ...]
    labels: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    logits: Tensor | None = dataclasses.field(default=None, repr=False)
    multi_label: bool = False
    image: Tensor | None = dataclasses.field(default=None, repr=False)
    pictures: tuple[Picture, ...] | None = dataclasses.field(default=None, repr=False)
    along: Along = dataclasses.field(default_factory=dict, repr=False)  # axes of images in `output`

    def __repr__(self) -> str:
        what = f"maps {tuple(self.maps.shape)}, {self.method} of {', '.join(self.layers)}"
        words = ", ".join(sorted({str(one.diagnosis) for row in self.facts() for one in row}))
        return f"Explanation({what}, target {self._targets()}, diagnosis {words})"

    def _targets(self) -> str:
        if self.target is None:
            return "a function"
        numbers = self.target.tolist()
        return str(numbers if self.target.numel() <= 10 else f"of shape {tuple(self.target.shape)}")

    def __len__(self) -> int:
        return len(self.maps)

    def __iter__(self) -> Iterator[Explanation]:
        return (self[index] for index in range(len(self)))

    def on(self, pictures: tuple[Picture, ...]) -> Explanation:
        """The same explanation with the pictures that its inputs came from."""
        return dataclasses.replace(self, pictures=pictures)

    def __getitem__(self, index: int | slice) -> Explanation:
        """The explanation of one image, still with its batch axis of one; of a slice of several.

        Raises:
            IndexError: there is no such image.
        """
        every = range(len(self))
        rows = list(every[index]) if isinstance(index, slice) else [every[index]]
        if not rows:
            raise IndexError(f"{index} holds none of {len(self)} images")
        one = slice(rows[0], rows[0] + 1) if len(rows) == 1 else rows
        raw = tuple(r[one] for r in self.raw) if isinstance(self.raw, tuple) else self.raw[one]
        return dataclasses.replace(
            self,
            maps=self.maps[one],
            raw=raw,
            scores=self.scores[one],
            target=None if self.target is None else self.target[one],
            output=taken(self.output, self.along, rows),
            diagnosis=tuple(self.diagnosis[row] for row in rows),  # type: ignore[arg-type]
            logits=None if self.logits is None else self.logits[one],
            image=None if self.image is None else self.image[one],
            pictures=None if self.pictures is None else tuple(self.pictures[row] for row in rows),
        )

    @with_style
    def overlay(
        self, image: object = None, style: Style | None = None, **how: Unpack[Drawing]
    ) -> Image.Image:
        """The map drawn on the picture, at its own size; on a signal's lines; on slices.

        Args:
            image: what to draw on: a PIL image, a path, or an RGB array ``(height, width, 3)``,
                uint8 or float in [0, 1]; by default the picture that was explained, and where a
                tensor was, that tensor scaled to [0, 1] for the eye. A signal's map is drawn on
                an array ``(channels, length)``, a volume's on ``(depth, height, width[, 3])``.
            style: how; by default `Style` as it is.
            how: the options of `gradcam_hooks.Style`, such as ``alpha=0.3, boxes=True``.

        Returns:
            One picture. Several maps become a contact sheet, a row an image, a column a target.

        Raises:
            InputError: the maps cannot be drawn, ``image`` is of no known kind, or an option is
                out of its range.
            OptionError: there is no such option.
        """
        from PIL import Image

        from gradcam_hooks.images.colors import to_uint8
        from gradcam_hooks.images.lettering import letters
        from gradcam_hooks.images.sheets import captioned, sheet

        style = (style or Style()).but(**how)
        rows = self.drawn(style, image)
        lines = [[one.lines() for one in row] for row in self.facts()] if style.caption else None
        if len(rows) > 1 or len(rows[0]) > 1:
            whole = sheet(rows, captions=lines)
        else:
            whole = rows[0][0]
            if lines is not None:
                whole = captioned(whole, lines[0][0], letters((whole.shape[0], whole.shape[1])))
        return Image.fromarray(to_uint8(whole))

    def drawn(self, style: Style | None = None, image: object = None) -> list[list[Floats]]:
        """Each map drawn on its picture alone: a list per image of one per target.

        Args:
            style: how; by default as `overlay` does.
            image: what to draw on, as in `overlay`.

        Returns:
            RGB floats in [0, 1], ``(height, width, 3)``.

        Raises:
            InputError: the maps cannot be drawn, or ``image`` is of no known kind.
        """
        if image is not None and len(self) > 1:
            raise InputError(
                f"one image was given to draw {len(self)} explanations on; draw them one by one, "
                "as in result[0].overlay(image)."
            )
        rows = []
        for index in range(len(self)):
            ground = self._ground(index, image)
            rows.append([ground.draw(one, style or Style()) for one in self._each(index)])
        return rows

    def _each(self, index: int) -> Tensor:
        """The maps of one image, ``(targets, *space)``, on the CPU."""
        maps = self.maps[index].detach().cpu()
        return maps if self.scores.ndim == 2 else maps[None]

    def _ground(self, index: int, image: object = None) -> Ground:
        """What the maps of one image are drawn on."""
        tensor = None if self.image is None else self.image[index]
        picture = None if self.pictures is None else self.pictures[index]
        return ground_of(Subject(image, picture, tensor), self.maps.shape[self.scores.ndim :])

    def facts(self) -> list[list[Facts]]:
        """What each map is a map of, in numbers and words: a list per image, of one per target."""
        return facts_of(
            self.scores,
            self.target,
            self.logits,
            self.labels,
            self.diagnosis,
            self.layers,
            self.layouts,
            self.method,
            multi_label=self.multi_label,
        )

    captions = facts
    """Its name in 0.2."""

    def mask(
        self,
        threshold: float | None = None,
        *,
        method: str = "threshold",
        quantile: float | None = None,
    ) -> list[npt.NDArray[np.bool_]]:
        """Where the map is high: True at ``map >= level``, at the original picture's size.

        Args:
            threshold: the level, in [0, 1]; by default 0.5.
            method: how the level is found: ``"threshold"``; ``"otsu"``, which splits the map's
                values in two groups; ``"quantile"``, which keeps the highest values.
            quantile: for ``method="quantile"``: the share of the picture that lies below, in
                [0, 1]; by default 0.9, which keeps the highest tenth.

        Returns:
            A mask for each image: bool ``(height, width)`` of the original picture where pictures
            were explained, and ``(*space)`` of the input where a tensor was, with an axis of
            targets ahead where several per image were asked. Never True where the network did not
            see the picture, nor where the map is 0.

        Raises:
            InputError: no such method, or a number out of its range.
        """
        cut = Cut(threshold, method, quantile)
        found = self._found(cut, lambda one: one)
        return [np.stack(row) for row in found] if self.scores.ndim == 2 else [r[0] for r in found]

    def boxes(
        self,
        threshold: float | None = None,
        *,
        method: str = "threshold",
        quantile: float | None = None,
        min_area: int = 1,
    ) -> list[list[Box]] | list[list[list[Box]]]:
        """The boxes of the regions where the map is high, the largest region first.

        Args:
            threshold: see `mask`, as ``method`` and ``quantile``.
            method: see `mask`.
            quantile: see `mask`.
            min_area: the least region that counts, in pixels of the mask.

        Returns:
            A list for each image, of ``(left, top, right, bottom)`` in the original picture's
            pixels; a list of one list per target where several were asked. Right and bottom lie
            just outside, so that ``right - left`` is the width. Of a signal a box is
            ``(start, end)``, of a volume ``(left, top, front, right, bottom, back)``.
        """
        cut = Cut(threshold, method, quantile)
        found = self._found(cut, lambda one: regions.boxes(one, min_area=min_area))
        return found if self.scores.ndim == 2 else [row[0] for row in found]

    def contours(
        self,
        threshold: float | None = None,
        *,
        method: str = "threshold",
        quantile: float | None = None,
        min_area: int = 1,
    ) -> list[list[npt.NDArray[np.int32]]] | list[list[list[npt.NDArray[np.int32]]]]:
        """The outlines of the regions where the map is high, in the order of `boxes`.

        Returns:
            A list for each image, of polygons ``(points, 2)``: x and y of the region's border
            pixels on the original picture, as OpenCV takes them; a list of one list per target
            where several were asked. Holes are filled.

        Raises:
            InputError: the maps are not ``(height, width)``, or an option is out of its range.
        """
        cut = Cut(threshold, method, quantile)
        found = self._found(cut, lambda one: regions.contours(one, min_area=min_area))
        return found if self.scores.ndim == 2 else [row[0] for row in found]

    def _found(self, cut: Cut, of: Callable[[npt.NDArray[np.bool_]], _T]) -> list[list[_T]]:
        """What is found in the mask of each map, a list per image of one per target."""
        found = []
        for index in range(len(self)):
            maps = self._each(index)
            if self.pictures is None or maps.ndim != 3:
                masks = (regions.mask(one, cut) for one in maps)
            else:
                geometry = self.pictures[index].geometry
                seen = geometry.seen_mask()
                masks = (regions.mask(geometry.place(one), cut, seen) for one in maps)
            found.append([of(one) for one in masks])
        return found

    @with_style
    def save(
        self,
        path: str | Path,
        *,
        image: object = None,
        affine: npt.ArrayLike | None = None,
        like: object = None,
        fps: float = 8,
        style: Style | None = None,
        **how: Unpack[Drawing],
    ) -> Path:
        """Write a picture (``.png``, ...), NIfTI, or all numbers (``.npz``), whole or not at all.

        Args:
            path: where to; the suffix says what. A ``.gif`` of a volume or a video moves from
                slice to slice, through those of ``slice=`` where it is a list. ``.nii`` and
                ``.nii.gz`` hold the map of one volume, array axis for array axis as the input.
            image: what to draw on, as in `overlay`.
            affine: of NIfTI: the 4x4 matrix from array indices to millimetres.
            like: of NIfTI, in its place: the scan that was explained, whose affine is kept.
            fps: frames per second of a moving GIF.
            style: how it is drawn, as in `overlay`.
            how: as in `overlay`.

        Raises:
            ImageError: nothing is written with this suffix.
            ImportError: NIfTI, without nibabel.
        """
        from gradcam_hooks.results import saving

        saving.write(
            Path(path),
            self.maps,
            self.scores.ndim,
            draw=lambda one: self.overlay(image, one),
            numbers=self._numbers,
            style=(style or Style()).but(**how),
            affine=affine,
            like=like,
            fps=fps,
        )
        return Path(path)

    def _numbers(self) -> dict[str, np.ndarray[Any, Any]]:
        """Everything that is a number or a word, by its field's name."""
        raws = self.raw if isinstance(self.raw, tuple) else (self.raw,)
        tensors = {"maps": self.maps, "scores": self.scores.float()}
        tensors |= {f"raw_{i}" if len(raws) > 1 else "raw": raw for i, raw in enumerate(raws)}
        if self.target is not None:
            tensors["target"] = self.target
        return {
            **{name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()},
            "layers": np.array(self.layers),
            "method": np.array(self.method),
            "diagnosis": np.array(self.diagnosis),
        }

    def _repr_html_(self) -> str:
        """What a notebook shows: the picture, each map on it, and what that is; eight at most."""
        from gradcam_hooks.results.notebook import html

        return html(self._shown(), self.scores.numel(), self.notes)

    def _repr_png_(self) -> bytes | None:
        """The same as one picture; None where the maps cannot be drawn."""
        from gradcam_hooks.results.notebook import sheet_of

        return sheet_of(self._shown())

    def _shown(self) -> list[Shown]:
        """The first images, each alone, and each of its maps with its caption and drawn."""
        from gradcam_hooks.results.notebook import shown

        return shown(self.facts(), self._each, self._ground)
