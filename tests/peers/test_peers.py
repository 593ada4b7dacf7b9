"""Beside the libraries that people use today: the same maps where they are right, and ours right
where they are wrong.

Agreement is asked on block-level layers, which no in-place operation follows. The other tests show
a peer's fault and the right answer side by side, with the oracle, or an image alone, as the judge;
when a peer mends a fault its half fails here, and goes.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import LayerAttribution
from pytorch_grad_cam import GradCAM as PeerGradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

import gradcam_hooks as gh
from tests.support.networks import NETWORKS, Network
from tests.support.oracle import error, truths
from tests.support.peers import captum, grad_cam, leaf, minmax, new_torchcam, torchcam

AGREEMENT = {
    "resnet18": ("layer1", "layer2", "layer3.0", "layer4"),
    "densenet121": ("features.denseblock1", "features.transition2", "features.denseblock4"),
    "mobilenet_v2": ("features.3", "features.10", "features.18"),
    "googlenet": ("inception3a", "inception4c", "inception5b"),
    "regnet_y_400mf": ("stem", "trunk_output.block2", "trunk_output"),
}
TOLERANCE = 1e-5

pytestmark = pytest.mark.usefixtures("one_thread")


def network(name: str) -> Network:
    return next(one for one in NETWORKS if one.name == name)


@pytest.mark.parametrize("name", AGREEMENT)
def test_the_same_maps_on_blocks_of_five_networks(name: str) -> None:
    model, images = network(name).build(), network(name).image(batch=2)
    size = tuple(images.shape[2:])
    for layer in AGREEMENT[name]:
        # Classes that something speaks for: two blank maps would agree too easily.
        every = gh.explain(model, images, layer, target=gh.AllClasses())
        classes = every.raw.amax((2, 3)).argmax(1).tolist()
        ours = gh.explain(model, images, layer, target=classes)
        assert set(ours.diagnosis) <= {"ok", "coarse"}

        theirs = grad_cam(model, layer, images, classes)
        assert (ours.maps - theirs).abs().max() <= TOLERANCE

        attribution = captum(model, layer, images, classes)
        assert error(ours.raw.relu(), attribution[:, 0]) <= TOLERANCE
        resized = LayerAttribution.interpolate(attribution, size, "bilinear")
        assert (ours.maps - minmax(resized[:, 0])).abs().max() <= TOLERANCE

        assert error(ours.raw.relu(), torchcam(model, layer, images, classes)) <= TOLERANCE


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("vgg11", "features.18"),
        ("resnet18", "layer3.1.bn1"),
        ("densenet121", "features"),
        ("densenet121", "features.denseblock2.denselayer3.norm1"),
        ("googlenet", "inception4a.branch1.bn"),
    ],
)
def test_a_layer_before_an_in_place_operation(name: str, layer: str) -> None:
    model, images = network(name).build(), network(name).image(batch=2)
    predicted = model(images).argmax(1).tolist()
    (truth,) = truths(network(name), model, images, only=(layer, 0))

    assert error(gh.explain(model, images, layer).raw, truth.raw) < 1e-9
    # They show what the in-place ReLU left behind in the layer's place.
    assert error(torchcam(model, layer, images, predicted), truth.raw.relu()) > 0.01
    size = tuple(images.shape[2:])
    right = nn.functional.interpolate(truth.raw.relu()[:, None], size, mode="bilinear")[:, 0]
    theirs = grad_cam(model, layer, images, predicted)
    assert (theirs - minmax(right)).abs().max() > 0.01


def test_one_class_for_a_batch_of_four() -> None:
    model, images = network("resnet18").build(), network("resnet18").image(batch=4)

    ours = gh.explain(model, images, "layer4", target=3)
    with PeerGradCAM(model, [model.layer4]) as cam:
        theirs = cam(leaf(images), [ClassifierOutputTarget(3)])

    assert [bool(one.any()) for one in theirs] == [True, False, False, False]
    for i in range(4):
        alone = gh.explain(model, images[i : i + 1], "layer4", target=3)
        assert error(ours.raw[i], alone.raw[0]) < 1e-9
        assert alone.maps.max() == 1
    assert np.abs(theirs[0] - ours.maps[0].numpy()).max() <= TOLERANCE


def test_two_layers_named_in_another_order_than_they_run() -> None:
    model, images = network("resnet18").build(), network("resnet18").image()
    paired = []

    class Recording(PeerGradCAM):
        def get_cam_image(self, image, layer, targets, activations, *rest):
            paired.append((layer, activations.shape[1]))
            return super().get_cam_image(image, layer, targets, activations, *rest)

    with Recording(model, [model.layer4, model.layer2]) as cam:
        cam(leaf(images), None)
    # layer4 has 512 channels, layer2 has 128.
    assert paired == [(model.layer4, 128), (model.layer2, 512)]

    ours = gh.explain(model, images, ["layer4", "layer2"])
    assert ours.layers == ("layer4", "layer2")
    assert [layout.split()[1] for layout in ours.layouts] == ["c=512", "c=128"]
    found = {truth.layer: truth for truth in truths(network("resnet18"), model, images)}
    assert error(ours.raw[0], found["layer4"].raw) < 1e-9
    assert error(ours.raw[1], found["layer2"].raw) < 1e-9


def test_a_class_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    model, images = network("resnet18").build(), network("resnet18").image()
    theirs = None
    with PeerGradCAM(model, [model.layer4]) as cam:
        theirs = cam(leaf(images), [ClassifierOutputTarget(10)])
    assert theirs is None
    assert "An exception occurred" in capsys.readouterr().out

    with (
        gh.GradCAM(model, "layer4") as cam,
        pytest.raises(gh.TargetError, match=r"class 10 is out of range.* classes 0 to 9"),
    ):
        cam(images, target=10)


class Twice(nn.Module):
    """One trunk that runs on two images, as in a siamese network; returns logits."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        self.head = nn.Linear(8, 5)

    def forward(self, image: Tensor) -> Tensor:
        left, right = self.trunk(image), self.trunk(image.flip(-1) * 2)
        return self.head((left * right).mean((2, 3)))


@new_torchcam
def test_a_layer_that_runs_twice() -> None:
    torch.manual_seed(0)
    model, images = Twice().double().eval(), network("resnet18").image()
    found = truths(network("resnet18"), model, images)
    first, last = (truth for truth in found if truth.layer == "trunk.1")
    predicted = model(images).argmax(1).tolist()
    size = tuple(images.shape[2:])

    def finished(raw: Tensor) -> Tensor:
        return minmax(nn.functional.interpolate(raw.relu()[:, None], size, mode="bilinear")[:, 0])

    # One of them takes the first call without a word, two take the last.
    assert (grad_cam(model, "trunk.1", images, predicted) - finished(first.raw)).abs().max() < 1e-5
    assert error(torchcam(model, "trunk.1", images, predicted), last.raw.relu()) < 1e-9
    assert error(captum(model, "trunk.1", images, predicted)[:, 0], last.raw.relu()) < 1e-9

    with pytest.raises(gh.LayerError, match=r"ran 2 times.*call=0 \.\.\. call=1.*call='all'"):
        gh.explain(model, images, "trunk.1")
    for truth in (first, last):
        result = gh.explain(model, images, "trunk.1", call=truth.call)
        assert error(result.raw, truth.raw) < 1e-9


def test_a_gradient_that_is_the_users_own() -> None:
    model, images = network("resnet18").build(), network("resnet18").image()
    model.requires_grad_()
    mine = torch.full_like(model.fc.bias, 7.0)

    model.fc.bias.grad = mine.clone()
    gh.explain(model, images, "layer4")
    assert torch.equal(model.fc.bias.grad, mine)
    assert model.conv1.weight.grad is None

    grad_cam(model, "layer4", images, [0])
    assert not torch.equal(model.fc.bias.grad, mine)
    assert model.conv1.weight.grad is not None
