"""How maps are drawn: the one list of options of overlays, files, boards, figures and pages.

`Style` has them with their defaults and says what they mean; `Drawing` are the same as keywords,
and `with_style` shows them in the signature of what takes them.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, TypeVar, get_args

import numpy as np

from gradcam_hooks.checks import check_one_of, check_range
from gradcam_hooks.defaults import DEFAULT_ALPHA, DEFAULT_COLORMAP
from gradcam_hooks.errors import InputError, OptionError
from gradcam_hooks.images.palettes import (
    DIVERGING_COLORMAP,
    Colormap,
    Floats,
    settled,
)
from gradcam_hooks.results.drawing.axes import Axes
from gradcam_hooks.results.regions import Cut

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["CLASSIC", "Drawing", "Opacity", "Slices", "Style", "with_style"]

Slices: TypeAlias = int | Sequence[int] | Literal["even", "mass"]
"""Which slices of a volume are drawn: one by its number; several, as a montage; nine evenly
spaced; or nine where the map's mass lies, each standing for as much of it."""

Opacity = Literal["map", "even"]
"""Whether the map's weight follows the map, or is the same everywhere."""

_F = TypeVar("_F", bound=Callable[..., object])


class Drawing(TypedDict, total=False):
    """The options of `Style` as keywords; one that is None stays as it is."""

    alpha: float
    opacity: Opacity
    colormap: Colormap | None
    signed: bool
    colorbar: bool
    boxes: bool
    contours: bool
    threshold: float | None
    method: str
    quantile: float | None
    min_area: int
    caption: bool
    axes: Axes | None
    slice: Slices
    axis: int


@dataclass(frozen=True, kw_only=True)
class Style(Cut):
    """How a map is drawn; ``threshold``, ``method`` and ``quantile`` say which regions, as `mask`.

    Attributes:
        alpha: the map's weight, from 0 (the picture alone) to 1 (the map alone).
        opacity: ``"map"``: ``alpha`` is the weight where the map is 1, and in proportion to the map
            elsewhere, so that the picture stays bright where the network did not look;
            ``"even"``: the weight is the same everywhere.
        colormap: a name of `gradcam_hooks.images.COLORMAPS`, also with ``_r`` behind for the
            colours from the other end; another name of matplotlib's; or a colormap object.
        signed: draw the raw map with its sign, from -1 to 1 around no say at all: what speaks for
            the score in red and what speaks against it in blue, unless another colormap is named.
        colorbar: draw the scale beside the picture.
        boxes: draw the boxes of the map's regions, in cyan.
        contours: draw the outlines of the map's regions, in white.
        min_area: the least region that is drawn, in pixels.
        caption: say on a strip below what it is a picture of: target, score, probability, method,
            layer, and the diagnosis.
        axes: what columns and rows stand for, as `gradcam_hooks.Axes`: ticks are drawn beside a
            signal or a spectrogram.
        slice: which slices of a volume or frames of a video: one by its number, several as a
            montage; ``"even"``, nine evenly spaced; ``"mass"``, nine where the map is high.
        axis: the axis across which a volume is cut: 0 is depth or time.

    Raises:
        InputError: an option is out of its range, or a cut is asked for and nothing to draw of it.
    """

    alpha: float = DEFAULT_ALPHA
    opacity: Opacity = "map"
    colormap: Colormap = DEFAULT_COLORMAP
    signed: bool = False
    colorbar: bool = False
    boxes: bool = False
    contours: bool = False
    min_area: int = 1
    caption: bool = False
    axes: Axes | None = None
    slice: Slices = "even"
    axis: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(
            self.alpha, "alpha", 0, 1, ends="[]", what="the map's weight,", error=InputError
        )
        check_one_of(self.opacity, "opacity", get_args(Opacity), error=InputError)
        object.__setattr__(self, "colormap", settled(self.colormap))  # or raises
        cuts = (self.threshold, self.method, self.quantile) != (None, "threshold", None)
        if cuts and not (self.boxes or self.contours):
            raise InputError(
                "threshold=, method= and quantile= say where regions are cut; ask for boxes=True "
                "or contours=True to see them."
            )
        if self.signed and (self.boxes or self.contours):
            raise InputError(
                "boxes= and contours= are of the map from 0 to 1; leave them out with signed=True, "
                "or signed= out."
            )

    @property
    def colours(self) -> Colormap:
        """The colour map that is drawn with: of signed maps one that diverges from the middle."""
        if self.signed and self.colormap == DEFAULT_COLORMAP:
            return DIVERGING_COLORMAP
        return self.colormap

    def weight(self, heat: Floats) -> float | Floats:
        """The map's weight at each of its values in [0, 1], of which 0.5 is none where signed."""
        if self.opacity == "even":
            return self.alpha
        strength = np.abs(2 * heat - 1) if self.signed else heat
        weight: Floats = np.float32(self.alpha) * strength.clip(0, 1)
        return weight

    def but(self, **how: Unpack[Drawing]) -> Style:
        """The same style with these options.

        Raises:
            OptionError: there is no such option.
        """
        names = [one.name for one in fields(self)]
        for name in how:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                hint = f" Did you mean {near[0]}=?" if near else ""
                raise OptionError(
                    f"no option {name}= of drawing; there are {', '.join(names)}.{hint}"
                )
        changes: dict[str, Any] = {name: one for name, one in how.items() if one is not None}
        return replace(self, **changes)

    def flat(self, what: str) -> None:
        """Refuse the options of volumes, for ``what`` has no slices.

        Raises:
            InputError: slices were asked for.
        """
        if self.slice != "even" or self.axis != 0:
            raise InputError(f"slice= and axis= are for volumes; {what} has no slices.")


CLASSIC = Style(alpha=0.7, opacity="even", colormap="jet")
"""The look of most papers: jet, three parts picture and seven parts map everywhere."""


def with_style(function: _F) -> _F:
    """A function of ``**how: Unpack[Drawing]``, with these options in its signature for help().

    >>> @with_style
    ... def drawn(**how): ...
    >>> inspect.signature(drawn).parameters["alpha"].default
    0.7
    """
    own = inspect.signature(function)
    named = [one for one in own.parameters.values() if one.kind is not one.VAR_KEYWORD]
    for one in fields(Style):
        kind = inspect.Parameter.KEYWORD_ONLY
        named.append(inspect.Parameter(one.name, kind, default=one.default, annotation=one.type))
    setattr(function, "__signature__", own.replace(parameters=named))  # noqa: B010 (mypy)
    return function
