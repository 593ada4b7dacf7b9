"""SESS: by hand, in loops, and beside grad-cam's own."""

from __future__ import annotations

import math
from itertools import product

import pytest
import pytorch_grad_cam as peers
import torch
import torchvision
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torch.nn import functional

import gradcam_hooks as gh
from tests.support.nets import gap_linear, images
from tests.support.ranks import RANKS, batch, pooled

MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


class Ends(nn.Module):
    """Two logits of a signal of two values: the first value and the last."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x[:, 0, 0], x[:, 0, -1]], 1)


def test_by_hand() -> None:
    # A signal (1, 0) and one of twice 2/7 more: round(2 * 2/7) = 1, so the second scale has three
    # values, (1, 1/2, 0), and two windows, (1, 1/2) and (1/2, 0). The score is the first value, its
    # gradient (1, 0), so Grad-CAM weighs the activation by 1/2; scaled, each window is (1, 0). As a
    # score, no probability, the windows weigh 1, 1 and 1/2. The maps at their place are (1, 0);
    # (1, 0, 0) at the image's two values, at 1/4 and 5/4 of the way: (3/4, 0); and 1/2 (0, 1, 0):
    # (1/8, 1/8). The means over those that are positive: (1 + 3/4 + 1/8) / 3 and 1/8 / 1.
    x = torch.tensor([[[1.0, 0.0]]])
    net = nn.Sequential(nn.Identity(), Ends())
    said = {"method": "sess", "layout": "channels-first", "smooth": False, "probability": False}
    result = gh.explain(net, x, "0", target=0, scales=2, **said)
    assert isinstance(result.raw, Tensor)
    assert torch.allclose(result.raw, torch.tensor([[0.625, 0.125]]))
    most = gh.explain(net, x, "0", target=0, scales=2, pool="max", **said)
    assert torch.allclose(most.raw, torch.tensor([[1.0, 0.125]]))  # type: ignore[arg-type]
    # Without the lowest of three windows, the last one.
    few = gh.explain(net, x, "0", target=0, scales=2, prefilter=0.4, **said)
    assert torch.allclose(few.raw, torch.tensor([[0.875, 0.0]]))  # type: ignore[arg-type]


@pytest.mark.parametrize("rank", RANKS)
def test_in_loops(rank: int) -> None:
    net, x = pooled(rank), batch(rank)
    size = tuple(x.shape[2:])
    result = gh.explain(net, x, "1", method="sess", target=gh.TopK(2), scales=2, smooth=False)
    assert result.target is not None
    mode = MODES[rank]
    for image, place in product(range(2), range(2)):
        label = int(result.target[image, place])
        total, count, weights = torch.zeros(size).double(), torch.zeros(size), []
        for scale in range(2):
            larger = tuple(n + round(n * 2 / 7) * scale for n in size)
            picture = functional.interpolate(x[image : image + 1], larger, mode=mode)
            starts = [
                [min(i * n, long - n) for i in range(math.ceil(long / n))]
                for n, long in zip(size, larger, strict=True)
            ]
            for corner in product(*starts):
                at = tuple(slice(one, one + n) for one, n in zip(corner, size, strict=True))
                window = picture[(..., *at)]
                own = gh.explain(net, window, "1", method="gradcam", target=label).maps[0]
                weight = net(window).softmax(1)[0, label].item()
                weights.append(weight)
                whole = torch.zeros(1, 1, *larger).double()
                whole[(0, 0, *at)] = weight * own.double()
                placed = functional.interpolate(whole, size, mode=mode)[0, 0]
                total, count = total + placed, count + (placed > 0)
        expected = total / count.clamp_min(1) / max(weights)
        found = result.raw[image, place]  # type: ignore[index]
        assert torch.allclose(found.double(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({}, {}),
        ({"pre_filter_ratio": 0.5}, {"prefilter": 0.5}),
        ({"pool": "max"}, {"pool": "max"}),
        ({"smooth": False}, {"smooth": False}),
    ],
)
def test_grad_cam_s_is_the_same_map(theirs: dict[str, object], ours: dict[str, object]) -> None:
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=5).eval()
    x = torch.rand(1, 3, 64, 64)
    with peers.SESS(net, [net.layer3], num_scales=5, **theirs) as cam:
        expected = torch.from_numpy(cam(x, [ClassifierOutputTarget(1)]))
    result = gh.explain(net, x, "layer3", method="sess", target=1, scales=5, **ours)
    assert result.diagnosis == ("ok",)
    assert (result.maps - expected).abs().max() <= 1e-5


def test_where_no_window_speaks_for_the_target_all_weigh_alike() -> None:
    net, x = gap_linear(), images(1)
    low = gh.explain(net, x, "1", method="sess", scales=2, target=lambda out: out[:, 1] - 1e6)
    with torch.no_grad():
        assert float(net(x)[0, 1]) < 1e6
    even = gh.explain(
        net, x, "1", method="sess", scales=2, target=lambda out: 1e6 + out[:, 1], probability=False
    )
    assert torch.allclose(low.raw, even.raw, atol=1e-4)  # type: ignore[arg-type]
    assert low.raw.any()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"scales": 0}, "scales= is a whole number from 1 up, not 0"),
        ({"prefilter": 1.0}, "prefilter= is a number from 0 up to under 1, not 1.0"),
        ({"pool": "median"}, "pool="),
        ({"smooth": 1}, "smooth= is True or False, not 1"),
    ],
)
def test_options_are_checked(options: dict[str, object], told: str) -> None:
    with pytest.raises(gh.OptionError, match=told):
        gh.explain(gap_linear(), images(1), "1", method="sess", **options)
