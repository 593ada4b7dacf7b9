"""What else the papers' equations say of the methods: in loops, in every rank, and beside peers."""

from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np
import pytest
import pytorch_grad_cam as peers
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torch.nn import functional
from torchcam.methods import SmoothGradCAMpp

import gradcam_hooks as gh
from tests.support.nets import gap_linear, images
from tests.support.peers import new_torchcam
from tests.support.ranks import RANKS, SIZES, batch, curved

MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def enlarged(low: Tensor) -> Tensor:
    """One map, linear, ``align_corners=False``."""
    rank = low.ndim
    return functional.interpolate(low[None, None], SIZES[rank], mode=MODES[rank])[0, 0]


def scaled(values: Tensor) -> Tensor:
    return (values - values.min()) / (values.max() - values.min())


def at_layer(net: nn.Sequential, depth: int, x: Tensor, label: int) -> tuple[Tensor, Tensor]:
    """One image's activation behind ``depth`` modules and the label's gradient there."""
    activation = net[:depth](x[None]).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(net[depth:](activation)[0, label], activation)
    return activation.detach()[0], gradient[0]


# --- RefineCAM: Grad-CAM++ of several layers, multiplied


def test_refinecam_by_hand() -> None:
    # One channel, score = sum of 2 x: at the first layer A = (0, 1, 2), g = 2, so alpha is
    # 1 / (2 + 3 * 2) = 1/8 and the weight 3 * 2 / 8; the map's shape is A's: (0, 1/2, 1).
    # The second layer is A' = 3 - A = (3, 2, 1) with g' = -2: nothing positive, so it is blank.
    class Turned(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 3 - x

    class Weighed(nn.Module):
        def __init__(self, *weights: float) -> None:
            super().__init__()
            self.register_buffer("weights", torch.tensor(weights))

        def forward(self, x: Tensor) -> Tensor:
            return (x * self.weights).sum((1, 2))[:, None]

    x = torch.tensor([[[0.0, 1.0, 2.0]]])
    layout = "channels-first"
    net = nn.Sequential(nn.Identity(), Turned(), Weighed(-2.0, -2.0, -2.0))
    blank = gh.explain(net, x, ["0", "1"], method="refinecam", layout=layout, target=0)
    assert blank.maps.tolist() == [[0.0, 0.0, 0.0]]
    # Where the score is the sum of weights 2, -8, 2 times A', the gradients are those at the
    # second layer and their negatives at the first: both weights are positive, the maps are
    # (0, 1/2, 1) and (3, 2, 1) scaled, (1, 1/2, 0). Their product (0, 1/4, 0) scaled is (0, 1, 0).
    net = nn.Sequential(nn.Identity(), Turned(), Weighed(2.0, -8.0, 2.0))
    both = gh.explain(net, x, ["0", "1"], method="refinecam", layout=layout, target=0)
    assert torch.allclose(both.maps, torch.tensor([[0.0, 1.0, 0.0]]))


@pytest.mark.parametrize("rank", RANKS)
def test_refinecam_in_loops(rank: int) -> None:
    net, x = curved(rank), batch(rank)
    net[6].weight.mul_(30)  # so that alpha is not one half everywhere
    result = gh.explain(net, x, ["1", "2"], method="refinecam", target=gh.TopK(2))
    assert result.target is not None
    for image, place in product(range(2), range(2)):
        label = int(result.target[image, place])
        fused = torch.ones(SIZES[rank], dtype=torch.float64)
        for layer, raws in ((2, result.raw[0]), (3, result.raw[1])):
            activation, gradient = at_layer(net, layer, x[image], label)
            raw = torch.zeros_like(activation[0])
            for a, g in zip(activation, gradient, strict=True):
                weight, total = 0.0, float(a.sum())
                for value in g.flatten().tolist():
                    below = 2 * value**2 + total * value**3
                    if below:
                        weight += value**2 / below * max(value, 0.0)
                raw += weight * a
            assert torch.allclose(raws[image, place], raw, atol=1e-8, rtol=1e-8)
            fused = fused * scaled(enlarged(raw.clamp_min(0)))
        expected = scaled(fused)
        assert torch.allclose(result.maps[image, place].double(), expected, atol=1e-6)


# --- Guided Grad-CAM


def test_guided_gradcam_by_hand() -> None:
    # A = relu(x) = (1, 0, 3), y = 2 A_1 - A_2 + A_3: the gradient at A is (2, -1, 1), its mean 2/3
    # and the Grad-CAM map 2/3 (1, 0, 3). Guided, (2, 0, 1) comes to x, where x is positive.
    net = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(3, 1))
    with torch.no_grad():
        net[2].weight.copy_(torch.tensor([[2.0, -1.0, 1.0]]))
    x = torch.tensor([[[1.0, -2.0, 3.0]]])
    result = gh.explain(net, x, "0", method="guidedgradcam", target=0, layout="channels-first")
    assert torch.allclose(result.raw, torch.tensor([[2 / 3 * 1 * 2, 0.0, 2 / 3 * 3 * 1]]))


@pytest.mark.parametrize("rank", RANKS)
def test_guided_gradcam_in_loops(rank: int) -> None:
    net, x = curved(rank), batch(rank)
    net[5] = nn.ReLU()
    result = gh.explain(net, x, "2", method="guidedgradcam", target=gh.TopK(2))
    assert result.target is not None
    lit = 0
    for image, place in product(range(2), range(2)):
        label = int(result.target[image, place])
        activation, gradient = at_layer(net, 3, x[image], label)
        coarse = torch.zeros_like(activation[0])
        for a, g in zip(activation, gradient, strict=True):
            coarse += float(g.mean()) * a
        if coarse.max() <= 0:
            continue
        lit += 1
        # The guided pass: vector-Jacobian products of the linear pieces between the two ReLUs.
        pixels = x[image : image + 1].clone().requires_grad_()
        first = net[0](pixels)
        hidden = first.detach().relu().requires_grad_()
        second = net[2:5](hidden)
        back = net[6].weight[label].clone()
        back[(back < 0) | (second[0] <= 0)] = 0
        (back,) = torch.autograd.grad(second, hidden, back[None])
        back = torch.where((back > 0) & (first > 0), back, torch.zeros_like(back))
        (guided,) = torch.autograd.grad(first, pixels, back)
        expected = guided[0].sum(0) * enlarged(coarse.clamp_min(0))
        assert torch.allclose(result.raw[image, place], expected, atol=1e-8, rtol=1e-8)
    assert lit


# --- Smooth Grad-CAM++


def test_smooth_gradcam_plus_plus_by_hand() -> None:
    # Without noise all samples are alike. A = (1, 2), y = A_1 + 3 A_2: D1 = (1, 3), D2 = (1, 9),
    # D3 = (1, 27), the sum of A is 3: alpha = 1 / (2 + 3) and 9 / (18 + 81) = 1 / 11, so that
    # w = 1/5 + 3/11 = 26/55. As printed alpha is 1/5 and 3/99 = 1/33: w = 1/5 + 1/11 = 16/55.
    net = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        net[2].weight.copy_(torch.tensor([[1.0, 3.0]]))
    x = torch.tensor([[[1.0, 2.0]]])
    for printed, weight in ((False, 26 / 55), (True, 16 / 55)):
        cam = gh.SmoothGradCAMPlusPlus(
            net, "0", samples=3, std=0.0, first_order=printed, layout="channels-first"
        )
        assert torch.allclose(cam(x, target=0).raw, torch.tensor([[weight, 2 * weight]]))


@new_torchcam
def test_torchcam_s_smooth_gradcam_plus_plus_takes_the_last_noisy_image() -> None:
    net, x = curved(2), batch(2, 1)
    net[6].weight.mul_(1000)  # its epsilon of 1e-8 is nothing beside squares of gradients
    torch.manual_seed(3)
    with SmoothGradCAMpp(net, "1", num_samples=3, std=0.3) as extractor:
        net(x)
        (theirs,) = extractor(1, normalized=False)
    torch.manual_seed(3)
    noise = [torch.distributions.normal.Normal(0, 0.3).sample(x.size()) for _ in range(3)]
    clean, _ = at_layer(net, 2, x[0], 1)
    seen = [at_layer(net, 2, x[0] + one[0], 1) for one in noise]
    d2 = sum(g**2 for _, g in seen) / 3
    d3 = sum(g**3 for _, g in seen) / 3
    below = 2 * d2 + (d3 * clean).sum((1, 2), keepdim=True)  # and not D3 times the sum of A
    last, gradient = seen[-1]
    weights = (d2 / below * gradient.relu()).sum((1, 2))
    expected = torch.einsum("k,kij->ij", weights, last).relu()
    assert torch.allclose(theirs[0], expected, rtol=1e-5, atol=1e-5 * float(expected.max()))
    ours = gh.explain(net, x, "1", method="smoothgradcam++", samples=3, std=0.3, target=1)
    assert not torch.allclose(ours.maps[0].double(), scaled(expected), atol=0.05)


# --- Shapley values


@pytest.mark.parametrize("rank", RANKS)
def test_on_a_linear_tail_the_weights_of_ablation_and_lift_are_shapley_values(rank: int) -> None:
    net, x = curved(rank, channels=4), batch(rank)
    net[5] = nn.Identity()
    activation = net[:2](x).detach()
    for method in ("ablationcam", "liftcam"):
        result = gh.explain(net, x, "1", method=method, target=gh.TopK(2))
        assert result.target is not None
        for image, place in product(range(2), range(2)):
            own, label = activation[image], int(result.target[image, place])

            def worth(players: tuple[int, ...], own: Tensor = own, label: int = label) -> float:
                kept = torch.zeros_like(own)
                for k in players:
                    kept[k] = own[k]
                return float(net[2:](kept[None])[0, label])

            expected = torch.zeros_like(own[0])
            for k in range(4):
                others = [one for one in range(4) if one != k]
                value = 0.0
                for size in range(4):
                    share = math.factorial(size) * math.factorial(3 - size) / math.factorial(4)
                    for players in combinations(others, size):
                        value += share * (worth((*players, k)) - worth(players))
                expected += value * own[k]
            assert torch.allclose(result.raw[image, place], expected, atol=1e-8)


# --- baselines


@pytest.mark.parametrize("rank", RANKS)
def test_center_in_loops(rank: int) -> None:
    raw = gh.explain(curved(rank), batch(rank), "1", method="center", target=gh.TopK(2)).raw
    size = SIZES[rank]
    for at in product(*map(range, size)):
        square = sum(((i + 0.5) / n - 0.5) ** 2 for i, n in zip(at, size, strict=True))
        expected = math.exp(-square / (2 * 0.25**2))
        for image, target in product(range(2), range(2)):
            assert float(raw[(image, target, *at)]) == pytest.approx(expected, rel=1e-5)


def test_sobel_by_hand() -> None:
    # A 3x3 picture, dark but for the middle, 4. Left of it the slope across is 4/2, and smoothed
    # along the column by (1, 2, 1) / 4 it is 1; the slope down is 0. In the corner: 4/2 * 1/4 both
    # ways, 1/2 and 1/2. In the middle nothing.
    x = torch.zeros(1, 3, 3, 3, dtype=torch.float64)
    x[..., 1, 1] = 4
    corner = math.sqrt(1 / 2)
    raw = gh.explain(gap_linear(), x, "1", method="sobel").raw[0]
    expected = torch.tensor([[corner, 1, corner], [1, 0, 1], [corner, 1, corner]])
    assert torch.allclose(raw.float(), expected)


@pytest.mark.parametrize("rank", RANKS)
def test_sobel_in_loops(rank: int) -> None:
    x, size = batch(rank), SIZES[rank]
    raw = gh.explain(curved(rank), x, "1", method="sobel").raw
    for image in range(2):
        gray = x[image].mean(0)
        for at in product(*map(range, size)):
            total = 0.0
            for axis in range(rank):
                slope = 0.0
                for step in product((-1, 0, 1), repeat=rank):
                    near = tuple(
                        min(max(i + d, 0), n - 1) for i, d, n in zip(at, step, size, strict=True)
                    )
                    weight = step[axis] / 2
                    for other in range(rank):
                        weight *= 1 if other == axis else (2 - abs(step[other])) / 4
                    slope += weight * float(gray[near])
                total += slope**2
            assert float(raw[(image, *at)]) == pytest.approx(math.sqrt(total), abs=1e-5)


@pytest.mark.parametrize("rank", RANKS)
def test_fake_cam_in_loops(rank: int) -> None:
    raw = gh.explain(curved(rank), batch(rank), "1", method="fakecam", target=gh.TopK(2)).raw
    for at in product(*map(range, SIZES[rank])):
        assert raw[(..., *at)].eq(float(any(at))).all()


def test_grad_cam_s_random_cam_weighs_the_channels() -> None:
    net, x = gap_linear(), images(1)
    np.random.seed(4)
    with peers.RandomCAM(net, [net[1]]) as cam:
        theirs = torch.from_numpy(cam(x, [ClassifierOutputTarget(1)]))[0]
    np.random.seed(4)
    weights = torch.from_numpy(np.random.uniform(-1, 1, size=(1, 6)))[0]
    expected = torch.einsum("k,kij->ij", weights, net[:2](x).detach()[0]).relu()
    assert torch.allclose(theirs.double(), scaled(expected), atol=1e-5)
    ours = gh.explain(net, x, "1", method="random").raw[0].double()
    basis = net[:2](x).detach()[0].flatten(1).T
    left = torch.linalg.lstsq(basis, ours.flatten()[:, None]).solution
    assert (basis @ left - ours.flatten()[:, None]).abs().max() > 0.1  # no mixture of channels
