"""Group-CAM: by hand, and by loops from the paper and its authors' code in every rank."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import gradcam_hooks as gh
from gradcam_hooks.runs.masks import blurred
from tests.support.hand import Head, interpolated, mask_of
from tests.support.ranks import RANKS, batch, curved

HAND = torch.tensor([[[[1.0, 2.0]], [[1.0, 0.0]]]], dtype=torch.float64)


def score(position: list[list[float]]) -> float:
    """y of `Head`, of two channels of two positions."""
    return sum(map(sum, position)) ** 2 - 3 * position[0][0]


def test_by_hand() -> None:
    # Two cells leave a kernel of three, of weights 1/3 but for a factor exp(-1/5000), and mirrored
    # borders: the blur of (a, b) is (w a + 2 v b, 2 v a + w b).
    factor = math.exp(-1 / 5000)
    w, v = 1 / (1 + 2 * factor), factor / (1 + 2 * factor)
    blur = [[w * 1 + 2 * v * 2, 2 * v * 1 + w * 2], [w * 1, 2 * v * 1]]
    # The mean gradients are 6.5 and 8 (see gScoreCAM), so the groups of one channel each are
    # (6.5, 13) and (8, 0); their masks keep the second position and the first.
    second = [[blur[0][0], 2.0], [blur[1][0], 0.0]]
    first = [[1.0, blur[0][1]], [1.0, blur[1][1]]]
    gains = [max(score(one) - score(blur), 0) for one in (second, first)]
    # About y = 14.0 at the blur, 10 at the first and 16 at the second: one group gains nothing.
    assert gains[0] == 0
    assert gains[1] > 0.5
    result = gh.explain(
        Head(), HAND, "layer", method="groupcam", target=0, groups=2, probability=False
    )
    expected = [6.5 * gains[0] + 8 * gains[1], 13 * gains[0]]
    assert result.raw[0, 0].tolist() == pytest.approx(expected)


def blur_in_loops(image: Tensor) -> Tensor:
    """51 cells or what fits, sigma 50, one axis after the other, the ends mirrored."""
    for axis in range(1, image.ndim):
        cells = image.shape[axis]
        half = min(25, cells - 1)
        kernel = [math.exp(-(d**2) / (2 * 50**2)) for d in range(-half, half + 1)]
        parts = []
        for i in range(cells):
            total = torch.zeros_like(image.select(axis, 0))
            for d, weight in zip(range(-half, half + 1), kernel, strict=True):
                j = abs(i + d)
                j = 2 * (cells - 1) - j if j >= cells else j
                total += weight / sum(kernel) * image.select(axis, j)
            parts.append(total)
        image = torch.stack(parts, axis)
    return image


@pytest.mark.parametrize("rank", RANKS)
def test_the_blur(rank: int) -> None:
    x = batch(rank)
    got = blurred(x, 51, 50.0)
    for one, expected in zip(got, map(blur_in_loops, x), strict=True):
        assert torch.allclose(one, expected, atol=1e-12)


def test_the_blur_is_torchvision_s() -> None:
    from torchvision.transforms.functional import gaussian_blur

    x = torch.randn(2, 3, 60, 70, generator=torch.Generator().manual_seed(0))
    theirs = gaussian_blur(x, [51, 51], [50.0, 50.0])
    assert (blurred(x, 51, 50.0) - theirs).abs().max() < 1e-5


def reference(
    model: nn.Sequential, image: Tensor, target: int, sizes: list[int], probability: bool
) -> Tensor:
    activation = model[:3](image[None]).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(model[3:](activation)[0, target], activation)
    activation, gradient = activation.detach()[0], gradient[0]

    def value(x: Tensor) -> float:
        logits = model(x[None])[0].detach()
        return float((functional.softmax(logits, 0) if probability else logits)[target])

    soft = blur_in_loops(image)
    raw = torch.zeros_like(activation[0])
    start = 0
    for size in sizes:
        group = torch.zeros_like(raw)
        for k in range(start, start + size):
            group += gradient[k].mean() * activation[k]
        start += size
        group = group.clamp_min(0)
        if group.max() == group.min():
            continue
        mask = mask_of(group, image.shape[1:])
        raw += group * max(value(image * mask + soft * (1 - mask)) - value(soft), 0.0)
    return raw


@pytest.mark.parametrize("probability", [True, False])
@pytest.mark.parametrize("rank", RANKS)
def test_in_loops(rank: int, probability: bool) -> None:
    model, x = curved(rank, channels=5), batch(rank)
    result = gh.explain(
        model, x, "2", method="groupcam", target=gh.TopK(3), groups=3, probability=probability
    )
    assert isinstance(result.raw, Tensor)
    assert result.target is not None
    alive = 0
    for index, target in product(range(2), range(3)):
        number = int(result.target[index, target])
        # Five channels in three groups are two, two and one.
        expected = reference(model, x[index], number, [2, 2, 1], probability)
        alive += bool(expected.any())
        assert torch.allclose(result.raw[index, target], expected, rtol=1e-8, atol=1e-8)
    assert alive >= 3


def test_by_default_a_class_is_judged_by_its_probability_and_anything_else_by_its_score() -> None:
    model, x = curved(2), batch(2)

    def ask(target: object, **options: bool) -> Tensor:
        raw = gh.explain(model, x, "2", method="groupcam", target=target, **options).raw  # type: ignore[arg-type]
        assert isinstance(raw, Tensor)
        return raw

    assert torch.equal(ask(1), ask(1, probability=True))
    own = ask(lambda output: output[:, 1])
    assert torch.allclose(own, ask(1, probability=False), atol=1e-12)
    assert not torch.allclose(own, ask(1))


def test_more_groups_than_channels_are_as_many_as_there_are_channels() -> None:
    model, x = curved(2), batch(2)
    many = gh.explain(model, x, "2", method="groupcam", target=1)  # 32
    three = gh.explain(model, x, "2", method="groupcam", target=1, groups=3)
    assert torch.equal(many.raw, three.raw)
    with pytest.raises(gh.OptionError, match="groups= is a whole number from 1 up, not 0"):
        gh.explain(model, x, "2", method="groupcam", target=1, groups=0)


def test_masks_cover_the_input_not_the_layer() -> None:
    # One group; where its mask is 1 the image is sharp, where it is 0 it is the blur.
    model, x = curved(2, channels=1), batch(2)
    seen: list[Tensor] = []
    model.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    result = gh.explain(model, x, "2", method="groupcam", target=0)
    group = result.raw[0] if result.raw[0].any() else model[:3](x)[0, 0].detach()
    up = interpolated(group, x.shape[2:])
    top, bottom = up.flatten().argmax(), up.flatten().argmin()
    masked = [one[0].flatten(1) for one in seen if len(one) == 1]
    soft = blurred(x, 51, 50.0)[0].flatten(1)
    assert any(
        torch.allclose(one[:, top], x[0].flatten(1)[:, top], atol=1e-12)
        and torch.allclose(one[:, bottom], soft[:, bottom], atol=1e-12)
        for one in masked
    )
