"""The report in a real Chromium: true classes, two networks side by side, and other pages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from gradcam_hooks.apps.batch import Folder
from gradcam_hooks.apps.report import entries_of, write_report
from gradcam_hooks.apps.reported.running import running
from tests.support.report_runs import LABEL, LABELS, Colours, Done, Tab

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("a10.png", "a2.png", "sea.png")


def test_a_cell_of_what_was_taken_for_what_shows_its_pictures(browser: Browser, report: Path):
    tab = Tab(browser, report)
    page = tab.page
    page.click("#classes summary")
    heads = page.locator("#matrix thead th").all_text_contents()
    assert heads == ["true class ↓ said →", LABEL, "green", "right"]
    rows = [
        row.locator("th, td").all_text_contents() for row in page.locator("#matrix tbody tr").all()
    ]
    assert rows == [
        [LABEL, "1", "·", "1 of 1, 100 %"],
        [LABELS[2], "·", "1", "0 of 1, 0 %"],
        ["green", "·", "1", "1 of 1, 100 %"],
    ]  # fmt: skip
    cell = page.get_by_role("button", name=f"true class {LABELS[2]}, said green: 1")
    cell.click()
    assert tab.names() == ["a2.png"]
    assert cell.get_attribute("aria-pressed") == "true"
    assert page.input_value("#truth") == f"={LABELS[2]}"
    cell.click()
    assert len(tab.names()) == 6
    page.select_option("#truth", "?")
    assert tab.names() == ["sea.png", "black.png", "torn.png"]
    assert tab.complaints == []
    tab.context.close()


@pytest.fixture(scope="module")
def pair(run: Done, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks, of which the other takes green for blue."""
    other = Colours().eval()
    with torch.no_grad():
        other.features.weight.copy_(other.features.weight[[0, 2, 1]])
    loaded = replace(run.job.loaded, model=other)
    jobs = {"before": run.job, "after": replace(run.job, loaded=loaded)}
    pictures = [run.path(name) for name in (*NAMES, "torn.png")]
    truths = {str(run.path("a10.png")): "green", str(run.path("a2.png")): LABELS[2]}
    with running(jobs, pictures, tmp_path_factory.mktemp("pair"), truths=truths) as both:
        return both.write({name: both.go(name) for name in jobs})[0]


def test_two_networks_stand_side_by_side(browser: Browser, pair: Path):
    tab = Tab(browser, pair)
    page = tab.page
    counts = page.locator(".counts li").all_text_contents()
    assert [" ".join(one.split()) for one in counts] == [
        "4 pictures", "1 of 2 predicted right by before", "1 of 2 predicted right by after",
        "3 told differently", "1 broken",
    ]  # fmt: skip
    captions = page.locator(".card", has_text="a10.png").locator(".caption").all_inner_texts()
    assert [one.split("\n")[0] for one in captions] == ["before", "after"]
    assert "green" in captions[0]
    assert "✓" in captions[0]
    assert LABELS[2] in captions[1]
    assert "✗" in captions[1]
    assert page.locator("#network option").all_text_contents() == ["before", "after"]
    page.select_option("#right", "true")
    assert tab.names() == ["a10.png"]
    page.select_option("#network", "after")
    assert tab.names() == ["a2.png"]
    page.select_option("#right", "")
    page.select_option("#agree", "true")
    assert tab.names() == list(NAMES)
    page.click("#classes summary")
    assert page.locator("#matrix thead th").all_text_contents()[1:-1] == [LABELS[2]]
    tab.open("a2.png")
    facts = page.inner_text("#viewer-facts")
    assert "Predicted by before\ngreen" in facts
    assert "(wrong)" in facts
    assert "Predicted by after\n" + LABELS[2] in facts
    assert page.locator("#stage figure").count() == 2
    assert tab.complaints == []
    tab.context.close()


def test_what_is_asked_is_asked_of_the_other_pages_too(browser: Browser, run: Done, tmp_path: Path):
    entries = entries_of(run.records, run.out)
    pages = write_report(Folder(tmp_path), entries, most=2)
    tab = Tab(browser, pages[0])
    page = tab.page
    assert tab.names() == ["a10.png", "a2.png"]
    assert page.inner_text("#found") == "Showing all 2 pictures of this page"
    assert page.locator("#more").is_hidden()
    page.select_option("#class", "2")  # on the second page alone
    assert tab.names() == []
    assert page.locator("#nothing").is_hidden()
    assert page.inner_text("#more") == "1 more fit on other pages: page 2 (1)"
    page.select_option("#class", "")
    page.select_option("#right", "null")
    assert page.inner_text("#more") == "3 more fit on other pages: page 2 (1)page 3 (2)"
    page.click("#more a >> nth=1")
    page.wait_for_selector(".card.drawn")
    assert page.url.split("/")[-1].startswith("3.html#")
    assert page.input_value("#right") == "null"
    assert tab.names() == ["black.png", "torn.png"]
    page.select_option("#diagnosis", "ok")
    page.click("#more a")
    page.wait_for_selector(".card.drawn")
    assert tab.names() == ["sea.png"]
    assert tab.complaints == []
    tab.context.close()
