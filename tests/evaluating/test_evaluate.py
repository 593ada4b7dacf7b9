"""What an evaluation recommends on networks whose reasons are known, and what it says of others."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

import gradcam_hooks as gh
from gradcam_hooks.evaluating.asking import Asked, Part, Question, part_of
from gradcam_hooks.evaluating.budget import LEAST, Cost, budget_of, planned
from gradcam_hooks.evaluating.measures import measures_of
from gradcam_hooks.evaluating.scoring import remembered
from gradcam_hooks.evaluating.ways import families, layers_of, methods_of, ways_of
from gradcam_hooks.metrics import insertion, scored
from tests.support.colours import Blind, Colours, moved, squares

pytestmark = pytest.mark.usefixtures("one_thread")

FEW = {"layers": "features", "budget": "2500 passes"}


@pytest.fixture(scope="module")
def found() -> gh.Evaluation:
    images, masks = squares(10)
    methods = ["hirescam", gh.LayerCAM, moved]
    return gh.evaluate(Colours(), images, methods=methods, masks=masks, **FEW)


def test_the_right_map_is_recommended_and_the_wrong_one_beats_no_baseline(found) -> None:
    assert found.best.method.name in ("hirescam", "layercam")
    assert found.recommendation.startswith("features with ")
    lines = {line["row"]: line for line in found.table}
    assert lines["HiResCAM at features"]["beats_baselines"] is True
    wrong = lines["Moved at features"]
    assert wrong["beats_baselines"] is False
    assert wrong["rank"] > lines["HiResCAM at features"]["rank_high"]
    assert wrong["hangs_on_weights"] is True  # it is wrong, and not for want of the network
    assert {line["kind"] for line in found.table} == {"method", "control", "baseline"}
    assert [line["rank"] for line in found.table] == sorted(line["rank"] for line in found.table)


def test_what_is_told_are_the_metrics_own_numbers(found) -> None:
    images, _ = squares(10)
    model = Colours().eval()
    chosen = images[list(found.plan.numbers)]
    result = gh.explain(model, chosen, "features", method="hirescam")
    score = scored(model, chosen, gh.Probability())
    known = insertion(score, chosen, result.maps, steps=found.plan.steps, fill=found.plan.fill)
    own = found.values["insertion"][[row.key for row in found.rows].index("hirescam@features")]
    assert torch.allclose(own, known.values, atol=1e-6)
    line = next(line for line in found.table if line["row"] == "HiResCAM at features")
    assert line["insertion"] == pytest.approx(known.mean, abs=1e-6)
    assert line["insertion_stderr"] == pytest.approx(known.stderr, abs=1e-6)


def test_where_the_objects_are_known_it_is_told_whether_the_map_lies_there(found) -> None:
    place = found.located["hirescam@features"]
    assert place.inside == pytest.approx(1, abs=0.01)  # the ground is below the bias
    assert place.even == pytest.approx(64 / 1024)
    assert place.on_it
    assert not found.located["moved@features"].on_it
    assert "lies on the known objects" in found.text
    assert "Faithful is not right" in found.text


def test_the_same_seed_gives_the_same_numbers_and_json_has_them(found) -> None:
    images, masks = squares(10)
    again = gh.evaluate(
        Colours(), images, methods=["hirescam", gh.LayerCAM, moved], masks=masks, **FEW
    )
    told, other = (json.loads(one.to_json()) for one in (found, again))
    for one in (*told["table"], *other["table"]):
        one.pop("seconds")  # which are the machine's
    assert told == other
    assert told["recommendation"] == found.recommendation
    html = found._repr_html_()
    assert "HiResCAM at features" in html
    assert found.recommendation in str(found).replace("\n", " ")


def test_a_wrong_map_alone_is_not_believed() -> None:
    found = gh.evaluate(Colours(), squares(8)[0], methods=moved, metrics=["insertion", "deletion"],
                        **FEW)  # fmt: skip
    assert found.best is None
    assert found.recommendation.startswith("Nothing beats the baselines on these 8 pictures: the")


def test_a_network_that_ignores_the_picture_has_no_map_to_be_believed() -> None:
    found = gh.evaluate(Blind(), squares(8)[0], methods="hirescam", metrics=["insertion", "idsds"],
                        **FEW)  # fmt: skip
    assert found.best is None
    assert "should not be believed" in found.recommendation


def test_few_pictures_are_told_to_be_too_few_and_one_metric_ranks_nothing() -> None:
    two = gh.evaluate(Colours(), squares(2)[0], methods="hirescam", layers="features",
                      metrics=["deletion", "insertion"])  # fmt: skip
    assert "2 pictures are too few" in two.recommendation
    one = gh.evaluate(Colours(), squares(2)[0], methods="hirescam", layers="features",
                      metrics="deletion")  # fmt: skip
    assert one.recommendation.startswith("No recommendation: nothing is ranked by one metric alone")


def test_the_model_is_left_as_it_was() -> None:
    model = Colours().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gh.evaluate(model, squares(2)[0], methods="gradcam", metrics=["mprt", "insertion"],
                layers="features", budget="10 passes")  # fmt: skip
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in model.modules())


def test_a_score_is_asked_of_each_version_once() -> None:
    images, _ = squares(3)
    score = remembered(scored(Colours(), images))
    first = score(images[[1, 1, 2]], [1, 1, 2])
    assert score.passes == [2]
    assert torch.equal(score(images[[2, 1]], [2, 1]), first[[2, 1]])
    assert score.passes == [2]
    assert torch.equal(score(images[:1], [2]), scored(Colours(), images)(images[:1], [2]))


def test_a_part_is_read_again_as_it_was_written() -> None:
    images, masks = squares(2)
    rows = ways_of(methods_of("eigencam"), ["features"])
    question = Question(Colours(), rows, measures_of(["mprt", "deletion"], located=False))
    part = part_of(Asked(question, images, (4, 7)), 8, "blur", masks, lambda: None)
    again = Part.of(json.loads(json.dumps(part.plain(), allow_nan=False)))
    assert again.numbers == (4, 7)
    assert again.plain() == part.plain()
    assert all(isinstance(one, float) for one in again.values["eigencam@features"]["mprt"])


def test_a_budget_chooses_pictures_first_and_says_so() -> None:
    cost = Cost(10.0, {32: 90.0, 16: 40.0, 8: 20.0})
    all_of_it = planned(budget_of(None), 0, cost, 100, "blur", 0)
    assert (len(all_of_it.numbers), all_of_it.steps) == (100, 32)
    fine = planned(budget_of("2500 passes"), 0, cost, 100, "blur", 0)
    assert (len(fine.numbers), fine.steps) == (25, 32)
    coarse = planned(budget_of("1000 passes"), 100, cost, 100, "blur", 0)
    assert (len(coarse.numbers), coarse.steps) == (30, 8)
    assert "30 of 100 pictures with 8 steps" in coarse.text
    small = planned(budget_of(60), 0, cost, 100, "blur", 0)
    assert len(small.numbers) == LEAST
    assert "too small" in small.text
    assert math.isinf(budget_of(None).amount)
    for wrong in ("soon", "0s", "5 pictures", -1, "1..5m"):
        with pytest.raises(gh.OptionError, match="budget="):
            budget_of(wrong)


def test_methods_and_layers_by_name_family_glob_and_class() -> None:
    assert [one.name for one in methods_of(None)][:2] == ["hirescam", "gradcam"]
    assert {one.name for one in methods_of("gradient")} == set(families()["gradient"])
    assert [one.name for one in methods_of([gh.HiResCAM, "hirescam", "random"])] == ["hirescam"]
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 4, 1),
                          nn.AdaptiveAvgPool2d(1), nn.Flatten())  # fmt: skip
    image = torch.rand(1, 3, 8, 8)
    assert layers_of(model, image, "[02]") == ["0", "2"]
    assert layers_of(model, image, None) == ["2", "0"]  # and of a finer resolution the last
    keys = [way.key for way in ways_of(methods_of(["gradcam", moved]), ["2", "0"])]
    assert keys[:4] == ["gradcam@2", "gradcam@0", "moved@2", "moved@0"]
    twice = nn.Sequential(conv := nn.Conv2d(3, 3, 1), conv, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert layers_of(twice, image, None) == ["0#1"]  # the last call, as "auto" takes it
    assert layers_of(twice, image, "0#0") == ["0#0"]
    (way, *_) = ways_of(methods_of("gradcam"), ["0#0"])
    assert way.where == {"layer": "0", "call": 0}
    with pytest.raises(gh.MethodNotFound, match=r"Families of methods are cam, gradient, .*lift"):
        methods_of("gradcan-like")
    with pytest.raises(gh.OptionError, match="every table carries anyway"):
        methods_of("sobel")
    with pytest.raises(gh.OptionError, match="asks where the object is"):
        measures_of("iou", located=False)
    with pytest.raises(gh.OptionError, match=r"call gradcam_hooks\.metrics\.adcc"):
        measures_of("adcc", located=False)


def test_what_does_not_work_is_left_out_and_told() -> None:
    def broken(activation, gradient):
        return activation[:, :1]

    found = gh.evaluate(Colours(), squares(2)[0], methods=["hirescam", broken], layers="features",
                        metrics=["insertion", "deletion"])  # fmt: skip
    assert not any(line["method"] == "broken" for line in found.table)
    assert any(one.startswith("broken@features was left out: ") for one in found.remarks)
    with pytest.raises(
        gh.InputError, match="no method works on these pictures; of broken@features"
    ):
        gh.evaluate(Colours(), squares(2)[0], methods=broken, layers="features")
