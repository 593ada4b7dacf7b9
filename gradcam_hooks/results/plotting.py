"""Maps on matplotlib's axes: vector text and boxes, a colour bar, to be zoomed and arranged.

What `Explanation.plot` and `Comparison.plot` do. matplotlib, the extra ``figures``, is imported
where it is used; nothing else of the library needs it. Knows maps and what they are drawn on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
from torch import Tensor

from gradcam_hooks.errors import InputError
from gradcam_hooks.images.palettes import colour_table
from gradcam_hooks.results import regions
from gradcam_hooks.results.drawing import Axes, Ground, Plane, Signal, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Plot
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Colormap, Normalize

__all__ = ["axes_for", "noted", "plotted"]

_INCHES = 3.2
"""How high a map is in a figure of our own."""

_CYAN, _WHITE = "cyan", "white"
_GREY = 0.75


def axes_for(given: object, rows: int, columns: int) -> npt.NDArray[np.object_]:
    """Axes ``(rows, columns)``: those that were given, or those of a new figure.

    Args:
        given: None, one ``Axes``, or an array or a list of as many as are needed.
        rows: how many are needed from top to bottom.
        columns: how many from left to right.

    Raises:
        InputError: they are more or fewer, or no axes.
        ImportError: there is no matplotlib.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plot() draws with matplotlib: pip install matplotlib") from error
    if given is None:
        size = (_INCHES * 1.25 * columns, _INCHES * rows)
        made = plt.subplots(rows, columns, squeeze=False, figsize=size, layout="constrained")
        return cast("npt.NDArray[np.object_]", made[1])
    found = np.array(given, dtype=object).reshape(-1)
    if found.size != rows * columns or not all(hasattr(one, "imshow") for one in found):
        shape = f"({rows}, {columns})" if rows * columns > 1 else "one"
        raise InputError(
            f"ax= is {shape} of matplotlib's axes, as plt.subplots gives them; "
            f"got {found.size} of {type(found[0]).__name__ if found.size else 'nothing'}."
        )
    return found.reshape(rows, columns)


def plotted(ax: Plot, ground: Ground, heat: Tensor, style: Style, title: str = "") -> None:
    """Draw one map.

    Args:
        ax: where.
        ground: what it is drawn on.
        heat: the map ``(*space)`` in [0, 1]; where the style is signed, around 0.5.
        style: how.
        title: a line or more above.
    """
    if isinstance(ground, Plane):
        colours = _plane(ax, ground, heat, style)
    elif isinstance(ground, Signal):
        colours = _signal(ax, ground, heat, style)
    else:
        ax.imshow(ground.draw(heat, style), interpolation="none")
        ax.set_axis_off()
        colours = _mappable(style)
    if title:
        ax.set_title(title, fontsize="small", loc="left")
    if style.colorbar:
        ticks = [-1, 0, 1] if style.signed else [0, 0.5, 1]
        beside = ax.inset_axes((1.03, 0.0, 0.04, 1.0))  # as high as the map
        cast("Any", ax.figure).colorbar(colours, cax=beside, ticks=ticks)


def noted(ax: Plot, reason: str) -> None:
    """Say in the place of a map why there is none."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, reason, ha="center", va="center", wrap=True, fontsize="small")


def _colours(style: Style) -> tuple[Colormap, Normalize]:
    from matplotlib.colors import ListedColormap, Normalize

    low = -1.0 if style.signed else 0.0
    return ListedColormap(colour_table(style.colours)), Normalize(low, 1.0)


def _mappable(style: Style) -> ScalarMappable:
    from matplotlib.cm import ScalarMappable

    colours, scale = _colours(style)
    return ScalarMappable(scale, colours)


def _values(heat: npt.NDArray[np.float32], style: Style) -> npt.NDArray[np.float32]:
    """The numbers that the scale has: of a signed map from -1 to 1."""
    return 2 * heat - 1 if style.signed else heat


def _plane(ax: Plot, ground: Plane, heat: Tensor, style: Style) -> ScalarMappable:
    """A picture, the map at its place on it as a layer of its own, boxes and outlines as lines."""
    style.flat("a picture")
    placed, seen = ground.geometry.place(heat), ground.geometry.seen_mask()
    colours, scale = _colours(style)
    height, width = placed.shape
    extent, rows = (-0.5, width - 0.5, height - 0.5, -0.5), slice(None)
    where: dict[str, Any] = {"interpolation": "none", "extent": extent}
    if style.axes is not None:
        where, rows = _spanned(ax, style, (height, width))
    weight = np.broadcast_to(np.asarray(style.weight(placed), np.float32), placed.shape)
    ax.imshow(ground.pixels[rows], **where)
    layer = ax.imshow(
        np.ma.masked_array(_values(placed, style), ~seen)[rows],
        cmap=colours,
        norm=scale,
        alpha=np.where(seen, weight, 0)[rows],
        **where,
    )
    if style.axes is None:
        ax.set_axis_off()
    if style.boxes or style.contours:
        if style.axes is not None:
            raise InputError("boxes= and contours= are in pixels; leave axes= out with them.")
        _marks(ax, regions.mask(placed, style, seen), style)
    return layer


def _spanned(ax: Plot, style: Style, size: tuple[int, int]) -> tuple[dict[str, Any], slice]:
    """Where a picture stands whose columns and rows have values, and in which order its rows."""
    axes = style.axes or Axes()
    if axes.names is not None:
        raise InputError("names= are of the channels of a signal; of a picture leave them out.")
    x = axes.across(size[1]) or (0.0, float(size[1]), "")
    bottom, top, unit = float(size[0]), 0.0, ""  # rows are counted from the top
    if axes.y is not None:
        (bottom, top), unit = sorted(axes.y[:2]), axes.y[2]
    ax.set_xlabel(x[2])
    ax.set_ylabel(unit)
    turned = axes.y is not None and axes.y[0] < axes.y[1]
    where = {"interpolation": "none", "aspect": "auto", "extent": (x[0], x[1], bottom, top)}
    return where, slice(None, None, -1 if turned else 1)


def _marks(ax: Plot, high: npt.NDArray[np.bool_], style: Style) -> None:
    from matplotlib.patches import Polygon, Rectangle

    if style.contours:
        for line in regions.contours(high, min_area=style.min_area):
            ax.add_patch(Polygon(line, closed=True, fill=False, edgecolor=_WHITE))
    if style.boxes:
        for left, top, right, bottom in regions.boxes(high, min_area=style.min_area):
            size = (right - left, bottom - top)
            ax.add_patch(Rectangle((left - 0.5, top - 0.5), *size, fill=False, edgecolor=_CYAN))


def _signal(ax: Plot, ground: Signal, heat: Tensor, style: Style) -> ScalarMappable:
    """The line of each channel in the map's colours; several one above the other, by name."""
    from matplotlib.collections import LineCollection

    style.flat("a signal")
    if style.contours:
        raise InputError("outlines are of pictures; boxes=True frames the spans of a signal.")
    axes = style.axes or Axes()
    channels, length = ground.values.shape
    start, end, unit = axes.across(length) or (-0.5, length - 0.5, "samples")
    time = start + (np.arange(length) + 0.5) * (end - start) / length
    array = heat.detach().cpu().float().numpy()
    weight = np.broadcast_to(np.asarray(style.weight(array)), length)
    colours, scale = _colours(style)
    tint = np.asarray(colours(scale(_values(array, style))))[:, :3] * weight[:, None]
    tint += _GREY * (1 - weight[:, None])
    for line in _stacked(ground.values):
        points = np.stack([time, line], axis=1)
        pieces = np.stack([points[:-1], points[1:]], axis=1)
        ax.add_collection(LineCollection(list(pieces), colors=(tint[:-1] + tint[1:]) / 2))
    if style.boxes:
        for first, last in regions.boxes(regions.mask(heat, style), min_area=style.min_area):
            edges = (start + np.array([first, last]) * (end - start) / length).tolist()
            ax.axvspan(*edges, fill=False, edgecolor=_CYAN)
    ax.autoscale_view()
    ax.set_xlim(start, end)
    ax.set_xlabel(unit)
    if channels > 1:
        ax.set_yticks([0.5 - number for number in range(channels)], ground.names(axes))
    elif axes.y is not None:
        ax.set_ylim(*sorted(axes.y[:2]))
        ax.set_ylabel(axes.y[2])
    return _mappable(style)


def _stacked(values: npt.NDArray[np.float32]) -> Sequence[npt.NDArray[np.float32]]:
    """One channel as it is; several, each in a row of height 1, the first on top."""
    if len(values) == 1:
        return list(values)
    rows = []
    for number, line in enumerate(values):
        finite = line[np.isfinite(line)]
        low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
        rows.append((line - low) / max(high - low, 1e-12) * 0.9 + 0.05 - number)
    return rows
