"""DICOM: a picture, a slice or a series of slices in one folder, read by pydicom.

Slope and intercept are applied, inverted greys (MONOCHROME1) turned, slices put in order by where
they lie in the patient. Nothing of who the patient is goes anywhere. Knows files and arrays.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gradcam_hooks.errors import ImageError
from gradcam_hooks.images.files import is_dicom
from gradcam_hooks.images.scan import Scan

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["read_dicom", "read_series"]

_TO_RAS = np.diag([-1.0, -1.0, 1.0])
"""DICOM leads to the patient's left and posterior, NIfTI to right and anterior."""


def read_dicom(given: Path | bytes, most: int) -> Scan:
    """The scan of one file: a slice, or where it has many frames a volume.

    Raises:
        ImportError: pydicom is not installed.
        ImageError: it cannot be read, is too large, or holds no picture.
    """
    name = str(given) if isinstance(given, Path) else f"the picture of {len(given)} bytes"
    data = _opened(given, name)
    frames = _frames(data, name, most)
    return _scan([(data, frames)], Path(name).name, name)


def read_series(folder: Path, most: int) -> Scan:
    """The scan of a folder of slices, one behind the other along the line that they lie on.

    Raises:
        ImportError: pydicom is not installed.
        ImageError: the folder holds no slices, or of several series, or one cannot be read.
    """
    paths = [one for one in sorted(folder.iterdir()) if one.is_file() and is_dicom(one)]
    if not paths:
        raise ImageError(f"no DICOM file in '{folder}'; name a folder of one series, or a file")
    heads = [(path, _opened(path, str(path))) for path in paths]
    heads = [(path, data) for path, data in heads if "Rows" in data]
    series = Counter(str(getattr(data, "SeriesInstanceUID", "")) for _, data in heads)
    if len(series) != 1:
        counts = ", ".join(map(str, series.values()))
        raise ImageError(
            f"'{folder}' holds {len(series)} series of DICOM, of {counts or 'no'} files; give each "
            "a folder of its own"
        )
    sizes = {(int(data.Rows), int(data.Columns)) for _, data in heads}
    if len(sizes) != 1:
        raise ImageError(f"the slices in '{folder}' are of several sizes: {sorted(sizes)}")
    share = most // len(heads)
    held = [(data, _frames(data, str(path), share)) for path, data in heads]
    if any(frames.shape[1] != 1 for _, frames in held):
        raise ImageError(f"files in '{folder}' hold several frames each; name one of them alone")
    held.sort(key=lambda one: _along(one[0]))
    return _scan(held, folder.name, str(folder))


def _opened(given: Path | bytes, name: str) -> Any:
    pydicom = _pydicom(name)
    try:
        source: Any = io.BytesIO(given) if isinstance(given, bytes | bytearray) else given
        return pydicom.dcmread(source)
    except Exception as error:  # damaged files make pydicom raise nearly everything
        raise ImageError(
            f"'{name}' is no DICOM file that pydicom reads: {_line(error)}; nothing of it is used"
        ) from error


def _frames(data: Any, name: str, most: int) -> npt.NDArray[np.float32]:
    """The voxels ``(channels, frames, rows, columns)`` in the file's own units."""
    try:
        number = int(getattr(data, "NumberOfFrames", 1) or 1)
        count = int(data.Rows) * int(data.Columns) * number * int(data.SamplesPerPixel)
    except Exception as error:
        raise ImageError(f"'{name}' holds no picture: {_line(error)}") from error
    if not 0 < count <= most:
        raise ImageError(
            f"'{name}' is too large to be read safely: {count:,} values, and {most:,} are the "
            "limit. Make it smaller first, or allow more: --max-pixels; in Python max_pixels="
        )
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

    try:
        values = np.asarray(data.pixel_array)
        colours = int(data.SamplesPerPixel) > 1
        if not colours:
            values = np.asarray(apply_modality_lut(values, data))
            if data.PhotometricInterpretation == "PALETTE COLOR":
                values = np.asarray(apply_color_lut(values, data))
            if data.PhotometricInterpretation == "MONOCHROME1":
                values = values.max() + values.min() - values
        values = values.astype(np.float32).reshape(number, data.Rows, data.Columns, -1)
    except Exception as error:  # damaged or compressed in a way that needs another package
        raise ImageError(f"'{name}' holds pixels that cannot be read: {_line(error)}") from error
    if not np.isfinite(values).all():
        raise ImageError(f"'{name}' holds pixels that are NaN or infinite; replace them")
    return np.ascontiguousarray(np.moveaxis(values, 3, 0))


def _scan(held: Sequence[tuple[Any, npt.NDArray[np.float32]]], name: str, whole: str) -> Scan:
    first = held[0][0]
    values = np.concatenate([frames for _, frames in held], 1)
    told = []
    slope, intercept = getattr(first, "RescaleSlope", 1), getattr(first, "RescaleIntercept", 0)
    if (slope, intercept) != (1, 0):
        told.append(f"slope {float(slope):g} and intercept {float(intercept):g} applied")
    if getattr(first, "PhotometricInterpretation", "") == "MONOCHROME1":
        told.append("its greys turned, as they are stored inverted (MONOCHROME1)")
    try:
        affine, uneven = _affine([data for data, _ in held])
    except Exception as error:
        raise ImageError(f"'{whole}' does not say where its slices lie: {_line(error)}") from error
    if uneven:
        told.append(f"its slices lie {uneven}, which the affine cannot say")
    found = Scan(values, affine, name, _window(first), stacked=True)
    low, high = found.span
    told = [f"{found!r}: its values are {low:g} to {high:g}", *told]
    colours = len(values) > 1  # of these the whole range is seen, as on a screen
    deep = float(
        getattr(first, "RedPaletteColorLookupTableDescriptor", [0, 0, first.BitsStored])[2]
    )
    span = (0.0, 2.0**deep - 1) if colours else found.span
    return replace(found, told=("; ".join(told) + ".",), span=span)


def _affine(slices: Sequence[Any]) -> tuple[npt.NDArray[np.float64], str]:
    """From ``(slice, row, column)`` to millimetres, and how slices lie where not evenly."""
    first, affine = slices[0], np.eye(4)
    rows, columns = _numbers(first, "PixelSpacing", _numbers(first, "ImagerPixelSpacing", [1, 1]))
    across, down = np.reshape(
        _numbers(first, "ImageOrientationPatient", [1, 0, 0, 0, 1, 0]), (2, 3)
    )
    start = np.array(_numbers(first, "ImagePositionPatient", [0, 0, 0]))
    thick = _numbers(first, "SpacingBetweenSlices", _numbers(first, "SliceThickness", [1]))[0]
    step = np.cross(across, down) * (abs(thick) or 1)
    uneven = ""
    if len(slices) > 1:
        places = np.array([_numbers(one, "ImagePositionPatient", [0, 0, 0]) for one in slices])
        gaps = np.linalg.norm(np.diff(places, axis=0), axis=1)
        if gaps.max() > 0:
            step = (places[-1] - places[0]) / (len(slices) - 1)
            if gaps.max() - gaps.min() > 0.01 * gaps.max():
                uneven = f"{gaps.min():.3g} to {gaps.max():.3g} mm apart"
    affine[:3, :3] = _TO_RAS @ np.stack([step, down * rows, across * columns], 1)
    affine[:3, 3] = _TO_RAS @ start
    return affine, uneven


def _numbers(data: Any, name: str, usual: Sequence[float]) -> list[float]:
    found = getattr(data, name, None)
    if found is None or found == "":
        return list(usual)
    several = found if isinstance(found, Sequence) and not isinstance(found, str) else [found]
    return [float(one) for one in several]


def _along(data: Any) -> tuple[float, float]:
    """Where a slice lies along the line of all, and its number."""
    across, down = np.reshape(_numbers(data, "ImageOrientationPatient", [1, 0, 0, 0, 1, 0]), (2, 3))
    place = _numbers(data, "ImagePositionPatient", [0, 0, 0])
    return round(float(np.dot(np.cross(across, down), place)), 3), float(
        getattr(data, "InstanceNumber", None) or 0
    )


def _window(data: Any) -> tuple[float, float] | None:
    center, width = (_numbers(data, name, []) for name in ("WindowCenter", "WindowWidth"))
    return (center[0], width[0]) if center and width else None


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def _pydicom(name: str) -> ModuleType:
    try:
        import pydicom
    except ImportError as error:
        raise ImportError(
            f"'{name}' is DICOM, which pydicom reads, and that is not installed: "
            "pip install pydicom"
        ) from error
    module: ModuleType = pydicom
    return module
