"""The tap and the cut: the layer's own output and gradient, and nothing left behind.

The oracle is the one all tests share: zeros added to a clone of what the layer's forward gives.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks.network.hooks import Taps
from gradcam_hooks.network.inputs import Inputs
from gradcam_hooks.network.tap import Tap
from tests.support import oracle as zeros
from tests.support.nets import Raising, images, residual
from tests.support.opened import tapped

RESIDUAL_LAYERS = ["conv1", "bn1", "conv2", "bn2", "drop", "pool"]


def oracle(net: nn.Module, layer: str, x: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """Activation and gradient at a layer for one class, by zeros added in its forward."""
    return zeros.oracle(net, layer, lambda output: output[:, target], x)


def captured(net: nn.Module, layer: str, x: Tensor, target: int) -> Tap:
    def work(taps: Taps) -> Tap:
        current = taps.forward(Inputs.of(net, [x], {}))
        assert isinstance(current.output, Tensor)
        with torch.enable_grad():
            score = current.output[:, target]
        current.backward(score)
        return current.select()[0].tap

    return tapped(net, [layer], work)


@pytest.mark.parametrize("layer", RESIDUAL_LAYERS)
def test_the_tap_is_right_where_in_place_operations_follow(layer: str) -> None:
    net, x = residual(), images()
    activation, gradient = oracle(net, layer, x, 1)
    tap = captured(net, layer, x, 1)
    assert tap.gradient is not None
    assert torch.equal(tap.activation, activation)
    assert torch.allclose(tap.gradient, gradient, rtol=1e-12, atol=1e-15)


def test_a_hook_straight_on_such_a_layer_fails_so_the_tap_is_needed() -> None:
    net, x = residual(), images()
    handle = net.bn1.register_full_backward_hook(lambda *_: None)
    with pytest.raises(RuntimeError, match="is a view and is being modified inplace"):
        net(x)
    handle.remove()


def test_before_the_cut_nothing_is_in_the_graph_and_after_it_no_parameter_is_asked() -> None:
    net, x = residual(), images()
    modes: dict[str, bool] = {}
    for name in ("conv1", "conv2", "fc"):
        net.get_submodule(name).register_forward_hook(
            lambda module, args, out, name=name: modes.__setitem__(name, out.requires_grad)
        )
    asked: list[str] = []
    for name, parameter in net.named_parameters():
        parameter.register_hook(lambda grad, name=name: asked.append(name))
    gh.explain(net, x, "bn2")
    assert modes == {"conv1": False, "conv2": False, "fc": True}
    assert asked == []


class OverwrittenByItsHolder(nn.Module):
    """The identity hands its input on, and the caller overwrites that input afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.same = nn.Identity()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        held = self.conv(x)
        same = self.same(held)
        held.mul_(5)
        logits: Tensor = self.fc((same * held).mean((2, 3)))
        return logits


class ViewBeforeTheCut(nn.Module):
    """A view made before the tapped layer and written to after it, which the cut cannot have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.tapped = nn.Conv2d(3, 2, 3, padding=1)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        held = self.conv(x)
        half = held[:, :2]
        half += self.tapped(x)
        logits: Tensor = self.fc(held.relu().mean((2, 3)))
        return logits


@pytest.mark.parametrize(
    ("kind", "layer"),
    [
        (OverwrittenByItsHolder, "same"),
        (ViewBeforeTheCut, "tapped"),
    ],
)
@pytest.mark.parametrize("frozen", [False, True])
def test_where_the_cut_cannot_be_it_is_noticed_and_the_map_is_right(
    kind: type[nn.Module], layer: str, frozen: bool
) -> None:
    torch.manual_seed(0)
    net, x = kind().double().eval().requires_grad_(not frozen), images()
    runs: list[int] = []
    net.register_forward_pre_hook(lambda *_: runs.append(1))
    tap = captured(net, layer, x, 2)
    assert len(runs) == 2
    assert tap.gradient is not None
    if isinstance(net, ViewBeforeTheCut):
        activation, gradient = oracle(net, layer, x, 2)
    else:
        # By hand, since the oracle's zeros are held apart too: the logit is mean(w . (a * 5a)),
        # where the tap's clone holds the first factor apart.
        activation = net.conv(x).detach()
        weights = net.fc.weight[2][:, None, None] / activation[0, 0].numel()
        gradient = 5 * activation * weights
    assert torch.equal(tap.activation, activation)
    assert torch.allclose(tap.gradient, gradient, rtol=1e-12, atol=1e-15)


def test_an_error_of_the_model_itself_is_its_own() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), raising := Raising()).double()
    raising.error = RuntimeError
    runs: list[int] = []
    net.register_forward_pre_hook(lambda *_: runs.append(1))
    with pytest.raises(RuntimeError, match="from inside the model"):
        gh.explain(net, images(), "0")
    assert len(runs) == 1


class CalledThrice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = self.conv(x).relu_()
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def test_a_layer_called_thrice_asks_which_and_every_call_is_its_own() -> None:
    torch.manual_seed(0)
    net, x = CalledThrice().double(), images()
    with pytest.raises(gh.LayerError, match=r"'conv' ran 3 times.*call=0 \.\.\. call=2.*'all'"):
        gh.explain(net, x, "conv")
    every = gh.explain(net, x, "conv", target=0, call="all")
    assert every.layers == ("conv#0", "conv#1", "conv#2")
    activation = x
    for call in range(3):
        activation = net.conv(activation).detach()
        later = activation.clone().requires_grad_()
        value = later
        for _ in range(2 - call):
            value = net.conv(value.relu())
        score = net.fc(value.relu().mean((2, 3)))[:, 0].sum()
        weights = torch.autograd.grad(score, later)[0].mean((2, 3))
        expected = torch.einsum("bc,bchw->bhw", weights, activation)
        alone = gh.explain(net, x, "conv", target=0, call=call)
        assert alone.layers == (f"conv#{call}",)
        assert isinstance(alone.raw, Tensor)
        assert torch.allclose(alone.raw, expected)
        assert torch.allclose(every.raw[call], expected)
        assert torch.equal(gh.explain(net, x, "conv", target=0, call=call - 3).raw, alone.raw)
        activation = activation.relu()
    with pytest.raises(gh.LayerError, match=r"ran 3 times, so call= goes from 0 to 2, not 3"):
        gh.explain(net, x, "conv", call=3)


def test_a_layer_that_did_not_run_says_so() -> None:
    net = residual()
    net.unused = nn.Conv2d(3, 3, 1)
    with pytest.raises(gh.LayerDidNotRun, match=r"'unused' exists but did not run"):
        gh.explain(net, images(), "unused")


def test_a_path_cut_off_for_good_is_an_error() -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x).detach().mean((2, 3))

    with pytest.raises(gh.GradientError, match=r"no gradient can flow .* back to 'conv'.*detach"):
        gh.explain(Cut().double(), images(), "conv")


def test_parallel_branches_each_get_their_gradient() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left = nn.Conv2d(3, 4, 3)
            self.right = nn.Conv2d(3, 4, 3)
            self.fc = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.fc((self.left(x) * self.right(x)).mean((2, 3)))
            return logits

    torch.manual_seed(0)
    net, x = Branches().double(), images()
    both = gh.explain(net, x, ["right", "left"], target=0)
    for name, raw in zip(("right", "left"), both.raw, strict=True):
        assert torch.allclose(gh.explain(net, x, name, target=0).raw, raw)
        activation, gradient = oracle(net, name, x, 0)
        expected = torch.einsum("bc,bchw->bhw", gradient.mean((2, 3)), activation)
        assert torch.allclose(raw, expected)


def test_many_targets_equal_one_by_one_also_where_no_batching_rule_is() -> None:
    class Square(torch.autograd.Function):
        """Has no vmap rule, and its backward pass leaves PyTorch: it cannot be batched."""

        @staticmethod
        def forward(ctx, x):  # type: ignore[no-untyped-def]
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, grad):  # type: ignore[no-untyped-def]
            (x,) = ctx.saved_tensors
            return torch.from_numpy((2 * x.detach() * grad).numpy().copy())

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.fc = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.fc(Square.apply(self.conv(x)).mean((2, 3)))
            return logits

    torch.manual_seed(0)
    for net in (Net().double(), residual()):
        layer = "conv" if isinstance(net, Net) else "bn2"
        runs: list[int] = []
        net.register_forward_pre_hook(lambda *_, runs=runs: runs.append(1))
        every = gh.explain(net, images(), layer, target=gh.AllClasses())
        assert len(runs) == 1
        assert every.raw.shape[:2] == (2, 3)
        for target in range(3):
            one = gh.explain(net, images(), layer, target=target)
            assert torch.allclose(every.raw[:, target], one.raw)
            assert torch.allclose(every.maps[:, target], one.maps)
            assert torch.equal(every.scores[:, target], one.scores)
