"""What is promised in docs/trust.md names the tests that keep it, and they are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEST = re.compile(r"`(tests/\S+\.py)::(\w+)`")


def test_every_promise_names_tests_that_are_there() -> None:
    text = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
    _, _, table = text.partition("| promise | test |")
    rows = [line for line in table.splitlines() if line.startswith("| ") and "---" not in line]
    assert len(rows) > 20
    for row in rows:
        named = TEST.findall(row)
        assert named, row
        for path, test in named:
            assert f"def {test}(" in (ROOT / path).read_text(encoding="utf-8"), (path, test)
