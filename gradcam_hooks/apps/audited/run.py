"""The audit of the command: files through a network, and what came of it into a folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from gradcam_hooks.apps.audited.drawing import Drawing, crops, overlays, thumbs
from gradcam_hooks.apps.audited.kept import Kept, fingerprint
from gradcam_hooks.apps.audited.write import FILES, write_audit
from gradcam_hooks.apps.batch.faults import faults_told
from gradcam_hooks.apps.batch.folder import Folder
from gradcam_hooks.apps.batch.job import Job
from gradcam_hooks.apps.batch.runs import first_home, tell_latest
from gradcam_hooks.apps.batch.truths import check_truths, class_of
from gradcam_hooks.auditing.looking import Look
from gradcam_hooks.auditing.run import Aside, Ask, audited
from gradcam_hooks.auditing.strategies import Audit
from gradcam_hooks.errors import ImageError
from gradcam_hooks.images.files import read_text
from gradcam_hooks.images.given import as_prepare
from gradcam_hooks.images.reading import load_image
from gradcam_hooks.models import LoadedModel
from gradcam_hooks.stream.feed import auto_workers, fed
from gradcam_hooks.version import version

if TYPE_CHECKING:
    from gradcam_hooks.auditing.keeping import Part
    from gradcam_hooks.images.given import PrepareSpec

__all__ = ["Far", "audit_files", "print_of", "readable"]

Far: TypeAlias = "Callable[[Ask, str, Sequence[int]], Iterator[Part]]"
"""Looks at pictures elsewhere: told the audit, the network's fingerprint, and their numbers."""

_AHEAD = 32
"""Pictures that are being read at once, or have been, at most."""


def readable(
    paths: Sequence[Path], max_pixels: int, workers: int | None = None
) -> tuple[list[Path], list[tuple[Path, str]]]:
    """The pictures that can be read, and the others with the reason.

    Args:
        paths: the pictures.
        max_pixels: of a picture at most.
        workers: processes that read; None for as many as there is use for.

    Raises:
        ImageError: none can be read.
    """
    unread = partial(_unread, max_pixels=max_pixels)
    several = auto_workers(len(paths)) if workers is None else workers
    read = fed(paths, unread, ahead=_AHEAD, workers=several)
    reasons = [None if why is None else str(why) for _, why in read]
    good = [path for path, why in zip(paths, reasons, strict=True) if why is None]
    broken = [(path, why) for path, why in zip(paths, reasons, strict=True) if why is not None]
    if not good:
        raise ImageError(f"none of the {len(paths)} pictures can be read: {broken[0][1]}")
    return good, broken


def _unread(path: Path, max_pixels: int) -> str | None:
    try:
        load_image(path, max_pixels=max_pixels)
    except ImageError as error:
        return str(error)
    return None


def audit_files(
    loaded: LoadedModel,
    paths: Sequence[Path],
    out: Path,
    *,
    layer: str | Sequence[str] = "auto",
    method: str = "gradcam",
    preprocess: PrepareSpec | None = None,
    truths: Mapping[str, str] | None = None,
    boxes: Path | None = None,
    masks: Path | None = None,
    against: LoadedModel | None = None,
    trials: int = 400,
    agreement: int = 96,
    batch_size: int = 64,
    seed: int = 0,
    command: str = "",
    workers: int | None = None,
    far: Sequence[Far] = (),
    **options: Any,
) -> tuple[Audit, list[Path]]:
    """Audit files, and write the page, the JSON and the table; see `gradcam_hooks.audit`.

    Args:
        loaded: the network.
        paths: the pictures.
        out: the folder that gets the files; an audit of other pictures, another network or with
            other options that lies there stays, and this one gets a folder of its own in it.
        layer: as for `audit`.
        method: as for `audit`.
        preprocess: as for `audit`.
        truths: the true class of each picture, by its path, where it is known.
        boxes: a COCO or Pascal VOC file, or a folder of these.
        masks: a folder of PNGs.
        against: a second network, beside it.
        trials: as for `audit`.
        agreement: as for `audit`.
        batch_size: as for `audit`.
        seed: as for `audit`.
        command: the command line, where there was one.
        workers: processes that read pictures; None for as many as there is use for.
        far: for each network what looks at the pictures elsewhere; by default it is done here.
        options: the method's own.

    Raises:
        GradCamHooksError: as `audit`; and where none of the truths is a class of the network.
        OSError: the results cannot be written.
    """
    own, networks = loaded.preprocess, [loaded, *([against] if against is not None else [])]
    check_truths(truths or {}, loaded.labels)
    known = [_truth((truths or {}).get(str(path)), loaded.labels) for path in paths]
    where = layer if isinstance(layer, str) else list(layer)
    look = Look(where, method, None, options, batch_size, workers=workers)
    ask = Ask(
        list(paths), look, known if truths else None, (boxes, masks), None, preprocess, trials,
        agreement, seed,
    )  # fmt: skip
    prints = [print_of(one, ask) for one in networks]
    run = _fingerprint(prints, paths, known, [trials, agreement, batch_size, seed])
    looks = [partial(away, ask, one) for away, one in zip(far, prints, strict=True)] if far else []
    several = [Kept(out, one, paths) for one in prints]
    asides = [Aside(*both) for both in zip_longest(several, looks)]
    with faults_told(loaded, paths, preprocess), faults_told(against or loaded, paths, preprocess):
        try:
            found = audited(loaded, against, ask, *asides)
        finally:  # what was seen until then is kept
            for one in several:
                one.flush()

    terms = _terms(loaded, against, found, seed, command)
    prepare = as_prepare(preprocess or own)
    drawing = Drawing(
        overlays(loaded, found, paths, method, preprocess),
        crop=crops(found, paths, prepare),
        thumb=thumbs(found, paths, prepare),
    )
    if against is not None and found.against is not None:
        beside = overlays(against, found.against.audit, paths, method, preprocess)
        drawing = replace(drawing, other=beside)
    with first_home(out, lambda folder: _suits(folder, out, run)) as folder:
        files = write_audit(found, folder, drawing, terms, run)
        tell_latest(out, folder, files[0])
    several[0].tidy(prints)
    return found, files


def print_of(loaded: LoadedModel, ask: Ask) -> str:
    """The fingerprint of a network and of how it looks at pictures, by which these are kept."""
    look = ask.look
    layer: Any = look.layer if isinstance(look.layer, str) else tuple(look.layer)  # type: ignore[arg-type]
    method: Any = look.method
    places: Any = ask.places[0] or ask.places[1]
    job = Job(loaded, layer, method=method, preprocess=ask.preprocess, options=look.options)
    return fingerprint(job, places)


def _terms(
    loaded: LoadedModel, against: LoadedModel | None, found: Audit, seed: int, command: str
) -> list[tuple[str, str]]:
    """What the run was, for the page."""
    return [
        ("Network", loaded.name),
        ("Weights", loaded.weights),
        *([("Against", f"{against.name}, {against.weights}")] if against is not None else []),
        ("Layer", ", ".join(found.layers)),
        ("Method", found.method),
        ("Seed", str(seed)),
        ("Version", version()),
        *([("Command", command)] if command else []),
    ]


def _fingerprint(
    prints: Sequence[str], paths: Sequence[Path], truths: Sequence[int], settings: Sequence[int]
) -> str:
    """Sixteen hexadecimal digits that change with everything that decides what is found."""
    stamps = [(str(path), (stat := path.stat()).st_size, stat.st_mtime_ns) for path in paths]
    told = ["audit", list(prints), stamps, list(truths), list(settings)]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _suits(folder: Folder, out: Path, fingerprint: str) -> bool:
    """Whether no other audit would be lost there; one may lie beside other results."""
    made = folder.made()
    if not made & set(FILES):
        return folder.path == out or not made
    if not any(os.path.lexists(folder.path / name) for name in FILES):
        return True
    try:
        told = read_text(folder.path / "audit.json")
        return bool(json.loads(told)["run"] == fingerprint)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return False


def _truth(word: str | None, labels: Sequence[str] | None) -> int:
    """A true class as `audit` takes it; -1 where it is not known."""
    number = None if word is None else class_of(word, labels)
    return -1 if number is None else number
