"""Outcomes: what came of one picture, to be written; of this process's network or another's.

An outcome that was packed is the same files in bytes, and can be sent from one machine to another.
This file knows explanations and what is drawn of them; no network, and of the folder of the
results only how a file in it is written.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from gradcam_hooks.apps.batch.drawn import Write, draw
from gradcam_hooks.apps.batch.reading import Ready
from gradcam_hooks.apps.batch.records import Record, record_of_all
from gradcam_hooks.errors import GradCamHooksError, InputError, ModelError
from gradcam_hooks.results.comparison import Comparison
from gradcam_hooks.results.drawing import Style
from gradcam_hooks.results.explanation import Explanation

__all__ = [
    "Broken",
    "Explained",
    "Failed",
    "Outcome",
    "Packed",
    "failed",
    "packed",
    "undrawn",
]

_LARGE = 12_000_000
"""Pixels from which on pictures are drawn one after the other."""

_ONE_LARGE = threading.Lock()


@dataclass(frozen=True)
class Broken:
    """There is no result, and why: the picture cannot be read, or not be drawn on."""

    reason: str


@dataclass(frozen=True)
class Failed:
    """What the network raised at a picture's input.

    Attributes:
        told: the error in words.
        shape: the input's.
        error: itself; None where it comes from elsewhere, and is none of the library's.
    """

    told: str
    shape: tuple[int, ...]
    error: Exception | None = None

    @property
    def reason(self) -> str:
        """What a record says of it."""
        ours = isinstance(self.error, GradCamHooksError)
        return self.told if ours else f"the network fails on it: {self.told}"

    def raised(self, path: Path) -> GradCamHooksError:
        """The error where the network fails on every picture, and this is the first."""
        if isinstance(self.error, GradCamHooksError):
            return self.error
        shape = (1, *self.shape)
        error = ModelError(
            f"the network fails on '{path}' as an input of shape {shape}: {self.told}"
        )
        error.__cause__ = self.error
        return error


def failed(error: Exception, shape: Sequence[int]) -> Failed:
    """The outcome of an input at which the network raised this."""
    ours = isinstance(error, GradCamHooksError)
    told = str(error) if ours else f"{type(error).__name__}: {error}"
    return Failed(told, tuple(shape), error)


@dataclass(frozen=True)
class Explained:
    """A picture that was explained, in one way or several, and is still to be drawn."""

    ready: Ready
    answer: Explanation | Comparison
    style: Style

    @property
    def notes(self) -> tuple[str, ...]:
        """What it has to say beside its maps."""
        if isinstance(self.answer, Comparison):
            return ()
        return (*self.answer.notes, *self.ready.told)

    def put(self, write: Write) -> Record:
        """Draw and write its files; its record, still without the folder that they are in.

        Raises:
            InputError: the maps have no height and width, which is no picture's fault.
            Exception: what else drawing and writing raise: no space, no memory.
        """
        image = self.ready.picture.image
        with _ONE_LARGE if image.width * image.height > _LARGE else nullcontext():
            every = draw(write, self.ready.task, image, self.answer, self.style)
        return replace(record_of_all(every), geometry=self.ready.geometry)


@dataclass(frozen=True)
class Packed:
    """A picture that was explained and drawn: its record, its notes and its files in bytes."""

    record: Record
    notes: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)

    def put(self, write: Write) -> Record:
        """Write its files; its record.

        Raises:
            OSError: the system refuses.
        """
        for name, content in self.files.items():
            with write(name) as part:
                part.write_bytes(content)
        return self.record


Outcome: TypeAlias = Broken | Failed | Explained | Packed
"""What came of a picture."""


def packed(outcome: Outcome) -> Broken | Failed | Packed:
    """The outcome with its files in bytes, drawn by way of a folder that goes again.

    Raises:
        InputError: as `Explained.put`.
    """
    if isinstance(outcome, Failed) and not isinstance(outcome.error, GradCamHooksError):
        return replace(outcome, error=None)  # the user's own may not be known elsewhere
    if not isinstance(outcome, Explained):
        return outcome
    files: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory(prefix="gradcam_hooks-") as folder:

        @contextmanager
        def write(name: str) -> Iterator[Path]:
            part = Path(folder) / f"part{Path(name).suffix}"
            yield part
            files[name] = part.read_bytes()

        try:
            return Packed(outcome.put(write), outcome.notes, files)
        except InputError:
            raise
        except Exception as error:  # no space, no memory
            return undrawn(error)


def undrawn(error: Exception) -> Broken:
    """The outcome of a picture that could not be drawn, or whose files could not be written."""
    return Broken(f"its overlay cannot be drawn: {error}")
