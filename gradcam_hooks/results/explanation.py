"""The result: maps, the numbers behind them, what was explained, and what is wrong with a map.

An `Explanation` is frozen and carries where it came from. It draws itself on the picture that was
explained, tells its regions and what it is in words, and saves itself whole. It knows tensors and
pictures, no model and no hook; the work is done in the rooms above, by functions of arrays.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from gradcam_hooks.errors import InputError
from gradcam_hooks.images.colors import Floats
from gradcam_hooks.images.given import Pictured
from gradcam_hooks.layout.placement import Placement
from gradcam_hooks.maps import signed
from gradcam_hooks.network.along import Along, taken
from gradcam_hooks.results.checked import Again, Check, Trusts, checked
from gradcam_hooks.results.diagnosis import Diagnosis
from gradcam_hooks.results.drawing import Ground, Style, Subject, ground_of, with_style
from gradcam_hooks.results.facts import Facts, facts_of
from gradcam_hooks.results.located import Located

if TYPE_CHECKING:
    from PIL import Image
    from typing_extensions import Unpack

    from gradcam_hooks.images.pages import Page
    from gradcam_hooks.images.painting import Bytes
    from gradcam_hooks.results.drawing import Drawing
    from gradcam_hooks.results.notebook import Shown

__all__ = ["Explanation"]


@dataclass(frozen=True, eq=False)
class Explanation(Located):
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
        trust: what `check` said of each map, as `diagnosis`; None where it was not asked.
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
    trust: Trusts | None = None
    image: Tensor | None = dataclasses.field(default=None, repr=False)
    pictures: tuple[Pictured, ...] | None = dataclasses.field(default=None, repr=False)
    place: Placement | None = dataclasses.field(default=None, repr=False)  # of the map on the input
    along: Along = dataclasses.field(default_factory=dict, repr=False)  # axes of images in `output`
    again: Again | None = dataclasses.field(default=None, repr=False)

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

    def on(self, pictures: tuple[Pictured, ...]) -> Explanation:
        """The same explanation with the pictures or scans that its inputs came from."""
        return dataclasses.replace(self, pictures=pictures)

    def __getitem__(self, index: int | slice) -> Explanation:
        """The explanation of one image, still with its batch axis of one; of a slice of several.

        Raises:
            IndexError: there is no such image.
        """
        every = range(len(self))
        try:
            rows = list(every[index]) if isinstance(index, slice) else [every[index]]
        except IndexError:
            rows = []
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
            trust=None if self.trust is None else tuple(self.trust[row] for row in rows),  # type: ignore[arg-type]
            again=None if self.again is None else self.again.of(rows),
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
        style = (style or Style()).but(**how)
        return self._page(style, image).image()

    def _page(self, style: Style, image: object = None) -> Page:
        """What `overlay` draws: pictures and text, and where they stand."""
        from gradcam_hooks.results.pages import page_of

        return page_of(self._laid(style, image), self.facts(), style)

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
        from gradcam_hooks.images.painting import floats

        return [[floats(one) for one in row] for row in self._laid(style or Style(), image)]

    def _laid(self, style: Style, image: object) -> list[list[Floats | Bytes]]:
        """The same, in 8 bits where that is all there is to it."""
        found: list[list[Floats | Bytes]] = []
        for ground, maps in self._on(image, style):
            painted = ((ground.painted(one, style), one) for one in maps)
            found.append([ground.draw(one, style) if it is None else it for it, one in painted])
        return found

    def _on(self, image: object, style: Style) -> Iterator[tuple[Ground, Tensor]]:
        """For each image what is drawn on, and its maps as they are coloured, in [0, 1]."""
        if image is not None and len(self) > 1:
            raise InputError(
                f"one image was given to draw {len(self)} explanations on; draw them one by one, "
                "as in result[0].overlay(image)."
            )
        for index in range(len(self)):
            maps = self._signed(index) if style.signed else self._each(index)
            yield self._ground(index, image), maps

    @with_style
    def plot(
        self,
        ax: object = None,
        *,
        image: object = None,
        style: Style | None = None,
        **how: Unpack[Drawing],
    ) -> Any:
        """The map on matplotlib's axes: text, boxes and outlines stay lines, the map a layer.

        Args:
            ax: one ``Axes``, or an array of them: a row an image, a column a target. By default
                those of a new figure.
            image: what to draw on, as in `overlay`.
            style: how; by default `Style` with ``caption=True``, which is the title.
            how: as in `overlay`; ``colorbar=True`` is matplotlib's own.

        Returns:
            The ``Axes``, or an array of them where there are several maps.

        Raises:
            InputError: the maps cannot be drawn, or there are more or fewer axes than maps.
            ImportError: there is no matplotlib.
        """
        from gradcam_hooks.results.plotting import axes_for, plotted

        style = (style or Style(caption=True)).but(**how)
        rows, facts = list(self._on(image, style)), self.facts()
        axes = axes_for(ax, len(rows), len(facts[0]))
        for (ground, maps), told, places in zip(rows, facts, axes, strict=True):
            for one, fact, place in zip(maps, told, places, strict=True):
                title = "\n".join(fact.lines()) if style.caption else ""
                plotted(place, ground, one, style, title)
        return axes if axes.size > 1 else axes[0, 0]

    def _each(self, index: int) -> Tensor:
        """The maps of one image, ``(targets, *space)``, on the CPU."""
        maps = self.maps[index].detach().cpu()
        return maps if self.scores.ndim == 2 else maps[None]

    def signed(self) -> Tensor:
        """The raw map with its sign at the input's size, each divided by its largest magnitude.

        Returns:
            float32 of the shape of `maps`, in [-1, 1]: what speaks for the score is above 0. Zeros
            where a raw map is not finite.

        Raises:
            InputError: several layers were fused, whose raw maps are several.
        """
        if isinstance(self.raw, tuple):
            raise InputError(
                f"signed maps are of one layer, and {len(self.raw)} were fused: {self.layers}. "
                "Explain one of them alone."
            )
        return signed(self.raw.detach(), self.maps.shape[self.scores.ndim :], self.place)

    def _signed(self, index: int) -> Tensor:
        """The signed maps of one image as they are coloured, in [0, 1] around 0.5."""
        maps = (self[index].signed()[0].cpu() + 1) / 2
        return maps if self.scores.ndim == 2 else maps[None]

    def _ground(self, index: int, image: object = None) -> Ground:
        """What the maps of one image are drawn on."""
        tensor = None if self.image is None else self.image[index]
        picture = None if self.pictures is None else self.pictures[index]
        return ground_of(Subject(image, picture, tensor), self.maps.shape[self.scores.ndim :])

    def facts(self) -> list[list[Facts]]:
        """What each map is a map of, in numbers and words: a list per image, of one per target."""
        return [list(row) for row in self._facts]

    @cached_property
    def _facts(self) -> list[list[Facts]]:
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
            checks=self.trust,
        )

    captions = facts
    """Its name in 0.2."""

    def check(self, *, seed: int = 0) -> Check[Explanation]:
        """A quick sanity test of each map: "trust", "doubt" or "do not trust", with the reasons.

        Does the map change where the network's head is drawn anew, and where another class is
        asked; does it beat a blob in the centre, its own reverse and its own blur in insertion; and
        does it stay where the image moves by a hair, or other random numbers are drawn. It takes
        some 15 explanations and a hundred forward passes. The network stays as it is.

        Args:
            seed: for the weights, the noise and the method's random numbers.

        Returns:
            ``.word`` and ``.reasons``, ``.words`` of every map; ``.explanation`` is this one with
            the words in its captions, its facts and in a notebook.

        Raises:
            InputError: the network is gone, or the explanation was copied or read back.
        """
        words = checked(self, seed=seed)
        return Check(words, dataclasses.replace(self, trust=words))

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
                ``.nii.gz`` hold the map of one volume, array axis for array axis as the input; of
                a scan, or of its slices, on the scan's own grid and with its affine.
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
            draw=lambda one: self._page(one, image),
            numbers=self._numbers,
            style=(style or Style()).but(**how),
            affine=affine,
            like=like,
            fps=fps,
            pictures=self.pictures,
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
