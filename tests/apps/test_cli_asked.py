"""What can be asked in the command beyond a class: targets, options, preprocessing of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import gradcam_hooks as gh
from gradcam_hooks.apps.cli import app
from gradcam_hooks.apps.cli.targets import read_target
from gradcam_hooks.images import limits

NET = """
import torch
from torch import nn
from torchvision import transforms

def build(num_classes=3):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, num_classes),
    )

def dense():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))

def one():
    return build(1)

own = transforms.Compose([transforms.Resize(64), transforms.CenterCrop(48), transforms.ToTensor()])

def turned(image):
    return own(image.rotate(30))
"""


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    (tmp_path / "nets.py").write_text(NET)
    pixels = np.random.default_rng(0).integers(0, 256, (80, 120, 3), np.uint8)
    for name in ("a", "b"):
        Image.fromarray(pixels).resize((120, 80)).save(tmp_path / f"{name}.png")
    return tmp_path


def run(nets: Path, builder: str, *words: object) -> Result:
    asked = ["explain", nets / "a.png", "--model", f"{nets / 'nets.py'}:{builder}"]
    words = (*asked, "--out", nets / "out", "--layer", "1", *words)
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})


def record(nets: Path) -> dict[str, object]:
    newest = max((nets / "out").rglob("results.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    (line,) = newest.read_text().splitlines()
    found: dict[str, object] = json.loads(line)
    return found


@pytest.mark.parametrize(
    ("word", "target"),
    [
        ("predicted", None),
        ("-1", -1),
        ("sea lion", "sea lion"),
        ("box", gh.Box()),
        ("segment", "segment"),  # a label may be called so
        ("box:cat", gh.Box(label="cat")),
        ("box:10,20,110,220:3", gh.Box((10, 20, 110, 220), label=3)),
        ("binary", gh.Binary()),
        ("binary:negative", gh.Binary(positive=False)),
        ("regression", gh.Regression()),
        ("regression:1:down", gh.Regression(1, up=False)),
        ("difference:cat, 2", gh.Difference("cat", 2)),
        ("all", gh.AllClasses()),
    ],
)
def test_the_word_of_each_target(word: str, target: object) -> None:
    assert read_target(word) == target


def test_the_word_of_a_region() -> None:
    assert repr(read_target("segment:cat")) == repr(gh.Segment("cat"))


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("top:x", "top takes a number, such as top:5; got 'top:x'"),
        ("box:1,2,3", "four sides in pixels"),
        ("box:9,9,1,1", r"x1 < x2"),
        ("binary:no", "positive or negative"),
        ("regression:1:2", "the number of an output"),
        ("difference:cat", "two classes"),
        ("segment:", "a class, such as segment:cat"),
    ],
)
def test_a_word_that_is_no_target_says_what_its_kind_takes(word: str, told: str) -> None:
    with pytest.raises(gh.TargetError, match=told):
        read_target(word)


def test_a_region_is_explained_and_a_picture_without_it_is_told(nets: Path) -> None:
    result = run(nets, "dense", "--target", "segment:1")
    assert result.exit_code == 0, result.output
    assert record(nets)["target"] is None
    never = run(nets, "dense", "--target", "segment:7")
    assert never.exit_code == 2
    assert "class 7 is out of range" in never.output


def test_a_side_of_one_logit(nets: Path) -> None:
    (nets / "labels.txt").write_text("well\nill\n")
    result = run(nets, "one", "--labels", nets / "labels.txt", "--target", "well")
    assert result.exit_code == 0, result.output
    found = record(nets)
    assert (found["target"], found["target_label"]) == (0, "well")


def test_a_methods_own_options(nets: Path) -> None:
    result = run(nets, "build", "--method", "rise", "--option", "masks=5", "--option", "cells=3")
    assert result.exit_code == 0, result.output
    for word, told in (("masks", "a name and a value"), ("maks=5", "RISE has no option maks=")):
        wrong = run(nets, "build", "--method", "rise", "--option", word)
        assert wrong.exit_code == 2
        assert told in wrong.output


def test_every_label_that_is_on(nets: Path) -> None:
    result = run(nets, "build", "--multi-label", "--target", "on")
    assert result.exit_code == 0, result.output
    assert isinstance(record(nets)["target"], list)
    assert "pass multi_label=True" in run(nets, "build", "--target", "on").output


def test_a_preprocessing_of_ones_own(nets: Path) -> None:
    result = run(nets, "build", "--preprocess", f"{nets / 'nets.py'}:own")
    assert result.exit_code == 0, result.output
    assert "prepared: Compose" in result.output
    geometry = record(nets)["geometry"]
    assert isinstance(geometry, dict)
    assert geometry["input"] == [48, 48]
    assert geometry["scale"] == pytest.approx([80 / 64, 120 / 96], rel=1e-3)
    both = run(nets, "build", "--preprocess", f"{nets / 'nets.py'}:own", "--fit", "crop")
    assert "pictures are made ready by Compose: say it there" in both.output
    turned = run(nets, "build", "--preprocess", f"{nets / 'nets.py'}:turned")
    assert turned.exit_code == 1
    assert "where the map lies on the picture cannot be told" in str(record(nets)["error"])


def test_another_preprocessing_is_another_run(nets: Path) -> None:
    for _ in range(2):
        result = run(nets, "build", "--preprocess", f"{nets / 'nets.py'}:own")
    assert "1 kept from an earlier run" in result.output
    source = (nets / "nets.py").read_text()
    (nets / "nets.py").write_text(source.replace("CenterCrop(48)", "CenterCrop(40)"))
    assert "1 explained" in run(nets, "build", "--preprocess", f"{nets / 'nets.py'}:own").output


def test_every_method_s_diagnosis_is_kept_and_told(nets):
    Image.new("RGB", (120, 80)).save(
        nets / "a.png"
    )  # nothing to see: the ReLU lets nothing through
    (nets / "nets.py").write_text(
        NET.replace("nn.Conv2d(3, 8, 3)", "nn.Conv2d(3, 8, 3, bias=False)")
    )
    done = run(nets, "build", "--method", "gradcam,random,layercam", "--size", "32", "--mean", "0")
    assert done.exit_code == 0, done.output
    kept = record(nets)
    assert kept["method"] == ["gradcam", "random", "layercam"]
    assert [word == "ok" for word in kept["diagnosis"]] == [False, True, False]
    assert [message == "" for message in kept["diagnosis_message"]] == [False, True, False]
    assert len(kept["score"]) == len(kept["target"]) == 3
    told = " ".join(done.stderr.split())
    assert "a.png (gradcam), " in told
    assert "a.png (layercam): " in told
    assert "(random)" not in told
    assert "explained" not in done.stdout.splitlines()[1]  # the predicted class, by each of them
    page = (nets / "out" / "report.html").read_text(encoding="utf-8")
    items = json.loads(
        page.partition('<script type="application/json" id="data">')[2].partition("<")[0]
    )
    panels = items["items"][0]["panels"]
    assert [panel["diagnosis"] for panel in panels] == kept["diagnosis"]


@pytest.mark.parametrize("words", [["explain"], ["audit"], ["evaluate", "--methods", "gradcam"]])
def test_a_picture_that_is_larger_than_is_safe_goes_in_where_that_is_allowed(
    nets, words, monkeypatch
):
    """At every look at it, also the second."""
    monkeypatch.setattr(limits, "MAX_PIXELS", 9_000)
    monkeypatch.setattr(limits, "_ALLOWED", [9_000])
    pictures = [str(nets / "a.png"), str(nets / "b.png")]
    net = ["--model", f"{nets / 'nets.py'}:build", "--out", str(nets / "out"), "--size", "32"]
    given = [words[0], *pictures, *words[1:], *net]
    refused = CliRunner().invoke(app, [*given, "--max-pixels", "9000"])
    assert "120 x 80 pixels, and 9,000 are the limit" in refused.stderr + refused.stdout
    allowed = CliRunner().invoke(app, [*given, "--max-pixels", "9600"])
    assert allowed.exit_code == 0, allowed.stderr
