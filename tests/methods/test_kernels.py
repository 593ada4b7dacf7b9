"""KPCA-CAM: beside scikit-learn and grad-cam, and at its ends."""

from __future__ import annotations

import pytest
import pytorch_grad_cam as peers
import torch
import torchvision
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from sklearn.decomposition import KernelPCA

import gradcam_hooks as gh
from gradcam_hooks.methods.kernels import KERNELS
from gradcam_hooks.methods.spectral import kpcacam


@pytest.mark.parametrize("gamma", [None, 0.3])
@pytest.mark.parametrize("kernel", list(KERNELS))
def test_it_is_the_first_component_of_scikit_learn(kernel: str, gamma: float | None) -> None:
    activation = torch.rand(2, 5, 3, 4, generator=torch.Generator().manual_seed(0)).double()
    found = kpcacam(activation, activation, kernel=kernel, gamma=gamma)
    for image in range(2):
        points = activation[image].flatten(1).T
        points = (points - points.mean(0)).numpy()
        expected = KernelPCA(n_components=1, kernel=kernel, gamma=gamma).fit_transform(points)
        assert torch.allclose(found[image].flatten(), torch.from_numpy(expected[:, 0]), atol=1e-9)


def test_grad_cam_s_is_the_same_map() -> None:
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=5).eval()
    x = torch.rand(2, 3, 64, 64)
    with peers.KPCA_CAM(net, [net.layer3]) as cam:
        theirs = torch.from_numpy(cam(x, [ClassifierOutputTarget(1)] * 2))
    ours = gh.explain(net, x, "layer3", method="kpcacam")
    assert (ours.maps - theirs).abs().max() <= 1e-4


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e200])
def test_what_has_no_component_is_told_and_the_other_images_are_right(value: float) -> None:
    activation = torch.rand(2, 3, 2, 2, generator=torch.Generator().manual_seed(1)).double()
    alone = kpcacam(activation[1:], activation[1:], kernel="poly")
    activation[0, 0, 0, 0] = value
    both = kpcacam(activation, activation, kernel="poly")
    assert both[0].isnan().all()
    assert torch.allclose(both[1:], alone)


def test_a_constant_activation_is_blank() -> None:
    assert not kpcacam(torch.full((1, 3, 2, 2), 5.0), torch.zeros(1, 3, 2, 2)).any()


def test_options_are_checked() -> None:
    activation = torch.rand(1, 3, 2, 2)
    with pytest.raises(gh.OptionError, match="kernel="):
        kpcacam(activation, activation, kernel="gaussian")
    with pytest.raises(gh.OptionError, match="gamma= is a number above 0, not 0"):
        kpcacam(activation, activation, gamma=0)
