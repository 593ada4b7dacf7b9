"""The check of one explanation: the words by hand, and on networks of which all is known."""

from __future__ import annotations

import copy
import gc
import math
import pickle
from dataclasses import asdict

import pytest
import torch
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks.results.checked import Trust
from gradcam_hooks.results.diagnosis import Diagnosis
from gradcam_hooks.trust.asking import blob, smeared
from gradcam_hooks.trust.evidence import Evidence, judged

pytestmark = pytest.mark.usefixtures("one_thread")

GOOD = Evidence(0.1, 0.2, 0.3, 0.99, 1.0, 0.8, 0.2, 0.6, 0.0)


@pytest.mark.parametrize(
    ("change", "diagnosis", "word", "reason"),
    [
        ({}, "ok", "trust", "It changes where all weights are drawn anew (correlation 0.20)."),
        ({"weights": 0.95}, "ok", "doubt", "It stays the same where all weights"),
        ({"weights": 1.0, "head": 1.0}, "ok", "do not trust", "It stays the same where all"),
        ({"head": 0.95}, "ok", "doubt", "It stays the same where the head is drawn anew"),
        ({"head": math.nan}, "ok", "doubt", "Whether it hangs on what was learned"),
        ({"other": 1.0}, "ok", "doubt", "Other classes have the same map"),
        ({"other": math.nan}, "ok", "trust", "It changes"),
        ({"noise": 0.49}, "ok", "do not trust", "It turns over with a hair of noise"),
        ({"noise": 0.79}, "ok", "doubt", "It moves with a hair of noise (correlation 0.79)."),
        ({"seed": 0.2}, "ok", "do not trust", "It turns over with another seed"),
        ({"fall": 0.09}, "ok", "doubt", "The score falls by 9% where"),
        ({"fall": math.nan}, "ok", "doubt", "Whether it marks what the score needs"),
        ({"reverse": 0.0}, "ok", "do not trust", "Its least positions bring the score back"),
        ({"center": -0.1}, "ok", "doubt", "By insertion a blob in the centre does better"),
        ({"blur": -0.1}, "ok", "doubt", "By insertion its own blur does better"),
        ({}, "coarse", "doubt", "It is coarse: because"),
        ({}, "constant", "do not trust", "It is no answer (constant): because"),
    ],
)
def test_the_word_by_hand(change: dict[str, float], diagnosis: str, word: str, reason: str) -> None:
    found = judged(Evidence(**{**asdict(GOOD), **change}), Diagnosis(diagnosis, "because"))
    assert found == word
    assert found.reasons[0].startswith(reason)


def test_the_controls_by_hand() -> None:
    heat = torch.zeros(1, 1, 4, 4)
    middle = math.exp(-0.25)  # 4 * 1/8 squared, halved, along two axes
    assert float(blob(heat, 2)[0, 0, 1, 2]) == pytest.approx(middle)
    one = torch.tensor([[0.0, 0.0, 1.0, 0.0, 0.0]])
    side = math.exp(-0.5)
    far = math.exp(-2.0)
    whole = 1 + 2 * side + 2 * far
    assert smeared(one, 1)[0, 1:4].tolist() == pytest.approx(
        [side / whole, 1 / whole, side / whole]
    )


class Corners(nn.Module):
    """Class 0 is red and class 1 green, wherever it is bright: what a map has to mark is known."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.head = nn.Linear(3, 3, bias=False)
        self.dropout = nn.Dropout(0.5)
        with torch.no_grad():
            self.conv.weight.copy_(torch.eye(3)[:, :, None, None])
            self.conv.bias.fill_(-0.5)
            self.head.weight.copy_(200 * torch.eye(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.conv(x).relu().mean((2, 3))))


def pictures() -> Tensor:
    """Red in one corner, green in the opposite one; a blue one in a third of the second."""
    x = torch.zeros(2, 3, 16, 16)
    x[:, 0, :5, :6] = 1
    x[:, 1, 11:, 11:] = 0.9
    x[1, 2, 11:, :5] = 0.8
    return x


def right(activation: Tensor, gradient: Tensor) -> Tensor:
    return (gradient.mean((2, 3), keepdim=True) * activation).sum(1)


def wrong(activation: Tensor, gradient: Tensor) -> Tensor:
    """The right map, laid on the opposite corner."""
    return right(activation, gradient).roll((11, 11), (1, 2))


def test_a_right_map_is_trusted_and_a_wrong_one_is_not() -> None:
    net, x = Corners(), pictures()
    for method, word in ((right, "trust"), ("gradcam", "trust"), (wrong, "do not trust")):
        check = gh.explain(net, x, "conv", target=0, method=method).check()
        assert set(check.words) == {word}, str(check)
    for method in ("random", "center"):  # they hang on nothing
        found = gh.explain(net, x, "conv", target=0, method=method).check()
        assert set(found.words) == {"do not trust"}
        assert any("all weights are drawn anew" in one for one in found.reasons)


def test_a_map_that_is_the_same_for_every_class_is_in_doubt() -> None:
    net = Corners()
    found = gh.explain(net, pictures()[1:], "conv", method=lambda a, g: a.relu().sum(1)).check()
    assert found.word.numbers["other"] == pytest.approx(1)
    assert found.word.numbers["head"] == pytest.approx(1)
    assert found.word != "trust"


def test_it_leaves_network_result_and_chance_as_they_were() -> None:
    net, x = Corners().train(), pictures()
    before = copy.deepcopy(net.state_dict())
    result = gh.explain(net, x, "conv")
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = result.check()
    assert torch.equal(torch.rand(2), expected)
    assert net.training
    assert net.dropout.training
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())
    assert not any(module._forward_hooks for module in net.modules())
    assert result.trust is None
    assert first.explanation.trust == first.words
    assert [one.numbers for one in result.check().words] == [one.numbers for one in first.words]
    with gh.GradCAM(net, "conv") as explainer:
        inside = explainer(x).check()
    assert [one.numbers for one in inside.words] == [one.numbers for one in first.words]


def test_a_part_of_a_batch_is_told_as_in_the_batch_and_targets_each() -> None:
    net = Corners()
    result = gh.explain(net, pictures(), "conv", target=gh.TopK(2))
    whole = result.check().words
    assert [len(row) for row in whole] == [2, 2]
    (last,) = result[1].check().words
    assert repr([one.numbers for one in last]) == repr([one.numbers for one in whole[1]])


def test_the_word_is_told_where_the_facts_are() -> None:
    net = Corners()
    check = gh.explain(net, pictures()[:1], "conv", target=0).check()
    (facts,) = check.explanation.facts()[0]
    assert facts.lines()[-1] == "diagnosis: ok, check: trust"
    plain = facts.plain()
    assert (plain["trust"], plain["why"]) == ("trust", check.word.message)
    assert "check</th>" in check._repr_html_()
    assert str(check) == f"trust: {check.word.message}"
    again = pickle.loads(pickle.dumps(check.explanation))
    assert again.trust == ("trust",)
    assert again.trust[0].reasons == check.reasons
    assert isinstance(copy.deepcopy(check.word), Trust)


def test_what_cannot_be_made_again_says_so() -> None:
    net = Corners()
    result = gh.explain(net, pictures(), "conv")
    copied = copy.deepcopy(result)
    with pytest.raises(gh.InputError, match="copied or read back"):
        copied.check()
    del net
    gc.collect()
    with pytest.raises(gh.InputError, match="its network is gone"):
        result.check()


def test_several_inputs_and_one_logit_are_asked_what_they_can_be() -> None:
    class Two(Corners):
        def forward(self, x: Tensor, shift: Tensor) -> Tensor:
            return super().forward(x + shift)[:, :1]

    net, x = Two(), pictures()
    with gh.GradCAM(net, "conv") as explainer:
        found = explainer(x, torch.zeros(1)).check().word
    assert math.isnan(found.numbers["fall"])
    assert math.isnan(found.numbers["other"])
    assert found == "doubt"
