"""FullGrad: by hand, from biases made into leaves, what it adds up to, and grad-cam's scaling."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import pytorch_grad_cam as peers
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torch.nn import functional

import gradcam_hooks as gh
from gradcam_hooks.methods.fullgrad import FullGradient, full_gradients
from gradcam_hooks.network.hooks import Taps
from gradcam_hooks.network.inputs import Inputs
from gradcam_hooks.runs.run import Asked, look
from gradcam_hooks.targets import Target
from tests.support.nets import gap_linear, images, residual
from tests.support.opened import tapped
from tests.support.ranks import RANKS, SIZES, batch, curved
from tests.support.traces import Disturbing, snapshot


def taken_apart(net: nn.Module, x: Tensor, target: Target) -> list[FullGradient]:
    def work(taps: Taps) -> list[FullGradient]:
        return full_gradients(look(Asked(net), taps, Inputs.of(net, [x], {}), target, "forward"))

    return tapped(net, [], work)


def test_by_hand() -> None:
    # z = 2 x + 1 is (3, -1, 5) for x = (1, -1, 2); ReLU; y = 1*3 + 1*0 + 3*5 + 0.5 = 18.5.
    net = nn.Sequential(nn.Conv1d(1, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(3, 1))
    with torch.no_grad():
        net[0].weight.fill_(2.0)
        net[0].bias.fill_(1.0)
        net[3].weight.copy_(torch.tensor([[1.0, 1.0, 3.0]]))
        net[3].bias.fill_(0.5)
    x = torch.tensor([[[1.0, -1.0, 2.0]]])
    (found,) = taken_apart(net, x, 0)
    # x dx = x * (2, 0, 6); b db = 1 * (1, 0, 3); the last bias is 0.5
    assert found.pixels.tolist() == [[[2.0, 0.0, 12.0]]]
    assert [one.flatten().tolist() for one in found.biases] == [[1.0, 0.0, 3.0], [0.5]]
    assert found.gap.tolist() == [0.0]
    # psi: (2, 0, 12) / 12 and (1, 0, 3) / 3
    result = gh.FullGrad(net)(x)
    assert torch.allclose(result.raw, torch.tensor([[2 / 12 + 1 / 3, 0.0, 2.0]]))
    assert result.layers == ("input",)


def test_the_bias_of_a_batch_norm_by_hand() -> None:
    # (x - 1) / 2 * 3 + 5 = 1.5 x + 3.5
    norm = nn.BatchNorm1d(1, eps=0.0).eval()
    with torch.no_grad():
        norm.weight.fill_(3.0)
        norm.bias.fill_(5.0)
    norm.running_mean.fill_(1.0)
    norm.running_var.fill_(4.0)
    (found,) = taken_apart(nn.Sequential(norm, nn.Flatten()), torch.tensor([[[2.0]]]), 0)
    assert found.pixels.item() == 3.0
    assert found.biases[0].item() == 3.5


def rectified(rank: int) -> nn.Sequential:
    """Convolution, batch norm, ReLU, a convolution of stride 2, ReLU, pool, linear."""
    torch.manual_seed(rank)
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
    norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[rank - 1](3)
    pool = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[rank - 1]
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2.0)
    first, second = conv(2, 3, 3, padding=1), conv(3, 4, 3, stride=2)
    last = (pool(1), nn.Flatten(), nn.Linear(4, 4))
    return nn.Sequential(first, norm, nn.ReLU(), second, nn.ReLU(), *last).double().eval()


def minmax(term: Tensor) -> Tensor:
    """Of one image, over all its channels."""
    size = term.abs()
    return (size - size.min()) / (size.max() - size.min())


@pytest.mark.parametrize("rank", RANKS)
def test_equals_the_gradients_of_biases_that_are_leaves(rank: int) -> None:
    net, x = rectified(rank), batch(rank)
    result = gh.FullGrad(net)(x, target=gh.TopK(2))
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[rank - 1]
    mode = ("linear", "bilinear", "trilinear")[rank - 1]
    spread = [1, -1] + [1] * rank
    sigma = (net[1].running_var + net[1].eps).sqrt()
    slope = (net[1].weight / sigma).view(spread)
    shift = (net[1].bias - net[1].running_mean * net[1].weight / sigma).view(spread)
    for image in range(2):
        pixels = x[image : image + 1].clone().requires_grad_()
        one = net[0](pixels).shape
        b1 = net[0].bias.detach().view(spread).expand(one).clone().requires_grad_()
        b2 = shift.detach().expand(one).clone().requires_grad_()
        hidden = ((convolve(pixels, net[0].weight, padding=1) + b1) * slope + b2).relu()
        z = convolve(hidden, net[3].weight, stride=2)
        b3 = net[3].bias.detach().view(spread).expand(z.shape).clone().requires_grad_()
        logits = (z + b3).relu().flatten(2).mean(2) @ net[7].weight.T + net[7].bias
        for place in range(2):
            label = int(result.target[image, place])
            leaves = [pixels, b1, b2, b3]
            gradients = torch.autograd.grad(logits[0, label], leaves, retain_graph=True)
            terms = [(a * g).detach() for a, g in zip(leaves, gradients, strict=True)]
            total = sum(term.sum().item() for term in terms) + net[7].bias[label].item()
            assert total == pytest.approx(logits[0, label].item(), abs=1e-9)
            expected = torch.zeros(SIZES[rank], dtype=torch.float64)
            for term in terms:
                scaled = functional.interpolate(minmax(term), SIZES[rank], mode=mode)
                expected += scaled[0].sum(0)
            assert torch.allclose(result.raw[image, place], expected, atol=1e-8)


# --- completeness


class Written(nn.Module):
    """Works in place, has functional layers, sums with constants and a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(4, 3, 3, 3)), nn.Parameter(torch.randn(4))
        self.place = nn.Parameter(torch.randn(1, 4, 8, 8))
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1))
        self.squeeze = nn.Conv2d(4, 4, 1)
        self.up = nn.ConvTranspose2d(4, 3, 2, stride=2)
        self.act = nn.SiLU(inplace=True)
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.view_as(x).mul(1.5)
        x -= self.mean
        x = functional.conv2d(1 - x / 2, self.weight, self.bias, padding=1) + self.place
        gate = torch.sigmoid(self.squeeze(x.mean((2, 3), keepdim=True)))
        x = functional.leaky_relu(self.act(x * gate) - 0.1, 0.2, inplace=True)
        x = x / (1.0 / (2.0 + gate))
        x = functional.max_pool2d(functional.gelu(self.up(x)), 3, 2)
        return self.fc(x.mean((2, 3)))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "gap-linear": gap_linear,
    "residual": residual,
    "written": lambda: Written().double(),
    "gelu": lambda: nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), *curved(2).children()).double(),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_parts_add_up_to_the_score(name: str) -> None:
    torch.manual_seed(0)
    size = SIZES[2] if name == "gelu" else (8, 8)
    model, x = MODELS[name]().eval(), images(size=size)
    kept = x.clone()
    for label, found in enumerate(taken_apart(model, x.clone(), gh.AllClasses())):
        score = model(x.clone())[:, label].detach()
        assert torch.equal(found.score, score)
        assert found.gap.abs().max() <= 1e-7
        assert len(found.biases) > 1
        assert not found.unruled
    assert torch.equal(x, kept)
    result = gh.FullGrad(model)(x.clone(), target=1)
    assert result.diagnosis == ("ok", "ok")
    frozen = model.requires_grad_(requires_grad=False)
    assert torch.allclose(gh.FullGrad(frozen)(x.clone(), target=1).raw, result.raw, atol=1e-10)


def test_where_the_parts_do_not_add_up_it_is_an_error_unless_that_is_wanted() -> None:
    torch.manual_seed(0)
    norm = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), *list(gap_linear())[2:4]).double()
    nn.init.normal_(norm[1].bias)
    told = r"add up to .* where the score is .*: the network runs group_norm.* complete=False"
    with pytest.raises(gh.GradientError, match=told):
        gh.FullGrad(norm)(images())
    result = gh.FullGrad(norm, complete=False)(images())
    assert result.diagnosis == ("ok", "ok")
    with pytest.raises(gh.GradientError, match="Explain the logit, not a probability"):
        gh.FullGrad(gap_linear())(images(), target=gh.LogProbability(0))


def test_a_score_that_leaves_the_graph() -> None:
    with pytest.raises(gh.GradientError, match="no gradient can flow"):
        gh.FullGrad(gap_linear())(images(), target=lambda output: output.detach()[:, 0])


# --- beside grad-cam


def test_grad_cam_scales_every_channel_by_itself() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 2, bias=False)
    )
    x = images().float()
    with peers.FullGrad(model, []) as cam:
        theirs = torch.from_numpy(cam(x.clone(), [ClassifierOutputTarget(1)] * 2))
    (found,) = taken_apart(model, x, 1)

    def each(term: Tensor) -> Tensor:
        size = term.abs()
        low = size.amin((2, 3), keepdim=True)
        return ((size - low) / (1e-7 + (size - low).amax((2, 3), keepdim=True))).sum(1)

    same = each(found.pixels) + each(found.biases[0])
    low, high = same.amin((1, 2), keepdim=True), same.amax((1, 2), keepdim=True)
    assert torch.allclose((same - low) / (high - low), theirs, atol=1e-5)
    ours = gh.FullGrad(model)(x, target=1)
    assert (ours.maps - theirs).abs().max() > 0.05


def test_corners_are_aligned_where_that_is_asked_for() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 9, 2, bias=False)
    )
    x = images().float()
    (found,) = taken_apart(model, x, 1)

    def psi(term: Tensor) -> Tensor:
        size, axes = term.abs(), (1, 2, 3)
        low, high = size.amin(axes, keepdim=True), size.amax(axes, keepdim=True)
        return (size - low) / (high - low)

    bias = functional.interpolate(
        psi(found.biases[0]), x.shape[2:], mode="bilinear", align_corners=True
    )
    expected = psi(found.pixels).sum(1) + bias.sum(1)
    ours = gh.FullGrad(model, align_corners=True)(x, target=1)
    assert torch.allclose(ours.raw, expected, atol=1e-6)
    assert not torch.allclose(ours.raw, gh.FullGrad(model)(x, target=1).raw, atol=1e-2)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_when_the_model_raises(error: type[BaseException]) -> None:
    net, x = Disturbing(), images()
    before = snapshot(net)
    gh.FullGrad(net, complete=False)(x, target=0)
    assert snapshot(net) == before
    assert not x.requires_grad
    net.raising.error = error
    with pytest.raises(error, match="from inside the model"):
        gh.FullGrad(net)(x, target=0)
    net.raising.error = None
    assert snapshot(net) == before
