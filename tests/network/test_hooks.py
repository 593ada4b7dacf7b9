"""The tap and the cut: the layer's own output and gradient, and nothing left behind.

The oracle is the one all tests share: zeros added to a clone of what the layer's forward gives.
"""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks.network.hooks import Tap, Taps
from gradcam_hooks.network.inputs import Inputs
from gradcam_hooks.network.state import untouched
from tests.support import oracle as zeros
from tests.support.nets import Raising, gap_linear, images, residual
from tests.support.traces import Disturbing, snapshot

RESIDUAL_LAYERS = ["conv1", "bn1", "conv2", "bn2", "drop", "pool"]


def oracle(net: nn.Module, layer: str, x: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """Activation and gradient at a layer for one class, by zeros added in its forward."""
    return zeros.oracle(net, layer, lambda output: output[:, target], x)


def captured(net: nn.Module, layer: str, x: Tensor, target: int) -> Tap:
    with Taps(net, [layer]) as taps, untouched(net):
        current = taps.forward(Inputs.of(net, [x], {}))
        assert isinstance(current.output, Tensor)
        with torch.enable_grad():
            score = current.output[:, target]
        current.backward(score)
        return current.select()[0].tap


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


# --- nothing left behind -----------------------------------------------------------------------


@pytest.fixture
def disturbing() -> Iterator[Disturbing]:
    """The model; on the way out it is as it was found."""
    net = Disturbing()
    before = snapshot(net)
    yield net
    net.raising.error = None
    assert snapshot(net) == before


def normal(cam: gh.GradCAM, net: Disturbing) -> None:
    cam(images())


def many_targets(cam: gh.GradCAM, net: Disturbing) -> None:
    cam(images(), target=gh.AllClasses())


def wrong_target(cam: gh.GradCAM, net: Disturbing) -> None:
    cam(images(), target=99)


def a_layer_that_raises(cam: gh.GradCAM, net: Disturbing) -> None:
    net.raising.error = ValueError
    cam(images())


def interrupted(cam: gh.GradCAM, net: Disturbing) -> None:
    net.raising.error = KeyboardInterrupt
    cam(images())


def an_error_in_the_block(cam: gh.GradCAM, net: Disturbing) -> None:
    cam(images())
    raise ZeroDivisionError


def left_twice(cam: gh.GradCAM, net: Disturbing) -> None:
    cam.__exit__(None, None, None)
    cam.__exit__(None, None, None)


def used_after_its_block(cam: gh.GradCAM, net: Disturbing) -> None:
    cam.__exit__(None, None, None)
    cam(images())


@pytest.mark.parametrize("layer", ["body.bn2", "auto", ["body.conv2", "body.conv1"]])
@pytest.mark.parametrize(
    ("way", "error"),
    [
        (normal, None),
        (many_targets, None),
        (left_twice, None),
        (used_after_its_block, None),
        (wrong_target, gh.TargetError),
        (a_layer_that_raises, ValueError),
        (interrupted, KeyboardInterrupt),
        (an_error_in_the_block, ZeroDivisionError),
    ],
)
def test_nothing_is_left_after_every_way_to_leave(
    disturbing: Disturbing,
    layer: str | list[str],
    way: Callable[[gh.GradCAM, Disturbing], None],
    error: type[BaseException] | None,
) -> None:
    if error is None:
        with gh.GradCAM(disturbing, layer) as cam:
            way(cam, disturbing)
    else:
        with pytest.raises(error), gh.GradCAM(disturbing, layer) as cam:
            way(cam, disturbing)


def test_the_snapshot_would_notice() -> None:
    """The proof of the proof: each kind of trace changes the snapshot."""
    for disturb in (
        lambda net: net.body.conv1.register_forward_hook(print),
        lambda net: net.body.relu.eval(),
        lambda net: net.body.conv1.weight.requires_grad_(),
        lambda net: net.body.fc.bias.grad.add_(1),
        lambda net: net.written.add_(1),
        lambda net: setattr(net, "replaced", net.replaced.clone()),
        lambda net: torch.rand(1),
        lambda net: random.random(),
        lambda net: setattr(net.body, "extra", 1),
    ):
        net = Disturbing()
        before = snapshot(net)
        disturb(net)
        assert snapshot(net) != before


def test_all_or_nothing_on_entering(disturbing: Disturbing) -> None:
    with pytest.raises(gh.LayerNotFound), gh.GradCAM(disturbing, ["body.conv1", "nowhere"]):
        pass
    assert not disturbing.body.conv1._forward_hooks


def test_hooks_live_in_the_block_and_let_others_work() -> None:
    net, x = residual(), images()
    plain = net(x)
    with gh.GradCAM(net, "bn1") as cam:
        assert len(net.bn1._forward_hooks) == 1
        assert torch.equal(net(x), plain)  # the user's own call passes through
        net.train()
        net(x).sum().backward()  # and so does a training step
        assert net.conv1.weight.grad is not None
        net.eval()
        cam(x)
    assert not net.bn1._forward_hooks


def test_two_explainers_on_one_model_nested_or_not() -> None:
    net, x = residual(), images()
    alone = {layer: gh.explain(net, x, layer, target=1).raw for layer in ("bn1", "bn2")}
    with gh.GradCAM(net, "bn1") as one, gh.GradCAM(net, "bn2") as two:
        for cam, layer in ((one, "bn1"), (two, "bn2"), (one, "bn1")):
            assert torch.equal(cam(x, target=1).raw, alone[layer])
    one.__enter__()
    two.__enter__()
    one.__exit__()
    assert torch.equal(two(x, target=1).raw, alone["bn2"])
    two.__exit__()
    assert all(not module._forward_hooks for module in net.modules())


def test_no_tensor_of_the_call_outlives_its_result() -> None:
    net = residual()
    seen: list[weakref.ref[Tensor]] = []

    def watch(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        seen.extend(weakref.ref(one) for one in (*args, output))

    for module in list(net.modules()):
        module.register_forward_hook(watch)
    gc.collect()
    gc.disable()  # circles of references would keep memory until some later collection
    try:
        with gh.GradCAM(net, ["bn1", "bn2"]) as cam:
            for target in (None, gh.AllClasses()):
                x = images()
                seen.append(weakref.ref(x))
                result = cam(x, target=target)
                fields = (result.maps, result.scores, result.output, *result.raw)
                seen.extend(weakref.ref(field) for field in fields)  # type: ignore[arg-type]
                del x, result, fields
                alive = [ref() for ref in seen if ref() is not None]
                assert alive == []
    finally:
        gc.enable()
    assert len(seen) > 40


def test_no_tensor_outlives_an_error_once_the_error_is_gone() -> None:
    net = residual()
    seen: list[weakref.ref[Tensor]] = []
    net.conv1.register_forward_hook(lambda m, a, out: seen.append(weakref.ref(out)))
    with gh.GradCAM(net, "bn2") as cam:
        with pytest.raises(gh.TargetError):
            cam(images(), target=99)
        gc.collect()
        assert len(seen) == 1
        assert seen[0]() is None


# --- around the call ----------------------------------------------------------------------------


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("layer", ["bn2", "auto"])
def test_grad_modes_and_frozen_weights_change_nothing(
    around: Callable[[], torch.no_grad], frozen: bool, layer: str
) -> None:
    net = residual()
    expected = gh.explain(net, images(), layer, target=1)
    net.requires_grad_(not frozen)
    with around():
        x = images()  # under inference_mode this is an inference tensor
        result = gh.explain(net, x, layer, target=1)
    assert torch.equal(result.raw, expected.raw)
    assert torch.equal(result.maps, expected.maps)
    assert not result.raw.requires_grad
    assert not result.scores.requires_grad


def test_a_model_in_training_mode_is_explained_in_eval_mode() -> None:
    net = residual()
    expected = gh.explain(net, images(), "bn1", target=1)
    net.train()
    result = gh.explain(net, images(), "bn1", target=1)
    assert torch.equal(result.raw, expected.raw)
    assert net.training
    assert net.bn1.training


def test_input_and_model_on_different_devices_names_both() -> None:
    with pytest.raises(gh.DeviceError, match="is on meta, the model's parameters are on cpu"):
        gh.explain(gap_linear(), images().to("meta"), "0")


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
