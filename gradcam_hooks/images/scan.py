"""A scan: voxels with the place of each in the patient, and the slices that people look at.

Array axes are kept as the file has them; the affine says where they lead, as NIfTI does: to the
patient's right, anterior and superior, in millimetres. Slices are cut along the body's axes, and
lie as a radiologist sees them. Knows arrays; no file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gradcam_hooks.checks import check_range
from gradcam_hooks.errors import InputError
from gradcam_hooks.images.bands import Bands, carrying

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Plane", "Scan", "plane_of"]

_AXES = ("axial", "coronal", "sagittal")
_CODES = ("LR", "PA", "IS")
_Voxels = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Scan:
    """The voxels of a scan.

    Attributes:
        values: float32 ``(channels, depth, height, width)``, in the file's own units: slope and
            intercept are applied, and nothing is clipped.
        affine: 4x4, from array indices ``(depth, height, width)`` to millimetres, to the
            patient's right, anterior and superior.
        name: of the file.
        window: centre and width that the file names for looking at it, where it does.
        told: what was done in reading it, in sentences.
        span: the values that become 0 and 1 in a slice; by default the least and the greatest.
        stacked: whether the array's first axis goes from slice to slice as they were taken.
        clipped: whether values beyond a window were.
    """

    values: _Voxels
    affine: npt.NDArray[np.float64]
    name: str = "the scan"
    window: tuple[float, float] | None = None
    told: tuple[str, ...] = ()
    span: tuple[float, float] = (0.0, 0.0)
    stacked: bool = False
    clipped: bool = False

    def __post_init__(self) -> None:
        if self.span == (0.0, 0.0):
            span = float(self.values.min()), float(self.values.max())
            object.__setattr__(self, "span", span)

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.shape))
        return f"Scan('{self.name}', {shape} voxels of {self.spacing} mm, axes {self.axes})"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Depth, height and width of the array, in voxels."""
        _, depth, height, width = self.values.shape
        return depth, height, width

    @property
    def spacing(self) -> str:
        """Millimetres from voxel to voxel along each axis of the array."""
        return " x ".join(f"{one:.3g}" for one in np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def axes(self) -> str:
        """Where each axis of the array leads: R(ight) or L, A(nterior) or P, S(uperior) or I."""
        return "".join(_CODES[world][sign > 0] for world, sign in self._directions())

    def windowed(self, center: float, width: float) -> Scan:
        """The scan from ``center - width/2``, which becomes 0, to ``center + width/2``, 1, clipped.

        Raises:
            OptionError: the width is not above 0, or a number is not finite.

        >>> Scan(np.array([[[[-1000.0, 40, 240]]]], np.float32), np.eye(4)).windowed(40, 400).values
        array([[[[0. , 0.5, 1. ]]]], dtype=float32)
        """
        check_range(width, "width", 0, ends="(]")
        check_range(center, "center", -float("inf"))
        low = center - width / 2
        clipped = np.clip((self.values - low) / width, 0, 1).astype(np.float32)
        told = f"Values were windowed to center {center:g} and width {width:g}, 0 to 1."
        return replace(
            self,
            values=clipped,
            span=(0.0, 1.0),
            window=None,
            told=(*self.told, told),
            clipped=True,
        )

    def slice(self, number: int | None = None, axis: int | None = None) -> Image.Image:
        """One slice as a picture, whose numbers go from 0 to 1 without a loss or clipping.

        It lies as a radiologist sees it: the patient's right on the left, anterior or superior up.

        Args:
            number: as the array counts along that axis; by default the one in the middle.
            axis: 0 for axial slices, 1 for coronal ones, 2 for sagittal ones; by default as they
                were taken, of which NIfTI does not tell: axial.

        Raises:
            InputError: there is no such slice or axis.
        """
        plane = Plane(self, *self._numbered(number, axis))
        low, high = self.span
        cut = np.stack([plane.of(one) for one in self.values])
        scaled = ((cut - low) / ((high - low) or 1.0)).astype(np.float32)
        shown = scaled if len(scaled) == 3 else np.repeat(scaled[:1], 3, 0)
        pixels = np.floor(shown.clip(0, 1) * 255 + 0.5).astype(np.uint8)
        from PIL import Image

        picture = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        carrying(picture, Bands(scaled, len(scaled) in (1, 3), (*self.told, plane.told)))
        picture._plane = plane  # type: ignore[attr-defined]
        return picture

    def upright(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A view of an array of this shape, ``(axial, coronal, sagittal)`` slices.

        Rows of an axial slice lead to posterior and columns to the patient's left; axial slices
        are counted as the array has them.
        """
        directions = self._directions()
        order = [[world for world, _ in directions].index(world) for world in (2, 1, 0)]
        turned: npt.NDArray[Any] = np.transpose(array, order)
        flips = [directions[order[1]][1] > 0, directions[order[2]][1] > 0]
        return turned[:, :: -1 if flips[0] else 1, :: -1 if flips[1] else 1]

    @property
    def upward(self) -> bool:
        """Whether axial slices are counted from inferior to superior."""
        return next(sign for world, sign in self._directions() if world == 2) > 0

    @property
    def _across(self) -> int:
        """Across which of the body's axes slices were taken."""
        thin = [axis for axis, side in enumerate(self.shape) if side == 1]
        if len(thin) != 1 and not self.stacked:
            return 0
        return 2 - self._directions()[thin[0] if len(thin) == 1 else 0][0]

    def _numbered(self, number: int | None, axis: int | None) -> tuple[int, int]:
        if axis is None:
            axis = self._across
        if axis not in (0, 1, 2):
            raise InputError(f"axis= is 0 (axial), 1 (coronal) or 2 (sagittal), not {axis!r}.")
        count = self.upright(np.empty(self.shape, bool)).shape[axis]
        if number is None:
            return axis, count // 2
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise InputError(f"a slice is named by a whole number, not {number!r}.")
        if not -count <= number < count:
            raise InputError(
                f"'{self.name}' has {_AXES[axis]} slices 0 to {count - 1}, and none {number}."
            )
        return axis, int(number) % count

    def _directions(self) -> list[tuple[int, int]]:
        """Of each axis of the array the body's axis nearest to it, each once, and its sign."""
        matrix = self.affine[:3, :3]
        cosines = matrix / np.maximum(np.linalg.norm(matrix, axis=0), 1e-12)
        found = [(0, 1)] * 3
        left = np.abs(cosines)
        for _ in range(3):
            world, axis = divmod(int(left.argmax()), 3)
            found[axis] = world, 1 if cosines[world, axis] >= 0 else -1
            left[world], left[:, axis] = -1, -1
        return found


@dataclass(frozen=True, eq=False)
class Plane:
    """A slice of a scan, by its axis and its number."""

    scan: Scan
    axis: int
    number: int

    @property
    def told(self) -> str:
        """Which slice it is, in a sentence."""
        count = self.scan.upright(np.empty(self.scan.shape, bool)).shape[self.axis]
        what = f"Of '{self.scan.name}' the {_AXES[self.axis]} slice {self.number} of 0 to "
        if self.scan.clipped:
            return f"{what}{count - 1} was taken."
        (low, high), own = self.scan.span, self.scan.window
        window = f"; its own window is center {own[0]:g}, width {own[1]:g}" if own else ""
        return (
            f"{what}{count - 1} was taken; of the scan the values {low:g} to {high:g} became 0 to "
            f"1, nothing clipped{window}."
        )

    def of(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """This slice of an array of the scan's shape, as a view."""
        turned = self.scan.upright(array)
        directions = self.scan._directions()
        number = self.number
        toward = next(sign for world, sign in directions if world == 2 - self.axis)
        if self.axis and toward > 0:  # it is counted as the array does, which was turned round
            number = turned.shape[self.axis] - 1 - number
        cut: npt.NDArray[Any] = np.moveaxis(turned, self.axis, 0)[number]
        return cut[::-1] if self.axis and self.scan.upward else cut


def plane_of(image: object) -> Plane | None:
    """The slice that a picture is; None of any other picture."""
    found = getattr(image, "_plane", None)
    return found if isinstance(found, Plane) else None
