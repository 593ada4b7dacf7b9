"""Maps that stay in the graph: gradients checked by finite differences, and a training step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import gradcam_hooks as gh

RULES = ["gradcam", "gradcam++", "gradcam+", "xgradcam", "hirescam", "elementwise", "layercam"]


def smooth() -> nn.Sequential:
    """A network whose second derivatives are there and not zero."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.Softplus(), nn.Flatten(), nn.Linear(48, 5), nn.Tanh(),
        nn.Linear(5, 3),
    ).double()  # fmt: skip


def picture() -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.rand(1, 2, 4, 4, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("method", RULES)
def test_the_raw_maps_gradient_is_that_of_finite_differences(method: str) -> None:
    net = smooth()

    def raw(x: Tensor) -> Tensor:
        found = gh.explain(net, x, "1", method=method, target=1, differentiable=True)
        assert isinstance(found.raw, Tensor)
        return found.raw

    assert torch.autograd.gradcheck(raw, picture().requires_grad_())


def test_the_finished_maps_gradient_is_that_of_finite_differences() -> None:
    net = smooth()

    def maps(x: Tensor) -> Tensor:
        return gh.explain(net, x, "1", target=gh.AllClasses(), differentiable=True).maps

    x = picture().requires_grad_()
    assert maps(x).dtype == torch.float64
    assert torch.autograd.gradcheck(maps, x)


def test_several_layers_fuse_in_the_graph() -> None:
    net = smooth()

    def maps(x: Tensor) -> Tensor:
        return gh.explain(net, x, ["0", "1"], target=2, differentiable=True).maps

    assert torch.autograd.gradcheck(maps, picture().requires_grad_())


def test_the_values_are_those_of_the_usual_map() -> None:
    net, x = smooth(), picture()
    usual = gh.explain(net, x, "1")
    kept = gh.explain(net, x, "1", differentiable=True)
    assert torch.allclose(kept.raw, usual.raw)
    assert torch.allclose(kept.maps.float(), usual.maps, atol=1e-6)
    assert kept.raw.requires_grad
    assert kept.scores.requires_grad
    assert not usual.raw.requires_grad


def test_an_attention_loss_trains_the_network_to_look_elsewhere() -> None:
    net, x = smooth(), picture()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    losses = []
    for _ in range(25):
        raw = gh.explain(net, x, "1", target=2, differentiable=True).raw
        loss = raw[..., 2:].mean() - raw[..., :2].mean()  # evidence to the left, please
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.01
    found = gh.explain(net, x, "1", target=2).raw
    assert found[..., :2].mean() > found[..., 2:].mean()
    assert net.training


def test_the_output_stays_in_the_graph_too_so_one_pass_serves_both_losses() -> None:
    net, x = smooth(), picture()
    result = gh.explain(net, x, "1", target=1, differentiable=True)
    output = result.output
    assert isinstance(output, Tensor)
    (nn.functional.cross_entropy(output, torch.tensor([1])) + result.maps.mean()).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_a_frozen_network_and_a_blank_map_are_no_trouble() -> None:
    net, x = smooth().requires_grad_(requires_grad=False), picture()
    assert gh.explain(net, x, "1", target=2, differentiable=True).diagnosis == ("ok",)
    dead = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad():
        dead[0].bias.fill_(-100.0)
    blank = gh.explain(dead, x.float().requires_grad_(), "1", differentiable=True)
    assert set(blank.diagnosis) <= {"zero-gradient", "constant"}
    assert not blank.maps.any()


def test_a_method_that_runs_the_network_itself_says_that_it_is_not_differentiable() -> None:
    with pytest.raises(gh.OptionError, match=r"differentiable= is for .* Ablation-CAM is none"):
        gh.explain(smooth(), picture(), "1", method="ablationcam", differentiable=True)
