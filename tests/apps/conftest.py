"""What the tests in a real Chromium share: the browser, a run, and its report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.report_runs import Done, chromium, make_report, make_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Done:
    return make_run(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def report(run: Done) -> Path:
    return make_report(run)
