"""A page that stands alone, opened as anybody may: it asks for nothing, and axe finds nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def opened(browser, file: Path, width: int, scheme: str) -> Iterator:
    """The page in such a window; what holds of every such page is asked when it is left."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("dialog", lambda dialog: (complaints.append("alert"), dialog.dismiss()))
    page.goto(file.as_uri())
    yield page
    assert [one for one in asked if not one.startswith(("file:", "data:"))] == []
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.reload()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert complaints == []
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    context.close()
