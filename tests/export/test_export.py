"""Regions and maps in the formats of other tools, judged by these tools' own packages."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gradcam_hooks as gh
from gradcam_hooks.export import (
    coco,
    fiftyone_heatmaps,
    label_config,
    label_studio,
    log_to_mlflow,
    wandb_images,
)
from gradcam_hooks.export.found import found_in
from gradcam_hooks.results.regions import Cut
from tests.support.nets import gap_linear, images

LABELS = ["cat", "dog", "owl", "elk", "bee"]
FILES = ["a.jpg", "b.jpg"]


@pytest.fixture(scope="module")
def result() -> gh.Explanation:
    return gh.explain(gap_linear(), images(2, (30, 44)), "1", target=gh.TopK(2), labels=LABELS)


def regions(result: gh.Explanation) -> list[Any]:
    return [one for image in found_in(result, FILES, Cut(), 1) for one in image.regions]


def test_the_regions_are_the_mask(result: gh.Explanation) -> None:
    for index, image in enumerate(found_in(result, FILES, Cut(), 1)):
        for target, boxes in enumerate(result.boxes()[index]):
            word = result.facts()[index][target].label
            own = [one for one in image.regions if one.label == word]
            assert [one.box for one in own] == boxes
            whole = np.logical_or.reduce([one.mask for one in own])
            assert np.array_equal(whole, result.mask()[index][target])
            assert sum(one.mask.sum() for one in own) == whole.sum()  # none twice


def test_a_region_in_the_hole_of_another_is_its_own() -> None:
    ring = np.zeros((9, 9), np.float32)
    ring[1:8, 1:8] = 1
    ring[2:7, 2:7] = 0
    ring[4, 4] = 0.75
    one = gh.explain(gap_linear(), images(1, (9, 9)), "1", target=0)
    drawn = torch.from_numpy(ring)[None]
    object.__setattr__(one, "maps", drawn)
    (image,) = found_in(one, ["a.jpg"], Cut(), 1)
    assert [(r.box, int(r.mask.sum()), r.score) for r in image.regions] == [
        ((1, 1, 8, 8), 24, 1.0),
        ((4, 4, 5, 5), 1, 0.75),
    ]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
@pytest.mark.parametrize("kind", ["polygon", "rle"])
def test_pycocotools_reads_the_masks_back(
    result: gh.Explanation, kind: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pycocotools.coco import COCO

    path = tmp_path / "maps.json"
    path.write_text(json.dumps(coco(result, FILES, segmentation=kind)))
    read = COCO(str(path))
    found = regions(result)
    assert [read.cats[one]["name"] for one in read.cats]
    assert len(read.anns) == len(found) > 2
    for note, region in zip(read.anns.values(), found, strict=True):
        mask = read.annToMask(note).astype(bool)
        if kind == "rle":
            assert np.array_equal(mask, region.mask)
        else:
            assert not (region.mask & ~mask).any()  # holes are filled
            outside = mask & ~region.mask
            assert outside.sum() <= 0.05 * mask.sum() or region.outline().size > 8
        assert read.cats[note["category_id"]]["name"] == region.label
        left, top, right, bottom = region.box
        assert note["bbox"] == [left, top, right - left, bottom - top]
        assert note["area"] == region.mask.sum()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
def test_an_outline_lies_along_the_edges_of_pixels(result: gh.Explanation) -> None:
    from pycocotools import mask as masks

    for region in regions(result):
        size = region.mask.shape
        (polygon,) = masks.frPyObjects([region.outline().reshape(-1).tolist()], *size)
        assert np.array_equal(masks.decode(polygon) > 0, filled(region.mask))


def filled(mask: np.ndarray) -> np.ndarray:
    """The mask with its holes, which touch no border of the picture along an edge."""
    from scipy.ndimage import binary_fill_holes

    return np.asarray(binary_fill_holes(mask))


@pytest.mark.parametrize("shape", ["rectangle", "polygon"])
def test_label_studios_marks_are_percent_of_the_picture(result: gh.Explanation, shape: Any) -> None:
    tasks = label_studio(result, FILES, shape=shape)
    assert json.loads(json.dumps(tasks)) == tasks
    assert [task["data"]["image"] for task in tasks] == FILES
    marks = [mark for task in tasks for mark in task["predictions"][0]["result"]]
    for mark, region in zip(marks, regions(result), strict=True):
        assert (mark["original_height"], mark["original_width"]) == (30, 44)
        value = mark["value"]
        assert value[f"{shape}labels"] == [region.label]
        left, top, right, bottom = region.box
        if shape == "rectangle":
            corners = [value["x"], value["y"], value["x"] + value["width"]]
            corners.append(value["y"] + value["height"])
        else:
            points = np.array(value["points"])
            corners = [*points.min(0), *points.max(0)]
        pixels = np.array(corners) / 100 * (44, 30, 44, 30)
        assert np.abs(pixels - (left, top, right, bottom)).max() < 0.2


@pytest.mark.parametrize("shape", ["rectangle", "polygon"])
def test_label_studio_takes_them(result: gh.Explanation, shape: Any) -> None:
    interface = pytest.importorskip("label_studio_sdk.label_interface")
    config = interface.LabelInterface(label_config(LABELS, shape))
    config.validate()
    for task in label_studio(result, FILES, shape=shape):
        assert config.validate_task({"data": task["data"]})
        for predicted in task["predictions"]:
            assert config.validate_prediction(predicted)
    other = interface.LabelInterface(label_config(["fox"], shape))
    assert not other.validate_prediction(predicted)


def test_fiftyone_takes_the_maps(result: gh.Explanation) -> None:
    fiftyone = pytest.importorskip("fiftyone")
    found = fiftyone_heatmaps(result)
    assert [len(one) for one in found] == [2, 2]
    sample = fiftyone.Sample("a.jpg")
    for name, heat in found[0].items():
        assert isinstance(heat, fiftyone.Heatmap)
        sample[name.replace(" ", "_").strip(")").replace("(", "")] = heat
    first = next(iter(found[0].values()))
    assert np.abs(first.map / 255 - result.placed()[0][0]).max() <= 0.5 / 255 + 1e-6
    assert list(first.range) == [0, 255]


def test_wandb_keeps_the_pictures(
    result: gh.Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb
    from PIL import Image

    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    with wandb.init(mode="offline", project="maps", dir=tmp_path) as run:
        found = wandb_images(result, alpha=0.4)
        run.log({"maps": found, "figure": wandb_images(gh.compare(gap_linear(), images(1)))})
    assert [one._caption.splitlines()[0] for one in found] == [
        row[0].subject for row in result.facts()
    ]
    kept = sorted(tmp_path.rglob("media/images/maps_*.png"))
    assert len(kept) == 2
    drawn = {np.asarray(Image.open(one).convert("RGB")).tobytes() for one in kept}
    assert drawn == {np.asarray(one.overlay(alpha=0.4)).tobytes() for one in result}


def test_mlflow_keeps_the_pictures(
    result: gh.Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    from PIL import Image

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    try:
        with mlflow.start_run():
            log_to_mlflow(result, "maps/first.png")
            log_to_mlflow(gh.compare(gap_linear(), images(1)), "figure.png")
    finally:
        mlflow.set_tracking_uri(before)
        logging.getLogger("mlflow").handlers.clear()
    (kept,) = tmp_path.rglob("maps/first.png")
    assert np.array_equal(np.asarray(Image.open(kept)), np.asarray(result.overlay(caption=True)))
    assert len(list(tmp_path.rglob("figure.png"))) == 1


@pytest.mark.parametrize("name", ["fiftyone", "wandb", "mlflow"])
def test_what_is_not_installed_is_named(
    name: str, result: gh.Explanation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    asked = {
        "fiftyone": lambda: fiftyone_heatmaps(result),
        "wandb": lambda: wandb_images(result),
        "mlflow": lambda: log_to_mlflow(result, "a.png"),
    }
    with pytest.raises(ImportError, match=f"pip install {name}"):
        asked[name]()


def test_what_cannot_be_told_is_an_error(result: gh.Explanation) -> None:
    with pytest.raises(gh.InputError, match="files= is a name for each of 2 images"):
        coco(result, ["a.jpg"])
    with pytest.raises(gh.InputError, match="segmentation"):
        coco(result, FILES, segmentation="mask")  # type: ignore[arg-type]
    net = torch.nn.Sequential(
        torch.nn.Conv1d(1, 2, 3), torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten()
    )
    with pytest.raises(gh.InputError, match=r"are of maps \(height, width\)"):
        label_studio(gh.explain(net, torch.randn(1, 1, 20), "0"), ["a.wav"])
