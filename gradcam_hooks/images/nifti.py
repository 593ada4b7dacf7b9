"""NIfTI: a map written beside the scan that it belongs to, where nibabel is installed.

Array axes are kept as they are: ``volume[i, j, k]`` of the map lies where ``[i, j, k]`` of the
scan does, and the affine is the scan's. Knows arrays and files, no explanation.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gradcam_hooks.errors import ImageError, InputError
from gradcam_hooks.images.files import nearest_file, no_file, write_whole

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["is_nifti", "save_nifti"]


def is_nifti(path: Path) -> bool:
    """Whether a file's name says NIfTI.

    >>> is_nifti(Path("map.nii.gz")), is_nifti(Path("map.NII")), is_nifti(Path("map.gz"))
    (True, True, False)
    """
    return path.name.lower().endswith((".nii", ".nii.gz"))


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
    nibabel = _nibabel()
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
        raise ImageError(f"'{path}' is no scan that nibabel reads: {error}") from error
    return scan


def _header(nibabel: ModuleType, scan: Any) -> Any:
    """The scan's header, where it is one of NIfTI's."""
    kept = isinstance(scan.header, nibabel.Nifti1Header)
    return nibabel.Nifti1Header.from_header(scan.header) if kept else None


def _nibabel() -> ModuleType:
    try:
        import nibabel
    except ImportError as error:
        raise ImportError(
            "NIfTI is written by nibabel, which is not installed: "
            "pip install nibabel. Without it, save('map.npz') keeps the numbers."
        ) from error
    module: ModuleType = nibabel
    return module
