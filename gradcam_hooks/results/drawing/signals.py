"""Maps ``(length,)``: the signal's own line in the map's colours, over time, channel by channel.

The line and, fainter, the dark ground behind it are tinted as `blend` tints a photograph. Knows
signals as arrays ``(channels, length)`` and their axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from gradcam_hooks.errors import InputError
from gradcam_hooks.images.colors import Floats, blend, to_float
from gradcam_hooks.images.opencv import opencv
from gradcam_hooks.results import regions
from gradcam_hooks.results.drawing.axes import Axes, Span, Tick, beside, ticks, write
from gradcam_hooks.results.drawing.style import Style
from gradcam_hooks.results.drawing.subject import Ground, Subject

__all__ = ["Signal"]

_WIDTH = 960
_HEIGHT = 720
"""Of all channels together, in pixels; each has from 32 to 192 of them."""

_MOST = 64
"""Channels that are drawn at most; how many more there are is said."""

_GROUND, _INK = 0.06, 0.86
_FAINT = 0.4  # the ground's share of the tint
_GAP = 4
_SIZE = 13


@dataclass(frozen=True)
class Signal(Ground):
    """A signal to draw on.

    Attributes:
        values: ``(channels, length)``, in any range.
    """

    values: Floats
    side: ClassVar[int] = 720

    @classmethod
    def of(cls, subject: Subject, space: Sequence[int]) -> Signal:
        """The ground for maps of ``space``, which is ``(length,)``.

        Raises:
            InputError: there is no signal to draw on, or it has another length.
        """
        given = subject.tensor if subject.given is None else subject.given
        if isinstance(given, Tensor):
            given = given.float().numpy(force=True)
        if not isinstance(given, np.ndarray) or given.ndim not in (1, 2) or not given.size:
            shape = f" of shape {given.shape}" if isinstance(given, np.ndarray) else ""
            raise InputError(
                "a map (length,) is drawn on an array (channels, length) or (length,), "
                f"not on {type(given).__name__}{shape}. Pass one: result.overlay(signal)."
            )
        values = np.atleast_2d(np.asarray(given, np.float32))
        if values.shape[1] != space[0]:
            raise InputError(
                f"the signal is {values.shape[1]} long and the map {space[0]}; draw on the signal "
                "that was explained."
            )
        return cls(values)

    @property
    def _tall(self) -> int:
        """The height of a channel's row, in pixels."""
        return min(max(_HEIGHT // min(len(self.values), _MOST), 32), 192)

    def bare(self) -> Floats:
        """The signal alone, over its samples."""
        return self.draw(None, Style(alpha=0))

    def draw(self, heat: Tensor | None, style: Style) -> Floats:
        """The line of each channel in the map's colours, over a common time axis.

        Where a column of pixels holds several samples, it has the highest of their values.

        Args:
            heat: a map ``(length,)``; None for none.
            style: ``alpha`` is the map's weight in the line's colour, from grey to the map alone;
                ``boxes`` frame the spans where the map is high.

        Raises:
            InputError: outlines or slices are asked for, which a signal has not, or there are
                fewer names than channels.
        """
        style.flat("a signal")
        if style.contours:
            raise InputError("outlines are of pictures; boxes=True frames the spans of a signal.")
        axes = style.axes or Axes()
        channels, length = self.values.shape
        names = self.names(axes)
        drawn, tall = min(channels, _MOST), self._tall
        tint = np.full(_WIDTH, 0.5 if style.signed else 0, np.float32)
        if heat is not None:
            tint = _columns(heat.detach().cpu().float().numpy(), signed=style.signed)
        spans = self._spans(heat, style)
        rows, left = [], []
        for number, line in enumerate(self.values[:drawn]):
            low, high = _range(line, axes.y)
            row = _row(line, (low, high), tall, tint, style)
            if spans:
                from gradcam_hooks.images.marks import mark

                row = mark(row, spans)
            left += self._amplitudes((low, high), tall, number, axes)
            rows += [np.ones((_GAP, _WIDTH, 3), np.float32), row]
        whole = beside(
            np.concatenate(rows[1:]), _apart(left), ticks(_time(axes, length), _WIDTH, 84), _SIZE
        )
        return _titled(whole, names, tall, _SIZE if left else 0, channels - drawn)

    def names(self, axes: Axes) -> list[str]:
        """A name for each channel; none where a single one has none.

        Raises:
            InputError: there are more names or fewer.
        """
        channels = len(self.values)
        if axes.names is None:
            return [] if channels == 1 else [str(number) for number in range(channels)]
        if isinstance(axes.names, str) or len(axes.names) != channels:
            raise InputError(f"names= is a list of {channels}, a name for each channel.")
        return list(axes.names)

    def _spans(self, heat: Tensor | None, style: Style) -> list[tuple[int, int, int, int]]:
        """The boxes of the map's regions, in pixels of a channel's row."""
        if heat is None or not style.boxes:
            return []
        found = regions.boxes(regions.mask(heat, style), min_area=style.min_area)
        scale = _WIDTH / self.values.shape[1]
        return [
            (int(start * scale), 0, max(int(end * scale), int(start * scale) + 1), self._tall)
            for start, end in found
        ]

    @staticmethod
    def _amplitudes(limits: tuple[float, float], tall: int, number: int, axes: Axes) -> list[Tick]:
        """The ticks of one channel, as far as there is room for two."""
        if tall < 56:
            return []
        top = number * (tall + _GAP)
        low, high = limits
        unit = axes.y[2] if axes.y is not None and number == 0 else ""
        return [(top + tall - at, text) for at, text in ticks((low, high, unit), tall, 34)]


def _apart(marks: Sequence[Tick]) -> list[Tick]:
    """Without those that would be written over another: where two channels meet, the upper's stays.

    >>> _apart([(50.0, "-1"), (5.0, "1"), (95.0, "-1"), (54.0, "1")])
    [(5.0, '1'), (50.0, '-1'), (95.0, '-1')]
    """
    kept: list[Tick] = []
    for place, text in sorted(marks, key=lambda mark: mark[0]):
        if not kept or place - kept[-1][0] >= _SIZE:
            kept.append((place, text))
    return kept


def _time(axes: Axes, length: int) -> Span:
    """The time at the picture's left and right edge: sample i is drawn half a sample further."""
    if axes.x is not None:
        return axes.x
    rate, unit = (1.0, "samples") if axes.rate is None else (axes.rate, "s")
    return (-0.5 / rate, (length - 0.5) / rate, unit)


def _columns(heat: npt.NDArray[np.floating], *, signed: bool = False) -> Floats:
    """The map at each column of pixels: interpolated, or the highest of several samples.

    Of a signed map in [0, 1] the farthest from its middle.
    """
    length = len(heat)
    if length <= _WIDTH:
        centres = (np.arange(_WIDTH) + 0.5) * length / _WIDTH - 0.5
        return np.asarray(np.interp(centres, np.arange(length), heat), np.float32)
    starts = np.arange(_WIDTH) * length // _WIDTH
    high = np.maximum.reduceat(heat, starts)
    if signed:
        low = np.minimum.reduceat(heat, starts)
        high = np.where(high - 0.5 >= 0.5 - low, high, low)
    return np.asarray(high, np.float32)


def _range(line: Floats, given: Span | None) -> tuple[float, float]:
    """The amplitudes at the lower and the upper edge of a channel's row."""
    if given is not None:
        return min(given[:2]), max(given[:2])
    finite = line[np.isfinite(line)]
    if not finite.size:
        return -1.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    edge = 0.08 * (high - low) or max(abs(low), 1.0)
    return low - edge, high + edge


def _row(
    line: Floats, limits: tuple[float, float], tall: int, tint: Floats, style: Style
) -> Floats:
    """One channel as pixels."""
    drawn = _covered(line, limits, tall)[..., None]
    heat = np.broadcast_to(tint, (tall, _WIDTH))
    shape = (tall, _WIDTH, 3)
    weight = np.broadcast_to(np.asarray(style.weight(tint), np.float32), heat.shape)
    paper = blend(
        np.full(shape, _GROUND), heat, alpha=np.float32(_FAINT) * weight, colormap=style.colours
    )
    ink = blend(np.full(shape, _INK), heat, alpha=weight, colormap=style.colours)
    mixed: Floats = paper * (1 - drawn) + ink * drawn
    return mixed


def _covered(line: Floats, limits: tuple[float, float], tall: int) -> Floats:
    """How much of each pixel the line covers, in [0, 1]; samples that are not finite are gaps.

    Drawn at twice the size and averaged, because OpenCV's own smooth lines are beaded.
    """
    cv2 = opencv()

    low, high = limits
    finite = np.isfinite(line)
    x = 2 * (np.arange(len(line)) + 0.5) * _WIDTH / len(line) - 0.5
    y = 2 * (high - np.where(finite, line, 0)) / (high - low) * tall - 0.5
    points = np.stack([x, y.clip(-tall, 3 * tall)], axis=1) * 16  # cv2 takes sixteenths of pixels
    cuts = np.flatnonzero(np.diff(finite)) + 1
    parts = [
        part.round().astype(np.int32)
        for part, good in zip(np.split(points, cuts), np.split(finite, cuts), strict=True)
        if good[0]
    ]
    paper = np.zeros((2 * tall, 2 * _WIDTH), np.uint8)
    cv2.polylines(paper, parts, False, 255, 3, cv2.LINE_AA, 4)
    small = cv2.resize(to_float(paper), (_WIDTH, tall), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


def _titled(whole: Floats, names: Sequence[str], tall: int, top: int, more: int) -> Floats:
    """The channels' names on the left, each beside the middle of its row."""
    from gradcam_hooks.images.lettering import text_width

    if not names:
        return whole
    told = [*names[:_MOST], *([f"and {more} more"] if more else [])]
    gutter = min(max(text_width(name, _SIZE) for name in told), 200)
    paper = np.ones((whole.shape[0], gutter, 3), np.float32)
    for number, name in enumerate(names[:_MOST]):
        write(paper, name, (top + number * (tall + _GAP) + tall // 2, 0), _SIZE)
    if more:
        write(paper, told[-1], (whole.shape[0] - _SIZE, 0), _SIZE)
    return np.concatenate([paper, whole], axis=1)
