"""The interactive page in a real Chromium, served by the command itself to this machine alone."""

from __future__ import annotations

import base64
import importlib.util
import io
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

import gradcam_hooks as gh
from gradcam_hooks.apps import demo
from gradcam_hooks.images import load_image
from tests.support.report_runs import FILE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gradio") is None, reason="Gradio is not installed"
)
STAR = next(path for path in demo.IMAGES if path.stem == "star")
SIZE = 64
SECONDS = 60  # to wait for what must come; none of it takes long


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="module")
def address(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of the bundled network, by `gradcam-hooks serve` in a process of its own."""
    folder = tmp_path_factory.mktemp("serve")
    (folder / "labels.txt").write_text("\n".join(demo.LABELS))
    port = free_port()
    root = Path(gh.__file__).parents[1]
    temporary = folder / "temporary"
    temporary.mkdir()
    errors = (folder / "errors.txt").open("w")
    server = subprocess.Popen(
        [
            sys.executable, "-m", "gradcam_hooks", "serve",
            "--model", "gradcam_hooks.apps.demo:network", "--weights", str(demo.HONEST),
            "--labels", str(folder / "labels.txt"), "--size", str(SIZE),
            "--mean", str(demo.MEAN[0]), "--std", str(demo.STD[0]),
            "--port", str(port), "--device", "cpu", "--examples", str(STAR),
        ],
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root), "TMPDIR": str(temporary), "COLUMNS": "80"},
        # what a shell starts in the background ignores SIGINT, and so does all that it starts
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda: lines.put(server.stdout.readline()), daemon=True).start()
    try:
        told = lines.get(timeout=5 * SECONDS)  # a busy machine imports for long
        assert told == f"Open http://127.0.0.1:{port}/ in a browser; Ctrl-C stops it.\n"
        yield f"http://127.0.0.1:{port}/"
        server.send_signal(signal.SIGINT)
        assert server.wait(SECONDS) == 130
        assert (folder / "errors.txt").read_text() == "stopped: by Ctrl-C\n"
        assert list(temporary.glob("gradcam_hooks_*")) == []  # nobody's pictures stay
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
        errors.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    context.set_default_timeout(1000 * SECONDS)
    opened = context.new_page()
    requests: list[str] = []
    errors: list[str] = []
    opened.on("request", lambda request: requests.append(request.url))
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(address)
    opened.wait_for_selector("#layer input")
    yield opened
    context.close()
    assert errors == []
    elsewhere = [url for url in requests if not url.startswith((address, "data:", "blob:"))]
    assert elsewhere == []
    assert len(requests) > 10


def drop(page: Page, path: Path) -> None:
    if page.locator("#picture-file input[type=file]").count() == 0:
        page.locator("#picture-file").get_by_role("button", name="Clear").click()
    page.set_input_files("#picture-file input[type=file]", path)


def told(page: Page, **expected: str) -> None:
    """Wait until the numbers say what is expected of them."""
    for name, words in expected.items():
        page.locator("#numbers div", has=page.locator(f"dt:text-is('{name}')")).locator(
            "dd", has_text=re.compile(f"^{re.escape(words)}$")
        ).wait_for()


def pixels(page: Page) -> np.ndarray:
    """The picture that is shown, as it came from the server."""
    url = page.evaluate(
        "async () => { const blob = await (await fetch(document.querySelector('#map img').src))"
        ".blob(); return new Promise((done) => { const reader = new FileReader(); "
        "reader.onload = () => done(reader.result); reader.readAsDataURL(blob); }); }"
    )
    data = base64.b64decode(url.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def expected(layer: str, target: int, method: str, **style: object) -> np.ndarray:
    model = gh.load_model("gradcam_hooks.apps.demo:network", demo.HONEST).model
    prepare = gh.Preprocess(size=(SIZE, SIZE), mean=demo.MEAN, std=demo.STD)
    found = gh.explain(model, STAR, layer, target=target, method=method, preprocess=prepare)
    return np.asarray(found.overlay(**style))


def shows(page: Page, before: str, wanted: np.ndarray) -> str:
    """Wait for another picture than `before`; it is the wanted one. Returns its address."""
    page.wait_for_function(
        "(before) => { const one = document.querySelector('#map img'); "
        "return one && one.src !== before; }",
        arg=before,
    )
    np.testing.assert_allclose(pixels(page).astype(int), wanted.astype(int), atol=1)
    return page.get_attribute("#map img", "src") or ""


def test_a_picture_is_dropped_and_everything_about_it_chosen(page, tmp_path):
    assert page.input_value("#layer input").startswith("layer3 · recommended")
    assert page.input_value("#method input").startswith("Grad-CAM")
    assert page.locator("#guesses label").count() == 0
    drop(page, STAR)
    told(page, Explained="star (4)", Layer="layer3", Method="Grad-CAM")
    first = shows(page, "", expected("layer3", 4, "gradcam"))
    assert pixels(page).shape[:2] == load_image(STAR).size[::-1]
    assert page.inner_text("#numbers .diagnosis b") == "ok"
    guesses = page.locator("#guesses label")
    assert guesses.count() == 5
    assert re.fullmatch(r"star\s+9\d\.\d %", guesses.first.inner_text().strip())

    guesses.nth(1).click()
    told(page, Explained="square (2)")
    second = shows(page, first, expected("layer3", 2, "gradcam"))
    assert page.get_attribute("#map img", "alt") == (
        "The picture with the Grad-CAM map of square (2) at layer3."
    )

    page.click("#layer input")
    page.get_by_role("option", name="layer2 ·").click()
    told(page, Layer="layer2", Explained="square (2)", Layout="b c=32 h=16 w=16")
    third = shows(page, second, expected("layer2", 2, "gradcam"))

    page.click("#method input")
    page.get_by_role("option", name="LayerCAM").click()
    told(page, Method="LayerCAM", Explained="square (2)")
    fourth = shows(page, third, expected("layer2", 2, "layercam"))
    assert "Positive gradient times activation" in page.inner_text("#formula")

    page.locator("#alpha input[type=number]").fill("0")
    page.keyboard.press("Tab")
    fifth = shows(page, fourth, np.asarray(load_image(STAR)))
    page.locator("#alpha input[type=number]").fill("1")
    page.keyboard.press("Tab")
    sixth = shows(page, fifth, expected("layer2", 2, "layercam", alpha=1))
    page.click("#colormap input")
    page.get_by_role("option", name="jet").click()
    shows(page, sixth, expected("layer2", 2, "layercam", alpha=1, colormap="jet"))


def test_mistakes_get_a_message_and_never_an_old_map(page, tmp_path):
    drop(page, STAR)
    told(page, Explained="star (4)")
    other = page.locator("#other textarea, #other input")
    other.fill("rectangle")
    other.press("Enter")
    page.get_by_text("No class is called 'rectangle' among the 8 labels").wait_for()
    assert page.locator("#map img").count() == 0
    assert page.inner_text("#numbers").strip() == ""
    assert page.locator("#guesses input:checked").count() == 0
    other.fill("heart")
    other.press("Enter")
    told(page, Explained="heart (6)")
    assert page.locator("#trouble [role=alert]").count() == 0
    page.locator("#guesses label").first.click()
    told(page, Explained="star (4)")
    assert other.input_value() == ""

    torn = tmp_path / "torn.png"
    torn.write_bytes(b"nothing")
    drop(page, torn)
    page.get_by_text("'torn.png' is no picture that Pillow knows").wait_for()
    assert "Traceback" not in page.content()
    assert str(tmp_path) not in page.content()
    assert page.locator("#map img").count() == 0
    assert page.locator("#guesses label").count() == 0
    drop(page, STAR)
    told(page, Explained="star (4)")
    assert page.locator("#trouble [role=alert]").count() == 0


def test_a_name_that_is_markup_stays_text(page, tmp_path):
    (tmp_path / FILE).write_bytes(b"nothing")
    drop(page, tmp_path / FILE)
    page.locator("#trouble [role=alert]").wait_for()
    assert page.locator("#trouble img, #trouble script").count() == 0


def test_a_picture_that_is_offered_is_explained(page, tmp_path):
    offered = page.locator("#examples")
    offered.get_by_text(STAR.name).click()
    first = shows(page, "", expected("layer3", 4, "gradcam"))
    # One that is dropped takes its place, and it can be asked for again.
    other = STAR.with_name("circle.png")
    drop(page, other)
    page.wait_for_function(
        "(before) => document.querySelector('#map img')?.src !== before", arg=first
    )
    assert offered.locator("input:checked").count() == 0
    offered.get_by_text(STAR.name).click()
    shows(page, page.get_attribute("#map img", "src"), expected("layer3", 4, "gradcam"))
    assert page.locator("#picture-file input[type=file]").count() == 1  # no file is named


def test_the_keyboard_alone_will_do(page):
    drop(page, STAR)
    told(page, Explained="star (4)")
    page.locator("#guesses input").first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    told(page, Explained="square (2)")
    for _ in range(4):  # past the other guesses
        page.keyboard.press("Tab")
    page.keyboard.type("circle")
    page.keyboard.press("Enter")
    told(page, Explained="circle (0)")
    page.locator("#layer input").focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("layer1 ")
    page.keyboard.press("Enter")
    told(page, Explained="circle (0)", Layer="layer1")


def fling(page: Page, path: Path, onto: str) -> None:
    """Drop a file somewhere on the page, as a hand does."""
    page.evaluate(
        "async ([data, name, onto]) => { const held = new DataTransfer();"
        "const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));"
        "held.items.add(new File([bytes], name, { type: 'image/png' }));"
        "const about = { dataTransfer: held, bubbles: true, cancelable: true };"
        "document.querySelector(onto).dispatchEvent(new DragEvent('drop', about)); }",
        [base64.b64encode(path.read_bytes()).decode(), path.name, onto],
    )


def test_another_picture_is_dropped_onto_the_first_and_each_choice_asked_once(page):
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url) if "queue/join" in one.url else None)
    fling(page, STAR, "#picture-file")
    told(page, Explained="star (4)")
    other = next(path for path in demo.IMAGES if path.stem.startswith("heart"))
    fling(page, other, "#map img")
    told(page, Explained="heart (6)")
    assert page.locator("#guesses label").count() == 5
    page.locator("#original img").wait_for()
    before = len(asked)
    page.locator("#guesses label").nth(1).click()
    page.wait_for_function(
        "() => !document.querySelector('#numbers dd').innerText.includes('heart')"
    )
    page.click("#method input")
    page.get_by_role("option", name="LayerCAM").click()
    told(page, Method="LayerCAM")
    assert re.search(
        r"F is [\d.]+ m?s here, all of it took [\d.]+ m?s", page.inner_text("#formula")
    )
    page.click("#colormap input")
    page.get_by_role("option", name="jet").click()
    page.wait_for_function(
        "() => document.querySelector('#bar i').style.background.includes('128')"
    )
    page.wait_for_timeout(300)
    assert len(asked) == before + 3


def test_on_a_phone_the_map_stands_first(page):
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.locator("#picture-file").bounding_box()["y"] < 400
    drop(page, STAR)
    told(page, Explained="star (4)")
    map_, file = (page.locator(one).bounding_box()["y"] for one in ("#map", "#picture-file"))
    assert map_ < file
    wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1]
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{folder}/phone.png")
