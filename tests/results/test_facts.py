"""The facts of a map: worked out by hand, and told alike by everything that tells them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks import answer, maps
from gradcam_hooks.apps.batch.cards import card_of
from gradcam_hooks.apps.batch.records import record_of
from gradcam_hooks.methods import applying
from gradcam_hooks.network.outputs import probabilities
from gradcam_hooks.results.diagnosis import Diagnosis, diagnose, signs
from gradcam_hooks.results.facts import Facts, facts_of, prediction
from tests.support.nets import gap_linear, images

WORD = Diagnosis("ok")


def of(scores: list[float], target: list[int] | None, logits: Tensor, labels=None) -> list[Facts]:
    """The facts of one image whose targets are these."""
    index = None if target is None else torch.tensor([target])
    words = [[WORD] * len(scores)]
    (row,) = facts_of(
        torch.tensor([scores]), index, logits, labels, words, ("l",), ("",), "gradcam"
    )
    return row


def test_the_probability_is_told_of_scores_that_are_logits_alone() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0]])
    right, wrong = of([math.log(3.0), 0.5], [0, 1], logits)
    assert right.probability == pytest.approx(0.75)
    assert (wrong.probability, wrong.side, right.side) == (None, None, None)
    (far,) = of([1.0], [7], logits)  # a target function's own numbering
    assert (far.probability, far.subject) == (None, "class 7")
    assert of([math.log(3.0)], None, logits)[0].probability is None


@pytest.mark.parametrize(
    ("score", "side", "label", "probability"),
    [
        (math.log(3.0), "positive", "ill", 0.75),
        (-math.log(3.0), "negative", "well", 0.25),
        (0.5, None, "well", None),
    ],
)
def test_a_single_logit_has_two_sides(score, side, label, probability) -> None:
    logits = torch.tensor([[math.log(3.0)]])
    (told,) = of([score], [0], logits, ("well", "ill"))
    assert (told.side, told.label) == (side, label)
    assert told.probability == (probability and pytest.approx(probability))


def test_a_logit_of_nought_speaks_for_itself() -> None:
    (told,) = of([0.0], [0], torch.zeros(1, 1), ("well", "ill"))
    assert (told.side, told.label, told.probability) == ("positive", "ill", 0.5)


def test_what_is_not_finite_is_none_in_plain_data() -> None:
    (told,) = of([math.nan], [0], torch.tensor([[math.nan, 1.0]]))
    assert (told.probability, told.plain()["score"]) == (None, None)
    assert prediction(torch.tensor([math.nan, 1.0]), None).probability is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_softmax_of_any_precision_is_a_probability_already(dtype: torch.dtype) -> None:
    values = torch.randn(20, 40, generator=torch.Generator().manual_seed(0)).softmax(1).to(dtype)
    assert torch.equal(probabilities(values), values.double())
    logits = 2 * values  # sums to two
    assert not torch.equal(probabilities(logits), logits.double())


def test_everything_tells_the_same_of_a_map() -> None:
    labels = ["ant", "bee", "cat", "dog", "eel"]
    picture = Image.fromarray(np.zeros((40, 60, 3), np.uint8))
    result = gh.explain(gap_linear(), images(1, (40, 60)), "1", target=gh.TopK(2), labels=labels)
    (row,) = result.facts()
    record, card, page = record_of(result), card_of([result], picture), result._repr_html_()
    assert record.explained == ", ".join(str(one.label) for one in row)
    assert record.score == [one.score for one in row]
    assert record.probability == row[0].probability  # the highest logit is the prediction
    assert record.said == row[0].label
    assert record.diagnoses == [one.diagnosis for one in row]
    for panel, one in zip(card.panels, row, strict=True):
        assert panel.facts == {**one.plain(), "layer": "1"}
        for text in (one.subject, f"{one.score:.6g}", f"{one.probability:.4f}", one.title):
            assert text in page


def test_the_chosen_part_of_the_output_is_where_the_prediction_is() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = gap_linear(), gap_linear()

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.one(x), -self.two(x)

    net, x = Two(), images(1)
    for part, layer in ((0, "one.1"), (1, "two.1")):
        logits = net(x)[part][0]
        record = record_of(gh.explain(net, x, layer, output=part))
        assert record.predicted == record.target == int(logits.argmax())
        assert record.probability == pytest.approx(float(logits.softmax(0).max().detach()))


def test_logits_behind_a_softmax_have_their_probability() -> None:
    net = nn.Sequential(gap_linear(), nn.Softmax(1))
    x = images(2)
    result = gh.explain(net, x, "0.1", output="logits")
    chances = [row[0].probability for row in result.facts()]
    assert chances == pytest.approx(net(x).amax(1).tolist())
    assert result[1].facts() == result.facts()[1:]


def test_a_map_on_its_outermost_cells_is_told() -> None:
    ring = torch.ones(8, 8)
    ring[1:-1, 1:-1] = 0
    # 28 cells of 1 around 36 of x: more than 8 times as dense while x < 1/8
    faint, strong = ring.clone(), ring.clone()
    faint[1:-1, 1:-1], strong[1:-1, 1:-1] = 0.12, 0.13
    negative = ring.clone()
    negative[1:-1, 1:-1] = -5
    no = torch.zeros(4, dtype=torch.bool)
    words = diagnose(
        signs([torch.stack([ring, faint, strong, negative])], no, no, torch.ones(4)), {}
    )
    assert words == ["border", "border", "ok", "border"]
    assert "outermost cells" in words[0].message
    small, one = ring[:5, :5], torch.ones(1)
    assert diagnose(signs([small[None], ring[None]], no[:1], no[:1], one), {}) == ["ok"]
    assert diagnose(signs([ring[None] * torch.nan], no[:1], no[:1], one), {}) == ["non-finite"]
    assert diagnose(signs([ring[None]], no[:1], ~no[:1], one), {}) == ["constant"]


def test_what_a_device_is_not_asked_is_the_same_when_taken_for_granted(monkeypatch) -> None:
    """Of a device nothing is asked on the way: what might be to do there is done to all maps."""
    net, x = gap_linear(), images(4)
    x[1] = math.nan
    x[2] = 0
    with torch.no_grad():
        net[0].weight.zero_()  # the same everywhere
        net[0].bias.fill_(1.0)
    cases = [(gap_linear(), images(3)), (net, x)]
    asked = [gh.explain(one, given, "1", target=gh.AllClasses()) for one, given in cases]
    for module in (answer, applying, maps):
        monkeypatch.setattr(module, "perhaps", lambda flags: True)
    for (one, given), known in zip(cases, asked, strict=True):
        result = gh.explain(one, given, "1", target=gh.AllClasses())
        assert torch.equal(result.maps, known.maps)
        assert torch.equal(result.raw.nan_to_num(), known.raw.nan_to_num())
        assert result.diagnosis == known.diagnosis
    assert {word for row in known.diagnosis for word in row} >= {"non-finite", "constant"}


def test_padding_that_a_network_looks_at_is_told() -> None:
    """A network of one channel that is bright only where its kernel meets the padding."""
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 1, 3, padding=1, bias=True),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(1, 2),
    )
    with torch.no_grad():
        net[0].weight.fill_(-1.0)
        net[0].bias.fill_(8.0)
        net[4].weight.copy_(torch.tensor([[1.0], [-1.0]]))
    result = gh.explain(net, torch.ones(1, 1, 9, 9), "1", target=0)
    assert result.diagnosis == ("border",)
    assert result.maps[0, 4, 4] == 0


def test_labels_that_are_not_one_for_each_class_are_told() -> None:
    def notes(count: int) -> str:
        names = [f"name {number}" for number in range(count)]
        return " ".join(gh.explain(gap_linear(), images(), labels=names).notes)

    classes = gh.explain(gap_linear(), images()).logits.shape[1]
    told = f"labels are given, and the network has {classes} classes"
    assert told not in notes(classes)
    for count in (classes - 1, classes + 1):
        assert f"{count} {told}" in notes(count)
