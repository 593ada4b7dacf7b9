"""The result: maps, the numbers behind them, what was explained, and what is wrong with a map.

An `Explanation` is frozen and carries where it came from. It draws itself on the picture that was
explained and saves itself whole. It knows tensors and pictures, no model and no hook.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gradcam_hooks.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

    from gradcam_hooks.images.colors import Floats
    from gradcam_hooks.images.geometry import Geometry

__all__ = ["Diagnosis", "Explanation", "Picture", "diagnose"]


class Diagnosis(str):
    """A word on one map, with the message behind it.

    The words: ``"ok"``, ``"all-negative"``, ``"zero-gradient"``, ``"constant"``, ``"non-finite"``.

    Attributes:
        message: the likely cause and the next step; empty for ``"ok"``.
    """

    __slots__ = ("message",)
    message: str

    def __new__(cls, word: str, message: str = "") -> Diagnosis:
        """The word, and the message behind it."""
        self = super().__new__(cls, word)
        self.message = message
        return self


_MESSAGES = {
    "ok": "",
    "all-negative": (
        "every position speaks against this class, so nothing is left after the ReLU. The signed "
        "map is in .raw; ask for another class (target=), or look at the score."
    ),
    "zero-gradient": (
        "no gradient of this score reaches the layer, so it has no say in it: a saturated "
        "softmax or sigmoid, dead ReLUs, or a last block of which the head reads one token. "
        "Explain the logit, or a layer that it reaches; gradcam_hooks.layers(model, x) shows them."
    ),
    "constant": (
        "the map has the same value everywhere (or a single position), so it points nowhere. Take "
        "an earlier layer; gradcam_hooks.layers(model, x) lists those with space."
    ),
    "non-finite": (
        "the map has a NaN or an infinity, so it is blank. Look for it in the input and the "
        "weights, or run in float32."
    ),
}


def diagnose(
    raw: Sequence[Tensor], zero: Tensor, blank: Tensor, hints: Mapping[str, str]
) -> list[Diagnosis]:
    """A word for each map.

    Args:
        raw: the signed maps of each layer, ``(maps, *layer_space)``.
        zero: whether no gradient reached any layer, bool ``(maps,)``.
        blank: whether the finished map is all zeros, bool ``(maps,)``.
        hints: by word, what is known of this model beyond the message of that word.
    """
    finite = torch.stack([one.flatten(1).isfinite().all(1) for one in raw]).all(0)
    negative = torch.stack([one.flatten(1).amax(1) <= 0 for one in raw]).all(0)
    some = torch.stack([one.flatten(1).amin(1) < 0 for one in raw]).any(0)
    words = []
    rows = torch.stack([finite, zero, negative & some, blank]).T.tolist()
    for is_finite, is_zero, is_negative, is_blank in rows:
        word = "ok"
        if not is_finite:
            word = "non-finite"
        elif is_zero:
            word = "zero-gradient"
        elif is_blank:
            word = "all-negative" if is_negative else "constant"
        words.append(Diagnosis(word, f"{_MESSAGES[word]} {hints.get(word, '')}".strip()))
    return words


@dataclass(frozen=True)
class Picture:
    """The picture an input came from: its pixels before preprocessing, and the way back to them."""

    image: Image.Image
    geometry: Geometry


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
    image: Tensor | None = dataclasses.field(default=None, repr=False)
    pictures: tuple[Picture, ...] | None = dataclasses.field(default=None, repr=False)

    def __repr__(self) -> str:
        what = f"maps {tuple(self.maps.shape)}, {self.method} of {', '.join(self.layers)}"
        words = ", ".join(sorted(set(self._words())))
        return f"Explanation({what}, target {self._targets()}, diagnosis {words})"

    def _targets(self) -> str:
        if self.target is None:
            return "a function"
        numbers = self.target.tolist()
        return str(numbers if self.target.numel() <= 10 else f"of shape {tuple(self.target.shape)}")

    def _words(self) -> Iterator[Diagnosis]:
        for one in self.diagnosis:
            if isinstance(one, Diagnosis):
                yield one
            else:
                yield from one

    def __len__(self) -> int:
        return len(self.maps)

    def __iter__(self) -> Iterator[Explanation]:
        return (self[index] for index in range(len(self)))

    def on(self, pictures: tuple[Picture, ...]) -> Explanation:
        """The same explanation with the pictures that its inputs came from."""
        return dataclasses.replace(self, pictures=pictures)

    def __getitem__(self, index: int) -> Explanation:
        """The explanation of one image, still with its batch axis of one."""
        index = range(len(self))[index]
        one = slice(index, index + 1)
        raw = tuple(r[one] for r in self.raw) if isinstance(self.raw, tuple) else self.raw[one]
        return dataclasses.replace(
            self,
            maps=self.maps[one],
            raw=raw,
            scores=self.scores[one],
            target=None if self.target is None else self.target[one],
            output=_item(self.output, index, len(self)),
            diagnosis=self.diagnosis[one],
            image=None if self.image is None else self.image[one],
            pictures=None if self.pictures is None else self.pictures[one],
        )

    def overlay(
        self,
        image: object = None,
        *,
        alpha: float = 0.5,
        colormap: str | None = None,
    ) -> Image.Image:
        """The map drawn on the picture: RGB, at the picture's own size.

        Args:
            image: what to draw on: a PIL image, a path, or an RGB array ``(height, width, 3)``,
                uint8 or float in [0, 1]; by default the picture that was explained, and where a
                tensor was, that tensor scaled to [0, 1] for the eye.
            alpha: the map's weight, from 0 (the picture alone) to 1 (the map alone).
            colormap: a name of `gradcam_hooks.images.COLORMAPS`.

        Returns:
            One picture. Several maps become a contact sheet, a row an image, a column a target.

        Raises:
            InputError: the maps are not two-dimensional, or ``image`` is of no known kind.
        """
        from PIL import Image

        from gradcam_hooks.images.colors import to_uint8

        return Image.fromarray(to_uint8(self._drawn(image, alpha, colormap)))

    def _drawn(self, image: object, alpha: float, colormap: str | None) -> Floats:
        from gradcam_hooks.images.sheets import sheet

        if image is not None and len(self) > 1:
            raise InputError(
                f"one image was given to draw {len(self)} explanations on; draw them one by one, "
                "as in result[0].overlay(image)."
            )
        rows = [self._row(i, image, alpha, colormap) for i in range(len(self))]
        return rows[0][0] if len(rows) == 1 and len(rows[0]) == 1 else sheet(rows)

    def _row(self, index: int, image: object, alpha: float, colormap: str | None) -> list[Floats]:
        """The overlays of one image's maps, float RGB in [0, 1]."""
        from gradcam_hooks.images.colors import DEFAULT_COLORMAP, blend
        from gradcam_hooks.images.geometry import Geometry

        maps = self.maps[index].cpu()
        lead = maps.ndim - 2
        if lead not in (0, 1) or lead != self.scores.ndim - 1:
            raise InputError(
                f"an overlay needs maps of (height, width), these are {tuple(self.maps.shape[1:])}."
            )
        picture = self.pictures[index] if self.pictures is not None else None
        if image is None and picture is None:
            canvas = _displayed(self.image, index)
        else:
            canvas = _canvas(image if image is not None or picture is None else picture.image)
        size = (canvas.shape[0], canvas.shape[1])
        if picture is not None and picture.geometry.original == size:
            geometry = picture.geometry
        else:
            geometry = Geometry.stretched(size, (maps.shape[-2], maps.shape[-1]))
        return [
            blend(
                canvas,
                geometry.place(one.numpy()),
                alpha=alpha,
                colormap=colormap or DEFAULT_COLORMAP,
                seen=geometry.seen_mask(),
            )
            for one in (maps if lead else maps[None])
        ]

    def save(
        self,
        path: str | Path,
        *,
        image: object = None,
        alpha: float = 0.5,
        colormap: str | None = None,
    ) -> Path:
        """Write the overlay (``.png``, ``.jpg``, ...) or all the numbers (``.npz``), whole or not.

        Raises:
            ImageError: a suffix that neither Pillow nor NumPy writes.
        """
        from gradcam_hooks.images import save_image
        from gradcam_hooks.images.files import write_whole

        path = Path(path)
        if path.suffix.lower() != ".npz":
            save_image(path, self._drawn(image, alpha, colormap))
            return path
        with write_whole(path) as temporary:
            np.savez_compressed(temporary, allow_pickle=False, **self._numbers())
        return path

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

    def _repr_png_(self) -> bytes:
        import io

        data = io.BytesIO()
        self.overlay().save(data, format="PNG")
        return data.getvalue()


def _canvas(image: object) -> Floats:
    """Whatever the user draws on as float RGB in [0, 1], ``(height, width, 3)``."""
    from PIL import Image

    from gradcam_hooks.images import load_image
    from gradcam_hooks.images.colors import to_float

    if isinstance(image, str | Path | Image.Image):
        return to_float(load_image(image))
    if isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 3:
        return to_float(image) if image.dtype == np.uint8 else image.astype(np.float32)
    shape = f" of shape {image.shape}" if isinstance(image, np.ndarray) else ""
    raise InputError(
        "draw on a PIL image, a path, or an RGB array (height, width, 3), "
        f"not on {type(image).__name__}{shape}."
    )


def _displayed(image: Tensor | None, index: int) -> Floats:
    """A tensor scaled to [0, 1] for the eye, ``(height, width, 3)``."""
    if image is None or image.ndim != 4 or image.shape[1] not in (1, 3):
        raise InputError(
            "there is no picture to draw on: the input was no tensor (batch, 1 or 3, height, "
            "width). Pass one: result.overlay(image)."
        )
    pixels = image[index].detach().float().cpu()
    low, high = pixels.amin(), pixels.amax()
    scaled = (pixels - low) / (high - low) if high > low else torch.zeros_like(pixels)
    return scaled.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()


def _item(output: object, index: int, batch: int) -> object:
    from torch.utils._pytree import tree_map_only

    def one(tensor: Tensor) -> Tensor:
        return tensor[index : index + 1] if tensor.ndim and len(tensor) == batch else tensor

    result: object = tree_map_only(Tensor, one, output)
    return result
