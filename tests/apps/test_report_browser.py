"""The report in a real Chromium: what is pressed changes what is seen, and nothing else happens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import ndimage

from gradcam_hooks.images import colorize, load_image
from tests.support.report_runs import (
    FILE,
    LABEL,
    Tab,
    placed,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture
def tab(browser: Browser, report: Path) -> Iterator[Tab]:
    opened = Tab(browser, report)
    yield opened
    opened.context.close()
    assert opened.complaints == []
    assert opened.requests == [report.as_uri()]


def test_the_truths_came_through(run):
    assert [record.right for record in run.records] == [True, False, True, None, None, None]


@pytest.mark.parametrize("name", ["a10.png", "sea.png"])
def test_the_canvas_shows_the_blend_of_the_library(name, tab, run):
    heat, seen = placed(run, name)
    tab.page.check("input[name=mode][value=original]", force=True)
    tab.settle()
    plain = tab.pixels(name)
    picture = np.asarray(load_image(run.path(name))).astype(int)
    assert plain.shape == picture.shape
    assert np.abs(plain - picture).mean() < 4  # it is a JPEG here
    tab.page.check("input[name=mode][value=overlay]", force=True)
    inner = ndimage.binary_erosion(seen, iterations=2)
    outer = ~ndimage.binary_dilation(seen, iterations=2)
    assert outer.any()
    for alpha, colormap in ((30, "inferno"), (80, "inferno"), (80, "jet")):
        tab.page.select_option("#colormap", colormap)
        tab.slide("#alpha", alpha)
        drawn = tab.pixels(name)
        weight = heat[..., None] * alpha / 100  # as much as the map is
        mixed = plain * (1 - weight) + 255 * colorize(heat, colormap) * weight
        assert np.abs(drawn - mixed)[inner].max() < 6  # the map is in eight bits
        assert (drawn[outer] == plain[outer]).all()  # never seen, so never tinted
    tab.page.check("input[name=mode][value=map]", force=True)
    tab.settle()
    assert np.abs(tab.pixels(name) - 255 * colorize(heat, "jet"))[inner].max() < 6


def test_the_border_of_what_the_network_saw_is_outlined(tab, run):
    _, seen = placed(run, "a10.png")
    drawn = tab.pixels("a10.png")
    rows, columns = np.nonzero(seen)
    assert (drawn[rows.min(), columns.min() : columns.max() + 1] > 200).all()
    assert (drawn[rows.min() : rows.max() + 1, columns.max()] > 200).all()
    assert (drawn[rows.min(), columns.min() - 1] < 60).all()  # and dark beside it


def test_names_and_labels_stay_text(tab):
    assert FILE in tab.names()
    assert tab.page.locator(".card img, .card script, .card b").count() == 0
    options = tab.page.locator("#class option").all_text_contents()
    assert f"{LABEL} (2)" in options  # the black picture's logits are equal, and it is the first
    tab.page.get_by_role("button", name=FILE).click()
    tab.page.wait_for_selector("#stage[data-ready]")
    assert tab.page.inner_text("#viewer-name") == FILE
    assert LABEL in tab.page.inner_text("#viewer-facts")
    assert tab.page.evaluate("document.scripts.length") == 8  # data, six pictures, the script
    assert f"demo {FILE}" in tab.page.inner_text(".facts")


def test_a_script_that_got_in_would_not_run(browser, report):
    opened = Tab(browser, report)
    opened.page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), "
        "{textContent: 'window.hacked = 1'}))"
    )
    opened.page.evaluate("document.body.insertAdjacentHTML('beforeend', "
                         "'<img src=https://example.com/x onerror=hacked=1>')")  # fmt: skip
    opened.page.wait_for_timeout(100)
    assert opened.page.evaluate("typeof hacked") == "undefined"
    assert any("script-src" in one for one in opened.complaints)
    assert any("img-src" in one for one in opened.complaints)
    opened.context.close()


def test_sorting(tab):
    orders = {
        "name": [FILE, "a2.png", "a10.png", "black.png", "sea.png", "torn.png"],
        "surest": ["a10.png", FILE, "sea.png", "a2.png", "black.png", "torn.png"],
        "unsure": ["black.png", "a2.png", "sea.png", "a10.png", FILE, "torn.png"],
        "class": [FILE, "black.png", "sea.png", "a10.png", "a2.png", "torn.png"],
        "wrong": ["a2.png", "a10.png", FILE, "sea.png", "black.png", "torn.png"],
        "order": ["a10.png", "a2.png", FILE, "sea.png", "black.png", "torn.png"],
    }
    for order, expected in orders.items():
        tab.page.select_option("#sort", order)
        found = tab.names()
        if order in ("surest", "unsure"):  # two are equally sure
            expected = [{FILE: "a10.png"}.get(name, name) for name in expected]
            found = [{FILE: "a10.png"}.get(name, name) for name in found]
        assert found == expected, order


def test_filters(tab):
    def left(selector: str, value: str) -> list[str]:
        if tab.page.locator(f"select{selector}").count():
            tab.page.select_option(selector, value)
        else:
            tab.page.fill(selector, value)
        return tab.names()

    assert tab.page.inner_text("#found") == "Showing all 6 pictures"
    assert left("#class", "1") == ["a10.png", "a2.png"]
    assert tab.page.inner_text("#found") == "Showing 2 of 6 pictures"
    assert left("#right", "false") == ["a2.png"]
    assert left("#class", "2") == []
    assert tab.page.inner_text("#nothing").startswith("No picture fits.")
    tab.page.click("#all")
    tab.page.wait_for_selector("#nothing", state="hidden")
    assert len(tab.names()) == 6
    assert left("#right", "null") == ["sea.png", "black.png", "torn.png"]
    assert left("#right", "") == tab.names()
    assert left("#diagnosis", "broken") == ["torn.png"]
    assert left("#diagnosis", "ok") == ["a10.png", "a2.png", FILE, "sea.png"]
    assert left("#text", "EA") == ["sea.png"]
    assert left("#least", "0.99") == []
    tab.page.click("text=Reset")
    assert left("#most", "0.4") == ["black.png"]  # a third each


def test_the_keyboard_alone_goes_through_all(tab):
    page = tab.page
    page.focus("#alpha")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#alpha-told") == "71 %"
    page.get_by_role("button", name="a2.png").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#stage[data-ready='1']")
    assert page.inner_text("#viewer-name") == "a2.png"
    assert page.inner_text("#viewer-place") == "2 of 6"
    assert page.evaluate("document.activeElement.id") == "viewer-name"
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("#stage[data-ready='0']")
    page.keyboard.press("ArrowLeft")  # there is none before the first
    assert page.inner_text("#viewer-name") == "a10.png"
    for index in (1, 2, 3, 4):
        page.keyboard.press("ArrowRight")
        page.wait_for_selector(f"#stage[data-ready='{index}']")
    page.keyboard.press("ArrowRight")  # the torn one has no maps
    assert page.inner_text("#viewer-name") == "black.png"
    for _ in range(12):  # the focus does not leave the dialog, but for the browser's own
        page.keyboard.press("Tab")
        assert page.evaluate(
            "document.activeElement === document.body || "
            "document.getElementById('viewer').contains(document.activeElement)"
        )
    page.keyboard.press("Escape")
    page.wait_for_selector("#viewer:not([open])", state="attached")
    focused = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert focused.startswith("black.png,")


def test_the_value_under_the_pointer_is_the_map_s(tab, run):
    heat, seen = placed(run, "a10.png")
    tab.open("a10.png")
    box = tab.page.locator(".frame").bounding_box()
    for y, x in ((20, 50), (25, 60), (40, 70)):
        tab.page.mouse.move(
            box["x"] + (x + 0.5) / 120 * box["width"], box["y"] + (y + 0.5) / 80 * box["height"]
        )
        assert seen[y, x]
        assert float(tab.page.inner_text(".value")) == pytest.approx(heat[y, x], abs=0.01)
        assert tab.page.inner_text("#point").startswith(f"x {x}, y {y}: ")
    tab.page.mouse.move(box["x"] + 5, box["y"] + box["height"] / 2)
    assert tab.page.inner_text(".value") == "not seen"
    assert tab.page.locator(".cross").count() == 2
    tab.page.focus("#stage")
    tab.page.mouse.move(2, 2)
    tab.page.keyboard.press("Shift+ArrowRight")
    tab.page.keyboard.press("Shift+ArrowRight")
    assert tab.page.inner_text("#point").startswith("x 63, y 40: ")


def test_boxes_follow_the_threshold(tab, run):
    heat, _ = placed(run, "a10.png")
    tab.open("a10.png")
    assert tab.page.locator(".box").count() == 0
    sizes = []
    for threshold in (30, 60, 90):
        tab.slide("#threshold", threshold)  # which also asks for them
        count, (region, *_) = (
            (label := ndimage.label(heat >= threshold / 100, np.ones((3, 3))))[1],
            ndimage.find_objects(label[0]),
        )
        assert tab.page.locator(".box:not(.under)").count() == count == 1
        drawn = tab.page.locator(".box:not(.under)").first.evaluate(
            "(box) => ['y', 'x', 'height', 'width'].map((name) => Number(box.getAttribute(name)))"
        )
        expected = [
            region[0].start, region[1].start,
            region[0].stop - region[0].start, region[1].stop - region[1].start,
        ]  # fmt: skip
        assert drawn == pytest.approx(expected, abs=3)  # an input pixel is 2.2 of the picture's
        sizes.append(drawn[2])
    assert sizes[0] > sizes[1] > sizes[2]
    tab.page.uncheck("#boxed")
    assert tab.page.locator(".box").count() == 0


def test_the_larger_view_shows_what_the_small_one_does(tab):
    tab.open("sea.png")
    tab.slide("#viewer-alpha", 20)
    assert tab.page.inner_text("#alpha-told") == "20 %"
    np.testing.assert_array_equal(tab.pixels("sea.png", "#viewer"), tab.pixels("sea.png"))
    tab.page.check("input[name=viewer-mode][value=map]", force=True)
    tab.settle()
    assert tab.page.is_checked("input[name=mode][value=map]")


def test_a_blank_map_tells_why(tab):
    tab.open("black.png")
    told = tab.page.inner_text("#viewer-facts")
    assert "Doubt" in told
    assert "earlier layer" in told or "score" in told
    assert tab.page.locator(".card", has_text="black.png").locator(".badge.doubt").count() == 1
