"""Opti-CAM: a step by hand, the whole search in loops in every rank, and what it must not touch."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor, nn

import gradcam_hooks as gh
from tests.support.hand import interpolated
from tests.support.nets import gap_linear, images
from tests.support.ranks import RANKS, batch, curved


class Sum(nn.Module):
    """The image itself is the activation; y is the sum of all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).sum((1, 2, 3))[:, None]


def test_one_step_by_hand() -> None:
    # Channels (0, 1, 4) and (0, 1, 0) under weights w and 1 - w add up to (0, 1, 4 w); scaled that
    # is the mask (0, 1 / (4 w), 1), and y = 2 / (4 w) + 4. It rises as w falls, so Adam's first
    # step, of 0.1 in the direction of each sign, goes to u = (0.4, 0.6): w = sigmoid(-0.2).
    x = torch.tensor([[[[0.0, 1, 4]], [[0, 1, 0]]]], dtype=torch.float64)
    result = gh.explain(Sum(), x, "layer", method="opticam", target=0, steps=1)
    w = 1 / (1 + math.exp(0.2))
    assert result.raw[0, 0].tolist() == pytest.approx([0, 1, 4 * w], abs=1e-6)
    # y of the image is 6, and 6 - y = 2 - 2 / (4 w) = 1 is above 0: the same step.
    same = gh.explain(Sum(), x, "layer", method="opticam", target=0, steps=1, loss="difference")
    assert torch.allclose(same.raw, result.raw)
    # Without an end it goes on until 6 is reached, and the difference stays there.
    far = gh.explain(Sum(), x, "layer", method="opticam", target=0, steps=150, loss="difference")
    reached = 2 / float(far.raw[0, 0, 2]) + 4
    assert reached == pytest.approx(6, abs=0.3)


def searched(
    model: nn.Sequential, image: Tensor, target: int, steps: int, lr: float, loss: str
) -> tuple[Tensor, bool]:
    """One image's map at layer 2, Adam written out; and whether it stopped before its time."""
    activation = model[:3](image[None])[0].detach().clamp_min(0)
    clean = float(model(image[None])[0, target].detach())
    count = len(activation)

    def summed(u: Tensor) -> Tensor:
        exps = [torch.exp(u[k]) for k in range(count)]
        return sum((exps[k] / sum(exps)) * activation[k] for k in range(count))  # type: ignore[return-value]

    u = torch.full((count,), 0.5, dtype=torch.float64)
    first, second = torch.zeros_like(u), torch.zeros_like(u)
    before = math.inf
    for step in range(steps):
        u.requires_grad_()
        up = interpolated(summed(u), image.shape[1:])
        mask = (up - up.min()) / (up.max() - up.min())
        value = clean - model((image * mask)[None])[0, target]
        value = value.abs() if loss == "difference" else value
        (gradient,) = torch.autograd.grad(value, u)
        u = u.detach()
        if step % max(1, steps // 10) == 0:
            if float(value.detach()) > before:
                return summed(u), True
            before = float(value.detach())
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        mean = first / (1 - 0.9 ** (step + 1))
        size = second / (1 - 0.999 ** (step + 1))
        u = u - lr * mean / (size.sqrt() + 1e-8)
    return summed(u), False


@pytest.mark.parametrize("loss", ["score", "difference"])
@pytest.mark.parametrize("rank", RANKS)
def test_in_loops(rank: int, loss: str) -> None:
    model, x = curved(rank), batch(rank)
    stopped = []
    for steps, lr in ((4, 0.1), (10, 2.0)):
        result = gh.explain(
            model, x, "2", method="opticam", target=gh.TopK(2), steps=steps, lr=lr, loss=loss
        )
        assert result.target is not None
        for index, target in product(range(2), range(2)):
            number = int(result.target[index, target])
            expected, early = searched(model, x[index], number, steps, lr, loss)
            stopped.append(early)
            assert torch.allclose(result.raw[index, target], expected, rtol=1e-8, atol=1e-8)
    assert not all(stopped)
    assert any(stopped) or rank != 1  # the rule was asked for, and came out both ways


def test_the_masked_image_scores_higher_than_at_the_start() -> None:
    model, x = gap_linear(), images()
    start = gh.explain(model, x, "1", method="opticam", target=2, steps=1, lr=1e-9)
    found = gh.explain(model, x, "1", method="opticam", target=2, steps=30)
    before = model(x * start.maps[:, None].double())[:, 2]
    after = model(x * found.maps[:, None].double())[:, 2]
    assert (after > before).all()


def test_no_gradient_comes_to_the_model_or_the_input() -> None:
    model, x = gap_linear(), images().requires_grad_()
    model[0].weight.grad = torch.full_like(model[0].weight, 3.0)
    gh.explain(model, x, "1", method="opticam", target=1, steps=3)
    assert x.grad is None
    assert model[0].weight.grad.eq(3).all()
    assert model[4].weight.grad is None


def test_frozen_weights_and_no_grad_around_the_call() -> None:
    model, x = gap_linear(), images()
    expected = gh.explain(model, x, "1", method="opticam", target=1, steps=3).raw
    model.requires_grad_(requires_grad=False)
    with torch.inference_mode():
        got = gh.explain(model, x, "1", method="opticam", target=1, steps=3).raw
    assert torch.equal(got, expected)


def test_a_network_that_leaves_the_graph_is_told() -> None:
    class Detached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x).mean((2, 3)).detach()

    with pytest.raises(gh.GradientError, match="no gradient can flow from the score back"):
        gh.explain(Detached().double(), images(), "conv", method="opticam", target=1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"steps": 0}, "steps= is a whole number from 1 up, not 0"),
        ({"lr": 0.0}, "lr= is a number above 0, not 0.0"),
        ({"loss": "l2"}, "loss= is one of 'score', 'difference', not 'l2'"),
    ],
)
def test_options_that_are_none(options: dict[str, object], told: str) -> None:
    with pytest.raises(gh.OptionError, match=told):
        gh.explain(gap_linear(), images(), "1", method="opticam", target=1, **options)  # type: ignore[arg-type]
