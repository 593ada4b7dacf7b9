"""A report to try in a real Chromium: its pictures, its run, and a page that remembers."""

from __future__ import annotations

import base64
import csv
import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks.apps.batch import Folder, Record, Series
from gradcam_hooks.apps.batch.job import Job
from gradcam_hooks.apps.batch.truths import read_truths
from gradcam_hooks.apps.report import entries_of, terms_of, write_report
from gradcam_hooks.images import load_image

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in _NAMES if (found := shutil.which(name))), None)
ARGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
FILE = "<img src=x onerror=alert(1)>.png"
LABEL = "</script><script>alert(1)</script>"
LABELS = (LABEL, "green", "blue & <b>bold</b>")
PREPARE = gh.Preprocess(size=(32, 32), fit="crop", resize=36, mean=(0, 0, 0), std=(1, 1, 1))


class Colours(nn.Module):
    """The class is the strongest colour; the map of a class is where that colour is."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 3, 4, stride=4, bias=False)
        with torch.no_grad():
            self.features.weight.copy_(torch.eye(3)[:, :, None, None].expand(3, 3, 4, 4) / 16)

    def forward(self, x: Tensor) -> Tensor:
        return 20 * self.features(x).mean((2, 3))


def picture(path: Path, colour: int, strength: int, at: tuple[int, int] = (30, 50)) -> None:
    """A dim 80 x 120 picture with a block of 20 x 20 in one colour."""
    pixels = np.full((80, 120, 3), 20, np.uint8)
    pixels[at[0] : at[0] + 20, at[1] : at[1] + 20, colour] = strength
    Image.fromarray(pixels).save(path)


@dataclass(frozen=True)
class Done:
    """A run that is over."""

    job: Job
    out: Path
    records: list[Record]

    def path(self, name: str) -> Path:
        return self.out.parent / name


def make_run(folder: Path) -> Done:
    """Four pictures with a block each, a black one, and one that is broken."""
    made = {"a10.png": (1, 250), "a2.png": (1, 150), FILE: (0, 250), "sea.png": (2, 200)}
    for i, (name, (colour, strength)) in enumerate(made.items()):
        picture(folder / name, colour, strength, (10 + 10 * i, 40 + 8 * i))
    Image.new("RGB", (120, 80)).save(folder / "black.png")
    (folder / "torn.png").write_bytes(b"nothing")
    with (folder / "truth.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("file", "label"), ("a10.png", "green"), ("a2.png", LABELS[2]), (FILE, LABEL)]
        )
    pictures = [folder / name for name in (*made, "black.png", "torn.png")]
    loaded = gh.LoadedModel(Colours().eval(), "colours", "by hand", LABELS, PREPARE)
    truths = read_truths(str(folder / "truth.csv"), pictures)
    job = Job(loaded, layer="features")
    return Done(job, folder / "out", Series(job, pictures, folder / "out", truths=truths).go())


def make_report(run: Done) -> Path:
    terms = terms_of(run.job, run.records, f"demo {FILE}")
    return write_report(Folder(run.out), entries_of(run.records, run.out), terms)[0]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium, or the test is skipped with the reason."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGS))
        yield started
        started.close()


class Tab:
    """A page of the browser that remembers what it asked for and complained of."""

    def __init__(self, browser: Browser, path: Path, **options: object) -> None:
        size = {"width": 1280, "height": 900}
        self.context = browser.new_context(**{"viewport": size, **options})
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append("alert"), dialog.dismiss()))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector(".card.drawn")
        self.settle()

    def settle(self) -> None:
        """Until what was asked for is drawn."""
        self.page.evaluate(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def names(self) -> list[str]:
        return self.page.locator(".card:not([hidden]) h3").all_text_contents()

    def pixels(self, name: str, scope: str = ".card") -> np.ndarray:
        """What is on a picture's first canvas, as integers."""
        url = self.page.evaluate(
            "([name, scope]) => [...document.querySelectorAll(scope)].find((one) => "
            "one.querySelector('h3, h2').textContent === name).querySelector('canvas').toDataURL()",
            [name, scope],
        )
        data = base64.b64decode(url.partition(",")[2])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)

    def slide(self, selector: str, value: int) -> None:
        self.page.fill(selector, str(value))
        self.settle()

    def open(self, name: str) -> None:
        self.page.get_by_role("button", name=name).first.click()
        self.page.wait_for_selector("#stage[data-ready]")


def placed(run: Done, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The map on the original, by the library alone, and where the network saw it."""
    pixels, geometry = PREPARE(load_image(run.path(name)))
    maps = gh.GradCAM(run.job.loaded.model, "features")(pixels[None]).maps
    return geometry.place(maps[0]), geometry.seen_mask()
