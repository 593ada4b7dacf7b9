"""First in line: what is explained is what the layer's forward returned, whoever else hooks it.

Each network here keeps what a hook saw and makes its score of that as well, so that a tap which
comes after that hook loses a path. The oracle adds its zeros inside the layer's own forward.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
import timm
import torch
import transformers
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

import gradcam_hooks as gh
from gradcam_hooks.network.hooking import entered, hooked
from tests.support.nets import Raising, images, residual
from tests.support.oracle import agree, raw_by_zeros


class Keeping(nn.Module):
    """A small U-Net's trait: the head reads what hooks kept of an earlier layer as well."""

    def __init__(self) -> None:
        super().__init__()
        self.early, self.late = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.fc = nn.Linear(8, 3)
        self.kept: Tensor | None = None

    def keep(self, module: nn.Module, args: object, output: Tensor) -> None:
        self.kept = output

    def forward(self, x: Tensor) -> Tensor:
        self.kept = None
        late = self.late(self.early(x).relu()).relu()
        assert self.kept is not None
        both = torch.cat([self.kept.square().mean((2, 3)), late.mean((2, 3))], 1)
        logits: Tensor = self.fc(both)
        return logits


def keeping() -> Keeping:
    torch.manual_seed(0)
    return Keeping().double().eval()


def right(net: nn.Module, layer: str, x: Tensor, result: gh.Explanation, target: int = 1) -> None:
    agree(result.raw, raw_by_zeros(net, layer, lambda: net(x)[:, target]))


@contextmanager
def everywhere(hook: Callable[[nn.Module, object, object], object]) -> Iterator[None]:
    with register_module_forward_hook(hook):  # type: ignore[arg-type]
        yield


def test_a_hook_that_was_there_before() -> None:
    net, x = keeping(), images()
    net.early.register_forward_hook(net.keep)
    for _ in range(2):
        right(net, "early", x, gh.explain(net, x, "early", target=1))


def test_a_hook_that_comes_while_the_block_is_open_and_puts_itself_first() -> None:
    net, x = keeping(), images()
    with gh.GradCAM(net, "early") as cam:
        for prepend in (True, False):
            with net.early.register_forward_hook(net.keep, prepend=prepend):
                right(net, "early", x, cam(x, target=1))


def test_several_layers_each_with_a_hook_before_and_after() -> None:
    net, x = keeping(), images()
    for module in (net.early, net.late):
        module.register_forward_hook(net.keep, prepend=True)
        module.register_forward_hook(lambda *_: None)
    result = gh.explain(net, x, ["early", "late"], target=1)
    for layer, raw in zip(result.layers, result.raw, strict=True):
        agree(raw, raw_by_zeros(net, layer, lambda: net(x)[:, 1]))


class LateComer(nn.Module):
    """Registers a hook of its own while it runs, ahead of those that are there.

    Args:
        always: every time, rather than once.
    """

    def __init__(self, *, always: bool) -> None:
        super().__init__()
        self.inner = Keeping()
        self.always = always
        self.runs = 0

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        if self.always or self.runs == 1:
            self.inner.early.register_forward_hook(self.inner.keep, prepend=True)
        logits: Tensor = self.inner(x)
        return logits


@pytest.mark.parametrize("method", ["gradcam", "eigencam"])
def test_a_hook_put_ahead_while_the_model_runs_is_noticed(method: str) -> None:
    torch.manual_seed(0)
    net, x = LateComer(always=False).double().eval(), images()
    result = gh.explain(net, x, "inner.early", target=1, method=method)
    assert net.runs == 2
    if method == "gradcam":
        right(net, "inner.early", x, result)


def test_a_hook_put_ahead_every_time_the_model_runs_is_an_error() -> None:
    net = LateComer(always=True).double().eval()
    with pytest.raises(gh.LayerError, match=r"a hook on 'inner.early' ahead .* prepend=True"):
        gh.explain(net, images(), "inner.early")


@pytest.mark.parametrize("prepend", [False, True])
def test_a_hook_that_replaces_the_output_is_part_of_what_follows_the_layer(
    *, prepend: bool
) -> None:
    net, x = residual(), images()
    plain = net.conv2(net.relu(net.bn1(net.conv1(x)))).detach()
    net.conv2.register_forward_hook(lambda module, args, out: out.tanh() * 3, prepend=prepend)
    with gh.GradCAM(net, "conv2") as cam:
        result = cam(x, target=1)
    # By hand: the network's score, with conv2's output a leaf ahead of what the hook makes of it.
    leaf = plain.requires_grad_()
    before = net.relu(net.bn1(net.conv1(x))).detach()
    out = net.relu(net.bn2(leaf.tanh() * 3) + before)
    score = net.fc(net.pool(out).flatten(1))[:, 1]
    assert torch.allclose(result.scores, score.detach(), rtol=1e-12)
    (gradient,) = torch.autograd.grad(score.sum(), leaf)
    expected = torch.einsum("bc,bchw->bhw", gradient.mean((2, 3)), plain.detach())
    agree(result.raw, expected)


def test_hooks_with_keywords_and_those_that_are_always_called() -> None:
    net, x = keeping(), images()
    called: list[object] = []

    def keep(module: nn.Module, args: object, kwargs: object, output: Tensor) -> None:
        called.append(kwargs)
        net.kept = output

    net.early.register_forward_hook(keep, with_kwargs=True, always_call=True)
    right(net, "early", x, gh.explain(net, x, "early", target=1))
    assert called == [{}] * len(called)


# --- torch's global hooks, which come before those of a module ----------------------------------


@pytest.mark.parametrize("layer", ["early", "auto", ["early", "late"]])
def test_a_global_hook_that_keeps(layer: str | list[str]) -> None:
    net, x = keeping(), images()

    def keep(module: nn.Module, args: object, output: object) -> None:
        if module is net.early:
            assert isinstance(output, Tensor)
            net.kept = output

    with everywhere(keep):
        for _ in range(2):
            result = gh.explain(net, x, layer, target=1)
            raws = [result.raw] if isinstance(result.raw, Tensor) else result.raw
            for name, raw in zip(result.layers, raws, strict=True):
                agree(raw, raw_by_zeros(net, name, lambda: net(x)[:, 1]))


def test_a_global_hook_that_replaces_sees_the_networks_modules_and_no_other() -> None:
    net, x = residual(), images()
    seen: list[str] = []

    def halve(module: nn.Module, args: object, output: Tensor) -> Tensor:
        seen.append(type(module).__name__)
        return output / 2

    with everywhere(halve):
        plain = net(x)
        modules, seen[:] = list(seen), []
        result = gh.explain(net, x, "bn2", target=1)
        assert seen == modules
        assert torch.equal(result.scores, plain[:, 1])
        right(net, "bn2", x, result)


def test_methods_that_disturb_the_layer_do_so_ahead_of_a_global_hook() -> None:
    net, x = keeping(), images()
    expected = {}
    for method in ("ablationcam", "liftcam", "reciprocam"):
        with net.early.register_forward_hook(net.keep):
            expected[method] = gh.explain(net, x, "early", target=1, method=method)

    def keep(module: nn.Module, args: object, output: object) -> None:
        if module is net.early:
            net.kept = output

    with everywhere(keep):
        for method, by_module in expected.items():
            result = gh.explain(net, x, "early", target=1, method=method)
            agree(result.raw, by_module.raw)
    # What is kept is disturbed with the rest: Ablation-CAM by its definition.
    ablation = expected["ablationcam"]
    with net.early.register_forward_hook(net.keep), torch.no_grad():
        activation, score = net.early(x), net(x)[:, 1]
        raw = torch.zeros_like(activation[:, 0])
        for channel in range(4):

            def without(
                module: nn.Module, args: object, output: Tensor, channel: int = channel
            ) -> Tensor:
                output = output.clone()
                output[:, channel] = 0
                return output

            with net.early.register_forward_hook(without, prepend=True):
                fall = score - net(x)[:, 1]
            raw += fall[:, None, None] * activation[:, channel]
    agree(ablation.raw, raw)


# --- the libraries that leave hooks behind -------------------------------------------------------


def test_transformers_that_keep_hooks_from_their_first_call_on() -> None:
    torch.manual_seed(0)
    config = transformers.DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[4, 6, 8, 10],
        fusion_hidden_size=8,
        is_hybrid=False,
    )
    net = transformers.DPTForDepthEstimation(config).double().eval()
    x = images(1, (32, 32))

    def depth(output: transformers.utils.ModelOutput) -> Tensor:
        values: Tensor = output.predicted_depth.mean((1, 2))
        return values

    layer = "dpt.encoder.layer.2"
    first, second = (gh.explain(net, x, layer, target=depth) for _ in range(2))
    assert net.get_submodule(layer)._forward_hooks  # it does leave one
    expected = raw_by_zeros(net, layer, lambda: depth(net(x)), prefix=1)
    agree(first.raw, expected)
    agree(second.raw, expected)


class Body(nn.Module):
    """A classifier on timm's features that hooks collect."""

    def __init__(self) -> None:
        super().__init__()
        self.body = timm.create_model(
            "resnet18",
            features_only=True,
            out_indices=(1, 2, 3, 4),
            feature_cls="hook",
        )
        self.fc = nn.Linear(960, 5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(torch.cat([one.mean((2, 3)) for one in self.body(x)], 1))
        return logits


def test_timms_features_by_hooks() -> None:
    torch.manual_seed(0)
    net, x = Body().double().eval(), images(1, (64, 64))
    for layer in ("body.body.layer2", "body.body.layer3"):
        right(net, layer, x, gh.explain(net, x, layer, target=1))


# --- the blocks of hooks themselves --------------------------------------------------------------


def test_hooks_are_registered_all_or_none() -> None:
    class Refusing(nn.Linear):
        def register_forward_hook(self, *args: object, **kwargs: object) -> object:
            raise RuntimeError("no hook on me")

    net = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1), Refusing(1, 1))
    modules = dict(net.named_children())
    with pytest.raises(RuntimeError, match="no hook on me"), hooked(modules, lambda *_: None):
        raise AssertionError("it was opened")
    assert not any(module._forward_hooks for module in net)


def test_they_are_gone_after_an_error_in_the_model() -> None:
    net = nn.Sequential(nn.Linear(1, 1), raising := Raising())
    raising.error = ValueError
    modules = dict(net.named_modules())
    with (
        pytest.raises(ValueError, match="from inside"),
        entered(modules, lambda *_: None),
        hooked(modules, lambda *_: None),
    ):
        net(torch.ones(1, 1))
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in net.modules())


def test_of_two_blocks_the_inner_one_comes_first_and_what_it_gives_goes_on() -> None:
    net = nn.Sequential(nn.Identity())
    seen: list[tuple[str, float]] = []

    def adding(label: str, much: float) -> Callable[[str, object], object]:
        def leave(name: str, output: object) -> object:
            assert isinstance(output, Tensor)
            seen.append((label, float(output)))
            return output + much

        return leave

    modules = {"0": net[0]}
    with ExitStack() as stack:
        stack.enter_context(net[0].register_forward_hook(lambda m, a, out: out * 10))
        stack.enter_context(hooked(modules, adding("outer", 1)))
        stack.enter_context(hooked(modules, adding("inner", 2)))
        assert float(net(torch.zeros(()))) == 30
    assert seen == [("inner", 0), ("outer", 2)]


def test_what_enters_is_seen_behind_the_hooks_that_change_it() -> None:
    net = nn.Sequential(nn.Identity())
    seen: list[object] = []
    net[0].register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    with entered({"0": net[0]}, lambda name, args, kwargs: seen.append((name, args, kwargs))):
        net(torch.zeros(()))
    assert seen == [("0", (torch.ones(()),), {})]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_or_a_file_of_the_model_made_in_the_block_has_hooks_at_rest(
    copied: Callable[[nn.Module], nn.Module],
) -> None:
    net, x = residual(), images()
    with gh.GradCAM(net, "conv2") as cam:
        other = copied(net)
        expected = cam(x, target=1)
    assert torch.equal(other(x), net(x))
    assert torch.equal(gh.explain(other, x, "conv2", target=1).raw, expected.raw)
