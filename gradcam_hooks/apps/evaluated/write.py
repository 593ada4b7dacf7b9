"""The files of an evaluation, all of them or none, in a folder of results."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from gradcam_hooks.apps.batch.folder import Folder
from gradcam_hooks.apps.evaluated.page import Draw, render
from gradcam_hooks.evaluating.evaluation import Evaluation

__all__ = ["FILES", "write_evaluation"]

FILES = ("evaluate.html", "evaluate.json", "evaluate.csv")


def write_evaluation(
    found: Evaluation, folder: Folder, draw: Draw, terms: Sequence[tuple[str, str]] = ()
) -> list[Path]:
    """Write the page, the JSON and the table.

    Args:
        found: what is told.
        folder: gets the files.
        draw: draws a picture by its number, with the map of the way that is shown.
        terms: what the run was, as terms and words.

    Returns:
        The files, the page first.

    Raises:
        ImageError: another's file is in the place of one of them.
        OSError: a file cannot be written.
    """
    page, content, lines = render(found, draw, terms), found.to_json(), found.table
    with folder.held():
        folder.claim(FILES)
        with ExitStack() as stack:
            html, data, table = (stack.enter_context(folder.write(name)) for name in FILES)
            html.write_text(page, encoding="utf-8", newline="\n")
            data.write_text(content, encoding="ascii")
            with table.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
                writer = csv.DictWriter(file, list(lines[0]))
                writer.writeheader()
                writer.writerows(lines)
    return [folder.path / name for name in FILES]
