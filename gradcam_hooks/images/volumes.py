"""Volumes: scans made ready for a network of three axes, with the way back to the scan.

`load_scan` reads NIfTI and DICOM, `Volumes` makes inputs of scans as `Preprocess` does of
pictures, and a `ScanPicture` keeps scan and place together, as a `Picture` does: maps are drawn on
the scan, and saved in its own space.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeGuard, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from gradcam_hooks.errors import GradCamHooksError, ImageError, InputError
from gradcam_hooks.images.dicom import read_dicom, read_series
from gradcam_hooks.images.files import is_dicom, is_nifti, nearest_file, no_file
from gradcam_hooks.images.limits import allowed
from gradcam_hooks.images.nifti import is_image, read_nifti
from gradcam_hooks.images.scan import Scan

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Place", "ScanPicture", "Volumes", "is_scan", "load_scan"]

_HEAD = 132
"""Bytes in which a file of DICOM says that it is one."""

_VOXELS = 4
"""Voxels of a scan for each pixel of a picture that is allowed."""

_STEPS = (0.5, 0.25, 0.75, 0.375, 0.625, 0.125, 0.875)
"""Where along an axis the scans that tell coordinates grow bright, until three are seen."""

_BENT = 0.2
"""How far across an axis an input of such may be from one brightness."""

_SEEN = 0.1
"""The least difference of what shows something of the scan, of the largest."""

_NEAR = 0.75
"""How far from a straight line these may be found, in voxels of the input."""


def is_scan(given: object) -> TypeGuard[str | os.PathLike[str] | bytes | IO[bytes] | Scan]:
    """Whether it is NIfTI or DICOM: a file, a folder of slices, nibabel's image; of DICOM also
    bytes, or opened.
    """
    if isinstance(given, bytes | bytearray):
        return is_dicom(given)
    if hasattr(given, "read") and hasattr(given, "seek"):
        file = cast("IO[bytes]", given)
        at = file.tell()
        head = file.read(_HEAD)
        file.seek(at)
        return isinstance(head, bytes) and is_dicom(head)
    if not isinstance(given, str | os.PathLike):
        return isinstance(given, Scan) or is_image(given)
    path = Path(given)
    if path.is_dir():
        return any(one.is_file() and is_dicom(one) for one in path.iterdir())
    return is_nifti(path) or is_dicom(path)


def load_scan(
    source: str | os.PathLike[str] | bytes | IO[bytes], *, max_pixels: int | None = None
) -> Scan:
    """The scan in a NIfTI file, a DICOM file or a folder of the slices of one DICOM series.

    Slope and intercept are applied, slices are put in order, nothing is clipped or turned.

    Args:
        source: the file or the folder, or what ``nibabel.load`` gave; of one DICOM file also its
            bytes, or opened.
        max_pixels: as `load_image`'s; of a scan four times as many voxels are read.

    Raises:
        ImportError: nibabel, for NIfTI, or pydicom, for DICOM, is not installed.
        ImageError: there is no such file, it is damaged, too large, or no scan.
    """
    most = _VOXELS * allowed(max_pixels)
    if is_image(source):
        return read_nifti(source, most)
    if not isinstance(source, str | os.PathLike):
        data = source if isinstance(source, bytes | bytearray) else source.read()
        return read_dicom(bytes(data), most)
    path = Path(source)
    if path.is_dir():
        return read_series(path, most)
    if reason := no_file(path):
        near = nearest_file(path) if reason == "is not there" else ""
        raise ImageError(f"'{path}' {reason}, expected a scan{near}")
    if path.stat().st_size == 0:
        raise ImageError(f"'{path}' is empty (0 bytes), expected a scan; copy it here again")
    if is_nifti(path):
        return read_nifti(path, most)
    if is_dicom(path):
        return read_dicom(path, most)
    raise ImageError(
        f"'{path}' is no scan; expected NIfTI (.nii, .nii.gz), DICOM (.dcm), or a folder of DICOM"
    )


@dataclass(frozen=True)
class Place:
    """Where an input lies on a scan: voxel edge ``i`` of it lies at ``offset + scale * i``.

    Attributes:
        size: the input's depth, height and width.
        scale: voxels of the scan in one of the input, along each axis.
        offset: where its first voxel begins on the scan, along each axis.
    """

    size: tuple[int, int, int]
    scale: tuple[float, float, float]
    offset: tuple[float, float, float]

    def onto(self, heat: Tensor, shape: Sequence[int]) -> npt.NDArray[np.float32]:
        """A map of the input on the scan's own grid; 0 where the input shows nothing of it."""
        one = heat.detach().cpu().float()
        whole = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
        if tuple(one.shape) == tuple(shape) and (self.scale, self.offset) == whole:
            found: npt.NDArray[np.float32] = one.numpy()
            return found
        lines, inside = [], []
        for side, there, scale, offset in zip(
            shape, one.shape, self.scale, self.offset, strict=True
        ):
            at = (torch.arange(side, dtype=torch.float32) + 0.5 - offset) / scale
            inside.append((at > 0) & (at < there))
            lines.append(2 * at / there - 1)
        grid = torch.stack(torch.meshgrid(*lines, indexing="ij")[::-1], -1)
        laid = functional.grid_sample(
            one[None, None], grid[None], padding_mode="border", align_corners=False
        )[0, 0]
        seen = inside[0][:, None, None] & inside[1][:, None] & inside[2]
        return np.asarray(laid * seen)


@dataclass(frozen=True, eq=False)
class ScanPicture:
    """The scan that an input came from, and where the input lies on it."""

    scan: Scan
    place: Place

    @property
    def image(self) -> Image.Image:
        """The slice in the middle."""
        return self.scan.slice()

    @property
    def told(self) -> tuple[str, ...]:
        """What was done in reading it, in sentences."""
        size = _told(self.place.size)
        went = f"It went in as {size}, array axis for array axis."
        return (*self.scan.told, went)


@dataclass(frozen=True)
class Volumes:
    """Scans made ready for a network that takes ``(channels, depth, height, width)``.

    The array's axes stay as the file has them, and so do its values, unless something is said.

    Attributes:
        channels: how many the network takes.
        size: depth, height and width to which a scan is resized, trilinear; None leaves it.
        mean: subtracted from the values; a number for all, or one for each channel.
        std: what they are divided by then.
        given: a function of one's own in the place of these three, from a float32 tensor
            ``(channels, depth, height, width)`` to one; where its result lies on the scan is found
            by running it on scans of coordinates.
    """

    channels: int = 1
    size: tuple[int, int, int] | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    given: Callable[..., object] | None = None
    _known: dict[tuple[int, ...], Place] = field(default_factory=dict, repr=False, compare=False)

    def __str__(self) -> str:
        """In words.

        >>> print(Volumes(size=(32, 64, 64)))
        a scan's own values, resized to 32 x 64 x 64, mean 0, std 1
        """
        if self.given is not None:
            return getattr(self.given, "__qualname__", None) or type(self.given).__name__
        size = "as large as it is" if self.size is None else "resized to " + _told(self.size)
        mean, std = (", ".join(f"{one:g}" for one in many) for many in (self.mean, self.std))
        return f"a scan's own values, {size}, mean {mean}, std {std}"

    def __call__(self, scan: object) -> tuple[Tensor, Place]:
        """The input ``(channels, depth, height, width)``, and where it lies on the scan.

        Raises:
            InputError: it is no scan, has other channels, or cannot be placed.
        """
        if not isinstance(scan, Scan):
            raise InputError(
                f"this network takes volumes ({self.channels}, depth, height, width), and a "
                f"{type(scan).__name__} came: give a NIfTI file, a DICOM series, or a tensor."
            )
        values = torch.from_numpy(scan.values)
        if self.given is not None:
            made = self._made(values)
            return made, self._placed(values, made)
        if len(values) != self.channels:
            raise InputError(
                f"'{scan.name}' has {len(values)} channels, and the network takes {self.channels}. "
                "Several scans of one patient are stacked to (1, channels, depth, height, width) "
                "and given as a tensor, or by preprocess=."
            )
        mean, std = (torch.tensor(many).view(-1, 1, 1, 1) for many in (self.mean, self.std))
        made = (values - mean) / std
        if self.size is not None:
            made = functional.interpolate(made[None], self.size, mode="trilinear")[0]
        return made, _whole(scan.shape, made)

    def _made(self, values: Tensor) -> Tensor:
        assert self.given is not None
        try:
            found = self.given(values)
        except GradCamHooksError:
            raise
        except Exception as error:  # the user's code may raise anything
            raise InputError(
                f"preprocess= fails on a scan: {type(error).__name__}: {error}. It is called with "
                f"a float32 tensor (channels, depth, height, width), here {tuple(values.shape)}."
            ) from error
        made = torch.from_numpy(found) if isinstance(found, np.ndarray) else found
        if isinstance(made, Tensor):
            made = made.detach().as_subclass(Tensor)
            if made.ndim == 5 and len(made) == 1:
                made = made[0]
            made = made[None] if made.ndim == 3 else made
        if not isinstance(made, Tensor) or made.ndim != 4 or not made.is_floating_point():
            what = (
                f"{tuple(made.shape)} of {made.dtype}" if isinstance(made, Tensor) else type(made)
            )
            raise InputError(
                "preprocess= returns a floating-point tensor (channels, depth, height, width) of a "
                f"scan, and this one returned {what}."
            )
        return made

    def _placed(self, values: Tensor, made: Tensor) -> Place:
        """Where an input lies, by scans that are dark up to a place and bright behind it."""
        key = (*values.shape, *made.shape)
        if key not in self._known:
            low, high = float(values.min()), float(values.max())
            low, high = (low, high) if high > low else (0.0, 1.0)
            axes = [self._axis(values, made, axis, low, high) for axis in range(3)]
            size = (made.shape[1], made.shape[2], made.shape[3])
            scales, offsets = zip(*axes, strict=True)
            self._known[key] = Place(size, scales, offsets)
        return self._known[key]

    def _axis(
        self, values: Tensor, made: Tensor, axis: int, low: float, high: float
    ) -> tuple[float, float]:
        """Scale and offset along one axis."""
        side, there = values.shape[axis + 1], made.shape[axis + 1]
        if side == there == 1:
            return 1.0, 0.0
        sources, found = [], []
        for share in _STEPS:
            at = max(1, min(side - 1, round(side * share)))
            step = torch.full_like(values, low)
            step.narrow(axis + 1, at, side - at).fill_(high)
            line = _edge(self._made(step), self._made(high + low - step), made.shape, axis)
            if line is not None and at not in sources:
                sources.append(at)
                found.append(line)
            if len(found) == 3:
                break
        if len(found) < 2 and side == there:
            return 1.0, 0.0
        if len(found) < 2:
            raise InputError(_UNPLACED)
        scale, offset = np.polyfit(found, sources, 1)
        apart = np.abs(scale * np.array(found) + offset - sources).max() / abs(scale)
        if scale <= 0 or apart > _NEAR:
            raise InputError(_UNPLACED)
        for usual in ((side / there, 0.0), (1.0, float(round(offset)))):
            ends = [usual[1] - offset, usual[1] + usual[0] * there - offset - scale * there]
            if max(map(abs, ends)) <= _NEAR * scale + 0.5:
                return usual
        resized = side / max(1, round(side / scale))  # and cropped or padded then
        return resized, float(round(offset / resized)) * resized


_UNPLACED = (
    "where the map lies on the scan cannot be told: preprocess= turns, mirrors or bends it, or "
    "looks at what is in it to choose what it shows. Give the tensor that it makes, and say where "
    "the map lies in save('map.nii.gz', affine=...)."
)


def _edge(made: Tensor, other: Tensor, shape: torch.Size, axis: int) -> float | None:
    """Where an input grows bright along an axis, in voxels from its edge; None where it does not.

    Args:
        made: of a scan that is bright behind a place.
        other: of one that is dark there; where the two are alike, the input shows nothing of it.
        shape: of the input.
        axis: along which.

    Raises:
        InputError: it does so along another axis, or backwards.
    """
    if made.shape != shape or other.shape != shape:
        raise InputError(_UNPLACED)
    apart = (made - other).double().mean(0)
    top = float(apart.abs().max())
    if top < 1e-6:
        raise InputError(_UNPLACED)
    others = [one for one in range(3) if one != axis]
    seen = apart.abs() > _SEEN * top
    first = 0
    for one in range(3):
        known = seen.any(max({0, 1, 2} - {one})).any(min({0, 1, 2} - {one})).nonzero().flatten()
        start, length = int(known[0]), int(known[-1] - known[0]) + 1
        apart = apart.narrow(one, start, length)
        first = start if one == axis else first
    cut = apart / top
    if float(cut.std(others, correction=0).mean()) > _BENT:
        raise InputError(_UNPLACED)
    line = cut.mean(others)
    if bool((line > 0).all() | (line < 0).all()):
        return None
    if line[0] > line[-1]:
        raise InputError(_UNPLACED)
    low, high = line.aminmax()  # of a scan that is normalised they need not be alike
    return first + float(((high - line) / (high - low)).sum())


def _whole(shape: Sequence[int], made: Tensor) -> Place:
    size = (made.shape[1], made.shape[2], made.shape[3])
    depth, height, width = (side / there for side, there in zip(shape, size, strict=True))
    return Place(size, (depth, height, width), (0.0, 0.0, 0.0))


def _told(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))
