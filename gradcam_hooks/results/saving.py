"""One result to one file: a picture, a moving one, a volume or all numbers, by the suffix.

Knows maps, what draws them and what their numbers are; the files themselves are the matter of
`images`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from gradcam_hooks.errors import InputError
from gradcam_hooks.images.given import Pictured
from gradcam_hooks.images.pictures import Picture
from gradcam_hooks.images.scan import plane_of
from gradcam_hooks.images.volumes import ScanPicture
from gradcam_hooks.results.drawing import Style

if TYPE_CHECKING:
    from gradcam_hooks.images.pages import Page

__all__ = ["write"]


def write(
    path: Path,
    maps: Tensor,
    lead: int,
    *,
    draw: Callable[[Style], Page],
    numbers: Callable[[], Mapping[str, npt.NDArray[Any]]],
    style: Style,
    affine: npt.ArrayLike | None = None,
    like: object = None,
    fps: float = 8,
    pictures: Sequence[Pictured] | None = None,
) -> None:
    """Write what the suffix says, whole or not at all.

    Args:
        path: where to.
        maps: ``(batch, [targets,] *space)``.
        lead: how many axes stand before space.
        draw: gives the page of a style.
        numbers: gives everything for ``.npz``.
        style: how it is drawn.
        affine: see `save_nifti`.
        like: see `save_nifti`.
        fps: see `save_animation`.
        pictures: what the maps lie on.

    Raises:
        InputError: an option does not belong to this kind of file, or the maps are not of it.
        ImageError: a suffix that nobody writes.
    """
    from gradcam_hooks.images.animation import save_animation
    from gradcam_hooks.images.files import is_nifti, write_whole
    from gradcam_hooks.images.nifti import save_nifti
    from gradcam_hooks.images.writing import save_page

    if is_nifti(path):
        laid = None if affine is not None or like is not None else _on_scan(maps, lead, pictures)
        if laid is not None:
            save_nifti(path, laid[0], affine=laid[1])
        else:
            save_nifti(path, _volume(maps, lead), affine=affine, like=like)
        return
    if affine is not None or like is not None:
        raise InputError(f"affine= and like= are for .nii and .nii.gz, and this is {path.name!r}.")
    suffix = path.suffix.lower()
    if suffix == ".npz":
        with write_whole(path) as temporary:
            np.savez_compressed(temporary, allow_pickle=False, **numbers())
    elif suffix == ".gif" and (frames := _frames(maps.shape[lead:], style)):
        save_animation(path, [draw(style.but(slice=number)).image() for number in frames], fps)
    else:
        save_page(path, draw(style))


def _on_scan(
    maps: Tensor, lead: int, pictures: Sequence[Pictured] | None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]] | None:
    """Maps of a scan, or of slices of one, on its own grid, with its affine; None of others.

    Where slices were explained the others are 0; targets stand behind.
    """
    first = pictures[0] if pictures else None
    if isinstance(first, ScanPicture) and len(maps) == 1:
        rows = [first.place.onto(one, first.scan.shape) for one in _targets(maps[0], lead)]
        return _stacked(rows, lead), first.scan.affine
    cuts = [(plane_of(one.image), one) for one in pictures or () if isinstance(one, Picture)]
    planes = [plane for plane, _ in cuts if plane is not None]
    if not planes or len(planes) < len(maps) or len({id(one.scan.affine) for one in planes}) > 1:
        return None
    scan = planes[0].scan
    rows = [np.zeros(scan.shape, np.float32) for _ in _targets(maps[0], lead)]
    for (plane, picture), every in zip(cuts, maps, strict=True):
        assert plane is not None
        for row, one in zip(rows, _targets(every, lead), strict=True):
            plane.of(row)[...] = picture.geometry.place(one.detach().cpu().float())
    return _stacked(rows, lead), scan.affine


def _targets(one: Tensor, lead: int) -> Tensor:
    return one if lead == 2 else one[None]


def _stacked(rows: list[npt.NDArray[np.float32]], lead: int) -> npt.NDArray[np.float32]:
    return np.stack(rows, -1) if lead == 2 else rows[0]


def _frames(space: tuple[int, ...], style: Style) -> list[int]:
    """The slices that a moving picture goes through; none where it stands still."""
    which, axis = style.slice, style.axis
    if len(space) != 3 or isinstance(which, int) or which == "mass" or axis not in (0, 1, 2):
        return []
    return list(range(space[axis]) if isinstance(which, str) else which)


def _volume(maps: Tensor, lead: int) -> npt.NDArray[np.float32]:
    """The map of one volume, its targets behind."""
    if len(maps) != 1 or maps.ndim - lead != 3:
        raise InputError(
            "NIfTI holds the map (depth, height, width) of one volume, and these are of shape "
            f"{tuple(maps.shape)}. Take one of a batch, as result[0]; .npz holds maps of any shape."
        )
    one = maps[0].detach().cpu().float()
    array: npt.NDArray[np.float32] = (one.movedim(0, -1) if lead == 2 else one).numpy()
    return array
