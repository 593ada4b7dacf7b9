"""Nothing left behind: a model and its surroundings are as found, however an explanation ends."""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

import gradcam_hooks as gh
from tests.support.nets import gap_linear, images, residual
from tests.support.traces import Disturbing, snapshot


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
