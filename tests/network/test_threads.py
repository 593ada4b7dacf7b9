"""A thread sees its own pass: others use the model meanwhile, and each gets what is right.

Nothing is left to chance but in the last test: a module in the middle of the network does, while
one thread's pass is held there, what another thread is to do meanwhile.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
import torchvision
from torch import Tensor, nn

import gradcam_hooks as gh
from tests.support.meanwhile import LONG, Meanwhile, Net, apart, cnn, same
from tests.support.nets import images


class Block(nn.Module):
    """A transformer with such a place, between an attention and what is added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torchvision.models.VisionTransformer(16, 4, 2, 2, 8, 16, num_classes=3)
        nn.init.normal_(self.body.heads.head.weight)
        self.late = Meanwhile()
        self.body.encoder.layers[1].dropout = self.late

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.body(x)
        return logits


def transformer() -> Block:
    torch.manual_seed(0)
    return Block().double().eval()


METHODS = (
    ("conv2", "gradcam"),
    ("auto", "gradcam"),
    (["conv1", "conv2"], "layercam"),
    ("conv2", "eigencam"),
    ("conv2", "ablationcam"),
    ("conv2", "liftcam"),
    ("conv2", "shapleycam"),
    ("conv2", "guidedgradcam"),
    ("conv2", "scorecam"),
    ("conv2", "fullgrad"),
)
"""The ways in which the network is run: by taps alone, with layers to choose from, with
activations put in, functions replaced, images masked, and modules watched."""

IN_ATTENTION = ("gradientrollout", "legrad", "attentionrollout")


MODES: tuple[Callable[[], AbstractContextManager[object]], ...] = (
    nullcontext,
    torch.no_grad,
    torch.inference_mode,
)


def inference(net: nn.Module) -> Callable[[], None]:
    """Runs the network in every grad mode, and wants what it gives when nothing else happens."""
    x = images(3, (16, 16))

    def run(mode: Callable[[], AbstractContextManager[object]]) -> Tensor:
        with mode():
            output: Tensor = net(x)
        assert output.requires_grad == (mode is nullcontext)
        assert output.is_inference() == (mode is torch.inference_mode)
        return output

    wanted = [run(mode) for mode in MODES]

    def check() -> None:
        for mode, want in zip(MODES, wanted, strict=True):
            assert torch.equal(run(mode), want)

    return check


@pytest.mark.parametrize(("layer", "method"), METHODS)
def test_inference_while_another_thread_explains(layer: str | list[str], method: str) -> None:
    net, x = cnn(), images(2, (16, 16))
    alone = gh.explain(net, x, layer, method=method, target=1)
    infer = inference(net)
    for place in (net.early, net.late):
        with place.doing(lambda: apart(infer)):
            same(gh.explain(net, x, layer, method=method, target=1), alone)


@pytest.mark.parametrize("method", IN_ATTENTION)
def test_inference_while_attention_is_caught_in_another_thread(method: str) -> None:
    net, x = transformer(), images(2, (16, 16))
    alone = gh.explain(net, x, method=method, target=1)
    infer = inference(net)
    with net.late.doing(lambda: apart(infer)):
        same(gh.explain(net, x, method=method, target=1), alone)


def test_inference_while_another_thread_lists_the_layers_or_looks_for_the_end_of_a_path() -> None:
    class Ending(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).detach() + self.fc.bias.sum()

    torch.manual_seed(0)
    net, x = cnn(), images(2, (16, 16))
    table = str(gh.layers(net, x))
    infer = inference(net)
    with net.late.doing(lambda: apart(infer)):
        assert str(gh.layers(net, x)) == table
    ending = Ending().double().eval()
    infer_ending = inference(ending)
    with (
        ending.late.doing(lambda: apart(infer_ending)),
        pytest.raises(gh.GradientError, match="path ends after 'fc'"),
    ):
        gh.explain(ending, x, "conv2", target=1)


@pytest.mark.parametrize(("layer", "method"), METHODS)
@pytest.mark.parametrize("mode", [nullcontext, torch.inference_mode])
def test_two_threads_explain_one_model(
    layer: str | list[str],
    method: str,
    mode: Callable[[], AbstractContextManager[object]],
) -> None:
    net, x, other = cnn(), images(2, (16, 16)), images(1, (8, 24))
    alone = gh.explain(net, x, layer, method=method, target=1)
    theirs = [
        (name, rule, gh.explain(net, other, name, method=rule, target=0))
        for name, rule in (("conv2", "gradcam"), ("bn1", "layercam"), ("auto", "eigencam"))
    ]

    def explain() -> None:
        with mode():
            for name, rule, want in theirs:
                same(gh.explain(net, other, name, method=rule, target=0), want)

    for place in (net.early, net.late):
        with place.doing(lambda: apart(explain)):
            same(gh.explain(net, x, layer, method=method, target=1), alone)
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in net.modules())


@pytest.mark.parametrize("layer", ["conv2", "auto"])
def test_two_threads_through_one_explainer_open_or_not(layer: str) -> None:
    net, x, other = cnn(), images(2, (16, 16)), images(1, (8, 24))
    cam = gh.GradCAM(net, layer)
    alone, theirs = cam(x, target=1), cam(other, target=0)

    def explain() -> None:
        same(cam(other, target=0), theirs)

    with net.late.doing(lambda: apart(explain)):
        same(cam(x, target=1), alone)
        with cam:
            same(cam(x, target=1), alone)


def test_a_model_that_runs_its_layer_in_a_thread_of_its_own_is_told_so() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            features = apart(lambda: self.conv(x))
            assert isinstance(features, Tensor)
            logits: Tensor = self.fc(features.mean((2, 3)))
            return logits

    with pytest.raises(gh.LayerDidNotRun, match="'conv' did not run in the thread that explains"):
        gh.explain(Pooled().double(), images(), "conv")


@pytest.fixture
def _hasty() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize("training", [False, True])
def test_many_at_once(*, training: bool) -> None:
    net, infer = cnn(), inference(cnn())
    jobs = [
        ("conv2", "gradcam", images(2, (16, 16))),
        ("conv1", "ablationcam", images(1, (8, 24))),
        ("auto", "layercam", images(3, (8, 8))),
    ]
    alone = [gh.explain(net, x, layer, method=method, target=1) for layer, method, x in jobs]
    if not training:
        infer = inference(net)
    net.train(training)
    state = {name: value.clone() for name, value in net.state_dict().items()}

    def explain(number: int) -> None:
        layer, method, x = jobs[number % 3]
        want = alone[number % 3]
        same(gh.explain(net, x, layer, method=method, target=1), want)

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(explain, number) for number in range(24)]
        running += [pool.submit(infer) for _ in range(12)]
        for one in running:
            one.result(LONG)
    assert all(module.training == training for module in net.modules())
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in net.modules())
    for name, value in net.state_dict().items():
        assert torch.equal(value, state[name])
