"""Beside grad-cam, torchcam and captum: the same map where they compute the same thing, and where
they do not, what it is that they compute.
"""

from __future__ import annotations

import numpy as np
import pytest
import pytorch_grad_cam as peers
import torch
import torchcam.methods as torchcam
from captum.attr import LayerGradientXActivation
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from pytorch_grad_cam.utils.svd_on_activations import (
    get_2d_projection,
    get_2d_projection_with_sign_correction,
)
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks.maps import finish
from gradcam_hooks.methods.spectral import eigencam, segeigencam
from gradcam_hooks.methods.statistics import fem_share
from tests.support.nets import images

TARGET = 2

pytestmark = pytest.mark.usefixtures("one_thread")


def network(gain: float = 1e4) -> nn.Sequential:
    """Two convolutions; ``gain`` multiplies the logits, and so the gradients."""
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 4),
    )
    with torch.no_grad():
        model[6].weight.mul_(gain)
    return model.double().eval()


def both(model: nn.Sequential, x: Tensor) -> tuple[Tensor, Tensor]:
    """Activation and gradient at layer 1, by hand."""
    activation = model[:2](x).detach().requires_grad_()
    score = model[2:](activation)[:, TARGET].sum()
    (gradient,) = torch.autograd.grad(score, activation)
    return activation.detach(), gradient


def grad_cam(kind: str, model: nn.Sequential, x: Tensor) -> Tensor:
    with getattr(peers, kind)(model, [model[1]]) as cam:
        targets = [ClassifierOutputTarget(TARGET)] * len(x)
        return torch.from_numpy(cam(x.clone().requires_grad_(), targets))


def torch_cam(kind: str, model: nn.Sequential, x: Tensor) -> Tensor:
    """Not scaled, after its ReLU, at the layer's resolution."""
    with getattr(torchcam, kind)(model, "1") as extractor:
        scores = model(x.clone().requires_grad_())
        (cam,) = extractor([TARGET] * len(x), scores, normalized=False)
    return cam.detach()


def size_of(x: Tensor) -> tuple[int, int]:
    return (x.shape[2], x.shape[3])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("gradcam++", "GradCAMPlusPlus"),
        ("xgradcam", "XGradCAM"),
        ("hirescam", "HiResCAM"),
        ("elementwise", "GradCAMElementWise"),
        ("layercam", "LayerCAM"),
    ],
)
def test_the_same_map_as_grad_cam(name: str, kind: str) -> None:
    model, x = network(), images(size=(9, 11))
    ours = gh.explain(model, x, "1", method=name, target=TARGET)
    assert ours.diagnosis == ("ok", "ok")
    assert (ours.maps - grad_cam(kind, model, x)).abs().max() <= 1e-5


@pytest.mark.parametrize(("name", "kind"), [("xgradcam", "XGradCAM"), ("layercam", "LayerCAM")])
def test_the_same_map_as_torchcam(name: str, kind: str) -> None:
    model, x = network(), images(size=(9, 11))
    ours = gh.explain(model, x, "1", method=name, target=TARGET).raw.relu()
    theirs = torch_cam(kind, model, x)
    assert ours.max() > 1
    assert (ours - theirs).abs().max() <= 1e-6 * ours.max()


def test_hirescam_is_captum_s_gradient_times_activation() -> None:
    model, x = network(), images(size=(9, 11))
    ours = gh.explain(model, x, "1", method="hirescam", target=TARGET).raw
    theirs = LayerGradientXActivation(model, model[1]).attribute(x, target=TARGET).detach().sum(1)
    assert torch.allclose(ours, theirs, rtol=1e-12)


def test_torchcam_s_gradcam_plus_plus_leaves_the_denominator_out() -> None:
    model, x = network(), images(size=(9, 11))
    activation, gradient = both(model, x)
    theirs = torch_cam("GradCAMpp", model, x)
    weights = (gradient**2 * gradient.relu()).sum((2, 3))
    undivided = torch.einsum("bc,bcij->bij", weights, activation).relu()
    assert torch.allclose(theirs, undivided, rtol=1e-6)

    ours = gh.explain(model, x, "1", method="gradcam++", target=TARGET)
    size = size_of(x)
    assert (ours.maps - finish(theirs, size)).abs().max() > 0.05


def test_grad_cam_s_gradcam_plus_plus_loses_small_gradients() -> None:
    # At a gain of 1 gradients are of the size of 1e-3, and their squares of that of its epsilon.
    model, x = network(gain=1), images(size=(9, 11))
    activation, gradient = both(model, x)
    assert gradient.abs().max() < 3e-2
    ours = gh.explain(model, x, "1", method="gradcam++", target=TARGET)

    square, total = gradient**2, activation.sum((2, 3), keepdim=True)
    exact = square / (2 * square + total * gradient**3)
    theirs = square / (2 * square + total * gradient**3 + 1e-6)
    live = gradient > 0
    assert float((exact[live] / theirs[live]).max()) > 2
    weights = (exact * gradient.relu()).nan_to_num(0).sum((2, 3))
    right = finish(torch.einsum("bc,bcij->bij", weights, activation), size_of(x))
    assert (ours.maps - right).abs().max() <= 1e-6
    assert (ours.maps - grad_cam("GradCAMPlusPlus", model, x)).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["eigencam", "eigengradcam", "segeigencam"])
def test_grad_cam_s_singular_vectors_are_those_of_centred_channels(name: str) -> None:
    model, x = network(), images(size=(9, 11))
    activation, gradient = both(model, x)
    weight = {"eigencam": torch.ones_like(gradient), "eigengradcam": gradient}
    matrix = weight.get(name, gradient.abs()) * activation
    centred = matrix - matrix.mean((2, 3), keepdim=True)
    ours = gh.METHODS[name].rule(activation, gradient)
    if name == "segeigencam":
        theirs = torch.from_numpy(get_2d_projection_with_sign_correction(matrix.numpy())).double()
        same = segeigencam(centred, torch.ones_like(centred))
    else:
        theirs = torch.from_numpy(get_2d_projection(matrix.numpy())).double()
        same = eigencam(centred, centred)
        # Theirs has the sign that came out.
        theirs = theirs * (theirs * same).sum((1, 2), keepdim=True).sign()
    scale = same.abs().max()
    assert (same - theirs).abs().max() <= 1e-5 * scale
    size = size_of(x)
    assert (finish(ours, size) - finish(theirs, size)).abs().max() > 0.05


def test_eigencam_of_a_bright_square_is_bright() -> None:
    # grad-cam's users get the dark ground instead, depending on how numpy was built.
    square = torch.zeros(1, 4, 6, 6)
    square[..., 1:3, 2:5] = torch.tensor([1.0, 2.0, 0.5, 3.0])[None, :, None, None]
    ours = eigencam(square, square)
    assert (ours[square[:, 0] > 0] > 1).all()
    assert ours[square[:, 0] == 0].abs().max() < 1e-5
    for order in ([0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]):
        assert torch.allclose(eigencam(square[:, order], square), ours, atol=1e-5)


def test_grad_cam_s_fem_is_the_share_of_rare_positions() -> None:
    model, x = network(), images(size=(9, 11))
    activation, gradient = both(model, x)
    size = size_of(x)
    theirs = grad_cam("FEM", model, x)
    assert (finish(fem_share(activation, gradient), size) - theirs).abs().max() <= 1e-5

    ours = gh.explain(model, x, "1", method="fem", target=TARGET)
    # The paper's: masks of rare values, weighted by the channels' means.
    values = activation.numpy()
    mean, deviation = values.mean((2, 3), keepdims=True), values.std((2, 3), keepdims=True)
    masks = (mean * (values > mean + 2 * deviation)).sum(1)
    assert np.allclose(ours.raw.numpy(), masks, atol=1e-12)
    assert (ours.maps - theirs).abs().max() > 0.05
