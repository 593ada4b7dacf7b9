"""An evaluation as files: the command, a run that is taken up again, and the page in Chromium."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import gradcam_hooks as gh
from gradcam_hooks.apps.batch import Folder
from gradcam_hooks.apps.cli import app
from gradcam_hooks.apps.evaluated import FILES, evaluate_files, run, write_evaluation
from gradcam_hooks.evaluating.run import Bench
from tests.support.colours import Colours, squares
from tests.support.report_runs import FILE, LABEL
from tests.support.standing import opened

pytestmark = pytest.mark.usefixtures("one_thread")

ASKED = {"methods": ["hirescam", "eigencam"], "layers": ["features"], "budget": "1800 passes",
         "metrics": ["insertion", "deletion", "mprt"], "batch_size": 3}  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures, their masks, and a COCO file of their boxes."""
    where = tmp_path_factory.mktemp("evaluated")
    images, masks = squares(8)
    content: dict[str, list[object]] = {"images": [], "annotations": []}
    for folder in ("photos", "masks"):
        (where / folder).mkdir()
    for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
        pixels = (image.permute(1, 2, 0) * 255).round().byte().numpy()
        Image.fromarray(pixels).save(where / "photos" / f"{number}.png")
        Image.fromarray(mask.numpy().astype(np.uint8)).save(where / "masks" / f"{number}.png")
        rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
        box = [int(columns.min()), int(rows.min()), len(columns), len(rows)]
        content["images"].append({"id": number, "file_name": f"{number}.png"})
        content["annotations"].append({"image_id": number, "bbox": box})
    (where / "boxes.json").write_text(json.dumps(content))
    (where / "net.py").write_text("from tests.support.colours import Colours as build\n")
    return where


def loaded(photos: Path) -> gh.LoadedModel:
    return gh.load_model(f"{photos / 'net.py'}:build", labels=["red", "green", "blue"])


READY = gh.Preprocess(size=(32, 32), mean=(0, 0, 0), std=(1, 1, 1))


def ask(photos: Path, out: Path, **more: object) -> tuple[gh.Evaluation, list[Path]]:
    paths = sorted((photos / "photos").iterdir())
    return evaluate_files(loaded(photos), paths, out, preprocess=READY, **{**ASKED, **more})


def told(file: Path) -> dict[str, object]:
    """The JSON, but for the seconds, which are the machine's."""
    content = json.loads(file.read_text())
    for line in content["table"]:
        line.pop("seconds")
    return content


def test_a_run_that_was_stopped_goes_on_and_gives_the_same_table(photos, tmp_path) -> None:
    whole, files = ask(photos, tmp_path / "whole")
    assert [file.name for file in files] == list(FILES)

    def stop(done: int, _: int) -> None:
        if done > 10:  # in the second of three parts
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(photos, tmp_path / "cut", progress=stop)
    assert not (tmp_path / "cut" / "evaluate.html").exists()
    kept = sorted((tmp_path / "cut" / "evaluate").glob("part-*"))
    assert len(kept) == 1
    before = kept[0].stat().st_mtime_ns
    seen: list[tuple[int, int]] = []
    _, again = ask(photos, tmp_path / "cut", progress=lambda *both: seen.append(both))
    assert seen[0][0] == 8  # the first part at once
    assert seen[-1] == (24, 24)
    assert kept[0].stat().st_mtime_ns == before
    assert told(again[1]) == told(files[1])
    kept[0].write_text("torn")  # a part that cannot be read is measured again
    _, third = ask(photos, tmp_path / "cut")
    assert told(third[1]) == told(files[1])
    with (tmp_path / "whole" / "evaluate.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["row"] for row in rows] == [line["row"] for line in whole.table]


def test_a_plan_and_parts_that_somebody_edited_are_made_anew(photos, tmp_path) -> None:
    paths = sorted((photos / "photos").iterdir())
    ask(photos, tmp_path)
    bench = Bench.of(
        loaded(photos), paths, target=None, boxes=None, masks=None, labels=None, preprocess=READY,
        seed=0, **{name: ASKED[name] for name in ("methods", "layers", "metrics", "batch_size")},
    )  # fmt: skip
    plan, part = tmp_path / "evaluate" / "plan.json", tmp_path / "evaluate" / "part-000000.json"
    whole, numbers = plan.read_text(), json.loads(part.read_text())
    with Folder(tmp_path).held():
        known = run._known(folder := Folder(tmp_path), bench)
    assert known.keys() == {(0, 1, 2), (3, 4, 5), (6, 7)}
    row = next(iter(numbers["values"]))
    wrong: list[object] = [None, [], {}, "x", {**numbers, "numbers": [0]}, {**numbers, "more": 1}]
    wrong += [{**numbers, name: value} for name in ("values", "curves", "seconds")
              for value in (3, {row: "x"}, {row: {"insertion": "abc"}})]  # fmt: skip
    wrong += [{**numbers, name: [one] * 3} for name in ("scores", "answers", "even")
              for one in ("x", {}, 10**400) if (name, one) != ("answers", 10**400)]  # fmt: skip
    ragged = {key: {"insertion": [[0, 1], [0], [1]]} for key in numbers["curves"]}
    wrong += [{**numbers, "answers": [0, 1, None]}, {**numbers, "curves": ragged}]
    for text in ["[" * 99_999, "torn", *map(json.dumps, wrong)]:
        part.write_text(text)
        assert run._known(folder, bench).keys() == {(3, 4, 5), (6, 7)}, text[-60:]
    kept = json.loads(whole)
    ways = {way.key: "no" for way in bench.question.ways}
    wrong = [None, [], "x", *({**kept, **one} for one in (
        {"numbers": []}, {"numbers": [8]}, {"numbers": [-1]}, {"numbers": ["x"]}, {"steps": 7},
        {"steps": "x"}, {"fill": "x"}, {"left_out": {"x": "y"}}, {"left_out": ways}, {"more": 1},
    ))]  # fmt: skip
    for text in ["[" * 99_999, "torn", *map(json.dumps, wrong)]:
        plan.write_text(text)
        assert run._kept(folder, bench) is None, text
    plan.write_text(whole)
    assert run._kept(folder, bench) is not None


def test_other_options_get_a_folder_of_their_own_and_others_files_stay(photos, tmp_path) -> None:
    ask(photos, tmp_path, metrics=["insertion"])
    _, files = ask(photos, tmp_path, metrics=["deletion"])
    assert files[0].parent == tmp_path / "run-2"
    assert "run-2/evaluate.html" in (tmp_path / "latest.html").read_text()
    other = tmp_path / "other"
    other.mkdir()
    (other / "evaluate.csv").write_text("mine")
    with pytest.raises(gh.ImageError, match="no run of this command made it"):
        ask(photos, other)
    assert (other / "evaluate.csv").read_text() == "mine"


@pytest.mark.parametrize("places", ["--boxes", "--masks"])
def test_the_command_recommends_and_tells_where_the_maps_lie(photos, tmp_path, places) -> None:
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue\n")
    said = ["evaluate", str(photos / "photos"), "--model", f"{photos / 'net.py'}:build"]
    said += ["--labels", str(tmp_path / "labels.txt"), "--layers", "feat*"]
    said += ["--methods", "hirescam,eigencam", "--metrics", "insertion,idsds", "--metrics"]
    said += ["energy_pointing_game", "--size", "32", "--mean", "0,0,0", "--std", "1,1,1"]
    said += ["--budget", "2000 passes", "--out", str(tmp_path / "out")]
    said += [places, str(photos / ("boxes.json" if places == "--boxes" else "masks"))]
    done = CliRunner().invoke(app, said)
    assert done.exit_code == 0, done.output
    words = " ".join(done.output.split())
    assert "features with HiResCAM: over 2 metrics its maps rank best" in words
    assert "100% of its map lies on the known objects, which take 6% of the pictures" in words
    content = json.loads((tmp_path / "out" / "evaluate.json").read_text())
    energies = [line["energy_pointing_game"] for line in content["table"] if line["recommended"]]
    assert energies == [pytest.approx(1, abs=0.01)]


@pytest.mark.parametrize(("said", "why"), [
    (["--methods", "gradcan-like"], "Families of methods"),
    (["--budget", "soon"], "budget= is a time"),
    (["--boxes", "nowhere.json"], "cannot be read"),
    (["--demo"], "--demo draws its own pictures"),
])  # fmt: skip
def test_mistakes_are_told(photos, tmp_path, said, why) -> None:
    base = ["evaluate", str(photos / "photos"), "--model", f"{photos / 'net.py'}:build"]
    done = CliRunner().invoke(app, [*base, "--out", str(tmp_path / "out"), *said])
    assert done.exit_code == 2
    assert why in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_the_page_is_read_by_anybody(browser, tmp_path, width, scheme) -> None:
    found = gh.evaluate(
        Colours(), squares(8)[0], methods="hirescam", layers="features",
        metrics=["insertion", "deletion"], labels=(LABEL, "green", "blue"), budget="600 passes",
    )  # fmt: skip
    object.__setattr__(found, "names", tuple(f"{number} {FILE}" for number in range(8)))
    picture = Image.effect_mandelbrot((64, 48), (-2, -1.5, 1, 1.5), 9)
    page_file = write_evaluation(
        found, Folder(tmp_path), lambda number: picture if number else None, [("Network", LABEL)]
    )[0]
    with opened(browser, page_file, width, scheme) as page:
        assert page.locator(".finding").inner_text() == found.recommendation
        assert page.locator("#table tbody tr").count() == len(found.rows)
        assert page.locator("tr.best").count() == 1
        assert page.locator("figure.chart > svg > polyline").count() == 2 * 5  # with baselines
        assert page.locator("script, img[src='x']").count() == 0  # hostile names are text
        assert LABEL in page.locator("body").inner_text()


def test_the_demo_says_that_faithful_is_not_right(tmp_path, monkeypatch) -> None:
    from gradcam_hooks.apps.demo import evaluated

    monkeypatch.setattr(evaluated, "_SCENES", 8)
    asked = {"methods": ["hirescam"], "layers": ["layer3"]}
    asked["metrics"] = ["insertion", "deletion", "idsds", "energy_pointing_game"]
    monkeypatch.setattr(evaluated, "_ASKED", asked)
    monkeypatch.setattr(evaluated, "_BUDGET", "1500 passes")
    found, lines = evaluated.evaluate_demo(tmp_path)
    assert found["honest"].best is not None
    assert found["fooled"].best is not None  # its maps are faithful
    for name, on_it in (("honest", True), ("fooled", False)):
        assert found[name].located["hirescam@layer3"].on_it is on_it
        assert any(f"The {name} network is right on 8 of 8" in line for line in lines)
    assert "right for the wrong reason" in found["fooled"].text
    assert "right for the wrong reason" not in found["honest"].text
    assert (tmp_path / "fooled" / "evaluate.html").is_file()
    assert torch.tensor(found["honest"].scores).min() > 0.5
