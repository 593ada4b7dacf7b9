"""Models that end in a softmax or a sigmoid: noticed, told, and explained by the logit."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import gradcam_hooks as gh
from gradcam_hooks.network.final_softmax import before_softmax, final_softmax, remembering
from gradcam_hooks.network.outputs import choose
from tests.support.nets import gap_linear, images

LOGITS = torch.tensor([[1.0, 2.0, 4.0], [0.0, -3.0, 1.0]], dtype=torch.float64)
ENDS: dict[str, Callable[[Tensor], object]] = {
    "nn.Softmax": nn.Softmax(1),
    "F.softmax": lambda y: functional.softmax(y, 1),
    "Tensor.softmax": lambda y: y.softmax(1),
    "torch.softmax": lambda y: torch.softmax(input=y, dim=1),
    "nn.Sigmoid": nn.Sigmoid(),
    "torch.sigmoid": torch.sigmoid,
    "Tensor.sigmoid_": lambda y: (y * 1).sigmoid_(),
    "expit": torch.special.expit,
    "slice": lambda y: y[:, None].softmax(2)[:, 0],
    "in a dict": lambda y: {"probabilities": y.softmax(1), "features": y[:, None, None]},
    "in a tuple": lambda y: (y[:, None, None], y.sigmoid().clone()),
}


class Ending(nn.Module):
    """A network whose logits, times ``scale``, go through ``end``; a softmax comes before."""

    def __init__(self, end: Callable[[Tensor], object], scale: float = 1.0) -> None:
        super().__init__()
        self.net, self.end, self.scale = gap_linear(), end, scale

    def forward(self, x: Tensor) -> object:
        x = self.net[1](self.net[0](x))
        x = x * x.flatten(2).softmax(-1).view_as(x).detach()  # as an attention does
        for module in self.net[2:]:
            x = module(x)
        return self.end(x * self.scale)


@pytest.mark.parametrize("end", ENDS)
def test_output_logits_gives_the_map_of_the_network_without_its_end(end: str) -> None:
    expected = gh.explain(Ending(lambda y: y), images(), "net.0", target=[1, 3])
    net = Ending(ENDS[end])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = gh.explain(net, images(), "net.0", target=[1, 3], output="logits")
        automatic = gh.explain(net, images(), output="logits")
    assert torch.equal(result.raw, expected.raw)
    assert torch.equal(result.scores, expected.scores)
    assert automatic.layers == ("net.1",)
    with pytest.warns(gh.ProbabilityWarning):
        probability = gh.explain(net, images(), "net.0", target=[1, 3])
    assert not torch.allclose(probability.raw, expected.raw)


@pytest.mark.parametrize(("end", "kind"), [("nn.Softmax", "softmax"), ("torch.sigmoid", "sigmoid")])
def test_a_saturated_probability_is_told_with_the_way_to_the_logit(end: str, kind: str) -> None:
    net = Ending(ENDS[end], scale=1e6)
    with pytest.warns(gh.ProbabilityWarning, match=f"ends in a {kind}.*output='logits'"):
        plain = gh.explain(net, images(), "net.0")
    assert plain.diagnosis == ("zero-gradient",) * 2
    assert f"ends in a {kind}, which is saturated" in plain.diagnosis[0].message
    assert "output='logits'" in plain.diagnosis[0].message
    logits = gh.explain(net, images(), "net.0", target=1, output="logits")
    expected = gh.explain(Ending(lambda y: y, 1e6), images(), "net.0", target=1)
    assert torch.equal(logits.maps, expected.maps)
    assert float(logits.maps.amax()) == 1


def test_it_is_told_once_a_call_where_the_call_is_written() -> None:
    net = Ending(nn.Softmax(1))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        gh.explain(net, images(), target=gh.TopK(2))
    assert [one.category for one in told] == [gh.ProbabilityWarning]
    assert told[0].filename == __file__
    with warnings.catch_warnings(record=True) as told, gh.GradCAM(net, "net.0") as cam:
        warnings.simplefilter("always")
        cam(images())
        cam(images(), target=gh.LogProbability())
    assert len(told) == 2


@pytest.mark.parametrize(
    "target", [lambda out: out[:, 0], gh.Difference(0, 1)], ids=["function", "Difference"]
)
def test_functions_of_the_output_are_the_users_matter(target: Callable[..., Tensor]) -> None:
    gh.explain(Ending(nn.Softmax(1)), images(), "net.0", target=target)  # a warning is an error


def test_maps_without_gradients_and_models_that_end_in_logits_are_not_told() -> None:
    gh.explain(Ending(nn.Softmax(1)), images(), "net.0", method="eigencam")
    gh.explain(Ending(lambda y: y), images(), "net.0")
    gh.explain(Ending(nn.LogSoftmax(1)), images(), "net.0")  # its gradient does not vanish


def test_squashed_by_graph_and_by_value() -> None:
    logits = LOGITS.clone().requires_grad_()
    assert final_softmax(logits.softmax(1)) == "softmax"
    assert final_softmax(logits.sigmoid()[:, :2].unsqueeze(0).squeeze(0)) == "sigmoid"
    assert final_softmax(logits * 1) is None
    assert final_softmax(logits.softmax(1) * 1) is None
    assert final_softmax(logits) is None
    assert final_softmax(LOGITS.softmax(1)) == "softmax"
    assert final_softmax(LOGITS.softmax(1).half()) == "softmax"
    assert final_softmax(LOGITS) is None
    assert final_softmax(torch.tensor([[0.5, 0.5], [0.5, 0.4]])) is None
    assert final_softmax(torch.tensor([[1.5, -0.5]])) is None
    assert final_softmax(torch.ones(2, 1)) is None


def test_remembering_keeps_only_where_it_is_asked_and_in_inference_mode_too() -> None:
    with remembering(None):
        assert before_softmax(LOGITS.softmax(1)) is None
    with remembering("logits"), torch.inference_mode():
        probabilities = LOGITS.softmax(1)[:, :2]
        assert torch.equal(choose(probabilities, "logits"), LOGITS[:, :2])
        assert before_softmax(probabilities * 2) is None
    assert before_softmax(LOGITS.softmax(1)) is None


def test_a_key_called_logits_keeps_its_meaning() -> None:
    with remembering("logits"):
        output = {"logits": LOGITS.sigmoid(), "other": LOGITS.softmax(1)}
    assert choose(output, "logits") is output["logits"]


def test_where_there_is_no_softmax_it_is_said() -> None:
    with pytest.raises(gh.OutputError, match=r"output='logits'.*has neither.*leave output= out"):
        gh.explain(gap_linear(), images(), "0", output="logits")


def test_segmentations_that_return_probabilities() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1)).double()
    target = gh.Segment(1, torch.ones(8, 8, dtype=torch.bool))
    expected = gh.explain(net, images(), "0", target=target)
    ending = nn.Sequential(*net, nn.Softmax2d())
    result = gh.explain(ending, images(), "0", target=target, output="logits")
    assert torch.equal(result.raw, expected.raw)


@pytest.mark.parametrize(
    "method", ["eigencam", "hirescam", "ablationcam", "reciprocam", "scorecam", "groupcam", "rise"]
)
def test_every_kind_of_method_takes_what_went_into_the_softmax(method: str) -> None:
    net = nn.Sequential(*gap_linear(), nn.Softmax(1))
    expected = gh.explain(gap_linear(), images(), "0", target=[1, 3], method=method)
    result = gh.explain(net, images(), "0", target=[1, 3], method=method, output="logits")
    assert torch.allclose(result.raw, expected.raw)  # type: ignore[arg-type]
    assert torch.equal(result.scores, expected.scores)


def test_auto_and_the_table_of_layers_know_the_logits_too() -> None:
    net = nn.Sequential(*gap_linear(), nn.Softmax(1))
    net[4].weight.data *= 1e6  # saturated
    assert gh.layers(net, images(), output="logits").recommended == "1"
    assert gh.layers(net, images()).recommended is None
    assert gh.explain(net, images(), output="logits").diagnosis == ("ok",) * 2
    with (
        pytest.warns(gh.ProbabilityWarning),
        pytest.raises(gh.GradientError, match=r"ends in a softmax, .*output='logits'"),
    ):
        gh.explain(net, images())


def test_a_differentiable_map_of_the_logits() -> None:
    net = nn.Sequential(*gap_linear(), nn.Softmax(1))
    result = gh.explain(net, images(), "0", output="logits", target=1, differentiable=True)
    assert isinstance(result.raw, Tensor)
    (gradient,) = torch.autograd.grad(result.raw.square().sum(), net[0].weight)
    assert gradient.abs().sum() > 0
