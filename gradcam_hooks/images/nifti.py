"""NIfTI: a scan read, and a map written beside the scan that it belongs to, by nibabel.

Array axes are kept as they are: ``volume[i, j, k]`` of the map lies where ``[i, j, k]`` of the
scan does, and the affine is the scan's. Knows arrays and files, no explanation.
"""

from __future__ import annotations

import gzip
import importlib.util
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gradcam_hooks.errors import ImageError, InputError
from gradcam_hooks.images.files import is_nifti, nearest_file, no_file, write_whole
from gradcam_hooks.images.scan import Scan

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["has_nibabel", "is_image", "is_nifti", "read_nifti", "save_nifti"]


def has_nibabel() -> bool:
    """Whether nibabel is installed."""
    return importlib.util.find_spec("nibabel") is not None


def is_image(given: object) -> bool:
    """Whether nibabel has opened it already; without an import of nibabel."""
    mine = any(kind.__module__.partition(".")[0] == "nibabel" for kind in type(given).__mro__)
    return mine and hasattr(given, "dataobj")


def read_nifti(source: Path | Any, most: int) -> Scan:
    """The scan in a file, with its scaling applied; a fourth axis becomes channels.

    Args:
        source: the file, or nibabel's image of it.
        most: voxels at most; the head tells their number before they are read.

    Raises:
        ImportError: nibabel is not installed.
        ImageError: it cannot be read, is too large, or holds no real numbers that are finite.
    """
    nibabel = _nibabel("read")
    image: Any = source if is_image(source) else _scan(nibabel, source)
    path = Path(image.get_filename() or "the scan")
    shape = tuple(int(side) for side in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (2, 3, 4) or min(shape) < 1:
        raise ImageError(f"'{path}' has the shape {shape}; expected a volume, or several of one")
    if int(np.prod(np.array(shape, object))) > most:
        raise ImageError(
            f"'{path}' is too large to be read safely: {shape}, and {most:,} voxels are the limit. "
            "Make it smaller first, or allow more: --max-pixels; in Python max_pixels="
        )
    kind = image.get_data_dtype()
    if kind.kind not in "iufb":
        raise ImageError(f"'{path}' holds {kind} voxels; expected real numbers, one for each")
    try:
        values = np.asarray(image.dataobj, np.float32).reshape(shape)
        affine = np.eye(4) if image.affine is None else np.asarray(image.affine, np.float64)
    except Exception as error:  # damaged files make nibabel, gzip and NumPy raise nearly everything
        raise ImageError(
            f"'{path}' is cut short or damaged: {_line(error)}; nothing of it is used, copy it "
            "here again"
        ) from error
    if not (np.isfinite(values).all() and np.isfinite(affine).all()):
        raise ImageError(
            f"'{path}' holds voxels or an affine that are NaN or infinite; replace them, and save "
            "it again: numpy.nan_to_num"
        )
    if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise ImageError(f"'{path}' has an affine that is no place in space: {affine.tolist()}")
    values = values.reshape(*shape, *[1] * (3 - len(shape)))
    volumes = values[None] if values.ndim == 3 else np.moveaxis(values, 3, 0)
    found = Scan(np.ascontiguousarray(volumes), affine, path.name)
    slope, intercept = getattr(image.dataobj, "slope", 1), getattr(image.dataobj, "inter", 0)
    scaled = f", with slope {slope:g} and intercept {intercept:g}" * ((slope, intercept) != (1, 0))
    low, high = found.span
    told = f"{found!r}: its values are {low:g} to {high:g}{scaled}."
    return replace(found, told=(told,))


def save_nifti(
    path: Path,
    volume: npt.NDArray[np.float32],
    *,
    affine: npt.ArrayLike | None = None,
    like: object = None,
) -> None:
    """Write a map as NIfTI-1, float32, whole or not at all; ``.nii.gz`` is compressed.

    Args:
        path: where to.
        volume: ``(depth, height, width)``, or with an axis of targets behind.
        affine: 4x4, from array indices to millimetres; by default that of ``like``, and else the
            identity.
        like: the scan that was explained, a path or an image of nibabel: its affine, its units
            and the codes of its space are kept.

    Raises:
        ImportError: nibabel is not installed.
        InputError: the affine is no 4x4 matrix, both are given, or the scan has another shape.
        ImageError: the scan cannot be read, or the file not written.
    """
    nibabel = _nibabel("written")
    space, header = volume.shape[:3], None
    if affine is not None and like is not None:
        raise InputError("affine= and like= both say where the map lies; give one of them.")
    if like is not None:
        scan = _scan(nibabel, like)
        if tuple(scan.shape[:3]) != space:
            turned = tuple(scan.shape[2::-1]) == space
            hint = (
                "The axes were turned round on the way to the network: turn the map back, or the "
                "scan's affine, and pass that as affine=."
                if turned
                else "Where the scan was resampled for the network, pass that array's affine=."
            )
            raise InputError(
                f"the map has the shape {space} and the scan {tuple(scan.shape[:3])}. {hint}"
            )
        affine, header = scan.affine, _header(nibabel, scan)
    matrix = np.eye(4) if affine is None else np.asarray(affine, np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise InputError(f"affine= is a finite 4x4 matrix; got one of shape {matrix.shape}.")
    image = nibabel.Nifti1Image(volume.astype(np.float32), matrix, header)
    image.header.set_data_dtype(np.float32)
    image.header["cal_min"], image.header["cal_max"] = 0, 1
    data: bytes = image.to_bytes()
    if path.name.lower().endswith(".gz"):
        data = gzip.compress(data, mtime=0)  # no time in it: the same map is the same file
    try:
        with write_whole(path) as part:
            part.write_bytes(data)
    except OSError as error:
        raise ImageError(f"'{path}' cannot be written: {error}") from error


def _scan(nibabel: ModuleType, like: object) -> Any:
    """The scan, its voxels not yet read."""
    if not isinstance(like, str | os.PathLike):
        if not (hasattr(like, "affine") and hasattr(like, "header") and hasattr(like, "shape")):
            raise InputError(
                f"like= is a path or an image of nibabel, not {type(like).__name__}; a matrix "
                "goes to affine=."
            )
        return like
    path = Path(like)
    if reason := no_file(path):
        if reason == "is not there":
            raise ImageError(f"no file '{path}'{nearest_file(path)}")
        raise ImageError(f"'{path}' {reason}, expected a scan")
    try:
        scan = nibabel.load(path)
        _header(nibabel, scan)
    except Exception as error:  # a damaged file makes nibabel raise nearly everything
        raise ImageError(f"'{path}' is no scan that nibabel reads: {_line(error)}") from error
    return scan


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _header(nibabel: ModuleType, scan: Any) -> Any:
    """The scan's header, where it is one of NIfTI's."""
    kept = isinstance(scan.header, nibabel.Nifti1Header)
    return nibabel.Nifti1Header.from_header(scan.header) if kept else None


def _nibabel(done: str) -> ModuleType:
    try:
        import nibabel
    except ImportError as error:
        raise ImportError(
            f"NIfTI is {done} by nibabel, which is not installed: pip install nibabel."
            + " Without it, save('map.npz') keeps the numbers." * (done == "written")
        ) from error
    module: ModuleType = nibabel
    return module
