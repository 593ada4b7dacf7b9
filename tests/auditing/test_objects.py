"""How far an audit's maps lie on objects, and how far methods agree, beside metrics and SciPy."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import gradcam_hooks as gh
from gradcam_hooks.auditing import agreement, objects
from gradcam_hooks.auditing.figures import of_classes, overlap_of
from gradcam_hooks.metrics import energy_pointing_game, iou
from tests.support.shortcuts import Marked, pictures

pytestmark = pytest.mark.usefixtures("one_thread")

COLOURS = [number % 3 for number in range(30)]


def uneven() -> nn.Module:
    """A network on whose layer methods do not agree: what comes after it is no plain mean."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(4, 6, 3, padding=1), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(6 * 64, 3)
    )


def test_the_overlap_is_what_the_metrics_say_of_the_same_maps() -> None:
    images, network = pictures(COLOURS), uneven()
    masks = torch.zeros(30, 32, 32, dtype=torch.bool)
    for number in range(30):
        masks[number, number : number + 9, 4:20] = number != 4  # of one no object is told
    found = gh.audit(network, images, layer="0", masks=masks, trials=2, agreement=0, batch_size=7)
    assert found.agreement is None
    assert found.on_objects is not None
    maps = gh.explain(network, images, layer="0").maps
    each = torch.stack([energy_pointing_game(maps, masks).values, iou(maps, masks).values])
    own = torch.stack([found.on_objects.inside, found.on_objects.iou]).double()
    torch.testing.assert_close(own, each, equal_nan=True, atol=1e-5, rtol=1e-5)
    assert own[:, 4].isnan().all()
    for one in of_classes(found):
        members = [number for number in range(30) if found.answers[number] == one.number]
        told = [number for number in members if number != 4]
        assert one.objects is not None
        assert one.objects.told == len(told)
        assert one.objects.inside == pytest.approx(float(each[0, told].mean()), abs=1e-5)
        assert one.objects.area == pytest.approx(float(masks[told].double().mean()), abs=1e-6)
    assert overlap_of(found, [4]) is None


def test_boxes_lie_where_the_picture_was_cut_and_no_picture_is_read_for_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {}
    for number in range(4):
        pixels = np.zeros((40, 80, 3), np.uint8)
        pixels[20:, 40:60, number % 3] = 250
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        told[f"{number}.png"] = [(40, 20, 60, 40)]
    (tmp_path / "coco.json").write_text(json.dumps(coco(told)))
    small = gh.Preprocess(size=(32, 32), fit="crop", mean=(0, 0, 0), std=(1, 1, 1))
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 3, 4, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    monkeypatch.setattr(objects, "ready", None)
    asked = {"preprocess": small, "layer": "0", "trials": 1, "agreement": 0}
    found = gh.audit(network, tmp_path, boxes=tmp_path / "coco.json", **asked)
    assert found.on_objects is not None
    # The middle 40 x 40 of 80 x 40 became 32 x 32: 20 x 20 pixels of it became 16 x 16.
    assert found.on_objects.area.tolist() == [0.25] * 4


def coco(boxes: dict[str, list[tuple[int, int, int, int]]]) -> dict[str, object]:
    return {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(boxes)],
        "annotations": [
            {"image_id": i, "bbox": [left, top, right - left, bottom - top]}
            for i, several in enumerate(boxes.values())
            for left, top, right, bottom in several
        ],
    }


def test_methods_agree_as_far_as_scipys_correlation_of_ranks_says() -> None:
    stats = pytest.importorskip("scipy.stats")
    images, network = pictures(COLOURS), uneven()
    found = gh.audit(network, images, layer="0", trials=2, agreement=8).agreement
    assert found is not None
    assert found.methods == agreement.QUICK
    assert len(found.numbers) == len(found.values) == 8
    maps = {
        name: gh.explain(network, images, layer="0", method=name).raw[list(found.numbers)].relu()
        for name in found.methods
    }
    for (one, other), value in found.pairs.items():
        each = [
            stats.spearmanr(a.flatten().numpy(), b.flatten().numpy()).statistic
            for a, b in zip(maps[one], maps[other], strict=True)
        ]
        assert value == pytest.approx(np.nanmean(each), abs=0.01)  # the audit's maps are rounded
    assert min(found.pairs.values()) < 0.97
    assert "hirescam, layercam were asked beside gradcam: 16 more maps" in found.text
    again = gh.audit(network, images, layer="0", trials=2, agreement=8).agreement
    assert again is not None
    assert again.numbers == found.numbers


def test_a_method_that_does_not_work_is_left_out_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "QUICK", ("nowhere",))
    found = gh.audit(Marked(), pictures(COLOURS[:6]), layer="features", trials=1).agreement
    assert found is not None
    assert found.methods == ("gradcam",)
    assert list(found.left_out) == ["nowhere"]
    assert found.text.startswith("nowhere was left out: ")
    assert all(math.isnan(one) for one in found.values.tolist())
    assert found.of(range(6)) == (None, 0)
    with pytest.raises(gh.OptionError, match="agreement="):
        gh.audit(Marked(), pictures(COLOURS[:6]), agreement=-1)


def test_the_sample_is_of_all_classes_and_no_larger_than_said() -> None:
    answers = torch.tensor([0] * 50 + [1] * 3 + [2] * 20)
    drawn = agreement.sampled(answers, 15, torch.Generator().manual_seed(0))
    assert drawn == sorted(set(drawn))
    assert [int((answers[drawn] == one).sum()) for one in range(3)] == [6, 3, 6]
    assert len(agreement.sampled(answers, 500, torch.Generator())) == 73
