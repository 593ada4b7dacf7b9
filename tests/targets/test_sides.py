"""A single logit stands for two classes: which side is explained, told and asked again."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import gradcam_hooks as gh
from gradcam_hooks.apps.batch.records import record_of
from gradcam_hooks.results.facts import prediction, ranked
from gradcam_hooks.targets import On, select, settle
from tests.support.nets import gap_linear, images

LABELS = ("benign", "malignant")
LOGITS = torch.tensor([[0.5], [-2.0]])


@pytest.mark.parametrize(
    ("target", "labels", "scores", "index"),
    [
        (None, None, [0.5, 2.0], [0, 0]),
        (None, ("price",), [0.5, -2.0], [0, 0]),
        (0, None, [0.5, -2.0], [0, 0]),
        (None, LABELS, [0.5, 2.0], [1, 0]),
        ("benign", LABELS, [-0.5, 2.0], [0, 0]),
        ("malignant", LABELS, [0.5, -2.0], [1, 1]),
        (1, LABELS, [0.5, -2.0], [1, 1]),
        (["benign", "malignant"], LABELS, [-0.5, -2.0], [0, 1]),
        (torch.tensor([1, 0]), LABELS, [0.5, 2.0], [1, 0]),
    ],
)
def test_the_side_of_each_target(target, labels, scores, index) -> None:
    selected = select(target, LOGITS, 2, labels)
    assert selected.scores.tolist() == scores
    assert selected.index.tolist() == index
    again = settle(target, LOGITS, 2, labels)  # asked of another output, each image keeps its side
    assert again(torch.tensor([[1.0], [1.0]])).tolist() == [
        math.copysign(1, score / logit) for score, logit in zip(scores, [0.5, -2.0], strict=True)
    ]


def test_without_labels_the_second_class_is_told_of_binary() -> None:
    for target in (1, "malignant", torch.tensor([1, 0])):
        with pytest.raises(gh.TargetError, match=r"one logit.*Binary\(positive=False\)|labels"):
            select(target, LOGITS, 2)
    with pytest.raises(gh.TargetError, match=r"class 2 is out of range"):
        select(2, LOGITS, 2, LABELS)
    with pytest.raises(gh.TargetError, match=r"one side is explained at a time"):
        select(torch.tensor([[0, 1], [0, 1]]), LOGITS, 2, LABELS)


def test_behind_a_sigmoid_the_middle_is_a_half() -> None:
    logits = LOGITS.clone().requires_grad_()
    probability = logits.sigmoid()  # 0.62 and 0.12
    assert select(None, probability, 2).sides.tolist() == [True, False]


def test_a_binary_has_a_side_for_each_image() -> None:
    assert gh.Binary([True, False])(LOGITS).tolist() == [0.5, 2.0]
    assert gh.Binary()(LOGITS[:, :, None, None]).tolist() == [0.5, -2.0]
    with pytest.raises(gh.TargetError, match=r"2 sides came for a batch of 1"):
        gh.Binary([True, False])(LOGITS[:1])


METHODS = ["gradcam", "cam", "hirescam", "scorecam", "ablationcam", "guidedbackprop", "rise"]


@pytest.mark.parametrize("method", METHODS)
def test_every_way_to_explain_takes_a_side(method: str) -> None:
    """The map of "benign" is that of a network of which the logit is the negative."""
    net, x = gap_linear(1), images(2)
    turned = gap_linear(1)
    with torch.no_grad():
        turned[4].weight.neg_()
        turned[4].bias.neg_()
    how = {"masks": 20} if method == "rise" else {}
    here = gh.explain(net, x, "1", target="benign", labels=LABELS, method=method, **how)
    there = gh.explain(turned, x, "1", target="malignant", labels=LABELS, method=method, **how)
    assert torch.allclose(here.raw, there.raw, rtol=1e-6, atol=1e-12)
    assert torch.equal(here.scores, there.scores)
    assert (here.target.tolist(), there.target.tolist()) == ([0, 0], [1, 1])


def test_what_is_told_of_a_side_is_told_of_the_prediction_too() -> None:
    net, x = gap_linear(1), images(1)
    with torch.no_grad():
        net[4].bias.fill_(-9)
    result = gh.explain(net, x, "1", labels=LABELS)
    (facts,), record = result.facts()[0], record_of(result)
    assert (facts.subject, facts.side) == ("benign (0)", "negative")
    assert (record.said, record.predicted, record.target) == ("benign", 0, 0)
    assert facts.probability == record.probability
    assert facts.probability == pytest.approx(float((-net(x)).sigmoid().detach()))
    assert gh.explain(net, x, "1").facts()[0][0].subject == "against class 0"


def test_what_makes_a_negative_quantity_large_is_explained_not_its_other_side() -> None:
    net, x = gap_linear(1), images(2)
    with torch.no_grad():
        net[4].bias.fill_(-9)
    named = gh.explain(net, x, "1", labels=["price"])
    assert torch.equal(named.raw, gh.explain(net, x, "1", target=gh.Regression()).raw)
    assert torch.equal(named.scores, net(x)[:, 0].detach())
    assert bool((named.scores < 0).all())
    assert {facts.side for (facts,) in named.facts()} == {"positive"}
    assert not named.notes


def test_the_negative_side_is_never_explained_in_silence() -> None:
    net, x = gap_linear(1), images(2)
    with torch.no_grad():
        net[4].bias.fill_(-9)
    (note,) = gh.explain(net, x, "1").notes
    assert "Regression()" in note
    for told in ({"labels": LABELS}, {"target": gh.Binary()}, {"target": 0}):
        assert not gh.explain(net, x, "1", **told).notes
    with torch.no_grad():
        net[4].bias.fill_(9)
    assert not gh.explain(net, x, "1").notes


def test_both_sides_are_ranked() -> None:
    said = ranked(torch.tensor([math.log(3.0)]), LABELS, 5)
    assert [(one.number, one.label) for one in said] == [(1, "malignant"), (0, "benign")]
    assert [one.probability for one in said] == pytest.approx([0.75, 0.25])
    assert prediction(torch.tensor([0.0]), LABELS).number == 1


def test_a_head_of_convolutions_gives_classes_with_axes_of_one() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 6), nn.Flatten(2), nn.Unflatten(2, (1, 1))
    )
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    flat = gh.explain(nn.Sequential(*net[:3], nn.Flatten()), x, "1", target=2)
    assert torch.equal(gh.explain(net, x, "1", target=2).raw, flat.raw)


def test_marks_are_no_class_numbers() -> None:
    logits = torch.zeros(2, 4)
    with pytest.raises(gh.TargetError, match=r"of 0 and 1 marks classes"):
        select(torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0]]), logits, 2)
    two = torch.tensor([[0, 1], [1, 0]])  # of two classes, both of them in an order
    assert select(two, torch.zeros(2, 2), 2).index.tolist() == two.tolist()


def test_a_bag_is_told_how_its_score_is_shared() -> None:
    for target in (1, lambda y: y[:, 1]):
        with pytest.raises((gh.OutputError, gh.TargetError), match=r"expand\(7\) / 7"):
            select(target, torch.zeros(1, 3), 7)


def test_of_a_segmentation_a_class_is_told_of_segment() -> None:
    logits = torch.zeros(1, 3, 4, 4)
    logits[:, 2, :1] = 1
    for output in (logits, {"out": logits}):
        with pytest.raises(gh.OutputError, match=r"0 \(12 positions\), 2 \(4 positions\).*Segment"):
            select(None, output, 1)


class MultiLabel(nn.Module):
    """Logits that are given: three of six labels are on in the first image."""

    def __init__(self) -> None:
        super().__init__()
        self.body = gap_linear(6)
        with torch.no_grad():
            self.body[4].bias.copy_(torch.tensor([4.0, 3.9, 3.8, -5, -5, -5]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.body(x)
        return logits


def test_of_a_multi_label_network_every_label_that_is_on_is_explained() -> None:
    net, x = MultiLabel(), images(1)
    result = gh.explain(net, x, "body.1", target="on", multi_label=True)
    assert sorted(result.target[0].tolist()) == [0, 1, 2]
    chances = net(x)[0].sigmoid().detach()
    for facts in result.facts()[0]:
        assert facts.probability == pytest.approx(float(chances[facts.target]))
    assert record_of(result).probability == pytest.approx(float(chances.max()))
    alone = gh.explain(net, x, "body.1", target=1)
    place = result.target[0].tolist().index(1)
    assert torch.equal(result.maps[:, place], alone.maps)


def test_a_label_may_be_called_on_and_where_none_is_on_the_likeliest_is_explained() -> None:
    net, x = gap_linear(2), images(1)
    named = gh.explain(net, x, "1", target="on", labels=("off", "on"))
    assert named.target.tolist() == [1]
    with torch.no_grad():
        net[4].bias.fill_(-9)
    assert gh.explain(net, x, "1", target="on", multi_label=True).target.shape == (1, 1)
    with pytest.raises(gh.TargetError, match=r"pass multi_label=True"):
        gh.explain(net, x, "1", target="on")


def test_images_with_unlike_counts_are_explained_one_by_one() -> None:
    logits = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    with pytest.raises(gh.TargetError, match=r"2, 1 labels are on"):
        select(On(), logits, 2)


def test_a_configuration_says_that_labels_are_each_for_itself() -> None:
    net, x = MultiLabel(), images(1)
    net.config = type("Config", (), {"problem_type": "multi_label_classification"})()
    assert gh.explain(net, x, "body.1", target="on").target.shape == (1, 3)
