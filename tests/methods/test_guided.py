"""Guided backpropagation and Guided Grad-CAM: by hand, by a pass written out, beside peers."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from captum.attr import GuidedBackprop, GuidedGradCam
from pytorch_grad_cam.guided_backprop import GuidedBackpropReLUModel
from torch import Tensor, nn
from torch.nn import functional

import gradcam_hooks as gh
from gradcam_hooks.maps import resize
from gradcam_hooks.methods import guided
from tests.support.nets import gap_linear, images
from tests.support.ranks import RANKS, SIZES, batch
from tests.support.traces import Disturbing, snapshot


def test_by_hand() -> None:
    # h = relu(x1 + 2 x2, 3 x1 - x2) = (3, 2) at x = (1, 1), y = h1 - h2. At h the gradient is
    # (1, -1), of which 1 goes through: (1, 2) at x, where the plain gradient is (-2, 3).
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[1.0, 2.0], [3.0, -1.0]]))
        net[1].bias.zero_()
        net[3].weight.copy_(torch.tensor([[1.0, -1.0]]))
    x = torch.ones(1, 1, 2)
    assert gh.GuidedBackprop(net)(x, target=0).raw.tolist() == [[1.0, 2.0]]
    # At x = (-1, 1) h1 = relu(1), h2 = relu(-4): the same; at (1, -1) nothing goes in at h1.
    assert gh.GuidedBackprop(net)(torch.tensor([[[-1.0, 1.0]]]), target=0).raw.tolist() == [
        [1.0, 2.0]
    ]
    assert gh.GuidedBackprop(net)(torch.tensor([[[1.0, -1.0]]]), target=0).raw.tolist() == [
        [0.0, 0.0]
    ]


def network(rank: int, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    torch.manual_seed(rank)
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
    pool = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[rank - 1](2)
    flat = 3 * torch.Size([side // 2 for side in SIZES[rank]]).numel()
    first, second = conv(2, 3, 3, padding=1), nn.Linear(flat, 6)
    parts = (first, activation(), pool, nn.Flatten(), second, activation(), nn.Linear(6, 4))
    return nn.Sequential(*parts).double().eval()


def backward(net: nn.Sequential, x: Tensor, label: int) -> Tensor:
    """The guided pass of one image written out, ``(channels, *space)``."""
    rank = x.ndim - 1
    before = net[0](x[None])
    hidden = net[4](net[1:4](before))[0]
    gradient = net[6].weight[label].clone()
    for j in range(6):
        gradient[j] = max(gradient[j].item(), 0.0) if hidden[j] > 0 else 0.0
    gradient = (net[4].weight.T @ gradient).view(net[2](before).shape)
    for axis in range(2, 2 + rank):
        gradient = gradient.repeat_interleave(2, axis) / 2
    if gradient.shape != before.shape:  # a last row that no window covers
        sides = zip(before.shape[:1:-1], gradient.shape[:1:-1], strict=True)
        pads = [pad for full, covered in sides for pad in (0, full - covered)]
        gradient = functional.pad(gradient, pads)
    gradient = torch.where((before > 0) & (gradient > 0), gradient, torch.zeros_like(gradient))
    transposed = (functional.conv_transpose1d, functional.conv_transpose2d)
    back = (*transposed, functional.conv_transpose3d)[rank - 1]
    return back(gradient, net[0].weight, padding=1)[0].detach()


@pytest.mark.parametrize("rank", RANKS)
def test_equals_a_backward_pass_written_out(rank: int) -> None:
    net, x = network(rank), batch(rank)
    both = gh.GuidedBackprop(net)(x, target=gh.TopK(2))
    product = gh.GuidedGradCAM(net, "1")(x, target=gh.TopK(2))
    coarse = gh.GradCAM(net, "1")(x, target=gh.TopK(2)).raw.relu()
    for image in range(2):
        for place in range(2):
            expected = backward(net, x[image], int(both.target[image, place])).sum(0)
            assert torch.allclose(both.raw[image, place], expected, atol=1e-8)
            light = resize(coarse[image, place], SIZES[rank])
            if light.any():
                assert torch.allclose(product.raw[image, place], expected * light, atol=1e-12)
    assert both.raw.abs().amax() > 1e-3
    assert product.raw.relu().amax() > 1e-8


# --- however a ReLU is written


class Own(nn.Module):
    """A ReLU of whatever form."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


FORMS: dict[str, Callable[[], nn.Module]] = {
    "module in place": lambda: nn.ReLU(inplace=True),
    "F.relu": lambda: Own(functional.relu),
    "F.relu in place": lambda: Own(lambda x: functional.relu(x, inplace=True)),
    "torch.relu": lambda: Own(torch.relu),
    "torch.relu_": lambda: Own(torch.relu_),
    "x.relu": lambda: Own(lambda x: x.relu()),
    "x.relu_": lambda: Own(lambda x: x.relu_()),
    "x.clamp": lambda: Own(lambda x: x.clamp(min=0)),
    "x.clamp by place": lambda: Own(lambda x: x.clamp(0)),
    "x.clamp_": lambda: Own(lambda x: x.clamp_(min=0.0)),
    "clamp_min": lambda: Own(lambda x: torch.clamp_min(x, 0)),
    "written and not returned": lambda: Own(lambda x: (x.relu_(), x)[1]),
    "threshold": lambda: nn.Threshold(0.0, 0.0),
    "ReLU6 that does not end": nn.ReLU6,
    "clamp that does not end": lambda: Own(lambda x: torch.clamp(x, 0, 1e3)),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_relu_is_a_relu_however_it_is_written(form: str) -> None:
    x = images()
    plain = network_of(nn.ReLU)
    expected = gh.GuidedBackprop(plain)(x, target=1)
    found = gh.GuidedBackprop(network_of(FORMS[form]))(x, target=1)
    assert torch.allclose(found.raw, expected.raw, atol=1e-12)
    assert torch.allclose(found.scores, expected.scores, atol=1e-12)
    again = network_of(FORMS[form])
    ours = gh.GuidedGradCAM(again, "2")(x, target=1)
    assert torch.allclose(ours.raw, gh.GuidedGradCAM(plain, "2")(x, target=1).raw, atol=1e-12)


def network_of(relu: Callable[[], nn.Module]) -> nn.Sequential:
    torch.manual_seed(4)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        relu(),
        nn.Conv2d(6, 8, 3, padding=1),
        relu(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 4),
    ).double()


def test_relu6_lets_nothing_through_where_it_ends() -> None:
    net = nn.Sequential(nn.Flatten(), nn.ReLU6(), nn.Linear(3, 1))
    nn.init.constant_(net[2].weight, 1.0)
    assert gh.GuidedBackprop(net)(torch.tensor([[[-1.0, 1.0, 7.0]]])).raw.tolist() == [[0, 1, 0]]


# --- what stands in a ReLU's place


@pytest.mark.parametrize("kind", [nn.SiLU, nn.GELU, nn.ELU, nn.LeakyReLU, nn.PReLU, nn.Hardswish])
def test_what_is_no_relu_is_an_error_or_the_stated_rule(kind: type[nn.Module]) -> None:
    net, x = network(2, kind), batch(2)
    name = {"SiLU": "silu", "LeakyReLU": "leaky_relu"}.get(kind.__name__, kind.__name__.lower())
    told = rf"this network runs {name} \(2 times\).*others='guide'"
    with pytest.raises(gh.GradientError, match=told):
        gh.GuidedBackprop(net)(x)
    with pytest.raises(gh.GradientError, match=told):
        gh.GuidedGradCAM(net, "1")(x)
    found = gh.GuidedBackprop(net, others="guide")(x, target=1).raw

    free = x.clone().requires_grad_()  # relu(gradient) f'(x), by hooks on what goes in and out
    first, second = net[0](free), None
    after = net[1](first)
    second = net[4](net[2:4](after))
    score = net[6](net[5](second))[:, 1].sum()
    (gradient,) = torch.autograd.grad(net[5](second).sum(), second, retain_graph=True)
    gradient = net[6].weight[1].relu() * gradient
    (gradient,) = torch.autograd.grad(second, after, gradient, retain_graph=True)
    (slope,) = torch.autograd.grad(after.sum(), first, retain_graph=True)
    (expected,) = torch.autograd.grad(first, free, gradient.relu() * slope)
    assert score.isfinite()
    assert torch.allclose(found, expected.sum(1), atol=1e-10)


def test_a_network_without_relu_and_a_wrong_option() -> None:
    with pytest.raises(gh.GradientError, match="no ReLU ran between the input and the score"):
        gh.GuidedBackprop(network(2, nn.Tanh))(batch(2))
    with pytest.raises(gh.OptionError, match="others= is 'error' or 'guide', not 'plain'"):
        gh.GuidedBackprop(network(2), others="plain")(batch(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and still met
        scripted = torch.jit.script(nn.ReLU())
    with pytest.raises(gh.GradientError, match="'1' is TorchScript"):
        gh.GuidedBackprop(nn.Sequential(gap_linear()[0], scripted, *gap_linear()[2:]))(images())


def test_the_warning_is_where_users_look() -> None:
    for name in ("guidedbackprop", "guidedgradcam"):
        method = gh.METHODS[name]
        assert "Fails the sanity checks of Adebayo et al. 2018" in method.deviations
        assert "Adebayo" in str(getattr(gh, method.cls).__doc__)
        assert "Adebayo" in str(method.procedure.__doc__)
    assert "Adebayo" in str(guided.__doc__)


def test_a_map_without_light_says_that_all_speaks_against() -> None:
    net = gap_linear()
    nn.init.constant_(net[4].weight, -1.0)
    result = gh.GuidedGradCAM(net, "1")(images(), target=0)
    assert result.diagnosis == ("all-negative", "all-negative")
    assert not result.maps.any()


# --- beside the peers


def captum(kind: object, x: Tensor, **more: object) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells of its hooks
        return kind.attribute(x.clone(), target=1, **more).detach()  # type: ignore[attr-defined]


def test_the_same_as_captum_s() -> None:
    net, x = network_of(nn.ReLU), images(size=(9, 12))
    ours = gh.GuidedBackprop(net)(x, target=1).raw
    assert torch.allclose(ours, captum(GuidedBackprop(net), x).sum(1), atol=1e-12)
    half = nn.Sequential(*net[:2], nn.AvgPool2d(3), *net[2:])
    theirs = captum(GuidedGradCam(half, half[3]), x, interpolate_mode="bilinear").sum(1)
    ours = gh.GuidedGradCAM(half, "3")(x, target=1)
    assert ours.diagnosis == ("ok", "ok")
    assert torch.allclose(ours.raw, theirs, atol=1e-12)
    nearest = captum(GuidedGradCam(half, half[3]), x).sum(1)
    assert not torch.allclose(ours.raw, nearest, rtol=1e-2)


def test_of_functional_relus_captum_gives_the_plain_gradient() -> None:
    net, x = network_of(FORMS["F.relu"]), images()
    theirs = captum(GuidedBackprop(net), x).sum(1)
    free = x.clone().requires_grad_()
    (plain,) = torch.autograd.grad(net(free)[:, 1].sum(), free)
    assert torch.allclose(theirs, plain.sum(1), atol=1e-12)
    ours = gh.GuidedBackprop(net)(x, target=1).raw
    assert not torch.allclose(ours, theirs, rtol=1e-2)
    assert torch.allclose(ours, gh.GuidedBackprop(network_of(nn.ReLU))(x, target=1).raw)


def test_grad_cam_leaves_its_own_relus_in_the_model_and_we_leave_the_user_s() -> None:
    net, x = network_of(FORMS["module in place"]), images(batch=1)
    mine, kept = copy.deepcopy(net), dict(net.named_modules())
    theirs = GuidedBackpropReLUModel(mine)(x.clone(), target_category=1)
    ours = gh.GuidedBackprop(net)(x, target=1)
    assert torch.allclose(ours.raw[0], torch.from_numpy(theirs).sum(2), atol=1e-12)
    assert mine[1] is mine[3]  # one module in the place of two
    assert not mine[1].inplace
    assert all(one is kept[name] for name, one in net.named_modules())
    assert net[1].inplace


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_when_the_model_raises(error: type[BaseException]) -> None:
    net, x = Disturbing(), images()
    before = snapshot(net)
    runs = 0

    def fail(module: nn.Module, args: object) -> None:
        nonlocal runs
        runs += 1
        if runs == 2:  # in the guided pass
            raise error("midway")

    handle = net.body.fc.register_forward_pre_hook(fail)
    with pytest.raises(error, match="midway"):
        gh.GuidedGradCAM(net, "body.conv2")(x, target=0)
    handle.remove()
    assert snapshot(net) == before
    gh.GuidedGradCAM(net, "body.conv2")(x, target=0)
    assert snapshot(net) == before
    free = x.clone().requires_grad_()  # and what runs after it is the plain gradient again
    (plain,) = torch.autograd.grad(functional.relu(-free).sum(), free, -torch.ones(()))
    assert plain.max() == 1
