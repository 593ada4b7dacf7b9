"""The demo: the same pictures explained with both networks, side by side on one sheet.

It goes through the loop that the command goes through, and knows no terminal: what is to be said
comes back as lines.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

from gradcam_hooks.apps import demo
from gradcam_hooks.apps.batch import Folder, Series
from gradcam_hooks.apps.batch.job import Job
from gradcam_hooks.apps.batch.records import Record
from gradcam_hooks.apps.report import Look, entries_of, write_report
from gradcam_hooks.apps.reported.beside import entries_beside, terms_beside
from gradcam_hooks.auditing import audit
from gradcam_hooks.errors import ModelError
from gradcam_hooks.images import Preprocess, load_image, save_image, to_float
from gradcam_hooks.models import load_model

__all__ = ["show"]

_SHEET = "demo.png"
_HEIGHT = 176
"""Of a picture on the sheet, in pixels."""


def show(out: Path) -> list[str]:
    """Explain the bundled pictures with both networks, and draw a sheet of all.

    Args:
        out: the folder for `report.html`, `demo.png`, `honest/` and `fooled/`.

    Returns:
        What there is to see, and where, a line each.

    Raises:
        ModelError: a file of the demo is missing from the installation.
        ImageError: a picture cannot be read or written, or something of another's is in the way.
    """
    if not demo.IMAGES:
        raise ModelError(
            f"the demo's pictures are not in '{demo.HONEST.parent / 'images'}'; install the "
            "package again"
        )
    jobs = {"honest": _job(demo.HONEST), "fooled": _job(demo.FOOLED)}
    truths = {str(path): _label(path) for path in demo.IMAGES}
    folder = Folder(out)
    with folder.held():
        folder.claim([_SHEET, "report.html"])
        found = {
            name: Series(job, demo.IMAGES, out / name, truths=truths).go(
                batch_size=len(demo.IMAGES)
            )
            for name, job in jobs.items()
        }
        with folder.write(_SHEET) as part:
            _draw(found, out, part)
        page = _report(jobs, found, folder)
    total = len(demo.IMAGES)
    right = {
        name: sum(record.right is True for record in records) for name, records in found.items()
    }
    return [
        "Two networks say which shape is in a picture.",
        f"Right are: honest {right['honest']} of {total}, fooled {right['fooled']} of {total}.",
        "",
        "Look at their maps. The honest network looks at the shape. The fooled one looks",
        "at the small tag in the lower left corner, whose colour gives the answer away.",
        "No accuracy on such pictures tells the two apart; a map does.",
        "",
        *(line for name, job in jobs.items() for line in _audited(name, job)),
        "",
        f"report:       {page}",
        f"side by side: {out / _SHEET}",
        f"one by one:   {out / 'honest' / 'overlays'}",
        f"              {out / 'fooled' / 'overlays'}",
        "",
        "Your own:     gradcam-hooks explain photos/ --model resnet50",
    ]


def _audited(name: str, job: Job) -> list[str]:
    """What an audit of the bundled pictures says of a network."""
    found = audit(job.loaded, list(demo.IMAGES), "layer3", preprocess=job.prepare)
    return textwrap.wrap(f"Audit of {name}: {found.text}", 80, subsequent_indent="  ")


def _job(weights: Path) -> Job:
    side = demo.INPUT_SIZE
    return Job(
        load_model("gradcam_hooks.apps.demo:network", weights, labels=demo.LABELS),
        layer="layer3",
        preprocess=Preprocess(size=(side, side), mean=demo.MEAN, std=demo.STD),
    )


def _label(path: Path) -> str:
    """The shape in a picture, which is named after it."""
    return path.stem.partition("-")[0]


def _report(jobs: Mapping[str, Job], found: Mapping[str, list[Record]], folder: Folder) -> Path:
    """The maps of both networks side by side on one page, picture by picture."""
    several = {name: entries_of(records, folder.path / name) for name, records in found.items()}
    look = Look(
        "Right for the wrong reason",
        "Two networks name the shape in every picture. One looks at the shape, the other at the "
        "small tag in the corner, whose colour gives the answer away.",
    )
    terms = terms_beside(jobs, found, "gradcam-hooks demo")
    return write_report(folder, entries_beside(several), terms, look)[0]


def _said(record: Record) -> str:
    return f"{record.label}, {record.probability:.2f}"


def _draw(found: Mapping[str, list[Record]], out: Path, path: Path) -> None:
    """Three rows: the pictures, and the maps of each network, with what it said."""
    from gradcam_hooks.images.sheets import sheet

    rows = {"picture": [(image, _label(image)) for image in demo.IMAGES]}
    for name, records in found.items():
        rows[f"{name} network"] = [
            (out / name / one.overlay, _said(one)) for one in records if one.overlay is not None
        ]
    drawn = sheet(
        [[to_float(load_image(image)) for image, _ in row] for row in rows.values()],
        captions=[[(word,) for _, word in row] for row in rows.values()],
        titles=list(rows),
        most=_HEIGHT,
    )
    save_image(path, drawn)
