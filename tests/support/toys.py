"""Methods made for a test, and gone after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gradcam_hooks.explainers import classes
from gradcam_hooks.methods import registry


@contextmanager
def toys() -> Iterator[None]:
    """Inside, methods may be made; outside, the table and the classes are what they were."""
    tables = (registry._ROWS, classes._CLASSES)
    before = [dict(table) for table in tables]
    try:
        yield
    finally:
        for table, kept in zip(tables, before, strict=True):
            table.clear()
            table.update(kept)  # type: ignore[arg-type]
