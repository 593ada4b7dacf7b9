"""The report in a real Chromium: many pictures, small screens, shades, and axe-core's judgement."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import gradcam_hooks as gh
from gradcam_hooks.apps.batch import Folder, Series
from gradcam_hooks.apps.report import Look, entries_of, write_report
from tests.support.report_runs import LABEL, LABELS, Tab

if TYPE_CHECKING:
    pass


def test_several_targets_stand_side_by_side(run, browser, tmp_path):
    job = replace(run.job, target=gh.TopK(2))
    records = Series(job, [run.path("a10.png")], tmp_path).go()
    write_report(
        Folder(tmp_path),
        entries_of(records, tmp_path),
        look=Look("T", style=gh.Style(alpha=1)),
    )
    opened = Tab(browser, tmp_path / "report.html")
    boxes = [one.bounding_box() for one in opened.page.locator(".card canvas").all()]
    assert len(boxes) == 2
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["x"] < boxes[1]["x"]
    captions = opened.page.locator(".caption").all_text_contents()
    assert captions[0] == "green"
    assert captions[1] in (LABEL, LABELS[2])
    opened.open("a10.png")
    assert opened.page.locator("#stage figure").count() == 2
    assert opened.complaints == []
    opened.context.close()


def test_pictures_are_drawn_as_they_come_into_view(run, browser, tmp_path):
    entry = entries_of(run.records, run.out)[0]
    entries = [replace(entry, name=f"{i}.png") for i in range(400)]
    pages = write_report(Folder(tmp_path), entries, most=300)
    assert [page.name for page in pages] == ["report.html", "2.html"]
    opened = Tab(browser, pages[0])
    page = opened.page
    assert page.locator(".card").count() == 300
    assert page.locator(".card.drawn").count() < 60
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.wait_for_selector(".card[data-index='299'].drawn")
    page.wait_for_selector(".card[data-index='0']:not(.drawn)", state="attached")
    assert page.evaluate("document.querySelector('.card canvas').width") == 1  # memory given back
    page.get_by_role("navigation").first.get_by_role("link", name="Page 2").click()
    page.wait_for_selector(".card.drawn")
    assert opened.names()[0] == "300.png"
    assert opened.complaints == []
    opened.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_and_nothing_scrolls_sideways(width, scheme, browser, report):
    sync_playwright = pytest.importorskip("axe_playwright_python.sync_playwright")
    size = {"width": width, "height": 844}
    opened = Tab(browser, report, viewport=size, color_scheme=scheme)

    def clean() -> None:
        opened.page.wait_for_timeout(250)  # what fades in is not judged half-way
        found = sync_playwright.Axe().run(opened.page).response
        assert found["passes"]
        assert [
            (one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]
        ] == []
        wide = opened.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1]

    clean()
    back = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(back[4:].split(",")[0]) > 128) == (scheme == "light")
    folds = opened.page.evaluate("getComputedStyle(document.querySelector('summary')).display")
    assert folds == ("list-item" if width == 390 else "none")  # a fold shows its mark
    opened.open("a10.png")
    opened.page.evaluate("document.getElementById('boxed').click()")
    clean()
    stage = opened.page.evaluate(
        "['stage', 'viewer'].map((id) => document.getElementById(id))"
        ".map((one) => one.scrollWidth - one.clientWidth)"
    )
    assert stage == [0, 0]
    opened.context.close()


def test_the_theme_can_be_chosen(browser, report):
    opened = Tab(browser, report, color_scheme="light")
    shades = []
    for _ in range(3):  # light, dark, and as the system again
        opened.page.click("#theme")
        back = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
        shades.append(int(back[4:].split(",")[0]) > 128)
    assert shades == [True, False, True]
    opened.context.close()
