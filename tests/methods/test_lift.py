"""LIFT-CAM: DeepLIFT's rescale rule by hand, in loops, beside captum, and what it adds up to."""

from __future__ import annotations

import warnings

import pytest
import torch
from captum.attr import LayerDeepLift
from torch import Tensor, nn
from torch.nn import functional

import gradcam_hooks as gh
from gradcam_hooks.methods.lift import contributions
from gradcam_hooks.network.hooks import Taps
from gradcam_hooks.network.inputs import Inputs
from gradcam_hooks.runs.run import Asked, look
from gradcam_hooks.targets import Target
from tests.support.nets import gap_linear, images, residual
from tests.support.opened import tapped
from tests.support.ranks import RANKS, batch, curved
from tests.support.traces import Disturbing, snapshot


def parts(
    net: nn.Module,
    layer: str,
    x: Tensor,
    target: Target,
    call: int | None = None,
    layout: str | None = None,
) -> Tensor:
    """What every feature contributes, ``(targets, batch, channels, *space)``."""

    def work(taps: Taps) -> Tensor:
        run = look(Asked(net, layout=layout), taps, Inputs.of(net, [x], {}), target)
        return torch.stack(contributions(run, run.layers[0]))

    return tapped(net, [layer], work, call=call)


def test_by_hand() -> None:
    # y = relu(a + b - 1), a = 3 and b = 2 at one place each: y is 4 and 0 without. Their sum goes
    # from -1 to 4, so that ReLU's multiplier is (4 - 0) / (4 + 1) = 0.8: 2.4 and 1.6.
    net = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(2, 1), nn.ReLU())
    with torch.no_grad():
        net[2].weight.fill_(1.0)
        net[2].bias.fill_(-1.0)
    x = torch.tensor([[[3.0], [2.0]]])
    said = "channels-first"  # nothing in a flattened input tells
    assert parts(net, "0", x, 0, layout=said).flatten().tolist() == pytest.approx([2.4, 1.6])
    result = gh.LIFTCAM(net, "0", layout=said)(x)
    assert result.raw.flatten().tolist() == pytest.approx([2.4 * 3 + 1.6 * 2])


def test_a_max_pool_by_hand() -> None:
    # Pairs (2, 1) and (-3, -1) against 0: the first goes from 0 to 2 by its own largest place;
    # the second from 0 to -1: the doing of the reference's largest place, which is the first.
    net = nn.Sequential(nn.Identity(), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(2, 1, bias=False))
    nn.init.constant_(net[3].weight, 1.0)
    x = torch.tensor([[[2.0, 1.0, -3.0, -1.0]]])
    said = "channels-first"  # nothing in a flattened input tells
    assert parts(net, "0", x, 0, layout=said).flatten().tolist() == [2.0, 0.0, -1.0, 0.0]


@pytest.mark.parametrize("rank", RANKS)
def test_equals_its_equation_in_loops(rank: int) -> None:
    net, x = curved(rank), batch(rank)
    result = gh.LIFTCAM(net, "1")(x, target=gh.TopK(2))
    activation = net[:2](x).detach()
    first, second = net[4], net[6]
    pooled, empty = net[2:4](activation), net[2:4](torch.zeros_like(activation))
    cells = pooled.shape[1] // 3
    window = 2**rank
    for image in range(2):
        before, before0 = first(pooled)[image], first(empty)[image]
        after, after0 = functional.gelu(before), functional.gelu(before0)
        for place in range(2):
            label = int(result.target[image, place])
            expected = torch.zeros_like(activation[0, 0])
            for k in range(3):
                weight = 0.0
                for cell in range(k * cells, (k + 1) * cells):
                    # the mean over a window: each of its values has a share of 1 / window
                    total = sum(
                        float(second.weight[label, j])
                        * float((after[j] - after0[j]) / (before[j] - before0[j]))
                        * float(first.weight[j, cell])
                        for j in range(6)
                    )
                    weight += total / window * float(pooled[image, cell]) * window
                expected += weight * activation[image, k]
            assert expected.abs().max() > 1e-4
            assert torch.allclose(result.raw[image, place], expected, atol=1e-8)


def test_on_a_linear_tail_it_is_ablation_cam_and_the_shapley_value() -> None:
    model, x = gap_linear(), images()
    lift = gh.LIFTCAM(model, "1")(x, target=gh.AllClasses())
    ablation = gh.AblationCAM(model, "1")(x, target=gh.AllClasses())
    assert (lift.raw - ablation.raw).abs().max() <= 5e-7
    activation = model[:2](x)
    weights = model[4].weight[None] * activation.mean((2, 3))[:, None]  # W[c, k] <A_k>
    exact = torch.einsum("btc,bcij->btij", weights, activation)
    assert torch.allclose(lift.raw, exact, atol=1e-12)


# --- completeness: what lies behind the layer may be all of these


class Gated(nn.Module):
    """Squeeze and excitation, SiLU in place, functional ReLU, and its own input added."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.squeeze = nn.Conv2d(4, 4, 1)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        gate = torch.sigmoid(self.squeeze(x.mean((2, 3), keepdim=True)))
        y = functional.silu(self.bn(x) * gate, inplace=True)
        y = functional.max_pool2d(y + x, 3, stride=2, padding=1)
        y = (y - 0.3).relu_()
        y = functional.hardtanh(y, 0.0, 6.0, inplace=True).clamp(min=0.1)
        return self.fc(functional.adaptive_max_pool2d(y, 1).flatten(1))


@pytest.mark.parametrize(
    ("net", "layer", "call"),
    [
        (Gated, "conv", None),
        (Gated, "bn", None),
        (residual, "conv2", None),
        (residual, "relu", 0),
        (residual, "bn1", None),
    ],
    ids=["gated-conv", "gated-bn", "residual-conv2", "residual-relu-0", "residual-bn1"],
)
def test_contributions_add_up_to_what_is_lost_without_the_layer(
    net: type[nn.Module], layer: str, call: int | None
) -> None:
    torch.manual_seed(0)
    model, x = net().double().eval(), images()
    found = parts(model, layer, x, gh.AllClasses(), call).sum((2, 3, 4)).T
    seen = 0

    def empty(module: nn.Module, args: object, output: Tensor) -> Tensor | None:
        nonlocal seen
        seen += 1
        return torch.zeros_like(output) if seen - 1 == (call or 0) else None

    with torch.no_grad():
        score = model(x)
        handle = model.get_submodule(layer).register_forward_hook(empty)
        without = model(x)
        handle.remove()
    assert (score - without).abs().max() > 1e-2
    assert torch.allclose(found, score - without, atol=1e-9)


def test_where_the_rule_has_no_answer_it_is_an_error() -> None:
    torch.manual_seed(0)
    norm = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), *list(gap_linear())[2:4])
    told = "no answer for group_norm behind it, so the contributions add up to .* 'ablationcam'"
    with pytest.raises(gh.GradientError, match=told):
        gh.LIFTCAM(norm.double(), "0")(images())


class Undecided(nn.Module):
    """Runs other operations where its features are empty."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x.tanh().sum((2, 3)) if bool(x.any()) else x.relu().sum((2, 3))


def test_a_network_that_runs_other_operations_at_zero() -> None:
    with pytest.raises(gh.GradientError, match=r"other operations where.*Take 'ablationcam'"):
        gh.LIFTCAM(Undecided().double(), "conv")(images())


# --- beside captum


def peer(model: nn.Module, layer: nn.Module, x: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells of its hooks
        found = LayerDeepLift(model, layer).attribute(x, torch.zeros_like(x), target=1)
    return found.detach()


class Uneven(nn.Module):
    """Adds something else at every position, so that no maximum is a tie where features are 0."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("ground", torch.randn(5, 8, 8) / 4)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.ground


def modules(pool: nn.Module) -> nn.Sequential:
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False),  # at an input of 0 its output is 0
        nn.Tanh(),
        nn.Conv2d(6, 5, 3, padding=1),
        Uneven(),
        pool,
        nn.Conv2d(5, 4, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 4),
    ).double()


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.AvgPool2d(3, 2)], ids=["max", "mean"])
def test_the_same_contributions_as_captum_s(pool: nn.Module) -> None:
    model, x = modules(pool), images()
    ours = parts(model, "0", x, 1)[0]
    theirs = peer(model, model[0], x)
    assert ours.abs().max() > 1e-3
    assert torch.allclose(ours, theirs, atol=1e-10)


OVERLAPPING = nn.MaxPool2d(3, 2, padding=1)
ADJACENT = nn.Sequential(nn.MaxPool2d(2), nn.Sigmoid())


@pytest.mark.parametrize("pool", [OVERLAPPING, ADJACENT], ids=["overlapping", "adjacent"])
def test_captum_s_do_not_add_up_where_windows_overlap_or_two_rules_meet(pool: nn.Module) -> None:
    # Where the output of one nonlinear module is the input of the next, it takes the derivative.
    model, x = modules(pool), images()
    with torch.no_grad():
        fall = (model(x) - model(torch.zeros_like(x)))[:, 1]
    ours = parts(model, "0", x, 1)[0].flatten(1).sum(1)
    assert torch.allclose(ours, fall, atol=1e-10)
    assert (peer(model, model[0], x).flatten(1).sum(1) - fall).abs().max() > 1e-4


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_when_the_model_raises(error: type[BaseException]) -> None:
    net = Disturbing()
    before = snapshot(net)
    handles = len(net._forward_pre_hooks)
    gh.LIFTCAM(net, "body.conv2")(images(), target=0)
    assert snapshot(net) == before
    runs = 0

    def fail(module: nn.Module, args: object) -> None:
        nonlocal runs
        runs += 1
        if runs == 3:  # in the last of its runs
            raise error("midway")

    with net.body.fc.register_forward_pre_hook(fail), pytest.raises(error, match="midway"):
        gh.LIFTCAM(net, "body.conv2")(images(), target=0)
    assert runs == 3
    assert len(net._forward_pre_hooks) == handles
    assert snapshot(net) == before
