"""Ablation-CAM and Recipro-CAM: by hand, by loops from the papers, beside a peer, in every rank."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

import gradcam_hooks as gh
from tests.support.hand import Head
from tests.support.nets import gap_linear, images
from tests.support.ranks import RANKS, batch, curved

HAND = torch.tensor([[[[1.0, 2.0]], [[0.0, 1.0]]]], dtype=torch.float64)


def test_ablation_worked_by_hand() -> None:
    # y = (1 + 2 + 0 + 1)^2 - 3 = 13. Without channel 0: 1^2 - 0 = 1, so its weight is 12.
    # Without channel 1: 3^2 - 3 = 6, so its weight is 7.
    # The map: 12 (1, 2) + 7 (0, 1) = (12, 31).
    result = gh.explain(Head(), HAND, "layer", method="ablationcam", target=0)
    assert result.raw.tolist() == [[[12.0, 31.0]]]
    # Divided by |y| = 13; for the other class y = -13 and the weights are -12 and -7.
    divided = gh.explain(Head(), HAND, "layer", method="ablationcam", target=1, divide=True)
    assert torch.allclose(divided.raw, -torch.tensor([[[12.0, 31.0]]]).double() / 13)
    assert divided.diagnosis == ("all-negative",)


def test_recipro_worked_by_hand() -> None:
    # Kept at position 0 alone: channels (1, 0), y = 1 - 3 = -2. At position 1: (2, 1), y = 9.
    result = gh.explain(Head(), HAND, "layer", method="reciprocam", target=0, probability=False)
    assert result.raw.tolist() == [[[-2.0, 9.0]]]
    # Spread by (1, 2, 1) / 4 along both axes, of which the other has one cell and keeps 1/2:
    # position 0 keeps (1, 0) times (1/4, 1/8): sum 3/8, y = 9/64 - 3/4 = -39/64.
    # position 1 keeps (2, 1) times (1/8, 1/4): sum 9/8, y = 81/64 - 3 * 2/8 = 33/64.
    spread = gh.explain(
        Head(), HAND, "layer", method="reciprocam", target=0, probability=False, gaussian=True
    )
    assert spread.raw.tolist() == [[[-39 / 64, 33 / 64]]]
    # By default a class's probability: softmax over (y, -y) is the sigmoid of 2 y.
    usual = gh.explain(Head(), HAND, "layer", method="reciprocam", target=0)
    expected = torch.sigmoid(torch.tensor([[[-4.0, 18.0]]], dtype=torch.float64))
    assert torch.allclose(usual.raw, expected)


@pytest.mark.parametrize("rank", RANKS)
def test_ablation_equals_the_loop_over_channels(rank: int) -> None:
    net, x = curved(rank), batch(rank)
    result = gh.explain(net, x, "1", method="ablationcam", target=gh.TopK(2))
    activation = net[1](net[0](x)).detach()
    expected = torch.zeros(2, 2, *x.shape[2:], dtype=torch.float64)
    for i, t in product(range(2), range(2)):
        label = int(net(x)[i].topk(2).indices[t])
        own = float(net(x)[i, label])
        for k in range(activation.shape[1]):
            without = activation[i : i + 1].clone()
            without[0, k] = 0
            weight = own - float(net[2:](without)[0, label])
            expected[i, t] += weight * activation[i, k]
    assert isinstance(result.raw, Tensor)
    assert (result.raw - expected).abs().max() < 1e-8


@pytest.mark.parametrize("gaussian", [False, True])
@pytest.mark.parametrize("rank", RANKS)
def test_recipro_equals_the_loop_over_positions(rank: int, gaussian: bool) -> None:
    net, x = curved(rank), batch(rank)
    result = gh.explain(
        net, x, "1", method="reciprocam", target=[1, 3], probability=False, gaussian=gaussian
    )
    activation = net[1](net[0](x)).detach()
    space = x.shape[2:]
    expected = torch.zeros(2, *space, dtype=torch.float64)
    for i, at in product(range(2), product(*map(range, space))):
        kept = torch.zeros_like(activation[i : i + 1])
        for other in product(*map(range, space)):
            apart = [abs(a - b) for a, b in zip(at, other, strict=True)]
            weight = 1.0 if not any(apart) else 0.0
            if gaussian:
                weight = 1.0
                for steps in apart:
                    weight *= {0: 0.5, 1: 0.25}.get(steps, 0.0)
            kept[(0, slice(None), *other)] = weight * activation[(i, slice(None), *at)]
        expected[(i, *at)] = float(net[2:](kept)[0, (1, 3)[i]])
    assert isinstance(result.raw, Tensor)
    assert (result.raw - expected).abs().max() < 1e-8


def test_on_a_linear_head_ablation_is_weight_times_mean() -> None:
    net, x = gap_linear(), images(3)
    result = gh.explain(net, x, "1", method="ablationcam")
    activation = net[1](net[0](x)).detach()
    assert result.target is not None
    weights = net[4].weight.detach()[result.target] * activation.mean((2, 3))
    expected = torch.einsum("bk,bkhw->bhw", weights, activation)
    assert torch.allclose(result.raw, expected, atol=1e-12)


def test_on_a_linear_head_recipro_on_logits_is_cam_over_positions_plus_bias() -> None:
    net, x = gap_linear(), images(2)
    result = gh.explain(net, x, "1", method="reciprocam", probability=False, target=2)
    activation = net[1](net[0](x)).detach()
    cam = torch.einsum("k,bkhw->bhw", net[4].weight.detach()[2], activation)
    expected = cam / cam[0].numel() + net[4].bias.detach()[2]
    assert torch.allclose(result.raw, expected, atol=1e-12)


@pytest.mark.parametrize("method", ["ablationcam", "reciprocam"])
def test_a_function_of_the_output_is_asked_of_every_variant(method: str) -> None:
    net, x = gap_linear(), images(2)
    options = {} if method == "ablationcam" else {"probability": False}
    one = gh.explain(net, x, "1", method=method, target=1, **options)
    two = gh.explain(net, x, "1", method=method, target=3, **options)
    both = gh.explain(net, x, "1", method=method, target=gh.Difference(1, 3), **options)
    assert torch.allclose(both.raw, one.raw - two.raw, atol=1e-12)


def test_grad_cam_agrees_up_to_its_division_where_the_score_is_positive() -> None:
    from pytorch_grad_cam import AblationCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    net, x = gap_linear().float(), images(1).float()
    logits = net(x)[0]
    best, worst = int(logits.argmax()), int(logits.argmin())
    assert logits[best] > 0 > logits[worst]

    def theirs(label: int) -> Tensor:
        with AblationCAM(net, [net[1]]) as cam:
            return torch.from_numpy(cam(x, [ClassifierOutputTarget(label)]))

    ours = gh.explain(net, x, "1", method="ablationcam", target=best).maps
    # It ablates to just below the layer's smallest value, 1e-7 from our 0 behind a ReLU.
    assert (theirs(best) - ours).abs().max() < 1e-4
    # Divided by a negative score, every weight turns over: theirs is the map of our negative.
    against = gh.explain(net, x, "1", method="ablationcam", target=lambda out: -out[:, worst])
    assert (theirs(worst) - against.maps).abs().max() < 1e-4
