"""ShapleyCAM: by hand, by finite loops over the Hessian, its identities and grad-cam's code."""

from __future__ import annotations

import math
from itertools import product

import pytest
import pytorch_grad_cam as peers
import torch
import torchvision
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

import gradcam_hooks as gh
from tests.support.nets import gap_linear, images
from tests.support.ranks import RANKS, SIZES, batch, curved
from tests.support.traces import Disturbing, snapshot


class Square(nn.Module):
    """The score is the square of the sum of all features."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).sum(1, keepdim=True) ** 2


def test_by_hand() -> None:
    # S = 1 + 2 - 1 = 2 and y = S². g = 2 S = 4 everywhere; H is 2 everywhere, so H A = 2 S = 4.
    # w = 4 - 4/2 = 2, for both channels: the map is twice the sum of the channels.
    net = nn.Sequential(nn.Identity(), Square())
    x = torch.tensor([[[[1.0, 0.0], [0.0, 2.0]], [[-1.0, 0.0], [0.0, 0.0]]]])
    result = gh.ShapleyCAM(net, "0", layout="channels-first")(x)
    assert result.raw.tolist() == [[[0.0, 0.0], [0.0, 4.0]]]
    # Half of the square's gradient: the shares of a quadratic game add up to the score.
    assert float(result.raw.sum()) == float(result.scores) == 4.0


def hessian(net: nn.Sequential, activation: Tensor, label: int) -> Tensor:
    """Of ``y = v gelu(u pool(A))`` written out: ``J^T diag(v gelu'') J``, J from A to the GELU."""
    jacobian = torch.autograd.functional.jacobian(lambda a: net[2:5](a)[0], activation)
    jacobian = jacobian.reshape(6, -1)
    z = net[2:5](activation)[0].detach()
    density = torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    second = density * (2 - z**2)  # of z Phi(z)
    return jacobian.T @ torch.diag(net[6].weight[label].detach() * second) @ jacobian


@pytest.mark.parametrize("rank", RANKS)
def test_equals_its_equation_in_loops(rank: int) -> None:
    net, x = curved(rank), batch(rank)
    result = gh.ShapleyCAM(net, "1")(x, target=gh.TopK(2))
    for image in range(2):
        activation = net[:2](x[image : image + 1]).detach()
        for place in range(2):
            label = int(result.target[image, place])
            free = activation.clone().requires_grad_()
            score = net[2:](free)[0, label]
            (gradient,) = torch.autograd.grad(score, free)
            curve = hessian(net, activation, label) @ activation.flatten()
            expected = torch.zeros(SIZES[rank], dtype=torch.float64)
            spots = list(product(*map(range, SIZES[rank])))
            for k in range(3):
                slopes, curves = gradient[0, k], curve.view_as(gradient)[0, k]
                weight = sum(slopes[at].item() - 0.5 * curves[at].item() for at in spots)
                expected += weight / len(spots) * activation[0, k]
            assert expected.abs().max() > 1e-4
            assert torch.allclose(result.raw[image, place], expected, atol=1e-8)


@pytest.mark.parametrize("rule", ["hirescam", "elementwise"])
def test_position_by_position_in_loops(rule: str) -> None:
    # The author's code has two more forms: weights by position, and of these what is positive.
    net, x = curved(2), batch(2)
    result = gh.ShapleyCAM(net, "1", rule=rule)(x, target=1)
    for image in range(2):
        free = net[:2](x[image : image + 1]).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(net[2:](free)[0, 1], free)
        curve = (hessian(net, free.detach(), 1) @ free.detach().flatten()).view_as(gradient)
        terms = ((gradient - curve / 2) * free.detach())[0]
        expected = (terms.relu() if rule == "elementwise" else terms).sum(0)
        assert torch.allclose(result.raw[image], expected, atol=1e-8)
    with pytest.raises(gh.OptionError, match="rule="):
        gh.ShapleyCAM(net, "1", rule="layercam")(x)


def test_of_a_logit_behind_a_gap_linear_head_it_is_grad_cam() -> None:
    model, x = gap_linear(), images()
    ours = gh.ShapleyCAM(model, "1")(x, target=gh.AllClasses())
    gradcam = gh.GradCAM(model, "1")(x, target=gh.AllClasses())
    assert torch.equal(ours.raw, gradcam.raw)
    rest = gh.ShapleyCAM(model, "1")(x, target=gh.ReST())  # the paper's own score is curved
    assert not torch.allclose(rest.raw, gh.GradCAM(model, "1")(x, target=gh.ReST()).raw, rtol=1e-2)


def test_frozen_and_several_layers_and_linear_tails_without_a_graph() -> None:
    model, x = gap_linear().requires_grad_(requires_grad=False), images()
    both = gh.ShapleyCAM(model, ["1", "0"])(x)
    assert torch.allclose(both.raw[0], gh.ShapleyCAM(model, "1")(x).raw, atol=1e-12)
    assert torch.allclose(both.raw[1], gh.ShapleyCAM(model, "0")(x).raw, atol=1e-12)


@pytest.mark.parametrize("rank", [2, 3])
def test_the_same_map_as_grad_cam_s_code(rank: int) -> None:
    net, x = curved(rank), batch(rank)
    with peers.ShapleyCAM(net, [net[1]]) as cam:
        theirs = torch.from_numpy(cam(x.clone(), [ClassifierOutputTarget(1)] * 2))
    ours = gh.ShapleyCAM(net, "1")(x, target=1)
    assert ours.diagnosis == ("ok", "ok")
    # Its 3-D resize is cubic; the layer has the input's size, so that nothing is resized.
    assert (ours.maps - theirs).abs().max() <= 1e-5
    assert not torch.allclose(ours.raw, gh.GradCAM(net, "1")(x, target=1).raw, rtol=1e-2)


def test_through_attention_that_is_fused() -> None:
    # The fused kernel has no second derivative; the plain one gives it.
    torch.manual_seed(0)
    net = torchvision.models.VisionTransformer(32, 8, 2, 2, 8, 16, num_classes=3).double().eval()
    nn.init.normal_(net.heads.head.weight)
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    layer = "encoder.layers.encoder_layer_0"
    result = gh.ShapleyCAM(net, layer)(x, target=1)
    assert result.diagnosis == ("ok", "ok")
    seen = {}
    handle = net.get_submodule(layer).register_forward_hook(
        lambda module, args, output: seen.update(tokens=output)
    )
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        score = net(x)[:, 1].sum()
    handle.remove()
    tokens = seen["tokens"]
    (gradient,) = torch.autograd.grad(score, tokens, create_graph=True)
    (curve,) = torch.autograd.grad(gradient, tokens, tokens.detach())
    weights = (gradient - curve / 2)[:, 1:].mean(1)  # the class token is a player with no place
    expected = torch.einsum("bc,bpc->bp", weights, tokens[:, 1:]).view(2, 4, 4)
    assert torch.allclose(result.raw, expected.detach(), atol=1e-10)


def test_nothing_is_left_when_the_model_raises() -> None:
    net = Disturbing()
    before = snapshot(net)
    net.raising.error = ValueError
    with pytest.raises(ValueError, match="from inside the model"):
        gh.ShapleyCAM(net, "body.conv2")(images())
    net.raising.error = None
    gh.ShapleyCAM(net, "body.conv2")(images(), target=0)
    assert snapshot(net) == before
