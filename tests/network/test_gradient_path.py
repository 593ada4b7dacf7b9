"""Where the path of gradients ends: the error names the module after which no gradient comes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks.network.gradient_path import Tracing, path_end
from gradcam_hooks.network.inputs import Inputs
from tests.support.nets import images


class Do(nn.Module):
    """A module that is one function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def without_grad(x: Tensor) -> Tensor:
    with torch.no_grad():
        return x * 2


def through_numpy(x: Tensor) -> Tensor:
    return torch.from_numpy(x.numpy() * 2)


def net(quantize: nn.Module) -> nn.Sequential:
    """``encoder.conv``, ``encoder.quantize``, ``encoder.after`` and a head."""
    torch.manual_seed(0)
    encoder = nn.Sequential()
    encoder.add_module("conv", nn.Conv2d(3, 4, 3))
    encoder.add_module("quantize", quantize)
    encoder.add_module("after", nn.ReLU())
    model = nn.Sequential()
    model.add_module("encoder", encoder)
    model.add_module("pool", nn.AdaptiveAvgPool2d(1))
    model.add_module("flat", nn.Flatten())
    model.add_module("fc", nn.Linear(4, 3))
    return model.double()


def first(output: Tensor) -> Tensor:
    return output[:, 0]


@pytest.mark.parametrize(
    "cut",
    [
        Tensor.detach,
        without_grad,
        lambda x: x.argmax(1, keepdim=True).expand_as(x).to(x),
        lambda x: x.gt(0).to(x),
        lambda x: torch.tensor(x.tolist(), dtype=x.dtype),
    ],
    ids=["detach", "no_grad", "argmax", "threshold", "tolist"],
)
@pytest.mark.parametrize("target", [0, first])
def test_the_module_after_which_it_is_cut_is_named(
    cut: Callable[[Tensor], Tensor], target: object
) -> None:
    message = (
        r"back to 'encoder\.conv'\. The gradient path ends after 'encoder\.quantize': what goes "
        r"into it depends on 'encoder\.conv', what comes out carries no gradient"
    )
    with pytest.raises(gh.GradientError, match=message):
        gh.explain(net(Do(cut)), images(), "encoder.conv", target=target)
    layer = gh.explain(net(Do(cut)), images(), "encoder.quantize", target=target)  # the next step
    assert layer.raw.abs().sum() > 0


def test_a_numpy_round_trip_is_named() -> None:
    with pytest.raises(gh.GradientError, match=r"ends in 'encoder\.quantize', which leaves torch"):
        gh.explain(net(Do(through_numpy)), images(), "encoder.conv", target=0)
    assert gh.explain(net(Do(through_numpy)), images(), "encoder.quantize", target=0).raw.any()
    # Ahead of the layer it is no matter, also where another cut behind it is looked for.
    model = nn.Sequential(Do(through_numpy), *net(Do(Tensor.detach)).children())
    with pytest.raises(gh.GradientError, match=r"ends after '1\.quantize'"):
        gh.explain(model, images(), "1.conv", target=0)


def test_round_gives_a_gradient_of_zeros_and_its_diagnosis() -> None:
    result = gh.explain(net(Do(torch.round)), images(), "encoder.conv", target=0)
    assert result.diagnosis == ("zero-gradient",) * 2


class Between(nn.Module):
    """Leaves the graph between its modules; a branch beside the path is thrown away."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Conv2d(3, 4, 3)
        self.beside = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.beside(x)
        y: Tensor = self.fc(self.features(x).detach().mean((2, 3)))
        return y


def test_between_modules_the_last_and_the_forward_are_named() -> None:
    message = r"ends after 'features', in the forward of the model itself \(detach\(\)"
    with pytest.raises(gh.GradientError, match=message):
        gh.explain(Between().double(), images(), "features", target=1)
    inside = nn.Sequential(Between(), nn.ReLU()).double()
    with pytest.raises(gh.GradientError, match=r"ends after '0\.features', in the forward of '0'"):
        gh.explain(inside, images(), "0.features", target=1)


def test_a_layer_beside_the_path_is_told_from_a_cut() -> None:
    message = r"score does not change when noise .* what 'beside' gives: the layer lies beside"
    with pytest.raises(gh.GradientError, match=message):
        gh.explain(Between().double(), images(), "beside", target=1)


def test_a_target_function_that_leaves_the_graph() -> None:
    message = "ends after the model's output: in the target function"
    with pytest.raises(gh.GradientError, match=message):
        gh.explain(net(nn.Identity()), images(), "encoder.conv", target=lambda y: y.detach()[:, 0])


class TwoHeads(nn.Module):
    """A head that gradients reach, and one that has the same features out of the graph."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Conv2d(3, 4, 3)
        self.one = nn.Linear(4, 3)
        self.two = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        pooled = self.features(x).mean((2, 3))
        return {"one": self.one(pooled), "two": self.two(pooled.detach())}


def test_a_part_of_the_output_that_the_path_does_not_go_to() -> None:
    model = TwoHeads().double()
    assert gh.explain(model, images(), "features", output="one", target=1).raw.any()
    with pytest.raises(gh.GradientError, match=r"but not into the part of it that is explained"):
        gh.explain(model, images(), "features", output="two", target=1)


class Straight(nn.Module):
    """A straight-through quantiser: what is dead in it is beside a path that lives."""

    def __init__(self) -> None:
        super().__init__()
        self.codes = Do(lambda x: x.detach().sign())

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + (self.codes(x) - x).detach()
        return y


def test_a_side_branch_that_ends_is_not_named_where_the_path_goes_on() -> None:
    model = nn.Sequential(*list(net(Straight()))[:3], Do(Tensor.detach), nn.Linear(4, 3).double())
    with pytest.raises(gh.GradientError, match=r"ends after '3': what goes") as caught:
        gh.explain(model, images(), "0.conv", target=0)
    assert "codes" not in str(caught.value)


def test_the_model_is_left_as_found_and_a_whole_path_has_no_end() -> None:
    model = net(nn.Identity())
    asked = Tracing(model, Inputs.of(model, [images()], {}), lambda output: output, first)
    assert path_end(asked, "encoder.conv") == ""
    with pytest.raises(gh.GradientError):
        gh.explain(net(Do(Tensor.detach)), images(), "encoder.conv", target=0)
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert all(parameter.grad is None for parameter in model.parameters())
