"""The viewer: one network, and what a page asks of it: its layers, its guesses, its maps.

Everything a user can get wrong ends in a `GradCamHooksError` whose text can be shown. One question
is answered at a time, since all pages share the network. This file knows models, pictures and
explanations; nothing of a page.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gradcam_hooks.defaults import MAX_PIXELS
from gradcam_hooks.errors import (
    GradCamHooksError,
    ImageError,
    InputError,
    ModelError,
    ProbabilityWarning,
)
from gradcam_hooks.explainers import explainer
from gradcam_hooks.images import Geometry, Picture, load_image
from gradcam_hooks.images.given import Prepare, PrepareSpec, as_prepare, input_shape
from gradcam_hooks.images.volumes import Volumes
from gradcam_hooks.layout.evidence import is_attention
from gradcam_hooks.layout.table import LayerRow, LayerTable
from gradcam_hooks.layout.table import layers as survey
from gradcam_hooks.methods import METHODS, Method, method_of
from gradcam_hooks.models import LoadedModel
from gradcam_hooks.network.final_softmax import remembering
from gradcam_hooks.network.outputs import OutputSpec, choose, class_logits
from gradcam_hooks.network.state import untouched
from gradcam_hooks.results.explanation import Explanation
from gradcam_hooks.results.facts import Prediction, ranked
from gradcam_hooks.runs.run import Progress

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Choice", "Opened", "Seen", "Viewer"]

GUESSES = 5
"""How many classes are offered."""

SIDE = 2048
"""The longer side, in pixels, of what is drawn on; a larger picture is shown smaller."""


@dataclass(frozen=True)
class Opened:
    """A picture that could be read, and what the network says it is, the surest first.

    There are no guesses where the network's output is not `(batch, classes)`.
    """

    image: Image.Image
    guesses: tuple[Prediction, ...]


@dataclass(frozen=True)
class Choice:
    """What a page asks of a picture.

    Attributes:
        layer: a dotted name.
        method: a name of `METHODS`.
        target: a class number or a label; empty for the predicted class.
    """

    layer: str
    method: str = "gradcam"
    target: str = ""


@dataclass(frozen=True)
class Seen:
    """An explanation of one picture.

    Attributes:
        explained: with a batch axis of one, on a picture of at most 2,048 pixels a side.
        seconds: how long it took, from the picture to the map.
        notes: what the method chose by itself, and what the library warned of.
    """

    explained: Explanation
    seconds: float
    notes: tuple[str, ...] = ()


class Viewer:
    """Answers what a page asks of one network.

    Args:
        loaded: the network.
        preprocess: how pictures are made ready; by default the network's own way.
        output: which part of the network's output to explain, as for `GradCAM`.
        max_pixels: of a picture at most.
        examples: pictures that the page offers.

    Attributes:
        forward: how many seconds a forward pass of the last picture took.

    Raises:
        ModelError: the network does not run on an input of that size, or has no layer with space.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        preprocess: PrepareSpec | None = None,
        output: OutputSpec = None,
        max_pixels: int = MAX_PIXELS,
        examples: Sequence[Path] = (),
    ) -> None:
        self.loaded = loaded
        self.examples = tuple(examples)
        self._max_pixels = max_pixels
        self.prepare = as_prepare(preprocess or loaded.preprocess)
        if isinstance(self.prepare, Volumes):
            raise InputError(
                "the page shows pictures, and this network takes volumes: 'gradcam-hooks explain "
                "scan.nii.gz' writes their maps"
            )
        self.output = output
        self.forward: float | None = None
        self._lock = threading.Lock()
        self.table: LayerTable = self._survey()
        if not self.layers:
            raise ModelError(
                f"no layer of '{loaded.name}' gives an output with space for an input of "
                f"{_size(self.prepare)}, so there is no map to show. 'gradcam-hooks layers' lists "
                "those that ran; --size asks for another input."
            )

    def _survey(self) -> LayerTable:
        pixels = torch.randn(
            (1, *input_shape(self.prepare)), generator=torch.Generator().manual_seed(0)
        ).to(self._like)
        what = "the network fails on an input of " + _size(self.prepare)
        with _told(what):
            try:
                return survey(self.loaded.model, pixels, output=self.output)
            except InputError as error:  # what does not fit it, told
                raise ModelError(f"{what}: {error}") from error

    @property
    def _like(self) -> torch.Tensor:
        return next(self.loaded.model.parameters(), torch.empty(0))

    @property
    def layers(self) -> tuple[LayerRow, ...]:
        """The layers that can be chosen: those with space, in the order in which they ran."""
        return tuple(row for row in self.table if row.spatial and row.name)

    @property
    def recommended(self) -> str:
        """The layer to begin with: what ``"auto"`` takes, else the last one with space."""
        return self.table.recommended or self.layers[-1].name

    @cached_property
    def methods(self) -> tuple[Method, ...]:
        """The methods that suit the network: those of attention only where it has any."""
        attends = any(map(is_attention, self.loaded.model.modules()))
        return tuple(row for row in METHODS.values() if attends or row.looks != "attention")

    def open(self, path: str | Path) -> Opened:
        """Read a picture, and what the network says it is.

        Raises:
            ImageError: it cannot be read; the message names the file without its folder.
            ModelError: the network fails on it.
        """
        path = Path(path)
        try:
            image = load_image(path, max_pixels=self._max_pixels)
        except ImageError as error:
            raise ImageError(str(error).replace(str(path), path.name)) from error
        with _told(f"'{path.name}' cannot be made ready"):
            pixels, _ = self.prepare(image)
        with self._lock, _told(f"the network fails on '{path.name}'"):
            started = time.perf_counter()
            guesses = self._guesses(pixels[None].to(self._like))
            self.forward = time.perf_counter() - started
        return Opened(image, guesses)

    def _guesses(self, pixels: torch.Tensor) -> tuple[Prediction, ...]:
        def work() -> torch.Tensor | None:
            with remembering(self.output):
                return class_logits(choose(self.loaded.model(pixels), self.output), 1)

        logits = untouched(self.loaded.model, work)
        if logits is None:  # a detector's; there are no classes to offer
            return ()
        return tuple(ranked(logits[0], self.loaded.labels, GUESSES))

    def look(self, opened: Opened, asked: Choice, progress: Progress | None = None) -> Seen:
        """Explain a picture.

        Args:
            opened: the picture.
            asked: what is asked of it.
            progress: told how many of how many steps are done, by methods of many passes.

        Raises:
            GradCamHooksError: the library's own, whose text says what to do; `ModelError` for
                whatever else the network raises.
        """
        method = method_of(asked.method)
        rows = [row for row in self.layers if row.name == asked.layer]
        words = asked.target.strip()
        cam = explainer(
            method.name,
            self.loaded.model,
            asked.layer,
            output=self.output,
            labels=self.loaded.labels,
            preprocess=self.prepare,
            progress=progress,
            call="all" if rows and rows[0].calls > 1 else None,
        )
        target = int(words) if words.removeprefix("-").isdecimal() else words or None
        with (
            self._lock,
            warnings.catch_warnings(record=True) as warned,
            _told(f"{method.title} fails here"),
        ):
            warnings.simplefilter("always", ProbabilityWarning)
            started = time.perf_counter()
            explained = cam(opened.image, target=target)
            seconds = time.perf_counter() - started
        notes = (*explained.notes, *(str(one.message) for one in warned))
        return Seen(_for_a_screen(explained), seconds, tuple(dict.fromkeys(notes)))


def _for_a_screen(explained: Explanation) -> Explanation:
    """The same maps on a picture that is drawn anew in a moment, and still fills a screen."""
    (picture,) = explained.pictures or (None,)
    if not isinstance(picture, Picture) or max(picture.image.size) <= SIDE:
        return explained
    small = picture.image.copy()
    small.thumbnail((SIDE, SIDE))
    old = picture.geometry
    across = (small.height / old.original[0], small.width / old.original[1])
    geometry = Geometry(
        (small.height, small.width),
        old.input,
        (old.scale[0] * across[0], old.scale[1] * across[1]),
        (old.offset[0] * across[0], old.offset[1] * across[1]),
    )
    return explained.on((Picture(small, geometry),))


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Whatever the network, Pillow or torchvision raise becomes an error with a text to show."""
    try:
        yield
    except GradCamHooksError:
        raise
    except Exception as error:  # the network is the user's code
        raise ModelError(f"{what}: {type(error).__name__}: {error}") from error


def _size(prepare: Prepare) -> str:
    return "x".join(map(str, input_shape(prepare)[1:])) + " pixels"
