"""The audit as files: the command, the JSON, the table, and the page in a real Chromium."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import gradcam_hooks as gh
from gradcam_hooks.apps.audited import FILES, write_audit
from gradcam_hooks.apps.audited.drawing import Drawing, crops
from gradcam_hooks.apps.audited.plain import HEAD, plain
from gradcam_hooks.apps.batch import Folder
from gradcam_hooks.apps.cli import app
from gradcam_hooks.auditing import figures
from gradcam_hooks.auditing.figures import confusion, of_classes, plane, wrong_and_sure
from tests.support.colours import squares
from tests.support.report_runs import FILE, LABEL
from tests.support.shortcuts import Marked, pictures
from tests.support.standing import opened

pytestmark = pytest.mark.usefixtures("one_thread")

NAMES = (LABEL, "green & <b>bold</b>", "blue")
COLOURS = [number % 3 for number in range(60)]
MARKS = list(range(0, 60, 5))


def drawn(number: int) -> Image.Image | None:
    if number == 3:
        return None  # it could not be read any more
    return Image.effect_mandelbrot((64, 48), (-2, -1.5, 1, 1.5), 9).convert("RGB")


DRAWING = Drawing(drawn, crop=drawn, thumb=drawn)


@pytest.fixture(scope="module")
def audit() -> gh.Audit:
    images = pictures(COLOURS, marked=MARKS, mark_at=(28, 0))
    masks = torch.zeros(60, 32, 32, dtype=torch.bool)
    masks[:, :28] = True  # all but the row of the marks
    found = gh.audit(Marked(), images, layer="features", labels=NAMES, truths=COLOURS, masks=masks)
    names = tuple(f"{number} {FILE}" for number in range(60))
    object.__setattr__(found, "names", names)
    return found


def test_the_figures_are_those_of_the_pictures(audit: gh.Audit) -> None:
    wrong = [number for number in MARKS if COLOURS[number] != 2]
    assert set(wrong_and_sure(audit)) == set(wrong)
    assert audit.accuracy == pytest.approx(1 - len(wrong) / 60)
    cells = confusion(audit)
    assert sum(len(cell.members) for cell in cells) == 60
    assert {(cell.truth, cell.answer) for cell in cells if cell.truth != cell.answer} == {
        (0, 2), (1, 2)
    }  # fmt: skip
    blue = of_classes(audit)[0]
    assert blue.number == 2
    assert blue.count == 20 + len(wrong)
    assert blue.accuracy == pytest.approx(20 / blue.count)
    assert 0 <= blue.entropy <= 1
    spots = plane(audit)
    assert spots.shape == (60, 2)
    assert spots.min() == 0
    assert spots.max() == 1


def test_who_is_right_for_another_reason_is_told() -> None:
    images = pictures([0] * 20 + [1] * 20, block_at=(4, 4))
    images[7] = images[7].roll(16, dims=2)  # the one block that stands elsewhere
    truths = [0] * 20 + [1] * 20
    found = gh.audit(Marked(), images, layer="features", truths=truths, trials=8)
    assert figures.unlike(found) == (7,)


def test_json_and_table_say_what_the_audit_says(audit: gh.Audit, tmp_path: Path) -> None:
    files = write_audit(audit, Folder(tmp_path), Drawing(drawn))
    assert [file.name for file in files] == list(FILES)
    told = json.loads((tmp_path / "audit.json").read_text())
    assert told == plain(audit)
    assert told["finding"] == audit.text
    assert told["strategies"][0]["suspect"] is True
    with (tmp_path / "audit.csv").open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    assert tuple(head) == (*HEAD, "on the object", "iou", "object's area", "methods agree")
    assert float(rows[0][9]) == pytest.approx(float(audit.on_objects.inside[0]), abs=1e-3)
    assert (
        told["strategies"][0]["objects"]["inside"] < 0.3 < told["classes"][1]["objects"]["inside"]
    )
    assert told["classes"][0]["compared"] > 0
    assert len(rows) == 60
    suspect = {int(row[0]) for row in rows if row[7] == "true"}
    assert suspect == set(audit.suspects[0].members)
    assert rows[0][4] == NAMES[0]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "audit.html").write_text("mine")
    with pytest.raises(gh.ImageError, match="no run of this command made it"):
        write_audit(audit, Folder(tmp_path / "other"), Drawing(drawn))
    assert (tmp_path / "other" / "audit.html").read_text() == "mine"


def test_what_lies_under_the_peak_is_cut_out_of_the_picture_itself(audit, tmp_path) -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[8:24, 16:32] = (0, 90, 200)  # where the input, half as large, has its box
    pixels[8, 16] = pixels[23, 31] = 255
    Image.fromarray(pixels).save(tmp_path / "one.png")
    found = replace(audit, boxes=torch.tensor([[8, 4, 16, 12], [31, 0, 32, 32]]))
    paths = [tmp_path / "one.png", tmp_path / "gone.png"]
    crop = crops(found, paths, gh.Preprocess(size=(32, 32), fit="squash"))
    cut = crop(0)
    assert cut is not None
    assert np.array_equal(np.asarray(cut), pixels[8:24, 16:32])
    assert crop(1) is None


FAILING = """
import torch
from tests.support.colours import Colours

class Odd(Colours):
    word = "{}"

    def forward(self, x):
        dark = x.mean((1, 2, 3)) == 0
        if dark.any() and self.word == "fails":
            raise RuntimeError("too dark")
        return super().forward(x).masked_fill(dark[:, None], torch.nan)

def build():
    return Odd()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures, the third of them black, and networks to ask."""
    where = tmp_path_factory.mktemp("audited")
    (where / "photos").mkdir()
    for number, one in enumerate(squares(4)[0]):
        pixels = (one.permute(1, 2, 0) * 255 * (number != 2)).round().byte().numpy()
        Image.fromarray(pixels).save(where / "photos" / f"{number}.png")
    (where / "fine.py").write_text("from tests.support.colours import Colours as build\n")
    for word in ("fails", "nan"):
        (where / f"{word}.py").write_text(FAILING.format(word))
    return where


def asked(folder: Path, word: str, out: Path, *more: str) -> tuple[int, str]:
    said = ["audit", str(folder / "photos"), "--model", f"{folder / word}.py:build", "--out"]
    said += [str(out), "--size", "32", "--mean", "0,0,0", "--std", "1,1,1", *more]
    done = CliRunner().invoke(app, said)
    return done.exit_code, " ".join(done.output.split())


def test_another_audit_gets_a_folder_of_its_own(folder: Path, tmp_path: Path) -> None:
    def files(of: Path) -> dict[str, bytes]:
        return {name: (of / name).read_bytes() for name in FILES}

    (tmp_path / "truths.csv").write_text(f"0.png,1\n1.png,{'9' * 5000}\n")  # the second no number
    assert asked(folder, "fine", tmp_path, "--truth", str(tmp_path / "truths.csv"))[0] == 0
    first = files(tmp_path)
    status, told = asked(folder, "fine", tmp_path, "--method", "hirescam")
    assert (status, "run-2/audit.html" in told) == (0, True)
    assert "run-2/audit.html" in (tmp_path / "latest.html").read_text()
    assert files(tmp_path) == first
    again = asked(folder, "fine", tmp_path, "--method", "hirescam")[1]
    assert "run-2/audit.html" in again  # the same one is made anew in its place
    assert not (tmp_path / "run-3").exists()


@pytest.mark.parametrize(("word", "why"), [
    ("fails", "the network fails on '{}' as an input of shape (1, 3, 32, 32): RuntimeError: too"),
    ("nan", "what the network says of 1 of 4 pictures, such as '{}', or its map, is NaN or"),
])  # fmt: skip
def test_the_picture_that_a_network_cannot_take_is_told(folder, tmp_path, word, why) -> None:
    status, told = asked(folder, word, tmp_path / "out")
    assert status == 2
    assert why.format(folder / "photos" / "2.png") in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_the_page_is_read_by_anybody(browser, audit, tmp_path, width, scheme):
    (tmp_path / "report.html").write_text("<!doctype html><title>a report</title>")
    terms = [("Network", LABEL)]
    page_file = write_audit(audit, Folder(tmp_path), DRAWING, terms)[0]
    with opened(browser, page_file, width, scheme) as page:
        assert page.locator(".finding").inner_text() == audit.text
        assert page.locator("img[src='x']").count() == 0  # hostile names are text
        assert LABEL in page.locator("body").inner_text()
        assert "of the map on the object (8 told)" in page.locator(".strategy").first.inner_text()
        assert "methods agree" in page.locator("table").last.inner_text()
        under = page.locator(".strategy").first.get_by_role("list", name="What lies under the peak")
        assert under.get_by_role("img").count() == len(audit.strategies[0].middle[:8])
        see_the_dots(page, audit)
        see_the_filters(page, audit)


def see_the_dots(page, audit) -> None:
    """A dot that is pointed at, or reached by the arrow keys, shows its picture."""
    plane = page.locator("#plane")
    spots = figures.plane(audit)
    box = plane.bounding_box()
    x, y = (
        12 + float(at) * (box[side] - 24)
        for at, side in zip(spots[7], ("width", "height"), strict=True)
    )
    plane.hover(position={"x": x, "y": y})
    card = page.locator("#card")
    near = (spots - spots[7]).abs().sum(1) < 0.01
    names = [one for one, is_near in zip(audit.names, near.tolist(), strict=True) if is_near]
    assert any(name in card.inner_text() for name in names)
    assert "image/jpeg" in card.locator(".small").evaluate("one => one.style.backgroundImage")
    plane.focus()
    told = {card.inner_text()}
    for key in ("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"):
        page.keyboard.press(key)
        told.add(card.inner_text())
    assert len(told) > 1  # the keys go from picture to picture
    page.keyboard.press("Escape")
    assert card.is_hidden()


def see_the_filters(page, audit) -> None:
    """What is left of the pictures is told, listed, and asked of the report in the same words."""
    wrong = wrong_and_sure(audit)
    page.select_option("#right", "false")
    assert page.locator("#found").inner_text() == f"{len(wrong)} of 60 pictures"
    assert page.locator("#list li").count() == len(wrong)
    assert page.locator("#report").get_attribute("href") == "report.html#right=false"
    page.locator("[data-cell].missed").first.press("Enter")
    cell = next(one for one in confusion(audit) if one.truth != one.answer)
    assert page.locator("#list li").count() == len([one for one in cell.members if one in wrong])
    assert "truth=" in page.evaluate("location.hash")
    page.locator("#clear").click()
    assert page.locator("#found").inner_text() == "All 60 pictures"
    assert page.locator("#list li").count() == 48
    page.locator("#more").click()
    assert page.locator("#list li").count() == 60


NETWORK = '''
import torch
from torch import nn

class Corner(nn.Module):
    """The class is the colour there is most of in the picture."""
    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, 3, 4, stride=4, bias=False)
        with torch.no_grad():
            self.features.weight.copy_(torch.eye(3)[:, :, None, None].expand(3, 3, 4, 4) / 16)
    def forward(self, x):
        return 40 * self.features(x).relu().mean((2, 3))

def build():
    return Corner()
'''


def test_the_command_finds_the_corner_that_decides(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NETWORK)
    for number in range(15):
        colour = ("red", "green", "blue")[number % 3]
        pixels = np.full((32, 32, 3), 20, np.uint8)
        pixels[24:, :8, number % 3] = 220 + number
        (tmp_path / "photos" / colour).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "photos" / colour / f"{number}.png")
        (tmp_path / "marks").mkdir(exist_ok=True)
        Image.fromarray(pixels.max(2) > 100).save(tmp_path / "marks" / f"{number}.png")
    (tmp_path / "photos" / "red" / "torn.png").write_bytes(b"no picture")
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue\n")
    out = tmp_path / "out"
    said = ["audit", str(tmp_path / "photos"), "--model", f"{tmp_path / 'net.py'}:build"]
    said += ["--labels", str(tmp_path / "labels.txt"), "--truth", "folders", "--layer", "features"]
    said += ["--masks", str(tmp_path / "marks"), "--agreement", "6"]
    said += ["--size", "32", "--mean", "0,0,0", "--std", "1,1,1", "--out", str(out)]
    torch.manual_seed(0)
    done = CliRunner().invoke(app, said)
    assert done.exit_code == 1, done.output  # one picture is broken
    words = " ".join(done.output.split())
    assert "100.0% of the answers are right" in words
    assert "Suspect: 15 of 15 pictures (100%, called 3 classes) look at the lower left." in words
    told = json.loads((out / "audit.json").read_text())
    assert told["pictures"] == 15
    assert told["objects"]["told"] == 15
    assert told["objects"]["area"] == 1 / 16
    assert told["objects"]["inside"] > 0.5
    assert len(told["agreement"]["pictures"]) == 6
    page = (out / "audit.html").read_text()
    assert "data:image/jpeg;base64," in page
    assert "Nearest its middle" in page
