"""Samplers: noise, paths and augmentations, by hand, by loops, and beside the peers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks.methods.gradient import gradcam, gradcam_plus_plus
from tests.support.nets import gap_linear, images
from tests.support.peers import new_torchcam
from tests.support.ranks import RANKS, batch, curved


def taken(net: nn.Sequential, x: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Activation at layer 1 of a `curved` network and the gradient of each image's label."""
    activation = net[1](net[0](x)).detach().requires_grad_()
    score = net[2:](activation).gather(1, label[:, None]).sum()
    (gradient,) = torch.autograd.grad(score, [activation])
    return activation.detach(), gradient


def drawn(x: Tensor, samples: int, std: float) -> list[Tensor]:
    """The noisy images that seed 0 gives, worked out again."""
    generator = torch.Generator().manual_seed(0)
    spans = [float(one.max() - one.min()) for one in x]
    reach = torch.tensor(spans, dtype=x.dtype).view(-1, *[1] * (x.ndim - 1))
    # Noise is drawn in float32 whatever the image's precision.
    return [
        x + std * reach * torch.randn(x.shape, generator=generator).to(x) for _ in range(samples)
    ]


@pytest.mark.parametrize("rank", RANKS)
def test_noise_keeps_the_activation_clean_and_averages_the_gradients(rank: int) -> None:
    net, x = curved(rank), batch(rank)
    label = net(x).argmax(1)
    activation, _ = taken(net, x, label)
    mean = torch.stack([taken(net, one, label)[1] for one in drawn(x, 3, 0.2)]).mean(0)
    found = gh.explain(net, x, "1", sampler=gh.Noise(3, 0.2))
    assert torch.allclose(found.raw, gradcam(activation, mean), atol=1e-10)
    again = gh.explain(net, x, "1", sampler=gh.Noise(3, 0.2))
    assert torch.equal(found.raw, again.raw)
    other = gh.explain(
        net, x, "1", sampler=gh.Noise(3, 0.2), generator=torch.Generator().manual_seed(1)
    )
    assert not torch.equal(found.raw, other.raw)


@pytest.mark.parametrize("rank", RANKS)
def test_smooth_grad_cam_plus_plus_equals_the_papers_loop(rank: int) -> None:
    net, x = curved(rank), batch(rank)
    label = net(x).argmax(1)
    activation, _ = taken(net, x, label)
    gradients = [taken(net, one, label)[1] for one in drawn(x, 4, 0.3)]
    expected = torch.zeros(len(x), *x.shape[2:], dtype=x.dtype)
    for i in range(len(x)):
        for k in range(activation.shape[1]):
            total = float(activation[i, k].sum())
            weight = 0.0
            for at in range(activation[i, k].numel()):
                values = [float(g[i, k].flatten()[at]) for g in gradients]
                d1, d2, d3 = (sum(v**n for v in values) / 4 for n in (1, 2, 3))
                below = 2 * d2 + total * d3
                if below:
                    weight += d2 / below * max(d1, 0.0)
            expected[i] += weight * activation[i, k]
    found = gh.explain(net, x, "1", method="smoothgradcam++", samples=4, std=0.3)
    assert (found.raw - expected).abs().max() < 1e-8


def test_smooth_grad_cam_plus_plus_without_noise_is_grad_cam_plus_plus() -> None:
    net, x = curved(2), batch(2)
    smooth = gh.explain(net, x, "1", method="smoothgradcam++", samples=2, std=0.0)
    assert torch.allclose(smooth.raw, gh.explain(net, x, "1", method="gradcam++").raw, atol=1e-12)
    # As the paper prints it, without noise alpha is g / (2 g^2 + sum(A) g^3).
    printed = gh.explain(
        net, x, "1", method="smoothgradcam++", samples=1, std=0.0, first_order=True
    )
    a, g = taken(net, x, net(x).argmax(1))
    alpha = g / (2 * g**2 + a.flatten(2).sum(2)[..., None, None] * g**3)
    weights = (alpha.nan_to_num() * g.relu()).sum((2, 3))
    assert torch.allclose(printed.raw, torch.einsum("bk,bkhw->bhw", weights, a), atol=1e-9)


@new_torchcam
def test_torchcam_weighs_by_the_last_noisy_gradient_alone() -> None:
    """PEERS: its SmoothGrad-CAM++ relies on the last of its noisy passes, and is not seeded."""
    from torchcam.methods import SmoothGradCAMpp

    net, x = curved(2).float(), batch(2).float()[:1]

    def theirs(seed: int) -> Tensor:
        torch.manual_seed(seed)
        with SmoothGradCAMpp(net, "1", num_samples=4, std=0.3) as cam:
            cam.model.eval()
            label = int(net(x).argmax())
            return cam(label, normalized=False)[0]

    assert not torch.allclose(theirs(0), theirs(1))
    ours = [gh.explain(net, x, "1", method="smoothgradcam++", samples=4).raw for _ in range(2)]
    assert torch.equal(*ours)


@pytest.mark.parametrize("rank", RANKS)
def test_integrated_grad_cam_equals_the_loop_along_the_path(rank: int) -> None:
    net, x = curved(rank), batch(rank)
    label = net(x).argmax(1)
    start, _ = taken(net, torch.full_like(x, 0.5), label)
    expected = torch.zeros(len(x), *x.shape[2:], dtype=x.dtype)
    for step in range(5):
        at = 0.5 + (step + 0.5) / 5 * (x - 0.5)
        activation, gradient = taken(net, at, label)
        for i in range(len(x)):
            raw = torch.zeros(x.shape[2:], dtype=x.dtype)
            for k in range(activation.shape[1]):
                raw += gradient[i, k].mean() * (activation[i, k] - start[i, k])
            expected[i] += raw.clamp_min(0) / 5
    found = gh.explain(net, x, "1", method="integratedgradcam", steps=5, baseline=0.5)
    assert (found.raw - expected).abs().max() < 1e-8
    same = gh.explain(net, x, "1", sampler=gh.Integrate(5, 0.5))
    assert torch.equal(found.raw, same.raw)


def test_a_path_worked_by_hand() -> None:
    # One pixel x = 2, layer A = x, score A^2, baseline 0. Two steps: A = 0.5 and 1.5, gradients
    # 1 and 3, so the maps are 0.5 and 4.5, and their mean is 2.5.
    class Square(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x).square().sum((2, 3))

    x = torch.full((1, 1, 1, 1), 2.0)
    found = gh.explain(Square(), x, "layer", sampler=gh.Integrate(2), layout="channels-first")
    assert found.raw.tolist() == [[[2.5]]]


def test_augmented_maps_are_flipped_back_and_averaged() -> None:
    net, x = curved(2), batch(2)
    label = net(x).argmax(1)
    maps = []
    for flipped in (False, True):
        for factor in (0.8, 1.0):
            image = (x.flip(-1) if flipped else x) * factor
            raw = gradcam(*taken(net, image, label))
            maps.append(raw.flip(-1) if flipped else raw)
    found = gh.explain(net, x, "1", sampler=gh.Augment(factors=(0.8, 1.0)))
    assert torch.allclose(found.raw, torch.stack(maps).mean(0), atol=1e-12)
    plain = gh.explain(net, x, "1", sampler=gh.Augment(flip=False, factors=(1.0,)))
    assert torch.allclose(plain.raw, gh.explain(net, x, "1").raw, atol=1e-12)


def test_flipping_the_input_of_an_equivariant_network_flips_every_sampled_map() -> None:
    net = gap_linear()
    with torch.no_grad():
        net[0].weight.copy_((net[0].weight + net[0].weight.flip(-1)) / 2)
    x = images(2)
    for sampler in (gh.Augment(), gh.Integrate(3)):
        one, two = (gh.explain(net, image, "1", sampler=sampler) for image in (x, x.flip(-1)))
        assert torch.allclose(one.raw, two.raw.flip(-1), atol=1e-12)


def test_many_targets_are_each_their_own() -> None:
    net, x = curved(2), batch(2)
    for options in (
        {"sampler": gh.Noise(2)},
        {"sampler": gh.Integrate(2)},
        {"sampler": gh.Augment()},
        {"method": "smoothgradcam++", "samples": 2},
        {"method": "integratedgradcam", "steps": 2},
    ):
        many = gh.explain(net, x, "1", target=gh.AllClasses(), **options)
        for label in range(4):
            one = gh.explain(net, x, "1", target=label, **options)
            assert torch.allclose(many.raw[:, label], one.raw, atol=1e-12)


def test_eigen_smoothing_of_hirescam_is_eigen_grad_cam_and_grad_cam_agrees_once_centred() -> None:
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

    net, x = curved(2), batch(2)
    smooth = gh.explain(net, x, "1", method="hirescam", eigen_smooth=True)
    assert torch.equal(smooth.raw, gh.explain(net, x, "1", method="eigengradcam").raw)
    a, g = taken(net, x, net(x).argmax(1))
    parts = g.mean((2, 3), keepdim=True) * a
    found = gh.explain(net, x, "1", eigen_smooth=True).raw
    centred = parts - parts.mean((2, 3), keepdim=True)
    theirs = torch.from_numpy(get_2d_projection(parts.numpy()))
    from gradcam_hooks.methods.singular import leading

    for mine, other in zip(leading(centred, by_peak=False), theirs, strict=True):
        assert min((mine - other).abs().max(), (mine + other).abs().max()) < 1e-5
    assert torch.equal(found, leading(parts, by_peak=False))


def test_the_rule_keeps_its_own_options_under_a_sampler() -> None:
    net, x = curved(2), batch(2)
    label = net(x).argmax(1)
    a, g = taken(net, x, label)
    found = gh.explain(
        net, x, "1", method="gradcam++", normalize=True, sampler=gh.Augment(False, (1.0,))
    )
    assert torch.allclose(found.raw, gradcam_plus_plus(a, g, normalize=True), atol=1e-12)


def test_what_cannot_be_sampled_says_so() -> None:
    net, x = gap_linear(), images()
    with pytest.raises(gh.OptionError, match="sampler= is for methods that are a formula"):
        gh.explain(net, x, "1", method="ablationcam", sampler=gh.Noise())
    with pytest.raises(gh.OptionError, match="leave sampler= out"):
        gh.explain(net, x, "1", sampler=gh.Noise(), differentiable=True)
    with pytest.raises(gh.OptionError, match="samples= is a whole number from 1 up, not 0"):
        gh.Noise(0)
    with pytest.raises(gh.OptionError, match="std= is a share of the image's range"):
        gh.Noise(2, -1.0)
    with pytest.raises(gh.OptionError, match="steps= is a whole number"):
        gh.Integrate(1.5)  # type: ignore[arg-type]
    with pytest.raises(gh.OptionError, match="one factor at least"):
        gh.Augment(factors=())
    with pytest.raises(gh.OptionError, match="no option stddev="):
        gh.explain(net, x, "1", method="smoothgradcam++", stddev=1)
