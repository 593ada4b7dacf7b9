"""Score-CAM, SS-CAM and IS-CAM beside grad-cam and torchcam: what is the same, and what is not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import pytorch_grad_cam
import torch
import torchcam.methods as torchcam
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torch.nn import functional

import gradcam_hooks as gh
from gradcam_hooks.maps import finish
from tests.support.nets import images

TARGET = 2

pytestmark = pytest.mark.usefixtures("one_thread")


def network() -> nn.Sequential:
    """Layer 1 has the input's size, layer 2 half of it; the logits lie some units apart."""
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(96, 4),
    )
    with torch.no_grad():
        model[4].weight.mul_(8)
    return model.double().eval()


def grad_cam(model: nn.Sequential, layer: int, x: Tensor) -> Tensor:
    with pytorch_grad_cam.ScoreCAM(model, [model[layer]]) as cam:
        return torch.from_numpy(cam(x, [ClassifierOutputTarget(TARGET)] * len(x)))


def torch_cam(kind: str, model: nn.Sequential, layer: int, x: Tensor, **options: object) -> Tensor:
    """Not scaled, after its ReLU, at the layer's resolution."""
    with getattr(torchcam, kind)(model, str(layer), **options) as extractor:
        with torch.no_grad():
            scores = model(x)
        (cam,) = extractor([TARGET] * len(x), scores, normalized=False)
    found: Tensor = cam.detach()
    return found


def ours(method: str, model: nn.Sequential, layer: int, x: Tensor, **how: object) -> gh.Explanation:
    return gh.explain(model, x, str(layer), method=method, target=TARGET, score="softmax", **how)  # type: ignore[arg-type]


def close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-6 * b.abs().max())


def raw(result: gh.Explanation) -> Tensor:
    assert isinstance(result.raw, Tensor)
    return result.raw


def test_the_same_where_masks_are_not_resized() -> None:
    model, x = network(), images()
    found = ours("scorecam", model, 1, x)
    assert found.diagnosis == ("ok", "ok")
    assert (found.maps - grad_cam(model, 1, x)).abs().max() <= 1e-5
    assert close(torch_cam("ScoreCAM", model, 1, x), raw(found))


def by_masks(model: nn.Sequential, x: Tensor, masks: Tensor, shares: Sequence[float]) -> Tensor:
    """Softmax of the mean score over the masks' intensities, times the activation of layer 2."""
    activation = model[:3](x).detach()
    scores = torch.zeros(activation.shape[:2], dtype=torch.float64)
    for index in range(len(x)):
        for k in range(activation.shape[1]):
            for share in shares:
                masked = x[index] * masks[index, k] * share
                scores[index, k] += model(masked[None])[0, TARGET].detach() / len(shares)
    return torch.einsum("bk,bkij->bij", scores.softmax(1), activation)


def scaled(maps: Tensor) -> Tensor:
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return (maps - low) / (high - low)


def up(maps: Tensor, *, align_corners: bool) -> Tensor:
    return functional.interpolate(maps, (8, 8), mode="bilinear", align_corners=align_corners)


def test_they_resize_masks_in_other_ways() -> None:
    model, x = network(), images()
    activation = model[:3](x).detach()
    found = ours("scorecam", model, 2, x)
    # Resized, then scaled, align_corners=False: the authors' code, and ours.
    authors = by_masks(model, x, scaled(up(activation, align_corners=False)), [1.0])
    assert close(raw(found), authors)
    # torchcam scales first, so that few masks reach 0 and 1.
    theirs = by_masks(model, x, up(scaled(activation), align_corners=False), [1.0])
    assert close(torch_cam("ScoreCAM", model, 2, x), theirs)
    assert (finish(theirs, (8, 8)) - found.maps).abs().max() > 1e-3
    # grad-cam aligns the corners.
    aligned = by_masks(model, x, scaled(up(activation, align_corners=True)), [1.0])
    assert (finish(aligned, (8, 8)) - grad_cam(model, 2, x)).abs().max() <= 1e-5
    assert (finish(aligned, (8, 8)) - found.maps).abs().max() > 1e-3


def test_a_constant_channel_is_run_by_them_all_the_same() -> None:
    model, x = network(), images()
    with torch.no_grad():
        model[0].weight[3] = 0
        model[0].bias[3] = 1.0
    found = raw(ours("scorecam", model, 1, x))
    theirs = torch_cam("ScoreCAM", model, 1, x)
    # The softmax gives it a share: theirs is a part of ours and that share of a constant.
    for one, other in zip(theirs, found, strict=True):
        part = (one.max() - one.min()) / (other.max() - other.min())
        rest = one - part * other
        assert part < 0.99
        assert (rest - rest.mean()).abs().max() <= 1e-6 * one.max()
        assert rest.mean() > 1e-3


def test_torchcam_s_iscam_adds_the_intensities_up() -> None:
    model, x = network(), images()
    masks = scaled(model[:3](x).detach())
    masks = up(masks, align_corners=False)
    theirs = torch_cam("ISCAM", model, 2, x, num_samples=10)
    running = [sum(range(1, i + 1)) / 10 for i in range(1, 11)]
    assert running[-1] == 5.5
    assert close(theirs, by_masks(model, x, masks, running))

    # The intensity that goes from 0 to 1, at the layer where masks are alike.
    found = raw(ours("iscam", model, 1, x, samples=10))
    activation = model[:2](x).detach()
    total = torch.zeros(2, 6, dtype=torch.float64)
    for i in range(1, 11):
        for k in range(6):
            total[:, k] += model(x * scaled(activation)[:, k : k + 1] * i / 10)[:, TARGET].detach()
    even = torch.einsum("bk,bkij->bij", (total / 10).softmax(1), activation)
    assert close(found, even)
    other = torch_cam("ISCAM", model, 1, x, num_samples=10)
    assert (finish(other, (8, 8)) - finish(found, (8, 8))).abs().max() > 1e-2
    # With one sample there is nothing to add up, and it is Score-CAM.
    once = torch_cam("ISCAM", model, 1, x, num_samples=1)
    assert close(once, raw(ours("iscam", model, 1, x, samples=1)))
    assert close(once, raw(ours("scorecam", model, 1, x)))


def test_torchcam_s_sscam_is_ours_but_for_the_draw() -> None:
    model, x = network(), images()
    quiet = torch_cam("SSCAM", model, 1, x, num_samples=2, std=1e-9)
    assert close(quiet, raw(ours("sscam", model, 1, x, samples=2, std=1e-9)))
    # Many samples of the same distribution end at the same weights; the noise is not the same.
    torch.manual_seed(0)
    loud = torch_cam("SSCAM", model, 1, x, num_samples=400, std=0.5)
    same = raw(ours("sscam", model, 1, x, samples=400, std=0.5))
    assert (loud - same).abs().max() <= 0.1 * same.max()
    assert not torch.equal(loud, same)
