"""What tests of clusters share: rows and records, held beside one another."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from gradcam_hooks.apps.batch.records import Record
from gradcam_hooks.apps.cluster.worker import COLUMNS


def said(record: Record) -> dict[str, object]:
    """What a row says of a record's picture."""
    return {name: getattr(record, name) for name in COLUMNS}


def same(one: Mapping[str, object], other: Mapping[str, object]) -> None:
    """Equal, numbers up to rounding."""
    numbers = {name: value for name, value in other.items() if isinstance(value, float)}
    assert {name: one[name] for name in numbers} == pytest.approx(numbers, rel=1e-4)
    others = other.keys() - numbers.keys() - {"sizes"}
    assert {name: one[name] for name in others} == {name: other[name] for name in others}
