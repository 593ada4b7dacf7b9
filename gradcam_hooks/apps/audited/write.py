"""The files of an audit, all of them or none, in a folder of results."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from gradcam_hooks.apps.audited.drawing import Drawing
from gradcam_hooks.apps.audited.page import render
from gradcam_hooks.apps.audited.plain import head, plain, rows
from gradcam_hooks.apps.batch.folder import Folder
from gradcam_hooks.auditing.strategies import Audit

__all__ = ["FILES", "write_audit"]

FILES = ("audit.html", "audit.json", "audit.csv")


def write_audit(
    audit: Audit,
    folder: Folder,
    drawing: Drawing,
    terms: Sequence[tuple[str, str]] = (),
    run: str | None = None,
) -> list[Path]:
    """Write the page, the JSON and the table.

    Args:
        audit: what is told.
        folder: gets the files.
        drawing: draws the pictures.
        terms: what the run was, as terms and words.
        run: a fingerprint of what it is an audit of, by which the next one knows it.

    Returns:
        The files, the page first.

    Raises:
        ImageError: another's file is in the place of one of them.
        OSError: a file cannot be written.
    """
    report = "report.html" if (folder.path / "report.html").is_file() else None
    page = render(audit, drawing, terms, report)
    told = plain(audit) if run is None else {"run": run, **plain(audit)}
    content = json.dumps(told, indent=1, allow_nan=False)
    with folder.held():
        folder.claim(FILES)
        with ExitStack() as stack:
            html, data, table = (stack.enter_context(folder.write(name)) for name in FILES)
            html.write_text(page, encoding="utf-8", newline="\n")
            data.write_text(content, encoding="ascii")
            with table.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(head(audit))
                writer.writerows(rows(audit))
    return [folder.path / name for name in FILES]
