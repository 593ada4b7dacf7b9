"""CAM: numbers by hand, the equation in loops, the heads that are found, and those that are not."""

from __future__ import annotations

from itertools import product

import pytest
import torch
import torchcam.methods as torchcam
import torchvision
from torch import Tensor, nn
from torch.nn import functional

import gradcam_hooks as gh
from tests.support.nets import gap_linear, images
from tests.support.ranks import RANKS, SIZES, batch, pooled
from tests.support.traces import Disturbing, snapshot


def test_by_hand() -> None:
    net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    with torch.no_grad():
        net[3].weight.copy_(torch.tensor([[1.0, 0.0], [2.0, -1.0]]))
        net[3].bias.copy_(torch.tensor([0.5, 3.0]))
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[5.0, 0.0], [1.0, 2.0]]]])
    result = gh.CAM(net, "0", layout="channels-first")(x, target=1)
    # 2 * (1, 2, 3, 4) - (5, 0, 1, 2); its mean, 3, plus the bias 3 is the score
    assert result.raw.tolist() == [[[-3.0, 4.0], [5.0, 6.0]]]
    assert result.scores.tolist() == [6.0]
    assert torch.allclose(result.maps, torch.tensor([[[0.0, 4 / 6], [5 / 6, 1.0]]]))


@pytest.mark.parametrize("rank", RANKS)
def test_equals_its_equation_in_loops(rank: int) -> None:
    net, x = pooled(rank), batch(rank)
    result = gh.CAM(net, "1")(x, target=gh.TopK(2))
    activation, weight = net[:2](x), net[4].weight
    for image, place in product(range(2), range(2)):
        label = int(result.target[image, place])
        assert label == int(net(x)[image].topk(2).indices[place])
        for at in product(*map(range, SIZES[rank])):
            expected = sum(
                weight[label, k].item() * activation[image, k][at].item() for k in range(3)
            )
            assert float(result.raw[image, place][at]) == pytest.approx(expected, abs=1e-8)


def test_its_mean_is_the_logit_without_the_bias_and_it_is_grad_cam_times_the_positions() -> None:
    model, x = gap_linear(), images()
    result = gh.CAM(model, "1")(x, target=gh.AllClasses())
    logits = model(x) - model[4].bias
    assert torch.allclose(result.raw.mean((2, 3)), logits, atol=1e-12)
    gradcam = gh.GradCAM(model, "1")(x, target=gh.AllClasses())
    assert torch.allclose(result.raw, gradcam.raw * 64, atol=1e-12)
    assert torch.allclose(result.maps, gradcam.maps, atol=1e-6)


# --- heads of other kinds


class Functional(nn.Module):
    """The head is a function, and its weights are a parameter of the model itself."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.weight = nn.Parameter(torch.randn(5, 4))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(self.conv(x).mean((2, 3)), self.weight)


HEADS = {
    "a function": (Functional, "conv", lambda net: net.weight),
    "a 1x1 convolution ahead of the pool": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 1), nn.AvgPool2d(6), nn.Flatten()
        ),
        "0",
        lambda net: net[1].weight.flatten(1),
    ),
    "a 1x1 convolution behind it": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 5, 1), nn.Flatten()
        ),
        "0",
        lambda net: net[2].weight.flatten(1),
    ),
    "the pool alone": (
        lambda: nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        "0",
        lambda net: torch.eye(5),
    ),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", HEADS)
def test_heads_of_other_kinds(kind: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    make, layer, weight = HEADS[kind]
    net = make().to(dtype).requires_grad_(requires_grad=False)
    x = images().to(dtype)
    result = gh.explain(net, x, layer, method="cam", target=gh.AllClasses())
    activation = net.get_submodule(layer)(x).double()
    expected = torch.einsum("tc,bcij->btij", weight(net).double(), activation)
    share = 1e-12 if dtype == torch.float64 else 1e-5
    assert (result.raw - expected).abs().max() <= share * expected.abs().max()


def test_auto_finds_the_layer_of_a_resnet() -> None:
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=10)
    x = torch.randn(1, 3, 32, 48)
    result = gh.explain(net, x, method="cam")
    assert result.layers == ("layer4",)
    assert torch.allclose(result.maps, gh.explain(net, x, "layer4").maps, atol=1e-5)


# --- no such head


def test_an_earlier_layer_says_what_was_found_and_what_to_take() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), *gap_linear().float().children())
    net[2] = nn.Conv2d(4, 6, 3)
    told = "behind '1' the last linear operation to run takes 6 channels to 5, and not 4 to 5"
    with pytest.raises(gh.LayerError, match=f"{told}.*Take 'gradcam'"):
        gh.CAM(net, "1")(images().float())


def test_what_lies_between_the_layer_and_the_pool_is_found_by_numbers() -> None:
    with pytest.raises(gh.LayerError, match=r"from 6 to 5, none gives the logits.*off by \d+%"):
        gh.CAM(gap_linear(), "0")(images())  # the ReLU between


def test_a_network_without_a_linear_operation() -> None:
    net = nn.Sequential(nn.AvgPool2d(2), nn.Tanh(), nn.Flatten())
    with pytest.raises(gh.LayerError, match="behind '1' no linear operation runs"):
        gh.CAM(net, "1")(images())


def test_a_target_that_is_no_class() -> None:
    with pytest.raises(gh.TargetError, match=r"CAM is a map of a class.*take 'gradcam'"):
        gh.CAM(gap_linear(), "1")(images(), target=gh.Difference(0, 1))


# --- beside torchcam


def test_the_same_map_as_torchcam_and_where_it_draws_a_map_of_a_head_that_is_none() -> None:
    model, x = gap_linear().eval(), images()
    with torchcam.CAM(model, "1") as extractor:
        model(x)
        (theirs,) = extractor([2, 2], normalized=False)
    ours = gh.CAM(model, "1")(x, target=2)
    assert torch.allclose(ours.raw, theirs, atol=1e-12)
    # Of the layer ahead of the ReLU theirs is a map all the same, and not one of the score.
    with torchcam.CAM(model, "0") as extractor:
        model(x)
        (theirs,) = extractor([2, 2], normalized=False)
    assert theirs.abs().max() > 0
    with pytest.raises(gh.LayerError):
        gh.CAM(model, "0")(x, target=2)


def test_nothing_is_left_when_the_model_raises() -> None:
    net = Disturbing()
    before = snapshot(net)
    net.raising.error = KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        gh.CAM(net, "body.relu", call=1)(images())
    net.raising.error = None
    assert snapshot(net) == before
    gh.CAM(net, "body.drop")(images(), target=0)
    assert snapshot(net) == before
